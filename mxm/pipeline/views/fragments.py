"""Pieces that several parts of a page use: code, links, states, sections.

End tags that HTML does not need are left out: a page may have thousands of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.views.markup import Keys, escaped, shortened
from mxm.pipeline.views.picture import icon
from mxm.pipeline.views.states import word

__all__ = ["TIMES", "Links", "code", "counted", "panel_head", "pill", "row", "section"]

TIMES = "\N{MULTIPLICATION SIGN}"

_MOST_LINKS = 60
_LONGEST_DOC = 600


class Links:
    """Links to tasks of a page.

    Parameters
    ----------
    keys, path
        As `views_of` takes them.
    states
        By task, its state in a run; empty without a run.
    bare
        Whether the page's script fills them, from the rows of its table: in what is shown by the
        script alone. At 2,000 tasks that is a megabyte.
    """

    def __init__(
        self,
        keys: Keys,
        path: tuple[str, ...] = (),
        states: Mapping[str, str] | None = None,
        *,
        bare: bool = False,
    ) -> None:
        self._keys = keys
        self._path = path
        self._states = states
        self._bare = bare

    def key(self, name: str) -> str:
        """The part of the task *name* in the page's address."""
        return self._keys.of(*self._path, name)

    def to(self, name: str) -> str:
        """A link to the task *name*."""
        if self._bare and (self._states is None or name in self._states):
            return f'<a class="ref" href="#{self.key(name)}"></a>'
        if self._states is None:
            return f'<a class="ref" href="#{self.key(name)}">{code(name, 120)}</a>'
        state = self._states.get(name)
        if state is None:  # it is not part of the run
            return code(name, 120)
        return (
            f'<a class="ref s-{state}" href="#{self.key(name)}">{icon(state)}{code(name, 120)}</a>'
        )

    def all(self, names: Sequence[str], most: int = _MOST_LINKS) -> str:
        """Links to *names* in a paragraph, at most *most*."""
        return f'<p class="refs">{self.some(names, most)}'

    def some(self, names: Sequence[str], most: int = _MOST_LINKS) -> str:
        """Links to *names*, at most *most*, and how many more there are."""
        shown = "".join(map(self.to, names[:most]))
        if len(names) > most:
            shown += f'<span class="mut">and {len(names) - most:,} more</span>'
        return shown


def code(text: str, most: int) -> str:
    """*text*, which the user wrote, in one line of at most *most* characters."""
    return f"<code>{escaped(shortened(in_one_line(text), most))}</code>"


def section(title: str, body: str) -> str:
    """A section of the panel; empty without a *body*."""
    return f"<section><h4>{title}</h4>{body}</section>" if body else ""


def panel_head(name: str, facts: Sequence[str], doc: str, more: str = "") -> str:
    """The head of a panel: facts as HTML in a line, a docstring, and *more* HTML.

    Parameters
    ----------
    name
        What it is of; empty for a task, whose name, state and time the page's script puts in.
    facts, doc, more
        What follows.
    """
    spans = "".join(f"<span>{fact}</span>" for fact in facts if fact)
    text = f'<p class="doc">{escaped(shortened(doc, _LONGEST_DOC))}' if doc else ""
    title = f"<h3>{code(name, 160) if name else ''}</h3>"
    return f'<header class="dh">{title}<p class="facts">{spans}{text}{more}</header>'


def row(*cells: str) -> str:
    """A row of a table."""
    return f"<tr>{''.join(f'<td>{cell}' for cell in cells)}"


def pill(state: str, text: str = "", css: str = "state") -> str:
    """*state* by its icon and its word, or another *text*."""
    return f'<span class="{css} s-{state}">{icon(state)}{escaped(text or word(state))}</span>'


def counted(count: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
