"""Ends the process like Python does, but faster if nothing can be lost.

At exit, Python searches all objects for cycles, which takes as long as `list` itself, to run their
finalizers: then an open file of a module writes its buffer. If nothing alive has a finalizer, the
search changes nothing and is skipped.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
import types
import weakref
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from typing import NoReturn

__all__ = ["cut_short", "end_like_python", "engine_loaded", "set_aside", "user_code_begins"]

# These have finalizers, but nothing to write: they only read, run or wait.
_IDLE = (io.BufferedReader, io.BytesIO, io.StringIO, io.FileIO)
_IDLE_MODULES = ("socket", "asyncio", "_asyncio")
# By id, because any type may refuse to be hashed and compared. The attribute has the frame while
# there is one: a `finally` in it may be due.
_FRAMES = {
    id(types.GeneratorType): "gi_frame",
    id(types.CoroutineType): "cr_frame",
    id(types.AsyncGeneratorType): "ag_frame",
}
# Python's own, in C; `finalize` calls nothing after its exit handler.
_IDLE_CALLBACKS = (type(None), types.BuiltinFunctionType, weakref.finalize)
_HAS_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC: whether the collector knows the instances of a class
_HARMLESS = (sys.stdlib_module_names - {"_dbm", "_gdbm"}) | {"pydantic_core", "yaml"}
# Not as attributes: a metaclass may have some of these names.
_bases_of = type.__dict__["__mro__"].__get__
_names_of = type.__dict__["__dict__"].__get__
_module_of = type.__dict__["__module__"].__get__
_flags_of = type.__dict__["__flags__"].__get__
_callback_of = weakref.ref.__dict__["__callback__"].__get__

_must_collect = False
_threads = 1
_classes: dict[int, type] = {}  # by id, those of objects set aside: one may get `__del__` later
_known_extensions: set[str] = set()


def end_like_python() -> None:
    """Let the process end like Python does; call it before any user code runs.

    What is registered first runs last at exit, after threads and exit handlers of user code.
    """
    atexit.register(_skip_the_search)


def user_code_begins() -> None:
    """Set aside existing objects: they are ours and Python's, and live to the end."""
    global _threads
    _threads = len(_running())
    _exclude()


def set_aside() -> None:
    """Exclude all existing objects from later collections, if that loses nothing at exit."""
    global _must_collect
    # A thread may open a file while the engine loads, whose objects are set aside unseen.
    _must_collect = _must_collect or len(_running()) > _threads or _something_writes()
    gc.freeze()


def engine_loaded() -> None:
    """Set aside what an engine has just loaded, like our own objects."""
    _exclude()


def cut_short(code: int) -> NoReturn:
    """End the process after a signal, without waiting: a thread that a task left may never end."""
    with contextlib.suppress(BaseException):  # the reader closed it; a second signal
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _skip_the_search() -> None:
    must_collect = _must_collect or _something_writes()
    _classes.clear()
    if must_collect:
        gc.unfreeze()
        gc.collect()  # finalizers may use modules, which Python then takes apart
    else:
        gc.freeze()


def _exclude() -> None:
    gc.freeze()
    _known_extensions.update(_extensions())


def _running() -> dict[int, types.FrameType]:
    return sys._current_frames()  # pyright: ignore[reportPrivateUsage]


def _something_writes() -> bool:
    """Whether an object that was not set aside may write as it ends."""
    objects = gc.get_objects()
    ids = list(map(id, map(type, objects)))
    classes = dict(zip(ids, map(type, objects), strict=True))
    special = {number: kind for number, kind in classes.items() if _is_special(kind)}
    suspended = False
    for number, thing in zip(ids, objects, strict=True):
        if number not in special:
            continue
        if number in _FRAMES:
            suspended = suspended or getattr(thing, _FRAMES[number]) is not None
        elif _is_a(special[number], type):
            if not _flags_of(thing) & _HAS_GC:  # the collector does not list its instances
                classes[id(thing)] = thing
        else:
            suspended = suspended or _calls_back(thing)
    _classes.update(classes)
    return (
        suspended
        or any(map(_finalizes, _classes.values()))
        # Objects of extension modules may write as they are freed, without a finalizer.
        or not _extensions() <= _known_extensions
    )


def _is_special(kind: type) -> bool:
    """Whether an instance of *kind* is checked in its own way: a generator, class or weakref."""
    return id(kind) in _FRAMES or _is_a(kind, type) or _is_a(kind, weakref.ref)


def _is_a(kind: type, parent: type) -> bool:
    return any(base is parent for base in _bases_of(kind))


def _calls_back(reference: object) -> bool:
    """Whether a weak reference calls user code when its object ends."""
    callback = _callback_of(reference)
    if type(callback) is types.FunctionType:
        module = callback.__globals__.get("__name__")
        return not isinstance(module, str) or module.partition(".")[0] not in _HARMLESS
    return all(type(callback) is not kind for kind in _IDLE_CALLBACKS)


def _finalizes(kind: type) -> bool:
    if any(kind is idle for idle in _IDLE) or id(kind) in _FRAMES:
        return False
    owner = next((base for base in _bases_of(kind) if "__del__" in _names_of(base)), None)
    if owner is None:
        return False
    module = _module_of(owner)
    return not isinstance(module, str) or module.partition(".")[0] not in _IDLE_MODULES


def _extensions() -> set[str]:
    """The extension modules that are loaded, except those known to write nothing at exit."""
    return {
        name
        for name, module in tuple(sys.modules.items())
        if type(module) is types.ModuleType
        and isinstance(spec := vars(module).get("__spec__"), ModuleSpec)
        and isinstance(spec.loader, ExtensionFileLoader)
        and name.partition(".")[0] not in _HARMLESS
    }
