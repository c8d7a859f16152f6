"""Suggests the right command if parameters are words or options, or if `run` is missing."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mxm.pipeline.discovery.search import find_flow
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.params.declared import Parameter, parameters_of, secret_names
from mxm.pipeline.problems import closest
from mxm.pipeline.spec import FlowSpec

__all__ = ["run_meant"]

_MOST_NAMES = 3  # each word that is not a flow needs a search


def run_meant(args: Sequence[str], params: Sequence[Any]) -> str | None:
    """The command that runs the flow in *args* with its parameters after ``-p``.

    Values of secrets, and of words that are not parameters, are omitted.

    Parameters
    ----------
    args
        The words after ``run``.
    params
        Typer's options and arguments of ``run``.

    Returns
    -------
        The command, or None if the intention is not clear.
    """
    flow = _flow_in(args)
    if flow is None:
        return None
    name, spec = flow
    options = {opt: param for param in params for opt in (*param.opts, *param.secondary_opts)}
    words = _Words(args, options, name, spec).corrected()
    return None if words is None else shlex.join(["mxm-pipeline", "run", *words])


def _flow_in(args: Sequence[str]) -> tuple[str, FlowSpec] | None:
    """The first word of *args* that names a flow."""
    pairs = itertools.pairwise(args)
    modules = [module for option, module in pairs if option in ("-m", "--module")]
    words = [word for word in args if not word.startswith("-") and "=" not in word]
    for word in [word for word in words if word not in modules][:_MOST_NAMES]:
        try:
            return word, find_flow(word, modules).spec()
        except PipelineError:
            continue
    return None


class _Words:
    """The words of a command line while they are corrected."""

    def __init__(
        self, args: Sequence[str], options: Mapping[str, Any], flow: str, spec: FlowSpec
    ) -> None:
        self._left = list(args)
        self._options = options
        self._flow: str | None = flow
        self._parameters: dict[str, Parameter] = {p.name: p for p in parameters_of(spec)}
        self._secrets = secret_names(spec)

    def corrected(self) -> list[str] | None:
        """The corrected words, or None."""
        words: list[str] = []
        while self._left:
            word = self._left.pop(0)
            if word.startswith("-"):
                meant = self._option(word)
            elif word == self._flow:
                self._flow = None
                meant = [word]
            else:
                meant = self._word(word)
            if meant is None:
                return None
            words += meant
        return words

    def _option(self, word: str) -> list[str] | None:
        name, equals, value = word.partition("=")
        option = self._options.get(name)
        if option is not None:
            if equals or option.is_flag or option.count or not self._left:
                return [word]
            value = self._left.pop(0)
            return [name, self._item(value) if name in ("-p", "--param") else value]
        if not name.startswith("--"):
            return [word] if name[:2] in self._options and name[:2] != "-p" else None
        key = self._key(name.removeprefix("--").replace("-", "_"))
        if key is None:
            return None
        if not equals:
            value = self._value_of(key)
        return self._parameter(key, value)

    def _item(self, item: str) -> str:
        """*item*, which follows ``-p``, with its value if that is the next word."""
        name, _, value = item.partition("=")
        if name.partition(".")[0] in self._parameters and not value:
            after = self._left[0] if self._left else "-"
            if not after.startswith("-") and "=" not in after and after != self._flow:
                return self._shown(f"{name}={self._left.pop(0)}")
        return self._shown(item)

    def _word(self, word: str) -> list[str] | None:
        name, equals, value = word.partition("=")
        key = self._key(name)
        if key is None:
            return None
        return self._parameter(key, value if equals else self._value_of(key))

    def _value_of(self, key: str) -> str:
        """The word after the name *key*."""
        if self._parameters[key.partition(".")[0]].annotation is bool:
            return "true"
        if self._left and self._left[0] not in (self._flow, *self._options):
            return self._left.pop(0)
        return "VALUE"

    def _key(self, name: str) -> str | None:
        """The parameter, and a field of it, that *name* means."""
        first, dot, rest = name.partition(".")
        known = first if first in self._parameters else closest(first, self._parameters)
        return None if known is None else f"{known}{dot}{rest}"

    def _parameter(self, key: str, value: str) -> list[str]:
        return ["-p", self._shown(f"{key}={value}")]

    def _shown(self, item: str) -> str:
        """*item*, which follows ``-p``, without its value if that may be a secret."""
        name, equals, _ = item.partition("=")
        first = name.partition(".")[0]
        if first in self._secrets:
            return f"{name}=@env:{first.upper()}"
        if first in self._parameters:
            return item
        return f"{name}=VALUE" if equals else "NAME=VALUE"
