# noqa: INP001 - a script of its own, which the chart hands to a pod
"""What `helm test` does: hands the API a spoken sample and compares the text that comes back."""

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from uuid import uuid4

HERE = Path(__file__).parent
API = os.environ["API_URL"]
KEY = os.environ.get("API_KEY")
HEADERS = {"Authorization": f"Bearer {KEY}"} if KEY else {"Host": "localhost"}
"""Without keys the API may be one that answers only who means this machine."""
DEADLINE = time.monotonic() + float(os.environ["TIMEOUT_S"])
WORDS_RIGHT = 0.8
"""Share of the sample's words that has to come back: small models mishear one or two."""


def say(line: str) -> None:
    """A line of the test's log, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def call(method: str, path: str, body: bytes | None = None, media_type: str = "") -> bytes:
    """One request of the API; an answer that is no success ends the test with what it says."""
    request = urllib.request.Request(API + path, body, HEADERS, method=method)  # noqa: S310  # our own API
    if media_type:
        request.add_header("Content-Type", media_type)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # as above
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{method} {path}: {error}")


def reach() -> None:
    """Waits until the API can take jobs; network policies, too, take a moment to know a new pod."""
    while True:
        try:
            with urllib.request.urlopen(f"{API}/readyz", timeout=30):  # noqa: S310  # as above
                return
        except OSError as error:
            if time.monotonic() > DEADLINE:
                sys.exit(f"the API can't be reached at {API}: {error}")
            time.sleep(1)


def submit(sample: Path) -> int:
    """Uploads the sample; returns the job's number."""
    boundary = uuid4().hex
    # Recognised, not taken from an earlier run of the test.
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("language", "en"), ("reuse", "false"))
    )
    file = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{sample.name}"\r\n'
        "Content-Type: audio/ogg\r\n\r\n"
    )
    body = b"".join(
        (fields.encode(), file.encode(), sample.read_bytes(), f"\r\n--{boundary}--\r\n".encode())
    )
    answer = json.loads(
        call("POST", "/api/upload", body, f"multipart/form-data; boundary={boundary}")
    )
    return int(answer["job_id"])


def wait(job_id: int) -> None:
    """Waits until the job is completed, saying how far it is whenever that changes."""
    said = ""
    while time.monotonic() < DEADLINE:
        progress = json.loads(call("GET", f"/api/progress/task/{job_id}"))
        line = f"{progress['status']}: {progress['message']}"
        if line != said:
            say(line)
            said = line
        if progress["status"] == "completed":
            return
        if progress["status"] in {"failed", "cancelled"}:
            sys.exit(f"job {job_id} ended as {progress['status']}: {progress['error']}")
        time.sleep(1)
    sys.exit(f"job {job_id} is not completed in time; do workers run? It was last {said!r}")


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def main() -> None:
    """Runs the test; a failure ends it with a word about why."""
    reach()
    job_id = submit(HERE / "sample.ogg")
    say(f"job {job_id} is accepted")
    wait(job_id)
    heard = call("GET", f"/api/jobs/{job_id}/transcript?format=txt").decode()
    say(heard)
    call("DELETE", f"/api/jobs/{job_id}")
    spoken = words((HERE / "sample.txt").read_text("utf-8"))
    right = len([word for word in spoken if word in words(heard)]) / len(spoken)
    if right < WORDS_RIGHT:
        sys.exit(f"only {right:.0%} of the sample's words came back")
    say(f"{right:.0%} of the sample's words came back")


if __name__ == "__main__":
    main()
