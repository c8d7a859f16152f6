"""Readers and writers of files that no audit event reports: compiled code, and links."""

from __future__ import annotations

import contextlib
import glob
import importlib.machinery
import operator
import os
import sys
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any, Protocol

from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["Sink", "watch_readers"]

_READERS = {
    "pandas": (
        *("ExcelFile", "HDFStore", "read_excel", "read_feather", "read_hdf", "read_orc"),
        *("read_parquet", "read_spss"),
    ),
    "polars": (
        *("read_avro", "read_csv", "read_csv_batched", "read_delta", "read_excel", "read_ipc"),
        *("read_ipc_schema", "read_ipc_stream", "read_json", "read_ndjson", "read_ods"),
        *("read_parquet", "read_parquet_metadata", "read_parquet_schema", "scan_csv"),
        *("scan_delta", "scan_ipc", "scan_ndjson", "scan_parquet", "scan_pyarrow_dataset"),
    ),
    "pyarrow": ("input_stream", "memory_map"),
    "pyarrow.csv": ("open_csv", "read_csv"),
    "pyarrow.dataset": ("dataset", "parquet_dataset"),
    "pyarrow.feather": ("read_feather", "read_table"),
    "pyarrow.json": ("open_json", "read_json"),
    "pyarrow.orc": ("ORCFile", "read_table"),
    "pyarrow.parquet": (
        *("ParquetDataset", "ParquetFile", "read_metadata", "read_pandas", "read_schema"),
        "read_table",
    ),
}
_WRITERS = {
    "pandas": (
        *("DataFrame.to_feather", "DataFrame.to_hdf", "DataFrame.to_orc", "DataFrame.to_parquet"),
        "Series.to_hdf",
    ),
    "polars": (
        *("DataFrame.write_avro", "DataFrame.write_csv", "DataFrame.write_ipc"),
        *("DataFrame.write_ipc_stream", "DataFrame.write_json", "DataFrame.write_ndjson"),
        *("DataFrame.write_parquet", "LazyFrame.sink_csv", "LazyFrame.sink_ipc"),
        *("LazyFrame.sink_ndjson", "LazyFrame.sink_parquet"),
    ),
    "pyarrow.csv": ("write_csv",),
    "pyarrow.feather": ("write_feather",),
    "pyarrow.orc": ("write_table",),
    "pyarrow.parquet": ("ParquetWriter", "write_table"),
}
_SOURCES = frozenset(
    {"source", "path", "where", "input_file", "io", "path_or_buf", "path_or_buffer", "paths",
     "path_or_paths", "metadata_path", "filepath_or_buffer"}
)  # fmt: skip
_TARGETS = frozenset({"where", "file", "path", "dest", "output_file", "path_or_buf"})


class Sink(Protocol):
    """Gets the paths that readers and writers open."""

    def is_open(self) -> bool:
        """Whether anybody wants to know."""
        ...

    def read(self, path: str, *, names: bool = False) -> None:
        """Record that *path* is read, or the *names* in it."""
        ...

    def link(self, path: str, folder: int) -> None:
        """Record that the target of *path*, in the open *folder* (or -1), is looked up."""
        ...

    def write(self, path: str) -> None:
        """Record that *path* is written."""
        ...


def watch_readers(sink: Sink) -> None:
    """Let the public readers and writers of pandas, pyarrow and polars report to *sink*.

    Those of modules that are loaded at once, others when they are imported.
    """
    global _looked_at
    _watch_links(sink)
    modules = [sys.modules.get(name) for name in _WATCHED]
    if _looked_at and all(map(operator.is_, modules, _looked_at)):
        return
    _looked_at = modules
    for place, module in enumerate(modules):
        spec: Any = getattr(module, "__spec__", None)
        if getattr(spec, "_initializing", False):
            _looked_at[place] = None  # it is looked at again
        elif module is not None:
            _watch_module(module, sink)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        finder: Any = _Finder(sink)
        sys.meta_path.insert(0, finder)


_WATCHED = tuple({*_READERS, *_WRITERS})
_looked_at: list[ModuleType | None] = []  # these modules, as they were at the last look


class _Finder:
    """Watches the readers of a module as soon as it is imported."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec that Python would find, whose module is watched once it is there."""
        if fullname not in _READERS and fullname not in _WRITERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute: Callable[[ModuleType], object] = loader.exec_module

            def watched(module: ModuleType) -> None:
                execute(module)
                _watch_module(module, self._sink)

            with contextlib.suppress(AttributeError):  # a loader of compiled code
                loader.exec_module = watched
        return spec


