"""How a deployment names its flow and the options of its runs; for both ends of it."""

from __future__ import annotations

from urllib.parse import quote, unquote

__all__ = ["OPTIONS", "entrypoint_for", "target_in"]

OPTIONS = "MXM_PIPELINE_OPTIONS"
"""The variable that has the options of a deployment's runs, as JSON."""

_MODULE = "mxm.pipeline.adapters.prefect_deployed"


def entrypoint_for(target: str) -> str:
    """What a deployment of *target* records: a name, ``pkg.mod:flow``, ``file.py:flow``."""
    # Prefect splits at every dot, and takes a colon for the end of a module.
    return f"{_MODULE}.{quote(target, safe='').replace('.', '%2E')}"


def target_in(attribute: str) -> str:
    """The target that the last part of an entry point means."""
    return unquote(attribute)
