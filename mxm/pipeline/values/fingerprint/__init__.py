"""Fingerprints of code: everything of a project that a function's result depends on."""

from __future__ import annotations

from mxm.pipeline.values.fingerprint.fingerprints import Fingerprint, Fingerprints
from mxm.pipeline.values.fingerprint.items import Difference, Item, Reason, differences
from mxm.pipeline.values.fingerprint.lookups import Lookup, differing, lookups_of
from mxm.pipeline.values.fingerprint.memory import FileMemory

__all__ = [
    "Difference",
    "FileMemory",
    "Fingerprint",
    "Fingerprints",
    "Item",
    "Lookup",
    "Reason",
    "differences",
    "differing",
    "lookups_of",
]
