"""The mxm-pipeline command: one module per verb, loaded when the verb is used."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mxm.pipeline.cli.completion import answer_the_first_tab, join_words
from mxm.pipeline.cli.ending import cut_short, end_like_python
from mxm.pipeline.cli.output import ExitCode, leave_stdout, open_streams, print_error
from mxm.pipeline.problems import closest

__all__ = ["VERBS", "app", "main"]

VERBS: tuple[str, ...] = (
    *("list", "show", "graph", "check", "explain", "plan", "run", "resume", "runs"),
    *("assets", "report", "schedule", "serve", "deploy", "undeploy"),
    *("doctor", "init", "docs"),
)


class _Verbs(TyperGroup):
    """The verbs by name; each is a module in this package whose ``app`` is its command."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All verbs, in the order of the help."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of one verb, or None."""
        del ctx
        if cmd_name in VERBS and cmd_name not in self.commands:
            module = importlib.import_module(f"mxm.pipeline.cli.{cmd_name}")
            command = typer.main.get_command(module.app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb at the start of *args*; a misspelt one gets suggestions from all verbs."""
        if args[0] in VERBS:
            return super().resolve_command(ctx, args)
        for name in VERBS:
            self.get_command(ctx, name)
        from mxm.pipeline.cli.command import printably

        with printably(ctx, lambda: self._hint(ctx, args)):
            name, equals, _ = args[0].partition("=")
            if equals:  # a parameter, whose value may be a secret
                ctx.fail(f"No such command '{name}=...'.")
            return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        from mxm.pipeline.cli.command import printably

        with printably(ctx):
            return super().parse_args(ctx, args)

    def _hint(self, ctx: Any, args: list[str]) -> str | None:
        """The command with `run` added, if *args* start with a flow, not with a misspelt verb."""
        if closest(args[0], VERBS):
            return None
        from mxm.pipeline.cli.command import run_hint

        return run_hint(ctx, self.get_command(ctx, "run").params, args)


# Rich help and pretty exceptions double the time of `--help`.
app: typer.Typer = typer.Typer(
    name="mxm-pipeline",
    cls=_Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Find, check, draw and run the flows of a project.",
)


def _version(value: bool) -> None:
    if value:
        from mxm.pipeline.version import __version__

        print(f"mxm-pipeline {__version__}", flush=True)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the tracebacks of mxm-pipeline itself.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options before the verb."""
    del debug, version  # `Verb` reads the first; the second has already printed


def main() -> None:
    """Run the command."""
    # Modules and specs live as long as the command: collecting garbage finds none among them, and
    # takes a sixth of the time of `list`. `run` turns collection on again for the tasks.
    gc.disable()
    end_like_python()
    open_streams()
    join_words()
    try:
        app(obj="the process")
    except SystemExit as ended:
        if "--install-completion" in sys.argv[1:]:
            answer_the_first_tab()
        if isinstance(ended.code, int) and ended.code in (ExitCode.SIGINT, ExitCode.SIGTERM):
            cut_short(ended.code)
        raise
    except OSError as error:  # stdout that accepts neither `--help` nor `--version`
        if "--debug" in sys.argv:
            raise
        leave_stdout()
        print_error(error)
        sys.exit(ExitCode.USAGE)


if __name__ == "__main__":
    main()
