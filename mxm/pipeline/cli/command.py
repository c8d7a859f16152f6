"""What all commands have: errors are told in a line, and stdout is their own."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mxm.pipeline.cli.output import ExitCode, own_stdout, print_error, print_pointer
from mxm.pipeline.errors import GraphError, LoadError, ParameterError, PipelineError

__all__ = ["AsJson", "Modules", "RunVerb", "Target", "Verb", "verb_app"]

Modules = Annotated[
    list[str] | None,
    typer.Option("-m", "--module", metavar="MODULE", help="Also import this module."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Target = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A flow: its name, pkg.module:flow, path/file.py:flow, or a file."
    ),
]


def verb_app() -> typer.Typer:
    """The Typer app of one verb's module: it has that one command."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


class Verb(TyperCommand):
    """A command that ends with an exit code, and without a traceback of this package."""

    def invoke(self, ctx: Any) -> Any:
        """Carry the command out."""
        debug = ctx.parent is not None and ctx.parent.params.get("debug", False)
        # The object is `main`'s, whose process ends with the command.
        with _reporting(debug=debug), own_stdout(for_good=bool(ctx.obj)):
            return super().invoke(ctx)


class RunVerb(Verb):
    """`run`, whose ``--help`` is an option of its own: with a flow's name it shows parameters."""

    def get_usage(self, ctx: Any) -> str:
        """What stands above a mistake in the command line."""
        return f"{super().get_usage(ctx)}\nTry '{ctx.command_path} --help' for help."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the command line apart."""
        if args and args[-1] in ("-p", "--param"):
            ctx.fail(f"{args[-1]} stands last, without a parameter: write -p name=VALUE")
        return super().parse_args(ctx, args)


@contextlib.contextmanager
def _reporting(*, debug: bool) -> Generator[None]:
    """Turn this package's errors into a message on stderr and an exit code."""
    try:
        yield
    except PipelineError as error:
        if debug:
            raise
        print_error(error)
        if isinstance(error, GraphError | ParameterError):
            print_pointer(error.problems)
        raise typer.Exit(_code(error)) from None


def _code(error: PipelineError) -> ExitCode:
    if isinstance(error, GraphError):
        return ExitCode.INVALID_GRAPH
    if isinstance(error, LoadError):
        return ExitCode.IMPORT_FAILED
    return ExitCode.USAGE
