"""The rows of a table of tasks; in a large table, those of a sub-flow are folded below its row.

The page's script opens and closes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mxm.pipeline.views.fragments import code
from mxm.pipeline.views.picture import icon

__all__ = ["band_name", "bodies_of"]


def bodies_of(
    names: Iterable[str],
    folded: Mapping[str, Sequence[str]],
    row: Callable[[str], str],
    band: Callable[[str, Sequence[str]], str],
) -> Iterator[str]:
    """The bodies of a table of *names*, in order.

    Parameters
    ----------
    names
        The tasks.
    folded
        Tasks that are folded together, by title; they appear where the first of them is.
    row, band
        Functions that make the row of a task, and the row of a title and its tasks.
    """
    title_of = {name: title for title, members in folded.items() for name in members}
    loose: list[str] = []
    done: set[str] = set()
    for name in names:
        title = title_of.get(name)
        if title is None:
            loose.append(row(name))
        elif title not in done:
            done.add(title)
            if loose:
                yield f"<tbody>{''.join(loose)}</tbody>"
            loose = []
            yield f"<tbody>{band(title, folded[title])}</tbody>"
            yield f'<tbody class="of" hidden>{"".join(map(row, folded[title]))}</tbody>'
    if loose or not done:
        yield f"<tbody>{''.join(loose)}</tbody>"


def band_name(title: str, count: int) -> str:
    """The first cell of the row of *title*: a button, and how many tasks there are."""
    return (
        f'<td class="tn"><button type="button" aria-expanded="false">{icon("open")}'
        f'{code(title, 60)}</button><span class="count">{count:,}</span></td>'
    )
