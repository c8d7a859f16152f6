"""`schedule`: shows when flows run, and prints entries for cron or units for systemd."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer

from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.cli.command import AsJson, Modules, Verb, verb_app
from mxm.pipeline.cli.describe import print_search
from mxm.pipeline.cli.output import (
    ExitCode,
    print_error,
    print_json,
    print_problems,
    print_table,
    print_warning,
    say,
    tell,
)
from mxm.pipeline.cli.scheduled import (
    Schedule,
    command_line,
    moment_text,
    require_complete,
    schedule_of,
)
from mxm.pipeline.cli.written import written
from mxm.pipeline.discovery.search import discover, find_flow
from mxm.pipeline.discovery.settings import working_directory
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.process.printable import in_one_line, printable
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.timing.cron import Cron
from mxm.pipeline.timing.zones import alike, local_zone

__all__ = ["app"]

app: typer.Typer = verb_app()

_FORMATS = ("cron", "systemd")


class _Entry(NamedTuple):
    """A flow, its name on the command line, and when it runs."""

    target: str
    spec: FlowSpec
    schedule: Schedule


@app.command(cls=Verb)
def schedule(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these flows; default: all with a schedule."),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="cron|systemd", help="Print entries for cron or units for systemd."
        ),
    ] = None,
    cron_tz: Annotated[
        bool,
        typer.Option(
            "--cron-tz",
            help="Write time zones as CRON_TZ: cronie reads it, Debian's cron does not.",
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write the systemd units to this folder."),
    ] = None,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Show when flows run, or print the schedule for cron or systemd."""
    if format_ is not None and format_ not in _FORMATS:
        hint = did_you_mean(format_, _FORMATS)
        raise PipelineError(f"--format: unknown format {format_!r}", hint=hint)
    if out is not None and format_ != "systemd":
        raise PipelineError("--out is for --format systemd", hint="cron's lines go to `crontab -e`")
    if cron_tz and format_ != "cron":
        raise PipelineError("--cron-tz is for --format cron")
    entries, failed = _entries(names or [], module or ())
    if format_ is not None:
        for entry in entries:
            require_complete(entry.spec)
    if as_json:
        print_json({"schema": "mxm.schedule/1", "flows": [_document(each) for each in entries]})
    elif format_ == "cron":
        say(_crontab(entries, cron_tz=cron_tz))
    elif format_ == "systemd":
        _print_units(entries, out)
    elif entries:
        rows = [_row(entry) for entry in entries]
        print_table(("FLOW", "SCHEDULE", "ZONE", "NEXT"), rows)
    else:
        tell("no flow has a schedule: @mxm.flow(schedule_cron='0 18 * * 1-5', timezone=...)")
    if failed:
        raise typer.Exit(failed)


def _entries(names: Sequence[str], modules: Sequence[str]) -> tuple[list[_Entry], ExitCode | None]:
    """The flows with a schedule, and the exit code if some could not be read."""
    entries: list[_Entry] = []
    for name in names:
        spec = find_flow(name, modules, warn=print_warning).spec()
        if spec.schedule_cron is None:
            raise PipelineError(
                f"flow {spec.name!r} has no schedule",
                hint="@mxm.flow(schedule_cron='0 18 * * 1-5', timezone='Europe/London')",
            )
        failed = _add(entries, name, spec)
        if failed:
            return [], failed
    if names:
        return entries, None
    search = discover(modules)
    print_search(search)
    failed = None
    for entry in search.flows:
        spec = entry.spec()
        if spec.schedule_cron is not None:
            failed = _add(entries, entry.name, spec) or failed
    for failure in search.failures:
        print_error(str(failure))
        failed = ExitCode.IMPORT_FAILED
    return entries, failed


def _add(entries: list[_Entry], target: str, spec: FlowSpec) -> ExitCode | None:
    """Add *spec* to *entries*, unless it has errors, which are printed."""
    problems = find_problems(spec)
    print_problems(problems)
    if any(problem.severity == "error" for problem in problems):
        return ExitCode.INVALID_GRAPH
    when = schedule_of(spec)
    if when is not None:
        entries.append(_Entry(target, spec, when))
    return None


def _row(entry: _Entry) -> tuple[str, str, str, str]:
    when = entry.schedule
    zone = f"{when.timezone} (this machine's)" if when.of_machine else when.timezone
    return entry.spec.name, when.cron.text, zone, moment_text(when.next_times(1)[0])


