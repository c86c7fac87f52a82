"""`doctor`: is everything there that a transcript needs, and what to do if not."""

from dataclasses import asdict

import typer
from rich.text import Text

from hearsight.commands.session import AsJson, Session, Url, begin
from hearsight.failures import Exit
from hearsight.finding import Finding
from hearsight_core.settings import masked

SHOWN_KEYS = 20


def doctor(context: typer.Context, *, url: Url = None, as_json: AsJson = False) -> None:
    """Check the stores, the model, the tools, the disk, the API and the workers.

    Looks at what HEARSIGHT_ variables name, else at the local stack. Exit code 1 if anything is
    wrong; every finding says what to do.

    Example: hearsight doctor --json
    """
    from hearsight import checks  # noqa: PLC0415  slow to import

    session = begin(context, url, as_json=as_json)
    where = session.surroundings
    session.output.show(Text(f"Looking at: {where.stores.by}", style="dim"))
    session.output.show(Text(f"API named by: {where.url.by}", style="dim"))
    findings = []
    for finding in checks.everything(where):
        findings.append(finding)
        _show(session, finding)
    keys = checks.progress_keys(where.stores.value)
    _show_keys(session, keys)
    well = all(finding.ok for finding in findings)
    session.output.document(
        {
            "ok": well,
            "stores_named_by": where.stores.by,
            "api_named_by": where.url.by,
            "checks": [asdict(finding) for finding in findings],
            "task_progress_keys": keys,
        }
    )
    session.output.show("All is well." if well else "Something is wrong; see above.")
    raise typer.Exit(Exit.OK if well else Exit.FAILED)


def _show(session: Session, finding: Finding) -> None:
    mark = Text("ok   ", style="green") if finding.ok else Text("WRONG", style="bold red")
    session.output.show(mark + Text(f"  {finding.name}: {finding.detail}", style="default"))
    if not finding.ok:
        session.output.show(Text(f"       {finding.advice}", style="yellow"))


def _show_keys(session: Session, keys: list[str] | None) -> None:
    if keys is None:
        return
    redis_url = masked(session.surroundings.stores.value.redis_url)
    session.output.show(f"{len(keys)} task_progress keys in {redis_url}")
    for key in keys[:SHOWN_KEYS]:
        session.output.show(f"       {key}")
    if len(keys) > SHOWN_KEYS:
        session.output.show(f"       and {len(keys) - SHOWN_KEYS} more; all of them with --json")
