"""Money Ex Machina: the shared ``mxm`` namespace and its authoring front door.

Other distributions of the family install packages beside ``mxm.pipeline``; this file belongs to
mxm-pipeline alone (docs/adr/0001-namespace-root.md).
"""

import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # type checkers know it by its name; `typing` doubles the time of the import


def _with_portions(folders: list[str]) -> list[str]:
    """*folders* and each ``mxm`` on ``sys.path``: `pkgutil.extend_path` without what that loads."""
    for entry in sys.path:
        spec = PathFinder.find_spec(__name__, [entry])
        portions = spec.submodule_search_locations if spec else None
        folders += [portion for portion in portions or () if portion not in folders]
    return folders


__path__ = _with_portions([*__path__])
__all__ = ["Flow", "Resource", "Task", "each", "flow", "resource", "task", "use"]

if TYPE_CHECKING:
    from mxm.pipeline.authoring import Flow, Task, each, flow, task, use
    from mxm.pipeline.resources import Resource, resource
else:
    # Hidden from type checkers: a visible __getattr__ would make `mxm.tsk` pass as correct.
    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from mxm.pipeline import authoring, resources

        home = resources if name in ("Resource", "resource") else authoring
        value = globals()[name] = getattr(home, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