def _document(entry: _Entry) -> dict[str, object]:
    when = entry.schedule
    return {
        "name": entry.spec.name,
        "schedule_cron": when.cron.text,
        "timezone": when.timezone,
        "timezone_of_machine": when.of_machine,
        "next_runs": [time.isoformat() for time in when.next_times()],
    }


def _words(entry: _Entry) -> list[str]:
    words = [*command_line(), "run", entry.target, "--quiet"]
    for word in (*words, working_directory()):
        if printable(word) != word or "\n" in word:
            raise PipelineError(f"{in_one_line(word)!r} has control characters")
    return words


# cron


_LONGEST = 998  # characters in a line of Debian's cron


def _crontab(entries: Sequence[_Entry], *, cron_tz: bool) -> str:
    here = local_zone()
    lines: list[str] = []
    zone = None
    for entry in entries:
        when = entry.schedule
        if cron_tz:
            if when.timezone != zone:
                lines.append(f"CRON_TZ={when.timezone}")
            zone = when.timezone
        elif here is None or not alike(when.timezone, here):
            raise PipelineError(
                f"flow {entry.spec.name!r} is scheduled in {when.timezone}, and cron here reads "
                f"times in {here or 'a zone without a name'}",
                hint="--format systemd, whose timers have a zone; or --cron-tz for a cron that "
                "reads CRON_TZ, which cronie does and Debian's cron does not",
            )
        folder, words = shlex.quote(working_directory()), shlex.join(_words(entry))
        # cron reads a bare % as the end of the line.
        command = f"cd {folder} && {words} > /dev/null".replace("%", "\\%")
        line = f"{when.cron.text} {command}"
        if len(line) > _LONGEST:
            raise PipelineError(
                f"the line for flow {entry.spec.name!r} has {len(line):,} characters, and cron "
                f"takes {_LONGEST}",
                hint="--format systemd, or a script that cron starts",
            )
        lines.append(line)
    head = "# mxm-pipeline schedule --format cron"
    if not cron_tz:
        head += f": for a machine whose zone is {here}"
    return "\n".join([head, *lines])


# systemd


def _print_units(entries: Sequence[_Entry], out: str | None) -> None:
    units: dict[str, str] = {}
    for entry in entries:
        units.update(_units(entry))
    if out is None:
        say("\n".join(f"# {name}\n{text}" for name, text in units.items()).rstrip("\n"))
        return
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise PipelineError(f"cannot make the folder {out!r}: {error.strerror}") from None
    for name, text in units.items():
        say(f"wrote {written(text, os.path.join(out, name), '', '')}")


def _units(entry: _Entry) -> dict[str, str]:
    """The two units of a flow, by file name."""
    # As `systemd-escape` does.
    name = "mxm-" + re.sub(
        r"[^A-Za-z0-9:_.]",
        lambda m: "".join(f"\\x{byte:02x}" for byte in m[0].encode()),
        entry.spec.name,
    )
    about = _escaped(f"mxm-pipeline: {entry.spec.name}")
    calendar = "".join(f"OnCalendar={line}\n" for line in _on_calendar(entry.schedule))
    service = (
        f"[Unit]\nDescription={about}\n\n[Service]\nType=oneshot\n"
        f"WorkingDirectory={_escaped(working_directory())}\n"
        f"ExecStart={' '.join(map(_quoted, _words(entry)))}\n"
    )
    timer = (
        f"[Unit]\nDescription={about}\n\n[Timer]\n{calendar}AccuracySec=1s\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def _escaped(text: str) -> str:
    return in_one_line(text).replace("%", "%%")


def _quoted(word: str) -> str:
    """*word* quoted for a systemd command line."""
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%$:,./+=-]+", word):
        return word
    inner = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def _on_calendar(when: Schedule) -> list[str]:
    """The schedule in systemd's form: two lines if either of two days counts."""
    cron = when.cron
    weekdays = "" if len(cron.weekdays) == 7 else _named(cron) + " "
    days = _listed(cron.days, 31)
    both = [(weekdays, "*"), ("", days)] if cron.either else [(weekdays, days)]
    clock = f"{_listed(cron.hours, 24)}:{_listed(cron.minutes, 60)}:00"
    months = _listed(cron.months, 12)
    return [f"{names}*-{months}-{day} {clock} {when.timezone}" for names, day in both]


def _named(cron: Cron) -> str:
    return ",".join(_WEEKDAYS[day] for day in cron.weekdays)


def _listed(values: Sequence[int], every: int) -> str:
    return "*" if len(values) == every else ",".join(f"{value:02}" for value in values)
