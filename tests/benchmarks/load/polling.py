"""2,000 times a second somebody asks how a job stands, and each is told what is stored."""

import random

from hearsight_core.jobs import progress_of
from hearsight_core.progress import News
from hearsight_core.store import listing
from tests.benchmarks.goals import Goal, at_least, exactly
from tests.benchmarks.load.traffic import for_seconds, request, send
from tests.benchmarks.stand import Stand, Used
from tests.store import fill

WANTED = 2000
SECONDS = 10.0
WARM_UP_S = 2.0
CONNECTIONS = 128
JOBS = 2000
APIS = 2


def measure(stand: Stand, seed: int = 1) -> list[Goal]:
    """Polls jobs in random order; a tenth of them has no snapshot in Redis."""
    chance = random.Random(seed)  # noqa: S311  a test's chance, nothing secret
    fill(stand.database, JOBS)
    stored = listing.newest(stand.database, limit=JOBS)
    news = News(stand.environment["HEARSIGHT_REDIS_URL"])
    for job in stored:
        if chance.random() < 0.9:
            news.publish(progress_of(job))
    news.close()
    asked = [request("GET", f"/api/progress/task/{job.id}") for job in stored]
    chance.shuffle(asked)
    with stand.apis(APIS) as servers:
        urls = [server.url for server in servers]

        def make(number: int) -> bytes:
            return asked[number % JOBS]

        send(urls, for_seconds(WARM_UP_S, make), connections=CONNECTIONS)
        used = Used(servers)
        heard = send(urls, for_seconds(SECONDS, make), connections=CONNECTIONS)
        cost = used.told(heard.statuses.total())
    stand.empty()
    return [
        at_least(
            f"progress polls, {APIS} API processes",
            WANTED,
            heard.rate,
            "a second",
            remark=f", 99 of 100 within {heard.wait_ms(0.99):.0f} ms; {cost}",
        ),
        exactly(
            "polls answered otherwise than with 200",
            0,
            heard.statuses.total() - heard.statuses[200],
            "polls",
        ),
    ]
