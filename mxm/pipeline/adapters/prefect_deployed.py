"""Where a deployment begins: Prefect imports ``mxm.pipeline.adapters.prefect_deployed.TARGET``.

Prefect resolves an entry point as a module and its attributes. The attribute here is the target as
the user named it, quoted; it is found as `mxm-pipeline run` finds it, from the folder that the
deployment's pull step made the working directory.
"""

from __future__ import annotations

import json
import os
from typing import Any

from mxm.pipeline.adapters.deployment_names import OPTIONS, target_in

__all__ = ["__getattr__"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _flow(target_in(name))


def _flow(target: str) -> Any:
    from mxm.pipeline.adapters.prefect_adapter import deployed_prefect_flow
    from mxm.pipeline.api import compile_flow
    from mxm.pipeline.discovery.search import find_flow
    from mxm.pipeline.discovery.settings import read_settings, working_directory
    from mxm.pipeline.errors import BackendError

    options: dict[str, Any] = {"record": True, **read_settings(working_directory()).options}
    options.pop("backend", None)
    try:
        own = json.loads(os.environ.get(OPTIONS) or "{}")
    except ValueError as error:
        raise BackendError(f"{OPTIONS} is not JSON: {error}") from None
    if "runner" in own:
        options.pop("address", None)  # of the project's own runner
    options |= own
    spec = find_flow(target).spec()
    compiled: Any = compile_flow(spec, backend="prefect", **options)
    return deployed_prefect_flow(spec, compiled.options)
