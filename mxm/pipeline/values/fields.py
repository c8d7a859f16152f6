"""The fields of a value: their names and types, and a copy with one field changed."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterable, Mapping
from typing import Any, cast

from mxm.pipeline.errors import described, text_of
from mxm.pipeline.introspection.annotations import entries_of, field_hints, is_typed_dict
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["decides_itself", "fields_of", "key_of", "takes_more", "with_field"]


def fields_of(kind: Any) -> Mapping[str, Any]:
    """The constructor fields of *kind*, with their types; empty for other types.

    Parameters
    ----------
    kind
        A dataclass, pydantic model, attrs class, named tuple or typed dict, or any other type.
    """
    kind = typing.get_origin(kind) or kind
    if is_typed_dict(kind):
        return {name: hint for name, (hint, _) in entries_of(kind).items()}
    names: Iterable[str]
    if dataclasses.is_dataclass(kind):
        names = [one.name for one in dataclasses.fields(kind) if one.init]
    elif hasattr(kind, "model_fields"):
        names = kind.model_fields
    elif hasattr(kind, "__attrs_attrs__"):
        names = [one.name for one in kind.__attrs_attrs__ if one.init]
    else:
        names = getattr(kind, "_fields", ())
    hints = field_hints(kind)
    return {name: hints.get(name, inspect.Parameter.empty) for name in names}


def takes_more(kind: Any) -> bool:
    """Whether a model or a typed dict takes keys beyond its fields."""
    config: Mapping[str, Any] = getattr(kind, "model_config", None) or {}
    return config.get("extra") == "allow" or hasattr(kind, "__extra_items__")


def key_of(kind: Any, name: str, data: Mapping[Any, Any]) -> str:
    """The key in *data* for the field *name* of *kind*; a model may have aliases."""
    field = getattr(kind, "model_fields", {}).get(name)
    alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
    if not isinstance(alias, str) or name in data:
        return name
    config: Mapping[str, Any] = kind.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return name if by_name and alias not in data else alias


def decides_itself(kind: Any, name: str) -> bool:
    """Whether a model's own validator reads the field *name*, whatever its type."""
    decorators: Any = getattr(kind, "__pydantic_decorators__", None)
    validators: Mapping[str, Any] = getattr(decorators, "field_validators", {})
    return any({name, "*"} & set(one.info.fields) for one in validators.values())


def with_field(value: Any, name: str, part: Any) -> Any:
    """A copy of *value* with *part* as its field *name*, checked as its class checks.

    Raises
    ------
    ValueError
        Its class rejects the value.
    """
    kind = cast("Any", type(value))
    try:
        if hasattr(kind, "model_fields"):
            return _changed_model(kind, value, name, part)
        if dataclasses.is_dataclass(kind):
            return dataclasses.replace(value, **{name: part})
        if hasattr(kind, "__attrs_attrs__"):
            aliases = {one.name: one.alias for one in kind.__attrs_attrs__}  # _x is passed as x
            return sys.modules["attr"].evolve(value, **{aliases.get(name, name): part})
        return value._replace(**{name: part})
    except ValueError as error:
        errors: Any = getattr(error, "errors", None)  # pydantic's own message contains the value
        raise ValueError(errors()[0]["msg"] if errors else text_of(error)) from None
    except BaseException as error:  # the user's own checks may raise anything
        let_signals_pass(error)
        raise ValueError(described(error)) from None


def _changed_model(kind: Any, model: Any, name: str, part: Any) -> Any:
    if kind.model_config.get("frozen") or getattr(kind.model_fields.get(name), "frozen", False):
        data = {key_of(kind, one, {}): getattr(model, one) for one in kind.model_fields}
        return kind.model_validate(
            {**data, **(model.model_extra or {}), key_of(kind, name, {}): part}
        )
    # Only this field: other validators may not accept values that they have converted.
    changed = model.model_copy()
    kind.__pydantic_validator__.validate_assignment(changed, name, part)
    return changed
