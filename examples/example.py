"""Transcribe a URL or a file from your own asynchronous program: HTTP and Redis, nothing else.

    python examples/example.py [URL_OR_FILE [OPTION=VALUE ...]]

Without an argument it takes the spoken sample. Options are those of docs/options.md, such as
`from=1:30 to=2:00 word_timestamps=true`. It speaks to the stack that `make up` started, or to
the one that HEARSIGHT_URL and HEARSIGHT_REDIS_URL name, with the key in HEARSIGHT_API_KEY if there
is one.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx
from redis.asyncio import Redis

SAMPLE = Path(__file__).parent.parent / "packages/cli/hearsight/sample.flac"
TERMINAL = {"completed", "failed", "cancelled"}


def addresses() -> tuple[str, str]:
    """The URLs of the API and of Redis: the environment's, else the running local stack's."""
    file = Path(os.environ.get("HEARSIGHT_HOME", ".hearsight")) / "stack.json"
    stack = json.loads(file.read_text()) if file.exists() else {}
    local = stack.get("environment", {})
    return (
        os.environ.get("HEARSIGHT_URL") or stack.get("url", "http://127.0.0.1:8000"),
        os.environ.get("HEARSIGHT_REDIS_URL")
        or local.get("HEARSIGHT_REDIS_URL", "redis://127.0.0.1:6379/1"),
    )


def credentials() -> dict[str, str]:
    """The header that carries the API key; an API on a loopback address asks for none."""
    key = os.environ.get("HEARSIGHT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


async def try_redis(redis: Redis) -> None:
    """Writes a key, reads it back, removes it."""
    await redis.set("hearsight:example", "written by example.py", ex=60)
    print("Redis read back:", await redis.get("hearsight:example"))
    await redis.delete("hearsight:example")


async def submit(http: httpx.AsyncClient, source: str, options: dict[str, str]) -> int:
    """Hands the media in and returns the job's number at once; the work goes on by itself."""
    if source.startswith(("http://", "https://")):
        answer = await http.post("/api/tasks/process", json={"url": source, **options})
    else:
        path = Path(source)
        content = await asyncio.to_thread(path.read_bytes)
        answer = await http.post("/api/upload", data=options, files={"file": (path.name, content)})
    if answer.is_error:
        sys.exit(f"Refused: {answer.json()['detail']}")
    return int(answer.json()["job_id"])


async def watch(http: httpx.AsyncClient, job_id: int) -> str:
    """Prints what happens to the job until its end, and returns its last status."""
    async with http.stream("GET", f"/api/progress/task/{job_id}/events", timeout=60) as stream:
        kind = ""
        async for line in stream.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                data = json.loads(value)
                if kind == "segment":
                    print(f"{data['start_ms'] / 1000:9.2f} s  {data['text'].strip()}")
                    continue
                print(f"{data['overall_percent']:9.0f} %  {data['stage']}  {data['message']}")
                if data["status"] in TERMINAL:
                    return str(data["status"])
    return "unknown"


async def main(source: str, options: dict[str, str]) -> int:
    """Runs the whole tour; returns the exit code."""
    api_url, redis_url = addresses()
    print("API:", api_url)
    print("Redis:", redis_url)
    async with (
        Redis.from_url(redis_url, decode_responses=True) as redis,
        httpx.AsyncClient(base_url=api_url, timeout=60, headers=credentials()) as http,
    ):
        await try_redis(redis)
        job_id = await submit(http, source, options)
        print("Job:", job_id)
        status = await watch(http, job_id)
        print("Ended:", status)
        print("Keys:")
        async for key in redis.scan_iter(match="task_progress:*"):
            print(" ", key, json.loads(await redis.get(key) or "{}").get("status"))
    return 0 if status == "completed" else 1


if __name__ == "__main__":
    source, *given = sys.argv[1:] or [str(SAMPLE)]
    options = dict(one.split("=", 1) for one in given)
    sys.exit(asyncio.run(main(source, options)))
