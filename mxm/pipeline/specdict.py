"""Converts specs to dicts that JSON can hold, and back."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping, Set
from types import ModuleType
from typing import Any, cast

from mxm.pipeline.assets.declared import AssetDecl, Check, checks_of
from mxm.pipeline.bindings import (
    Binding,
    Bindings,
    Collection,
    Const,
    Each,
    Param,
    PerItem,
    Unpacked,
    Upstream,
)
from mxm.pipeline.errors import SpecError, repr_of
from mxm.pipeline.introspection.entrypoints import entrypoint, resolve_entrypoint
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.params.declared import secret_names
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.task_options import CodeDep
from mxm.pipeline.timing.retries import Backoff
from mxm.pipeline.values.secrets import secret_parameters

__all__ = ["flow_from_dict", "flow_to_dict", "task_to_dict"]

_ANY_EXCEPTION = ("builtins:Exception",)
_KINDS: dict[str, type] = {"list": list, "tuple": tuple, "dict": dict}


def task_to_dict(spec: TaskSpec, *, secrets: Set[str] = frozenset()) -> dict[str, Any]:
    """*spec* as plain data.

    Parameters
    ----------
    spec
        The task.
    secrets
        Names of parameters that are secret in its flow, in addition to its own.

    Examples
    --------
    >>> from statistics import mean
    >>> from mxm.pipeline import TaskSpec
    >>> from mxm.pipeline.specdict import task_to_dict
    >>> data = task_to_dict(TaskSpec("mean", mean, upstream=["load"], retries=2))
    >>> data["fn"], data["retries"]
    ('statistics:mean', 2)
    """
    secrets = secrets | secret_parameters(spec.fn)
    shape = shape_of(spec.fn)
    return {
        "name": spec.name,
        "fn": _fn_to_dict(spec.fn),
        "args": [
            _binding_to_dict(b, secret=shape is not None and shape.name_at(i) in secrets)
            for i, b in enumerate(spec.bindings.args)
        ],
        "kwargs": {
            k: _binding_to_dict(b, secret=k in secrets) for k, b in spec.bindings.kwargs.items()
        },
        "after": list(spec.after),
        "params": _params_to_dict(spec.params, secrets),
        "retries": _number_to_dict(spec.retries),
        "retry_delay_s": _delay_to_dict(spec.retry_delay_s),
        "retry_on": _retry_on_to_dict(spec.retry_on),
        "timeout_s": _number_to_dict(spec.timeout_s),
        "tags": list(spec.tags),
        "run_if": spec.run_if,
        "allow_failure": spec.allow_failure,
        "item_key": None if spec.item_key is None else _fn_to_dict(spec.item_key),
        "on_item_error": spec.on_item_error,
        "limits": list(spec.limits),
        "cache": spec.cache,
        "cache_ttl_s": spec.cache_ttl_s,
        "inputs": list(spec.inputs),
        "code_deps": [_dep_to_dict(dep) for dep in spec.code_deps],
        "cache_version": spec.cache_version,
        "outcomes": spec.outcomes,
        "over": None if spec.over is None else _binding_to_dict(spec.over),
        "by_item": list(spec.by_item),
        "flow_cache": spec.flow_cache,
        "produces": _asset_to_dict(spec.produces),
        "reads": list(spec.reads),
        "problems": [dataclasses.asdict(problem) for problem in spec.problems],
    }


def flow_to_dict(spec: FlowSpec) -> dict[str, Any]:
    """*spec* as plain data; secrets have no dict form: pass them to the run.

    Examples
    --------
    >>> import json
    >>> from statistics import mean
    >>> from mxm.pipeline import FlowSpec, TaskSpec
    >>> from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
    >>> spec = FlowSpec("report", [TaskSpec("mean", mean, params={"data": [1.0, 2.0]})])
    >>> text = json.dumps(flow_to_dict(spec))
    >>> flow_from_dict(json.loads(text)) == spec
    True
    """
    secrets = secret_names(spec)
    return {
        "name": spec.name,
        "fn": _fn_to_dict(spec.fn) if spec.fn else None,
        "tasks": [task_to_dict(task, secrets=secrets) for task in spec.tasks],
        "params": _params_to_dict(spec.params, secrets),
        "schedule_cron": spec.schedule_cron,
        "timezone": spec.timezone,
        "cache": spec.cache,
        "output": _binding_to_dict(spec.output) if spec.output is not None else None,
        "traced": spec.traced,
        "unpacked": [[_binding_to_dict(one.binding), one.count] for one in spec.unpacked],
        "problems": [dataclasses.asdict(problem) for problem in spec.problems],
    }


def flow_from_dict(data: Mapping[str, Any]) -> FlowSpec:
    """The inverse of `flow_to_dict`; places of declarations are not kept.

    Raises
    ------
    SpecError
        *data* has the wrong form, or contains something that had no plain form.

    Examples
    --------
    >>> from mxm.pipeline.specdict import flow_from_dict
    >>> flow_from_dict({"name": "report"})
    Traceback (most recent call last):
        ...
    SpecError: not the dict form of a flow: 'tasks' is missing
    """
    try:
        return FlowSpec(
            name=data["name"],
            tasks=[_task_from_dict(task) for task in data["tasks"]],
            params={k: _value_from_dict(v) for k, v in data.get("params", {}).items()},
            schedule_cron=data.get("schedule_cron"),
            timezone=data.get("timezone"),
            cache=data.get("cache"),
            fn=_fn_from_dict(data["fn"]) if data.get("fn") else None,
            output=_binding_from_dict(data["output"]) if data.get("output") else None,
            traced=data.get("traced", False),
            unpacked=[
                Unpacked(cast("Any", _binding_from_dict(binding)), count)
                for binding, count in data.get("unpacked", ())
            ],
            problems=[_problem_from_dict(problem) for problem in data.get("problems", ())],
        )
    except KeyError as error:
        raise SpecError(f"not the dict form of a flow: {error} is missing") from error
    except (TypeError, AttributeError) as error:
        raise SpecError(f"not the dict form of a flow: {error}") from error


def _task_from_dict(data: Mapping[str, Any]) -> TaskSpec:
    return TaskSpec(
        name=data["name"],
        fn=_fn_from_dict(data["fn"]),
        bindings=Bindings(
            tuple(_binding_from_dict(b) for b in data["args"]),
            {k: _binding_from_dict(b) for k, b in data["kwargs"].items()},
        ),
        after=data.get("after", ()),
        params={k: _value_from_dict(v) for k, v in data.get("params", {}).items()},
        retries=_number_from_dict(data.get("retries", 0)),
        retry_delay_s=_delay_from_dict(data.get("retry_delay_s", 0)),
        retry_on=_retry_on_from_dict(data.get("retry_on", _ANY_EXCEPTION)),
        timeout_s=_number_from_dict(data.get("timeout_s")),
        tags=data.get("tags", ()),
        run_if=data.get("run_if", "succeeded"),
        allow_failure=data.get("allow_failure", False),
        item_key=_fn_from_dict(data["item_key"]) if data.get("item_key") else None,
        on_item_error=data.get("on_item_error", "fail"),
        limits=data.get("limits", ()),
        cache=data.get("cache"),
        cache_ttl_s=data.get("cache_ttl_s"),
        inputs=data.get("inputs", ()),
        code_deps=[_dep_from_dict(dep) for dep in data.get("code_deps", ())],
        cache_version=data.get("cache_version"),
        outcomes=data.get("outcomes", False),
        over=cast("Any", _binding_from_dict(data["over"])) if data.get("over") else None,
        by_item=data.get("by_item", ()),
        flow_cache=data.get("flow_cache"),
        produces=_asset_from_dict(data["produces"]) if data.get("produces") else None,
        reads=data.get("reads", ()),
        problems=[_problem_from_dict(problem) for problem in data.get("problems", ())],
    )


def _problem_from_dict(data: Mapping[str, Any]) -> Problem:
    plain: dict[str, Any] = dict(data)
    if plain.get("source"):
        plain["source"] = Source(**plain["source"])
    plain["places"] = tuple(
        (name, Source(**place) if place else None) for name, place in plain.get("places", ())
    )
    return Problem(**plain)


def _fn_to_dict(fn: Callable[..., Any]) -> str | dict[str, str]:
    name = entrypoint(fn)
    if name is not None:
        return name
    return {
        "none": f"{repr_of(fn)} has no importable name: define it with def at a module's top level"
    }


def _fn_from_dict(data: str | Mapping[str, str]) -> Callable[..., Any]:
    if isinstance(data, str):
        return resolve_entrypoint(data)
    raise SpecError(data["none"])


def _number_to_dict(value: Any) -> Any:
    plain = _value_to_dict(value)  # a spec with problems may hold anything
    return plain.get("const", plain)


def _number_from_dict(data: Any) -> Any:
    return _value_from_dict(cast("Any", data)) if isinstance(data, Mapping) else data


def _delay_to_dict(delay: Any) -> Any:
    if isinstance(delay, Backoff):
        return {"backoff": dataclasses.asdict(delay)}
    if callable(delay):
        return {"function": _fn_to_dict(delay)}
    return _number_to_dict(list(cast("Any", delay)) if isinstance(delay, tuple) else delay)


def _delay_from_dict(data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    plain = cast("Mapping[str, Any]", data)
    if "backoff" in plain:
        return Backoff(**plain["backoff"])
    return _fn_from_dict(plain["function"]) if "function" in plain else _value_from_dict(plain)


def _retry_on_to_dict(on: Any) -> Any:
    if isinstance(on, tuple):
        return [_fn_to_dict(kind) for kind in cast("Any", on)]
    return {"function": _fn_to_dict(on)} if callable(on) else _number_to_dict(on)


def _retry_on_from_dict(data: Any) -> Any:
    if isinstance(data, Mapping):
        plain = cast("Mapping[str, Any]", data)
        return _fn_from_dict(plain["function"]) if "function" in plain else _value_from_dict(plain)
    return [_fn_from_dict(kind) for kind in data]


def _dep_to_dict(dep: CodeDep) -> str | dict[str, str]:
    return f"{dep.__name__}:" if isinstance(dep, ModuleType) else _fn_to_dict(dep)


def _dep_from_dict(data: str | Mapping[str, str]) -> CodeDep:
    if isinstance(data, str) and data.endswith(":"):
        return importlib.import_module(data[:-1])
    return _fn_from_dict(data)


def _params_to_dict(params: Mapping[str, Any], secrets: Set[str]) -> dict[str, Any]:
    return {
        k: {"none": f"parameter {k!r} is a secret, which cannot be saved: pass it to the run"}
        if k in secrets and v is not None
        else _value_to_dict(v)
        for k, v in params.items()
    }


def _value_to_dict(value: object) -> dict[str, Any]:
    try:
        plain = json.loads(json.dumps(value, allow_nan=False))
        if plain == value:
            return {"const": plain}
    except (TypeError, ValueError, RecursionError):
        pass
    return {"none": f"{type(value).__name__} has no plain form: {value!r:.80}"}


def _value_from_dict(data: Mapping[str, Any]) -> Any:
    if "none" in data:
        raise SpecError(data["none"])
    return data["const"]


def _asset_to_dict(asset: AssetDecl | None) -> dict[str, Any] | None:
    if asset is None:
        return None
    return {
        "id": asset.id,
        "partition_key": asset.partition_key,
        "format": asset.format,
        "path_template": asset.path_template,
        "freshness_s": asset.freshness_s,
        "description": asset.description,
        "checks": [_check_to_dict(check) for check in checks_of(asset)],
    }


def _check_to_dict(check: Check) -> dict[str, Any]:
    return {"test": _fn_to_dict(check.test), "severity": check.severity, "name": check.name}


def _asset_from_dict(data: Mapping[str, Any]) -> AssetDecl:
    plain = dict(data)
    plain["checks"] = [
        Check(_fn_from_dict(each["test"]), each["severity"], each["name"])
        for each in data.get("checks", ())
    ]
    return AssetDecl(**plain)


def _binding_to_dict(binding: Binding, *, secret: bool = False) -> dict[str, Any]:
    if isinstance(binding, Each):
        each = _binding_to_dict(binding.items, secret=secret)
        return {"each": each, **({"path": list(binding.path)} if binding.path else {})}
    if isinstance(binding, PerItem):
        return {"per_item": _binding_to_dict(binding.binding, secret=secret)}
    if isinstance(binding, Upstream):
        return {"upstream": binding.name, "path": list(binding.path)}
    if isinstance(binding, Param):
        return {"param": binding.name, "path": list(binding.path)}
    if isinstance(binding, Const):
        if secret:
            return {"none": "a secret has no plain form: make it a parameter of the flow"}
        return _value_to_dict(binding.value)
    if binding.kind not in _KINDS.values():
        return {"none": f"{binding.kind.__name__} has no plain form: use a list, tuple or dict"}
    items = [_binding_to_dict(item, secret=secret) for item in binding.items]
    plain: dict[str, Any] = {"collection": binding.kind.__name__, "items": items}
    if binding.kind is dict:
        plain["keys"] = [_value_to_dict(key) for key in binding.keys]
    return plain


def _binding_from_dict(data: Mapping[str, Any]) -> Binding:
    if "each" in data:
        return Each(cast("Any", _binding_from_dict(data["each"])), tuple(data.get("path", ())))
    if "per_item" in data:
        return PerItem(cast("Any", _binding_from_dict(data["per_item"])))
    if "upstream" in data:
        return Upstream(data["upstream"], tuple(data["path"]))
    if "param" in data:
        return Param(data["param"], tuple(data.get("path", ())))
    if "collection" in data:
        items = tuple(_binding_from_dict(item) for item in data["items"])
        keys = tuple(_value_from_dict(key) for key in data.get("keys", ()))
        return Collection(_KINDS[data["collection"]], items, keys)
    return Const(_value_from_dict(data))
