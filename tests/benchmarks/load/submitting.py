"""500 jobs a second are taken, each stored before it is answered."""

import json

from tests.benchmarks.goals import Goal, at_least, exactly
from tests.benchmarks.load.traffic import for_seconds, request, send
from tests.benchmarks.stand import NOWHERE, Stand, Used
from tests.store import rows

WANTED = 500
SECONDS = 10.0
WARM_UP_S = 2.0
CONNECTIONS = 48
APIS = 2


def measure(stand: Stand) -> list[Goal]:
    """Sends requests as fast as they are answered."""
    body = json.dumps({"url": NOWHERE}).encode()
    wanted = request("POST", "/api/tasks/process", body=body)
    with stand.apis(APIS) as servers:
        urls = [server.url for server in servers]
        warm = send(urls, for_seconds(WARM_UP_S, lambda _: wanted), connections=CONNECTIONS)
        used = Used(servers)
        heard = send(urls, for_seconds(SECONDS, lambda _: wanted), connections=CONNECTIONS)
        cost = used.told(heard.statuses.total())
    [stored] = rows(stand.database, "SELECT count(*) AS count FROM jobs")
    stand.empty()
    answered = warm.statuses.total() + heard.statuses.total()
    return [
        at_least(
            f"submit, {APIS} API processes",
            WANTED,
            heard.rate,
            "a second",
            remark=f", 99 of 100 within {heard.wait_ms(0.99):.0f} ms; {cost}",
        ),
        exactly("jobs stored of those answered", answered, int(str(stored["count"])), "jobs"),
    ]
