"""`submit` and `watch`: hand media in, and see it through."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from hearsight.client import Client
from hearsight.commands.session import AsJson, Session, Url, begin
from hearsight.documents import Accepted, Options, Priority
from hearsight.failures import CommandError, Exit, UnreachableError, UsageError
from hearsight.watching import watch as follow

SCHEMES = ("http://", "https://")
FINE = "How speech is found and decoded"
"""The panel of `--help` for what few people need."""


def submit(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(metavar="URL_OR_FILE", help="Addresses or files, any mix.")
    ],
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow to the end.")] = False,
    language: Annotated[
        str | None, typer.Option(help="Language spoken, such as en; left out: detected.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="transcribe, or translate into English.")] = None,
    word_timestamps: Annotated[
        bool, typer.Option("--word-timestamps", help="Give each word its times and probability.")
    ] = False,
    initial_prompt: Annotated[
        str | None, typer.Option(help="Text that sets style and spelling.")
    ] = None,
    hotwords: Annotated[str | None, typer.Option(help="Words to listen for.")] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Recognise from here on: seconds, or [HH:]MM:SS."
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Recognise up to here.")] = None,
    split_channels: Annotated[
        bool,
        typer.Option("--split-channels", help="Recognise each channel by itself, as a speaker."),
    ] = False,
    beam_size: Annotated[
        int | None, typer.Option(help="Hypotheses followed.", rich_help_panel=FINE)
    ] = None,
    temperature: Annotated[
        str | None,
        typer.Option(
            metavar="0..1,...",
            help="Tried in turn while the text is doubtful, such as 0,0.4,0.8.",
            rich_help_panel=FINE,
        ),
    ] = None,
    compression_ratio_threshold: Annotated[
        float | None,
        typer.Option(help="Text more repetitive than this is doubtful.", rich_help_panel=FINE),
    ] = None,
    log_prob_threshold: Annotated[
        float | None,
        typer.Option(help="Text less probable than this is doubtful.", rich_help_panel=FINE),
    ] = None,
    no_speech_threshold: Annotated[
        float | None,
        typer.Option(
            help="Doubtful text is silence if that is more probable.", rich_help_panel=FINE
        ),
    ] = None,
    vad_threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which sound is speech.", rich_help_panel=FINE),
    ] = None,
    vad_min_speech_duration_ms: Annotated[
        int | None, typer.Option(help="Shorter sounds are no speech.", rich_help_panel=FINE)
    ] = None,
    vad_min_silence_duration_ms: Annotated[
        int | None, typer.Option(help="Silence that ends speech.", rich_help_panel=FINE)
    ] = None,
    vad_speech_pad_ms: Annotated[
        int | None,
        typer.Option(help="Sound kept before and after speech.", rich_help_panel=FINE),
    ] = None,
    reuse: Annotated[
        bool | None,
        typer.Option(
            "--reuse/--no-reuse",
            help="Take the text of an earlier job where audio, model and options are the same.",
            show_default="reuse",
        ),
    ] = None,
    priority: Annotated[Priority | None, typer.Option(help="Place in the queue.")] = None,
    pool: Annotated[
        str | None, typer.Option(help="Pool of ASR workers; left out: the first one.")
    ] = None,
    job_id: Annotated[
        int | None,
        typer.Option(min=1, help="Your own number; sent again, it makes no second job."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Have videos, recordings or files transcribed.

    Example: hearsight submit talk.mp3 https://example.org/talk.mp4 --watch
    """
    session = begin(context, url, as_json=as_json)
    if job_id is not None and len(sources) > 1:
        raise UsageError("--job-id names one job; give one URL or file with it.")
    for source in sources:
        _check(source)
    options = Options(
        job_id=job_id,
        language=language,
        task=task,
        word_timestamps=word_timestamps or None,
        initial_prompt=initial_prompt,
        hotwords=hotwords,
        from_=from_,
        to=to,
        split_channels=split_channels or None,
        beam_size=beam_size,
        temperature=temperature,
        compression_ratio_threshold=compression_ratio_threshold,
        log_prob_threshold=log_prob_threshold,
        no_speech_threshold=no_speech_threshold,
        vad_threshold=vad_threshold,
        vad_min_speech_duration_ms=vad_min_speech_duration_ms,
        vad_min_silence_duration_ms=vad_min_silence_duration_ms,
        vad_speech_pad_ms=vad_speech_pad_ms,
        reuse=reuse,
        priority=priority,
        pool=pool,
    )
    with session.client() as client:
        jobs, worst = _submit_all(session, client, sources, options)
        if watch and jobs:
            worst = _follow(session, client, jobs) or worst
        elif jobs:
            numbers = " ".join(map(str, jobs))
            session.output.show(f"Follow with: hearsight watch {numbers}")
    raise typer.Exit(worst)


def watch(
    context: typer.Context,
    jobs: Annotated[list[int], typer.Argument(metavar="JOB", min=1, help="Jobs to follow.")],
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Follow jobs to their end; Ctrl-C leaves them running.

    Example: hearsight watch 41 42
    """
    session = begin(context, url, as_json=as_json)
    with session.client() as client:
        raise typer.Exit(_follow(session, client, jobs))


def _check(source: str) -> None:
    """Refuses what is neither an address nor a file, before anything is sent."""
    if source.startswith(SCHEMES) or Path(source).is_file():
        return
    if Path(source).is_dir():
        raise UsageError(f"{source} is a folder; name the files in it.")
    raise UsageError(f"{source} is no file here, and no http:// or https:// address.")


def _submit_all(
    session: Session, client: Client, sources: list[str], options: Options
) -> tuple[list[int], Exit]:
    """Hands every source in; one that is refused does not hold up the others."""
    jobs: list[int] = []
    worst = Exit.OK
    for source in sources:
        try:
            accepted = _submit(session, client, source, options)
        except UnreachableError:
            raise
        except CommandError as error:
            session.output.error(error)
            worst = worst or error.exit
            continue
        jobs.append(accepted.job_id)
        session.output.document({"source": source, **accepted.model_dump(mode="json")})
        session.output.show(f"Job {accepted.job_id}: {source}")
    return jobs, worst


def _submit(session: Session, client: Client, source: str, options: Options) -> Accepted:
    if source.startswith(SCHEMES):
        return client.process(source, options)
    path = Path(source)
    shown = session.output.console.is_terminal and not session.output.as_json
    with Progress(
        TextColumn("Sending {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=session.output.console,
        transient=True,
        disable=not shown,
    ) as bars:
        bar = bars.add_task(path.name, total=path.stat().st_size)
        try:
            return client.upload(path, options, lambda count: bars.update(bar, completed=count))
        except OSError as error:
            raise UsageError(f"{source} can't be read: {error.strerror}.") from error


def _follow(session: Session, client: Client, jobs: list[int]) -> Exit:
    numbers = " ".join(map(str, jobs))
    try:
        outcome = follow(client, jobs, session.output)
    except KeyboardInterrupt:
        session.output.show(f"Left running. Follow again with: hearsight watch {numbers}")
        return Exit.INTERRUPTED
    if outcome is Exit.OK and len(jobs) == 1:
        session.output.show(f"Read it with: hearsight transcript {numbers}")
    return outcome
