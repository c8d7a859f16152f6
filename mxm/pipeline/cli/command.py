"""Shared by all verbs: they report errors in one line, and reserve stdout."""

from __future__ import annotations

import contextlib
import functools
import shlex
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from mxm.pipeline.cli.completion import complete_with, is_completing
from mxm.pipeline.cli.ending import user_code_begins
from mxm.pipeline.cli.output import ExitCode, own_stdout, print_error, print_pointer, tell
from mxm.pipeline.errors import (
    GraphError,
    LoadError,
    NothingSelectedError,
    ParameterError,
    PipelineError,
    UnknownFlowError,
    described,
)
from mxm.pipeline.execution.openfiles import files_hint
from mxm.pipeline.introspection.shadows import shadow_hint
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.printable import printable

__all__ = [
    "AsJson",
    "Modules",
    "OutFile",
    "RunVerb",
    "Target",
    "ToOpen",
    "Verb",
    "at_least",
    "group_app",
    "present",
    "printably",
    "run_hint",
    "verb_app",
]

Modules = Annotated[
    list[str] | None,
    typer.Option("-m", "--module", metavar="MODULE", help="Also import this module."),
]
OutFile = Annotated[
    str | None, typer.Option("--out", "-o", metavar="FILE", help="Write to this file.")
]
ToOpen = Annotated[bool, typer.Option("--open", help="Open it in the browser (html or svg).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Target = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A flow: its name, pkg.module:flow, path/file.py:flow, or a file."
    ),
]


def at_least(least: int) -> Callable[[float], float]:
    """A check of an option's number, for its callback.

    Typer would show its own range and default in the help, in a form that depends on its version;
    some versions load rich for it.
    """

    def checked(value: float) -> float:
        if value >= least:
            return value
        raise typer.BadParameter(f"must be at least {least}, not {value}")  # NaN is not, either

    return checked


def present(value: str) -> str:
    """A check of a required option, for its callback; like `at_least`."""
    if value:
        return value
    raise typer.BadParameter("it is missing")


def verb_app() -> typer.Typer:
    """The Typer app of one verb's module, with one command."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def group_app(text: str) -> typer.Typer:
    """The Typer app of a verb with subcommands; *text* is its help."""
    return typer.Typer(
        cls=VerbGroup,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        help=text,
    )


def _debug(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the tracebacks of mxm-pipeline itself.")
    ] = False,
) -> None:
    """Take the option that every verb has."""
    del debug


@functools.cache
def _shared_options() -> list[Any]:
    app = verb_app()
    app.command()(_debug)
    command: Any = typer.main.get_command(app)
    return list(command.params)


def _shown_plainly(argument: Any, function: Any) -> None:
    """Show *argument* of a verb's *function* only by its metavar and its help.

    Some versions of Typer add text, and some lose the help with Click 8.5.
    """

    def record(_: Any) -> tuple[str, str]:
        hint = get_type_hints(function, include_extras=True)[argument.name]
        return argument.metavar, hint.__metadata__[0].help

    def pieces(_: Any) -> list[str]:
        return [argument.metavar]

    argument.get_usage_pieces = pieces
    argument.get_help_record = record


class Verb(TyperCommand):
    """A command that ends with an exit code, without tracebacks from this package."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                _shown_plainly(parameter, self.callback)
            if is_completing():
                complete_with(parameter)
        self.params.extend(_shared_options())

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        typed = ctx.meta["mxm.words"] = list(args)
        ctx.allow_extra_args = True  # they are reported here
        with printably(ctx, lambda: self.hint(ctx, typed)):
            rest = super().parse_args(ctx, args)
            if ctx.args and not ctx.resilient_parsing:
                ctx.fail(self.unexpected(ctx.args[0]))
        return rest

    def unexpected(self, word: str) -> str:
        """The message for *word*, which is unexpected and may contain a secret."""
        name, equals, _ = word.partition("=")
        return f"unexpected argument {f'{name}=...' if equals else word!r}"

    def hint(self, ctx: Any, args: Sequence[str]) -> str | None:
        """What to write instead of the invalid *args*."""
        del ctx, args
        return None

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        debug = ctx.params.pop("debug", False)
        debug = debug or (ctx.parent is not None and ctx.parent.params.get("debug", False))
        # The object belongs to `main`, whose process ends with the command.
        targets = [*(ctx.params.get("names") or ()), ctx.params.get("name") or ""]
        with _reporting(targets, debug=debug), own_stdout(for_good=bool(ctx.obj)):
            if ctx.obj:
                user_code_begins()
            return super().invoke(ctx)


