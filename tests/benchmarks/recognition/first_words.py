"""How soon the first words of a recording can be read, however long it is.

Counted from the moment the media is stored, which is when the job is accepted. The bare library
gives its segments one after the other; what it is compared with is the time to its last, that is
when a peer that hands out whole files shows anything.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

import httpx

from tests.benchmarks.goals import Goal, at_least, at_most
from tests.benchmarks.recognition import audio, bare
from tests.benchmarks.stand import Stand
from tests.client import Client
from tests.store import rows

MINUTES = (1, 10, 60, 180)
MEASURED_MINUTES = 10
"""Bare, longer recordings are reckoned with the speed measured on this one: 3 h take 15 minutes."""
WANTED_S = 5.0
TIMES_SOONER = 30
TIMES_SOONER_FROM_MINUTES = 60


def _first_words_s(stand: Stand, client: Client, path: Path) -> float:
    """Seconds from the stored media to the first segment in the transcript that the API gives."""
    job_id = client.upload(path)
    for kind, _, _ in client.events(job_id):
        if kind == "segment":
            break
    assert client.transcript(job_id)["segments"]
    now = time.time()
    [job] = rows(stand.database, "SELECT created_at FROM jobs WHERE id = :id", id=job_id)
    # The rest is of no interest here.
    stopped = client.http.post(f"/api/jobs/{job_id}/cancel")
    assert stopped.status_code in {httpx.codes.OK, httpx.codes.ACCEPTED, httpx.codes.CONFLICT}
    client.outcome(job_id)
    return now - cast("datetime", job["created_at"]).timestamp()


def measure(stand: Stand) -> Iterator[Goal]:
    """Takes turns: bare, as far as it is measured, and whole path."""
    library = bare.model()
    [warm] = audio.clips(stand.folder, 1, 10, seed=1)
    bare.seconds(library, warm)
    speed = 0.0
    with (
        stand.apis() as [server],
        stand.workers(1, "hearsight_download_worker"),
        stand.workers(1, "hearsight_asr_worker"),
        server.client() as http,
    ):
        client = Client(http)
        client.outcome(client.upload(warm))
        for minutes in MINUTES:
            path = audio.recording(stand.folder, minutes, seed=minutes)
            if minutes <= MEASURED_MINUTES:
                alone_s = bare.seconds(library, path)
                speed, reckoned = minutes * 60 / alone_s, ""
            else:
                alone_s, reckoned = minutes * 60 / speed, ", reckoned"
            first_s = _first_words_s(stand, client, path)
            path.unlink()
            yield at_most(
                f"first words of {minutes} min",
                WANTED_S,
                first_s,
                "s",
                remark=f", {alone_s / first_s:,.0f} times sooner than bare its last"
                f" ({alone_s:,.0f} s{reckoned})",
            )
            if minutes == TIMES_SOONER_FROM_MINUTES:
                yield at_least(
                    f"first words of {minutes} min, against the last of bare",
                    TIMES_SOONER,
                    alone_s / first_s,
                    "times sooner",
                )