def _watch_links(sink: Sink) -> None:
    """Let `os.readlink` report: what resolves a path opens the file by another name."""

    def tell(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        path: Any = args[0] if args else kwargs.get("path")
        if sink.is_open() and (isinstance(path, bytes) or _is_path(path)):
            folder = kwargs.get("dir_fd")
            sink.link(os.fsdecode(path), folder if isinstance(folder, int) else -1)

    original: Any = getattr(os, "readlink", None)
    if original is not None and not hasattr(original, "__mxm_watched__"):
        watched = _around(original, tell, os)
        os.readlink = watched
        for kinds in (os.supports_dir_fd, os.supports_effective_ids, os.supports_follow_symlinks):
            if original in kinds:
                kinds.add(watched)


def _watch_module(module: ModuleType, sink: Sink) -> None:
    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if sink.is_open():
            _tell_reads(args[:1], kwargs, sink)

    def read_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        read(args[1:], kwargs)

    def write(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if sink.is_open():
            targets = [*args[1:2], *(value for name, value in kwargs.items() if name in _TARGETS)]
            for target in targets:
                if _is_path(target) and "://" not in str(target):
                    sink.write(os.fsdecode(target))

    for name in _READERS.get(module.__name__, ()):
        _watch(module, name, read, read_of)
    for name in _WRITERS.get(module.__name__, ()):
        owner, _, method = name.rpartition(".")
        _watch(getattr(module, owner, None) if owner else module, method, write, write)


_Tell = Callable[[tuple[Any, ...], dict[str, Any]], None]


def _watch(owner: Any, name: str, tell: _Tell, tell_method: _Tell) -> None:
    """Let *name* of *owner* call *tell* first: a function, or the making of a class."""
    original: Any = getattr(owner, name, None)
    if isinstance(original, type):
        owner, name, tell = original, "__init__", tell_method
        original = getattr(owner, name)
    inner = original
    while not hasattr(inner, "__mxm_watched__") and hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    if original is None or hasattr(inner, "__mxm_watched__"):
        return
    if isinstance(inner, FunctionType) and not inner.__code__.co_freevars:
        _exchange(inner, tell)
        return
    with contextlib.suppress(TypeError, AttributeError):  # of compiled code
        setattr(owner, name, _around(original, tell))


def _exchange(function: FunctionType, tell: _Tell) -> None:
    """Let *function* call *tell* first, and stay the object that others imported by its name."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    around = _around(copy, tell)
    # What the exchanged code calls are its constants: it has the globals of its library.
    function.__code__ = around.__code__
    function.__defaults__ = function.__kwdefaults__ = None
    vars(function).update(__wrapped__=copy, __mxm_watched__=True)


class _Calls:
    """Calls one function after the other."""

    def __init__(self, tell: _Tell, function: Any) -> None:
        self._tell = tell
        self._function = function

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the second returns."""
        try:
            self._tell(args, kwargs)
        except BaseException as error:  # of a path's own code: the second raises it, too
            let_signals_pass(error)
        return self._function(*args, **kwargs)


def _around(function: Any, tell: _Tell, home: ModuleType | None = None) -> Any:
    """A function that calls *tell*, then *function*; it counts as code of that one's library.

    *home* is the module that has it, where *function* names another one.
    """

    def made(*args: Any, **kwargs: Any) -> Any:
        return (0.5).call(args, kwargs)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]

    code = made.__code__
    calls = _Calls(tell, function)
    constants = tuple(calls if one == 0.5 else one for one in code.co_consts)  # in its place
    of: Any = home or sys.modules.get(getattr(function, "__module__", None) or "")
    file = getattr(getattr(function, "__code__", None), "co_filename", getattr(of, "__file__", ""))
    name = getattr(function, "__name__", "reader")
    made.__code__ = code.replace(co_consts=constants, co_filename=file or "", co_name=name)
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        with contextlib.suppress(AttributeError, TypeError):
            setattr(made, attribute, getattr(function, attribute))
    if home is not None:
        made.__module__ = home.__name__
    vars(made).update(__wrapped__=function, __mxm_watched__=True)
    return made


def _tell_reads(args: tuple[Any, ...], kwargs: dict[str, Any], sink: Sink) -> None:
    for argument in (*args, *(value for name, value in kwargs.items() if name in _SOURCES)):
        for source in argument if type(argument) in (list, tuple) else (argument,):
            if _is_path(source):
                _tell_read(os.fsdecode(source), sink)


def _is_path(source: Any) -> bool:
    return isinstance(source, str) or hasattr(source, "__fspath__")


def _tell_read(path: str, sink: Sink) -> None:
    path = path.removeprefix("file://")
    if not path or "://" in path or "\n" in path:
        return
    if glob.has_magic(path) and not os.path.exists(path):
        for match in sorted(glob.glob(path, recursive=True)):  # which lists the folders
            _tell_file(match, sink)
    else:
        _tell_file(path, sink)


def _tell_file(path: str, sink: Sink) -> None:
    if not os.path.isdir(path):
        sink.read(path)
        return
    for folder, _, names in os.walk(path):
        sink.read(folder, names=True)
        for name in names:
            sink.read(os.path.join(folder, name))