class VerbGroup(TyperGroup):
    """A verb with subcommands; without one, it runs `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; words that name no command go to `list`."""
        with printably(ctx):
            is_command = bool(args) and (args[0] in self.commands or args[0] == "--help")
            if not is_command and not ctx.resilient_parsing:  # which completion does
                args = ["list", *args]
            return super().parse_args(ctx, args)


class RunVerb(Verb):
    """`run`, which has its own ``--help`` option: with a flow's name it shows parameters."""

    def get_usage(self, ctx: Any) -> str:
        """The usage lines above an error in the command line."""
        return f"{super().get_usage(ctx)}\nTry '{ctx.command_path} --help' for help."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        if args and args[-1] in ("-p", "--param") and not ctx.resilient_parsing:
            ctx.fail(f"{args[-1]} needs NAME=VALUE")
        return super().parse_args(ctx, args)

    def unexpected(self, word: str) -> str:
        """The same, for a word that may be the value of a secret."""
        if "=" in word:
            return f"{super().unexpected(word)}: parameters need -p"
        return "unexpected argument after the name of the flow: parameters need -p"

    def hint(self, ctx: Any, args: Sequence[str]) -> str | None:
        """The command with its parameters in the right form, if that is not how it was typed."""
        meant = run_hint(ctx, self.params, args)
        return None if meant == shlex.join(["mxm-pipeline", "run", *args]) else meant


def run_hint(ctx: Any, params: Sequence[Any], args: Sequence[str]) -> str | None:
    """Like `run_meant`, but keep output of modules off stdout."""
    from mxm.pipeline.cli.meant import run_meant

    with own_stdout(for_good=bool(ctx.obj)):
        return run_meant(args, params)


@contextlib.contextmanager
def printably(ctx: Any, hint: Callable[[], str | None] = lambda: None) -> Generator[None]:
    """Report an error in the command line without control characters, and with a *hint*."""
    try:
        yield
    except Exception as error:
        # Typer's own error, whose class it does not export.
        shown: Callable[[], str] | None = getattr(error, "format_message", None)
        if shown is None:
            raise
        said = shown()
        way_out = hint()
        message = printable(f"{said}\n  hint: {way_out}" if way_out else said)
        if message == said:
            raise
        ctx.fail(message)


@contextlib.contextmanager
def _reporting(targets: Sequence[str], *, debug: bool) -> Generator[None]:
    """Turn errors into a message on stderr and an exit code; *debug* shows tracebacks."""
    try:
        yield
    except PipelineError as raised:
        error = _without_value(raised, targets)
        if debug and error is raised:
            tell("".join(traceback.format_exception(error)))
        print_error(error)
        if isinstance(error, GraphError | ParameterError):
            print_pointer(error.problems)
        raise typer.Exit(_code(error)) from None
    except (typer.Exit, typer.Abort):
        raise
    except BaseException as error:  # also a user's SystemExit: it does not set the exit code
        let_signals_pass(error)
        if hasattr(error, "format_message"):  # Typer's own error, as in `printably`
            raise
        if debug:
            tell("".join(traceback.format_exception(error)))
        shadow = shadow_hint() if isinstance(error, ImportError | AttributeError) else None
        bug = "this is a bug in mxm-pipeline: report it with the output of --debug"
        hint = shadow or files_hint(error) or bug
        print_error(PipelineError(f"unexpected {described(error)}", hint=hint))
        raise typer.Exit(ExitCode.USAGE if shadow else ExitCode.FAILED) from None


def _without_value(error: PipelineError, targets: Sequence[str]) -> PipelineError:
    """*error*, or the one to report if a parameter was mistaken for the name of a flow."""
    for target in targets if isinstance(error, LoadError | UnknownFlowError) else ():
        name, equals, _ = target.partition("=")
        if equals and name.isidentifier():
            message = f"the flow's name must come before {name}=..."
            return PipelineError(message, hint=f"write mxm-pipeline run NAME -p {name}=VALUE")
    return error


def _code(error: PipelineError) -> ExitCode:
    if isinstance(error, GraphError):
        return ExitCode.INVALID_GRAPH
    if isinstance(error, LoadError):
        return ExitCode.IMPORT_FAILED
    if isinstance(error, NothingSelectedError):
        return ExitCode.NOTHING_SELECTED
    return ExitCode.USAGE
