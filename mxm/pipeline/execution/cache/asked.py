"""A call that the cache was asked for: its key, what was found, and why it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.execution.cache.probe import Probe
from mxm.pipeline.execution.cache.reasons import Reason
from mxm.pipeline.execution.kept.entries import Entry
from mxm.pipeline.execution.kept.keys import Key
from mxm.pipeline.execution.plans.plan import Step

__all__ = ["Asked"]


@dataclass(slots=True)
class Asked:
    """A call that the cache was asked for.

    Parameters
    ----------
    step, item
        The step, and the key of the item where it is mapped.
    key
        The key; None if the call has none.
    entry
        The result of an earlier run that is used.
    unused
        The result with this key that is not used.
    probe
        Notes what the call does.
    why
        Why no result is used, as far as that is not a matter of the key.
    sources, shown
        By parameter, the upstreams that its argument is a result of, or the argument in words.
    inputs
        The digests of the declared inputs.
    reads
        The assets that the task says it reads, as they were when it was asked.
    """

    step: Step
    item: str | None = None
    key: Key | None = None
    entry: Entry | None = None
    unused: Entry | None = None
    probe: Probe | None = None
    why: list[Reason] = field(default_factory=list["Reason"])
    sources: dict[str, str] = field(default_factory=dict[str, str])
    shown: dict[str, str] = field(default_factory=dict[str, str])
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    reads: list[ReadAsset] = field(default_factory=list["ReadAsset"])
