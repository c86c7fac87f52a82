"""What can happen to the object store: it fails, refuses, is silent, slow, cut off, or full."""

import random
import time
from http import HTTPStatus

from hearsight_core.contract import JobStatus
from tests.chaos.faults import fault
from tests.chaos.jobs import SHORT, Asking
from tests.chaos.places import ON_S3, ON_SMALL_DISK, Bucket, Disk
from tests.chaos.store_proxy import StoreProxy, Trouble
from tests.chaos.wanted import Wanted
from tests.chaos.world import World

NUMBER = 7
AWAY_S = (1.0, 4.0)
"""How long a trouble lasts that passes."""


def _proxy(world: World) -> StoreProxy:
    assert isinstance(world.objects, Bucket)
    return world.objects.proxy


def _passing(name: str, *troubles: Trouble) -> None:
    def give(world: World, chance: random.Random) -> None:
        with _proxy(world).giving(chance.choice(troubles)):
            time.sleep(chance.uniform(*AWAY_S))

    fault(NUMBER, name, place=ON_S3)(give)


_passing(
    "object store fails",
    Trouble("answer", HTTPStatus.INTERNAL_SERVER_ERROR),
    Trouble("answer", HTTPStatus.SERVICE_UNAVAILABLE),
)
_passing("object store refuses for a while", Trouble("answer", HTTPStatus.FORBIDDEN))
_passing("object store does not answer", Trouble("swallow"))
_passing("object store is slow", Trouble("crawl"))
_passing("cut in the middle of a PUT", Trouble("cut", method="PUT"))
_passing("cut in the middle of a GET", Trouble("cut", method="GET"))


@fault(NUMBER, "object store refuses a job for ever", place=ON_S3)
def _refuse_for_ever(world: World, chance: random.Random) -> None:
    """One more job, of which nothing can ever be stored."""
    guest = Wanted(
        world.guest_id(),
        "refused by the store",
        chance.choice(SHORT),
        frozenset({JobStatus.FAILED}),
        codes=frozenset({"storage.denied"}),
    )
    _proxy(world).give_for_ever(
        Trouble("answer", HTTPStatus.FORBIDDEN, path=f"/jobs/{guest.job_id}/")
    )
    world.guests.append(guest)
    Asking(world, guest.job_id).submit(world.media.url(f"/plain/{guest.medium}"))


@fault(NUMBER, "disk is full", place=ON_SMALL_DISK)
def _fill_disk(world: World, chance: random.Random) -> None:
    assert isinstance(world.objects, Disk)
    world.objects.fill()
    time.sleep(chance.uniform(*AWAY_S))
