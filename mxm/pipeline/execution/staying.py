"""A result that stays on a cluster: when it may, and what its worker is asked to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mxm.pipeline.execution.plans.plan import Plan
from mxm.pipeline.problems import Problem
from mxm.pipeline.values.remote import KeptElsewhere

__all__ = ["MOST_FETCHED", "STAYS", "Stay", "Writer", "outlook_of"]

STAYS = 1_000_000
"""Bytes from which on a result stays on a cluster."""

MOST_FETCHED = 1_000_000_000
"""Bytes up to which one is fetched to be kept, or because it is the value of the flow."""


class Writer(Protocol):
    """Keeps values in the store from another process; it is sent there."""

    def __call__(
        self, value: Any, key: bytes, same: Callable[[Any], bool] | None, /
    ) -> KeptElsewhere | None:
        """Keep *value*; None where this process has not got the folder of the store.

        Parameters
        ----------
        value
            The value.
        key
            That of the store.
        same
            Whether a copy that was read back is the same; None where that need not be asked.

        Raises
        ------
        UnkeptError
            It cannot be kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stay:
    """When the result of a call stays on a cluster, and what its worker does for the cache.

    Parameters
    ----------
    above
        The size in bytes from which on it stays, where JSON only describes it.
    fetched
        The size up to which one comes to the run's process, which its worker cannot keep.
    key, root
        Those of the store and of the project, for digests.
    paths
        The parts of it that are asked for a digest; empty for the whole.
    write
        Keeps it in the store; None for one that is not kept.
    """

    above: int
    fetched: int = 0
    key: bytes = b""
    root: str = ""
    paths: Sequence[tuple[str | int, ...]] = ()
    write: Writer | None = None


def outlook_of(plan: Plan, runner: str, steps: Sequence[str]) -> Problem:
    """What becomes of the results of *steps*, which are cached, where they stay on a cluster.

    Parameters
    ----------
    plan
        What would run.
    runner
        The runner.
    steps
        Those that run, or may.
    """
    names = ", ".join(map(repr, steps[:3])) + (" ..." if len(steps) > 3 else "")
    most = f"{MOST_FETCHED / 1e9:g} GB"
    if plan.secrets:
        how = f"come to this process to be kept, up to {most}: the run has a secret to look for"
        hint = "larger ones are not kept"
    else:
        how = f"are kept by workers that have the store's folder, else fetched up to {most}"
        hint = "larger ones are not kept: put the store where all workers have it (MXM_HOME)"
    return Problem(
        "MXM936",
        f"flow {plan.flow.name!r}: results of {names} beyond {STAYS / 1e6:g} MB stay on {runner}; "
        f"they {how}",
        hint=hint,
        source=plan.flow.source,
        severity="note",
    )
