"""The secrets of one run, and text without them: no secret may reach a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, cast

from mxm.pipeline.bindings import Bindings, Collection, Const, by_parameter
from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.introspection.signatures import signature_of
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.values.items import LONGEST_KEY
from mxm.pipeline.values.secrets import MASK, Masked, secret_parameters

__all__ = ["Secrets", "masked_command"]

_SHORTEST = 3
"""In characters; shorter texts would be found everywhere."""


class Secrets:
    """The secrets of a run, in plain text; nothing shows them.

    Parameters
    ----------
    plan
        The run's plan.
    """

    def __init__(self, plan: Plan) -> None:
        texts = _flow_texts(plan.flow, plan.params, plan.secrets)
        for step in plan.steps:
            bindings = Bindings(step.args, step.kwargs)
            texts |= _bound_texts(step.task.fn, bindings, plan.secrets)
        self._hold(texts, plan.secrets)

    @classmethod
    def of_run(cls, run: FlowRun) -> Secrets:
        """The secrets of a run that has ended, as far as its parameters and its flow have them."""
        names = frozenset(
            name for name, value in run.params.items() if _has_method(value)
        ) | frozenset(name for task in run.flow.tasks for name in secret_parameters(task.fn))
        texts = _flow_texts(run.flow, run.params, names)
        for task in run.flow.tasks:
            texts |= _bound_texts(task.fn, task.bindings, names)
            for name in names & task.params.keys():
                texts.update(_texts(task.params[name], secret=True))
        secrets = cls.__new__(cls)
        secrets._hold(texts, names)
        return secrets

    def _hold(self, texts: Set[str], names: frozenset[str]) -> None:
        self.names: frozenset[str] = names
        self._texts = sorted(
            (text for text in texts if len(text) >= _SHORTEST), key=len, reverse=True
        )
        self._patterns = [
            re.compile(re.escape(text.encode(encoding, "surrogatepass")))
            for text in self._texts
            for encoding in ("utf-8", "utf-16-le", "utf-32-le")
        ]

    def __bool__(self) -> bool:
        return bool(self._texts)

    def masked(self, text: str) -> str:
        """*text* with `MASK` for each secret, in a form that UTF-8 can encode."""
        for secret in self._texts:
            if secret in text:
                text = text.replace(secret, MASK)
        if not text.isascii():
            text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        return text

    def masked_output(self, text: str) -> str:
        """*text*, the last output of a task, masked: it may begin with the end of a secret."""
        text = self.masked(text)
        for secret in self._texts:
            for length in range(min(len(secret) - 1, len(text)), _SHORTEST - 1, -1):
                if text.startswith(secret[-length:]):
                    return MASK + text[length:]
        return text

    def masked_key(self, key: str) -> str:
        """The *key* of an item masked: a long one may end with the start of a secret."""
        key = self.masked(key)
        text, sign, number = key.rpartition("#")
        if not number.isdecimal():
            text, sign, number = key, "", ""
        if len(key) < LONGEST_KEY:
            return key
        for secret in self._texts:
            for length in range(min(len(secret) - 1, len(text)), _SHORTEST - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + MASK + sign + number
        return key

    def masked_json(self, value: Any) -> Any:
        """The JSON *value* with `MASK` for each secret in its texts and keys."""
        if not self._texts:
            return value
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, list | tuple):
            return [self.masked_json(item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            parts = cast("dict[str, Any]", value)
            return {self.masked(key): self.masked_json(item) for key, item in parts.items()}
        if isinstance(value, int | float) and str(value) in self._texts:
            return MASK
        return value

    def masked_document(self, document: dict[str, Any]) -> dict[str, Any]:
        """The *document* of a run masked, with its outputs and the keys of its items."""
        if not self._texts:
            return document
        masked = cast("dict[str, Any]", self.masked_json(document))
        tasks: list[dict[str, Any]] = masked["tasks"]
        for task in tasks:
            task["output"] = self.masked_output(task["output"])
            items: dict[str, Any] = task["items"] or {}
            rows: list[dict[str, Any]] = items.get("rows", [])
            for row in rows:
                row["key"] = self.masked_key(row["key"])
                if "output" in row:
                    row["output"] = self.masked_output(row["output"])
        return masked

    def is_in(self, parts: Iterable[bytes | bytearray | memoryview]) -> bool:
        """Whether a secret is in one of *parts*."""
        return any(pattern.search(part) for part in parts for pattern in self._patterns)


def _flow_texts(flow: FlowSpec, params: Mapping[str, Any], names: Set[str]) -> set[str]:
    """The secrets among a run's parameters, and its flow's."""
    texts: set[str] = set()
    for name in names:
        texts.update(_texts(params.get(name), secret=True))
        texts.update(_texts(flow.params.get(name), secret=True))
    texts.update(_default_texts(flow.fn))
    return texts


def _bound_texts(fn: Callable[..., Any], bindings: Bindings, names: Set[str]) -> set[str]:
    """The secrets among the constants that *fn* is called with, and its defaults."""
    texts = set(_default_texts(fn))
    own = secret_parameters(fn)
    for name, binding in by_parameter(fn, bindings).items():
        for value in _constants(binding):
            texts.update(_texts(value, secret=name in own or name in names))
    return texts


def _default_texts(fn: Callable[..., Any] | None) -> Iterator[str]:
    """The secrets among the defaults of *fn*, because the store may have lines of its source."""
    names = secret_parameters(fn)
    signature = signature_of(fn) if fn is not None and names else None
    for name in names if signature else ():
        parameter = signature.parameters.get(name) if signature else None
        if parameter is not None and parameter.default is not parameter.empty:
            yield from _texts(parameter.default, secret=True)


def _constants(binding: object) -> Iterator[Any]:
    if isinstance(binding, Const):
        yield binding.value
    elif isinstance(binding, Collection):
        for item in binding.items:
            yield from _constants(item)


def _texts(value: Any, *, secret: bool, depth: int = 0) -> Iterator[str]:
    """The texts of the secrets in *value*; if it is *secret* itself, of everything in it."""
    if isinstance(value, str):
        if secret:
            yield str(value)
    elif isinstance(value, bytes | bytearray):
        if secret:
            yield bytes(value).decode("utf-8", "replace")
    elif isinstance(value, int | float) or value is None:
        if secret and value is not None and not isinstance(value, bool):
            yield str(value)
    elif isinstance(value, Masked):
        # A whole object is masked where one of its fields is a secret: only that is one.
        inner = value.get_secret_value()
        plain = isinstance(inner, str | bytes | bytearray | int | float | list | tuple | Set)
        yield from _texts(inner, secret=plain, depth=depth + 1)
    elif _has_method(value):
        yield from _texts(value.get_secret_value(), secret=True, depth=depth + 1)
    elif depth < 20:
        for item in _items(value):
            yield from _texts(item, secret=secret, depth=depth + 1)


def _has_method(value: object) -> bool:
    return hasattr(type(value), "get_secret_value")


def _items(value: Any) -> Iterable[Any]:
    """What is in *value*: the members of a container, the fields of a dataclass or a model."""
    if isinstance(value, Mapping | list | tuple | Set):
        return _members(value)
    names: Iterable[str] = getattr(value, "__dataclass_fields__", ())
    if not isinstance(value, type):
        names = (*names, *_model_fields(type(value)))
    return [getattr(value, name, None) for name in names]


def _model_fields(kind: Any) -> Iterable[str]:
    return getattr(kind, "model_fields", None) or ()


def _members(value: Any) -> Iterable[Any]:
    return list(value.values() if hasattr(value, "values") else value)


_NAMED_SO = re.compile(r"token|passw|secret|credential|api[-_]?key|private", re.IGNORECASE)


def masked_command(arguments: Sequence[str], secrets: Secrets) -> list[str]:
    """A command line without secrets: neither secret parameters nor options named like secrets.

    Parameters
    ----------
    arguments
        As in `sys.argv`.
    secrets
        Those of the run.
    """

    def hides(name: str) -> bool:
        root = name.partition(".")[0]
        return name in secrets.names or root in secrets.names or bool(_NAMED_SO.search(name))

    shown: list[str] = []
    hide_next = parameter_next = False
    for word in arguments:
        option, equals, value = word.partition("=")
        name, text = option, value
        if option == "--param" and equals:
            name, equals, text = value.partition("=")
        elif option.startswith("-p") and not option.startswith("--") and len(option) > 2:
            name = option[2:]
        if hide_next:
            shown.append(word if word.startswith("@env:") else MASK)
        elif equals and hides(name.strip()) and not text.startswith("@env:"):
            shown.append(word[: len(word) - len(text)] + MASK)
        elif parameter_next and not equals:  # a value without its name may be a secret
            shown.append(MASK)
        else:
            shown.append(secrets.masked(word))
        parameter_next = word in ("-p", "--param")
        hide_next = not equals and word.startswith("--") and bool(_NAMED_SO.search(word))
    return shown
