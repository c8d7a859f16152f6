"""What a worker says of a value that stays there: digests for the cache, and where it is kept."""

from __future__ import annotations

import functools

from mxm.pipeline.bindings import projected
from mxm.pipeline.errors import described
from mxm.pipeline.execution.cache.keeping import is_plain
from mxm.pipeline.execution.cache.probe import digest_of_code, fingerprints_of
from mxm.pipeline.execution.kept.contents import Sealer, part_of
from mxm.pipeline.execution.kept.entries import UnkeptError
from mxm.pipeline.execution.kept.keys import installed
from mxm.pipeline.execution.staying import Stay
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.digest import UndigestibleError
from mxm.pipeline.values.remote import Facts, PartFacts

__all__ = ["facts_of"]


def facts_of(stay: Stay, value: object, size: int) -> Facts | None:
    """What there is to say of *value*, which its worker has just made; None if it does not stay.

    Parameters
    ----------
    stay
        What is asked.
    value
        The value.
    size
        The bytes of its pickle.
    """
    if not stay.paths:
        return Facts({}) if size > stay.fetched else None
    prints = fingerprints_of(stay.root, stay.key)
    sealer = Sealer(stay.key, stay.root, functools.partial(digest_of_code, prints))
    parts: dict[str, PartFacts] = {}
    for path in stay.paths:
        types: set[type] = set()
        try:
            digest = sealer.value(projected(value, path), types)
            packages = {
                item.label: installed(item.label)
                for item in prints.of_types(types)
                if item.kind == "package"
            }
            parts[part_of(path)] = PartFacts(digest, packages, all(map(is_plain, types)))
        except UndigestibleError as error:
            parts[part_of(path)] = PartFacts(refused=(error.path, error.reason))
        except BaseException as error:  # code of users, which raises what it likes
            let_signals_pass(error)
            parts[part_of(path)] = PartFacts(refused=("value", described(error)))
    if stay.write is None:
        return Facts(parts) if size > stay.fetched else None
    whole = parts[part_of(())]
    if whole.refused is not None:
        return Facts(parts, unkept=": ".join(whole.refused))

    def is_same(copy: object) -> bool:
        return sealer.value(copy) == whole.digest

    try:
        kept = stay.write(value, stay.key, None if whole.is_plain else is_same)
    except UnkeptError as error:
        return Facts(parts, unkept=str(error))
    return None if kept is None and size <= stay.fetched else Facts(parts, kept)
