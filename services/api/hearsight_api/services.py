"""What the routes work with, built once for the process."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from hearsight_api.keyring import Keyring
from hearsight_api.limits import Limits
from hearsight_api.standings import Standings
from hearsight_api.store_watch import StoreWatch
from hearsight_api.submissions import Submissions
from hearsight_api.watchers import Watchers
from hearsight_core.addresses import AddressGuard
from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import TaskKind, queue_of
from hearsight_core.dispatcher import Dispatcher
from hearsight_core.errors import UnknownPoolError
from hearsight_core.housekeeping import DAY_S, Housekeeper
from hearsight_core.progress import News
from hearsight_core.settings import ApiSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store.database import Database
from hearsight_core.store.outcomes import RetryPolicy
from hearsight_core.telemetry import metrics
from hearsight_core.top_ups import TopUps


@dataclass(frozen=True, kw_only=True)
class Services:
    """The stores, and what runs beside the routes."""

    settings: ApiSettings
    database: Database
    news: News
    storage: ObjectStorage
    hints: HintSender
    top_ups: TopUps
    guard: AddressGuard
    dispatcher: Dispatcher
    housekeeper: Housekeeper
    store_watch: StoreWatch
    watchers: Watchers
    standings: Standings
    submissions: Submissions
    keyring: Keyring
    limits: Limits

    @classmethod
    def build(cls, settings: ApiSettings) -> "Services":
        """Opens what the settings name; nothing is started yet.

        Raises:
            ObjectStoreError: the storage URL is of no use.
        """
        database = Database(
            settings.database_url,
            pool_size=settings.database_pool_size,
            application="hearsight-api",
        )
        news = News(settings.redis_url)
        storage = ObjectStorage.from_settings(settings)
        hints = HintSender(celery_app(settings), database, settings)
        top_ups = TopUps(hints)
        limits = Limits(settings, database)
        return cls(
            settings=settings,
            database=database,
            news=news,
            storage=storage,
            hints=hints,
            top_ups=top_ups,
            guard=AddressGuard(settings.allow_hosts),
            watchers=Watchers(settings.redis_url),
            standings=Standings(database, news),
            submissions=Submissions(
                database=database,
                news=news,
                queue=limits.queue,
                top_ups=top_ups,
                language=settings.language,
            ),
            keyring=Keyring(database),
            limits=limits,
            store_watch=StoreWatch(database=database, news=news, hints=hints, storage=storage),
            dispatcher=Dispatcher(
                database=database,
                hints=hints,
                news=news,
                policy=RetryPolicy.of(settings),
                language=settings.language,
                interval_s=settings.dispatch_interval_s,
                queues=_queues(settings),
            ),
            housekeeper=Housekeeper(
                database=database,
                news=news,
                storage=storage,
                orphan_age_s=settings.orphan_age_s,
                sweep_every_s=settings.sweep_interval_s,
                job_age_s=settings.retention_job_days * DAY_S,
                media_age_s=settings.retention_media_days * DAY_S,
            ),
        )

    def start(self) -> None:
        """Start what runs beside the routes."""
        metrics.begin_api(_queues(self.settings), in_a_folder=self.storage.folder is not None)
        self.top_ups.start()
        self.dispatcher.start()
        self.housekeeper.start()
        self.store_watch.start()

    def pool(self, asked: str | None) -> str:
        """The pool that is to recognise a job: the one asked for, else the first.

        Raises:
            UnknownPoolError: there is no such pool.
        """
        pools = self.settings.asr_pools
        if asked is None:
            return pools[0]
        if asked not in pools:
            raise UnknownPoolError(field="pool", pool=asked, pools=", ".join(pools))
        return asked

    def close(self) -> None:
        """Stop what runs and close what is open."""
        self.store_watch.close()
        self.top_ups.close()
        self.dispatcher.close()
        self.housekeeper.close()
        self.news.close()
        self.database.close()


def _queues(settings: ApiSettings) -> list[str]:
    """The queues that this deployment's tasks go to."""
    pools = (queue_of(TaskKind.TRANSCRIBE, pool) for pool in settings.asr_pools)
    return [queue_of(TaskKind.DOWNLOAD), *pools]


async def _services(request: Request) -> Services:
    # Not a plain function: FastAPI would send every request through a thread for it.
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101  set by the app's lifespan
    return services


Injected = Annotated[Services, Depends(_services)]
"""The services, as a route's parameter."""
