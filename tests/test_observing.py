"""What an attempt opened: everything that Python opens, and nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import glob
import importlib
import importlib.metadata
import os
import pickle
import pkgutil
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mxm.pipeline.execution.cache.probe import Notes, Probe
from mxm.pipeline.execution.files import log as file_log
from mxm.pipeline.execution.files import observing
from mxm.pipeline.execution.files.observing import (
    FileNote,
    Observed,
    also_observed,
    joined,
    loading,
    observed,
    unchanged,
    unobserved,
)
from mxm.pipeline.execution.loop import EventLoop


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MXM_HOME")
    modules = set(sys.modules)
    file_log._kept.clear()  # of tests of other files, too, in one worker
    yield tmp_path
    file_log._kept.clear()
    for name in set(sys.modules) - modules:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def paths(seen: Observed) -> list[tuple[str, str, str]]:
    return [(note.path, note.kind, note.base) for note in seen.reads]


def test_reads_are_kept_as_they_are_looked_up_again(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")
    with observed(root=str(folder)) as seen:
        Path("a.txt").read_text()
        (folder / "b.txt").read_bytes()
        with pytest.raises(OSError):
            open("none.txt")  # noqa: SIM115
    assert paths(seen) == [
        ("a.txt", "file", "folder"),
        ("b.txt", "file", "root"),
        ("none.txt", "missing", "folder"),
    ]
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    (folder / "none.txt").write_text("")
    changed = unchanged(seen.reads, str(folder), str(folder))
    assert changed is not None
    assert changed.path == "none.txt"


def test_a_relative_path_is_looked_up_from_the_new_folder(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    with observed(root=str(folder)) as seen:
        Path("a.txt").read_text()
    other = folder / "other"
    other.mkdir()
    assert unchanged(seen.reads, str(folder), str(other)) is not None
    (other / "a.txt").write_text("a")
    assert unchanged(seen.reads, str(folder), str(other)) is None


@pytest.mark.parametrize(
    "look",
    [
        lambda: glob.glob("data/*.csv"),
        lambda: os.listdir("data"),
        lambda: list(os.scandir("data")),
        lambda: list(Path("data").glob("*.csv")),
        lambda: list(os.walk("data")),
    ],
)
def test_a_new_file_in_a_folder_that_was_listed_is_seen(folder: Path, look: object) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "a.csv").write_text("1")
    with observed(root=str(folder)) as seen:
        look()  # type: ignore[operator]
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    (folder / "data" / "b.csv").write_text("2")
    assert unchanged(seen.reads, str(folder), str(folder)) is not None


def test_what_comes_with_a_run_is_no_new_file_in_a_folder(folder: Path) -> None:
    with observed(root=str(folder)) as seen:
        list(Path().iterdir())
        glob.glob("**/flows.csv", recursive=True)
    for name in (".mxm", "__pycache__"):
        (folder / name).mkdir()
    (folder / ".mxm" / "flows.csv").touch()
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    (folder / "flows.csv").touch()
    assert unchanged(seen.reads, str(folder), str(folder)) is not None


def test_a_look_for_installed_packages_is_no_look_at_the_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    with observed(root=str(folder)) as seen:
        list(importlib.metadata.distributions())
    assert paths(seen) == []


def test_what_an_attempt_wrote_itself_is_no_input(folder: Path) -> None:
    (folder / "old.txt").write_text("old")
    with observed(root=str(folder)) as seen:
        Path("new.txt").write_text("new")
        Path("new.txt").read_text()
        Path("old.txt").write_text("over")
        Path("old.txt").read_text()
    assert paths(seen) == []
    assert [note.path for note in seen.writes] == ["new.txt", "old.txt"]
    assert seen.torn == []


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_what_is_changed_in_place_was_read(folder: Path, mode: str) -> None:
    (folder / "log.txt").write_text("1")
    with observed(root=str(folder)) as seen, open("log.txt", mode) as file:
        file.write("22")
    assert seen.torn == ["log.txt"]


def test_a_file_that_changes_after_it_was_read_is_torn(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    with observed(root=str(folder)) as seen:
        Path("a.txt").read_text()
        subprocess.run(["sh", "-c", "echo changed > a.txt"], check=True)
    assert seen.torn == ["a.txt"]


def test_a_file_that_is_moved_into_its_place_is_written(folder: Path) -> None:
    with observed(root=str(folder)) as seen:
        Path("part").write_text("x")
        os.replace("part", "whole")
    assert {note.path: note.kind for note in seen.writes} == {"whole": "file"}


def test_a_database_is_read_with_its_log(folder: Path) -> None:
    with sqlite3.connect("prices.db") as database:
        database.execute("CREATE TABLE p (x)")
    database.close()
    with observed(root=str(folder)) as seen:
        sqlite3.connect("prices.db").close()
    assert [note[0] for note in paths(seen)] == ["prices.db", "prices.db-wal"]


def test_a_thread_of_no_task_counts_for_every_task_at_work(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    with observed(root=str(folder)) as seen:
        thread = threading.Thread(target=lambda: Path("a.txt").read_text())
        thread.start()
        thread.join()
    assert paths(seen) == [("a.txt", "file", "folder")]


def test_what_the_driver_opens_does_not_count(folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    with unobserved():
        outside = contextvars.copy_context()
    with observed(root=str(folder)) as seen:
        outside.run(lambda: Path("a.txt").read_text())
    assert paths(seen) == []


def test_code_and_devices_and_the_store_do_not_count(folder: Path) -> None:
    (folder / ".mxm").mkdir()
    (folder / ".mxm" / "key").write_text("k")
    (folder / "lazy.py").write_text("X = 1\n")
    with observed(root=str(folder)) as seen:
        (folder / ".mxm" / "key").read_text()
        with open("/dev/null") as file:
            file.read()
        Path(os.__file__).read_text()
        sys.path.insert(0, str(folder))
        try:
            __import__("lazy")
        finally:
            sys.path.remove(str(folder))
            del sys.modules["lazy"]
    assert paths(seen) == []


def test_a_read_inside_a_cached_function_counts_for_later_attempts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "t.csv").write_text("1")
    (folder / "tables.py").write_text(
        "import functools\n"
        "@functools.cache\n"
        "def table():\n"
        "    with open('t.csv') as file: return file.read()\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    tables = __import__("tables")
    with observed(root=str(folder)) as first:
        tables.table()
    with observed(root=str(folder)) as second:
        tables.table()
    with observed(root=str(folder), reaches=lambda file: file != tables.__file__) as third:
        pass
    assert paths(first) == paths(second) == [("t.csv", "file", "folder")]
    assert paths(third) == []
    (folder / "t.csv").write_text("22")
    with observed(root=str(folder)) as fourth:
        assert tables.table() == "1"  # what it read first
    assert fourth.torn == ["t.csv"]


class ParquetFile:
    """As pyarrow has it: it opens a file where Python does not see it."""

    def __init__(self, source: object) -> None:
        self.source = source


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("p.parquet", "p.parquet"),
        (Path("p.parquet"), "p.parquet"),
        (["p.parquet"], "p.parquet"),
        ("many", "many/1.parquet"),
        ("many/*.parquet", "many/1.parquet"),
    ],
)
@pytest.mark.parametrize("reader", ["polars.read_parquet", "pyarrow.parquet.ParquetFile"])
def test_files_that_compiled_code_opens_are_seen_where_a_public_reader_is_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reader: str, source: object, path: str
) -> None:
    polars, parquet = types.ModuleType("polars"), types.ModuleType("pyarrow.parquet")
    polars.read_parquet = lambda source: source  # type: ignore[attr-defined]
    own = type("ParquetFile", (ParquetFile,), {})
    parquet.ParquetFile = own  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "polars", polars)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    (folder / "p.parquet").write_text("1")
    (folder / "many").mkdir()
    (folder / "many" / "1.parquet").write_text("2")
    with observed(root=str(folder)):
        pass  # twice watched is watched once
    library, _, name = reader.rpartition(".")
    with observed(root=str(folder)) as seen:
        made = getattr(sys.modules[library], name)(source)
    assert getattr(made, "source", made) == source
    assert parquet.ParquetFile is own
    assert [note.path for note in seen.reads].count(path) == 1
    if source in ("many", "many/*.parquet"):
        assert ("many", "folder", "folder") in paths(seen)


def settled(path: Path) -> None:
    """Make *path* old enough for its stat to be trusted."""
    os.utime(path, (1_600_000_000, 1_600_000_000))


@pytest.mark.parametrize(
    ("pattern", "new"),
    [
        ("*/x.csv", "b/x.csv"),
        ("data/**/x.csv", "data/deep/x.csv"),
        ("data/**", "data/deep/y"),
        ("data/[ab].csv", "data/b.csv"),
        ("none/*.csv", "none/a.csv"),
    ],
)
@pytest.mark.parametrize("how", ["glob", "iglob", "Path.glob", "absolute"])
def test_whatever_a_pattern_may_find_later_is_seen(
    folder: Path, pattern: str, new: str, how: str
) -> None:
    for name in ("a/x.csv", "data/a.csv", "data/deep/er/z", "b/other"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1")
    with observed(root=str(folder)) as seen:
        if how == "glob":
            glob.glob(pattern, recursive=True)
        elif how == "iglob":
            list(glob.iglob(pattern, recursive=True))
        elif how == "Path.glob":
            list(Path().glob(pattern))
        else:
            glob.glob(str(folder / pattern), recursive=True)
    assert seen.torn == []
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    (folder / new).parent.mkdir(parents=True, exist_ok=True)
    (folder / new).write_text("2")
    assert unchanged(seen.reads, str(folder), str(folder)) is not None


def test_a_copy_of_the_project_has_its_own_files(folder: Path) -> None:
    one, other = folder / "one", folder / "other"
    for root in (one, other):
        (root / "data").mkdir(parents=True)
        (root / "data" / "a.csv").write_text("1")
    with observed(root=str(one)) as seen:
        (one / "data" / "a.csv").read_text()
        list((one / "data").iterdir())
        glob.glob(str(one / "*" / "a.csv"))
    assert unchanged(seen.reads, str(other), str(folder)) is None
    (other / "data" / "a.csv").write_text("2")
    assert unchanged(seen.reads, str(one), str(folder)) is None
    changed = unchanged(seen.reads, str(other), str(folder))
    assert changed is not None
    assert changed.path == "data/a.csv"


def test_links_are_kept_as_they_were_opened_and_followed_at_the_check(folder: Path) -> None:
    (folder / "monday").write_text("1")
    (folder / "tuesday").write_text("2")
    (folder / "deep").mkdir()
    (folder / "link").symlink_to("deep")
    (folder / "today").symlink_to("monday")
    with observed(root=str(folder)) as seen:
        Path("today").read_text()
        open("link/../monday").close()
    assert [note.path for note in seen.reads] == ["today", "link/../monday"]
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    (folder / "today").unlink()
    (folder / "today").symlink_to("tuesday")
    assert unchanged(seen.reads, str(folder), str(folder)) == seen.reads[0]


def resolve(path: str) -> str:
    return str(Path(path).resolve())


def read_link(path: str) -> str:
    return str(Path(path).readlink())


def read_link_of_folder(path: str) -> str:
    folder = os.open(".", os.O_RDONLY)
    try:
        return os.readlink(path, dir_fd=folder)
    finally:
        os.close(folder)


@pytest.mark.parametrize(
    "look",
    [resolve, read_link, read_link_of_folder, os.path.realpath, lambda path: os.readlink(path)],
)
def test_where_a_link_leads_is_seen_where_code_looks_it_up(
    folder: Path, look: Callable[[str], str]
) -> None:
    for day in ("monday", "tuesday"):
        (folder / day).mkdir()
        (folder / day / "prices").write_text("1")  # one content: only the name differs
    (folder / "today").symlink_to("monday")
    with observed(root=str(folder)) as seen:
        Path(look("today"), "prices").read_text()
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    (folder / "today").unlink()
    (folder / "today").symlink_to("tuesday")
    changed = unchanged(seen.reads, str(folder), str(folder))
    assert changed is not None
    assert (os.path.basename(changed.path), changed.kind) == ("today", "link")


def test_links_that_say_where_a_project_is_do_not_count(folder: Path) -> None:
    (folder / "here" / "data").mkdir(parents=True)
    (folder / "desk").symlink_to("here")
    with observed(root=str(folder / "desk")) as seen:
        Path(folder, "desk", "data").resolve()
    assert paths(seen) == []
    assert pickle.loads(pickle.dumps(os.readlink)) is os.readlink
    assert os.readlink in os.supports_dir_fd


def test_a_file_opened_in_an_open_folder_is_said_to_be_unseen(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "a").write_text("1")
    number = os.open("data", os.O_RDONLY)

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, dir_fd=number)

    with observed(root=str(folder)) as seen:
        os.close(os.open("a", os.O_RDONLY, dir_fd=number))
    with observed(root=str(folder)) as also:
        open("a", opener=opener).close()
    os.close(number)
    assert seen.unseen == also.unseen == ["os.open(..., dir_fd=)"]


def test_a_folder_that_was_left_meanwhile_is_not_the_run_s(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a").write_text("1")
    with observed(root=str(folder)) as seen:
        monkeypatch.chdir("sub")
        open("a").close()
    assert paths(seen) == [("sub/a", "file", "root")]


def test_temporary_files_and_folders_of_an_attempt_leave_no_trace(folder: Path) -> None:
    with observed(root=str(folder)) as seen:
        with tempfile.TemporaryDirectory() as place:
            Path(place, "a").write_text("1")
            Path(place, "a").read_text()
            os.mkdir(Path(place, "b"))
            os.listdir(place)
            list(os.walk(place))
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"1")
            open(file.name).close()
        with tempfile.TemporaryFile() as nameless:
            nameless.write(b"1")
        made = tempfile.mkdtemp(dir=folder)
        shutil.rmtree(made)
    assert (seen.reads, seen.writes, seen.torn) == ([], [], [])


def test_a_file_that_an_attempt_replaces_is_no_input(folder: Path) -> None:
    (folder / "out").write_text("old")
    with observed(root=str(folder)) as seen:
        os.remove("out")
        Path("out").write_text("new")
    assert (paths(seen), seen.torn) == ([], [])
    assert [(note.path, note.kind) for note in seen.writes] == [("out", "file")]


def test_a_folder_that_an_attempt_clears_and_fills_is_its_own(folder: Path) -> None:
    (folder / "out" / "deep").mkdir(parents=True)
    (folder / "out" / "deep" / "old").write_text("1")

    def attempt() -> Observed:
        with observed(root=str(folder)) as seen:
            shutil.rmtree("out")
            os.makedirs("out/deep")
            Path("out/deep/new").write_text("2")
            os.listdir("out")
        return seen

    first = attempt()
    assert (paths(first), first.torn) == ([], [])
    assert unchanged(first.writes, str(folder), str(folder)) is None
    again = attempt()
    assert [note.path for note in again.writes] == [note.path for note in first.writes]
    assert unchanged(first.writes, str(folder), str(folder)) is None
    (folder / "out" / "other").write_text("3")
    assert unchanged(first.writes, str(folder), str(folder)) is not None


def test_folders_that_are_given_by_number_are_seen(folder: Path) -> None:
    (folder / "data" / "deep").mkdir(parents=True)
    with observed(root=str(folder)) as seen:
        list(os.fwalk("data"))
        number = os.open("data", os.O_RDONLY)
        os.listdir(number)
        os.mkdir("new", dir_fd=number)
        os.rename("new", "other", src_dir_fd=number, dst_dir_fd=number)
        os.close(number)
    assert {path for path, kind, _ in paths(seen) if kind == "folder"} == {"data", "data/deep"}
    assert [note.path for note in seen.writes] == ["data/other"]


def test_a_file_that_an_attempt_read_and_overwrote_is_torn(folder: Path) -> None:
    (folder / "a").write_text("old")
    with observed(root=str(folder)) as seen:
        Path("a").read_text()
        Path("a").write_text("new")
    assert seen.torn == ["a"]
    (folder / "b").write_text("b")
    with observed(root=str(folder)) as seen:
        os.rename("b", "c")
    assert seen.torn == ["b"]


def test_what_was_written_must_be_there(folder: Path) -> None:
    with observed(root=str(folder)) as seen:
        Path("out").write_text("1")
    assert unchanged(seen.writes, str(folder), str(folder)) is None
    (folder / "out").unlink()
    assert unchanged(seen.writes, str(folder), str(folder)) is not None
    (folder / "out").write_text("2")
    assert unchanged(seen.writes, str(folder), str(folder)) is not None


def test_a_change_that_no_stat_shows_is_seen_where_the_clock_is_coarse(folder: Path) -> None:
    file = folder / "a"
    file.write_text("1")
    before = os.stat(file)
    with observed(root=str(folder)) as seen:
        file.read_text()
        log = next(iter(observing._active))
        subprocess.run(["sh", "-c", "printf 2 > a"], check=True)
        read = next(iter(log._reads.values()))
        read.stat = file_log.stat_of(str(file))  # as if both were one tick of the clock
    assert before.st_size == os.stat(file).st_size
    assert seen.torn == ["a"]


def test_a_stat_is_trusted_only_of_a_file_at_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mxm.pipeline.execution.files import notes as file_notes

    (folder / "a").write_text("1")
    counted: list[str] = []
    monkeypatch.setattr(file_notes, "digest_of_file", lambda path: counted.append(path) or "d")
    file_notes.state_of(str(folder / "a"))
    file_notes.state_of(str(folder / "a"))
    assert len(counted) == 2  # its time of change is new
    stat = file_notes.stat_of(str(folder / "a"))
    assert stat is not None
    file_notes._known[str(folder / "a")] = stat, max(stat[1:3]) + 3_000_000_000, "d"
    assert file_notes.state_of(str(folder / "a")) == ("file", "d")
    assert len(counted) == 2
    (folder / "a").write_text("2")
    file_notes.state_of(str(folder / "a"))
    assert len(counted) == 3


def test_a_data_file_of_a_package_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.csv").write_text("1")
    monkeypatch.syspath_prepend(str(folder))
    with observed(root=str(folder)) as seen:
        assert pkgutil.get_data("package", "data.csv") == b"1"
    assert paths(seen) == [("package/data.csv", "file", "root")]


def test_what_a_module_reads_at_import_counts_for_those_who_reach_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "t.csv").write_text("1")
    (folder / "config.py").write_text("with open('t.csv') as file: SIZE = len(file.read())\n")
    (folder / "flows.py").write_text("import config\n")
    monkeypatch.syspath_prepend(str(folder))
    with unobserved(), loading():
        importlib.import_module("flows")
        Path("t.csv").read_text()  # of no module
    with observed(root=str(folder)) as seen:
        pass
    with observed(root=str(folder), reaches=lambda file: False) as other:
        pass
    assert (paths(seen), paths(other)) == ([("t.csv", "file", "folder")], [])
    (folder / "u.csv").write_text("1")
    (folder / "lazy.py").write_text("with open('u.csv') as file: SIZE = len(file.read())\n")
    with observed(root=str(folder)):
        importlib.import_module("lazy")
    with observed(root=str(folder)) as later:
        pass
    assert ("u.csv", "file", "folder") in paths(later)


COMMAND = """
import sys
from mxm.pipeline.cli.start import main
from mxm.pipeline.execution.files import log as file_log
sys.argv = ["mxm-pipeline", "run", "flows.py:flow", "--no-record", "--backend", "inline", "--quiet"]
try:
    main()
except SystemExit as end:
    print(end.code, [(note.note, by) for note, by in file_log._kept.values()], file=sys.stderr)
"""


def test_the_command_notes_what_modules_read_at_import(folder: Path) -> None:
    (folder / "t.csv").write_text("1")
    (folder / "flows.py").write_text(
        "import mxm\n"
        "with open('t.csv') as file: SIZE = len(file.read())\n"
        "@mxm.task\n"
        "def one() -> int: return SIZE\n"
        "@mxm.flow\n"
        "def flow(): return one()\n"
    )
    done = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, text=True)
    assert f"0 [(('t.csv', 'folder'), ('{folder}/flows.py',))]" in done.stderr


def test_cached_methods_and_local_reads_are_kept_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a").write_text("1")
    (folder / "b").write_text("1")
    (folder / "tables.py").write_text(
        "import functools\n"
        "def plain(name):\n"
        "    with open(name) as file: return file.read()\n"
        "class Table:\n"
        "    @staticmethod\n"
        "    @functools.lru_cache(maxsize=3)\n"
        "    def load(name): return plain(name)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    tables = importlib.import_module("tables")
    with observed(root=str(folder)):
        tables.plain("a")
        tables.Table.load("b")
    with observed(root=str(folder)) as later:
        pass
    assert paths(later) == [("b", "file", "folder")]
    with observed(root=str(folder)):
        tables.plain("b")
        tables.Table.load("a")
        tables.plain("a")
    with observed(root=str(folder)) as later:
        pass
    assert {path for path, *_ in paths(later)} == {"a", "b"}


def test_a_flow_inside_a_task_counts_for_the_task(folder: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (folder / name).write_text(name)
    with observed(root=str(folder)) as outer:
        open("a").close()
        with unobserved():  # the driver of the flow inside
            with observed(root=str(folder)) as inner:
                open("b").close()
            open("c").close()  # a task of it that is not cached
            also_observed([FileNote("d", "file", "digest", "root")])
    assert [path for path, *_ in paths(inner)] == ["b"]
    assert [path for path, *_ in paths(outer)] == ["a", "b", "c", "d"]
    also_observed([FileNote("d", "file", "digest", "root")])  # of nobody


def test_what_changed_under_another_process_is_not_kept_by_the_task_around_it(folder: Path) -> None:
    for own in (Observed(torn=["a"]), Observed(unseen=["open"])):
        with observed(root=str(folder)) as seen:
            Probe(b"", str(folder), {}, ("", "", "")).take([Notes(own)])
        assert seen.unseen == ["worker processes"]


def test_what_is_awaited_and_run_in_threads_counts(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / name).write_text(name)

    def read(name: str) -> str:
        return Path(name).read_text()

    async def work() -> None:
        read("a")
        await asyncio.to_thread(read, "b")
        await asyncio.get_running_loop().run_in_executor(None, read, "c")

    loop = EventLoop()
    try:
        with observed(root=str(folder)) as seen:
            loop.run(work())
    finally:
        loop.close()
    assert {path for path, *_ in paths(seen)} == {"a", "b", "c"}


def test_two_attempts_at_once_are_kept_apart(folder: Path) -> None:
    (folder / "a").write_text("a")
    (folder / "b").write_text("b")
    seen: dict[str, Observed] = {}
    ready = threading.Barrier(2)

    def attempt(name: str) -> None:
        with observed(root=str(folder)) as seen[name]:
            ready.wait()
            Path(name).read_text()
            ready.wait()

    threads = [threading.Thread(target=attempt, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: paths(one) for name, one in seen.items()} == {
        name: [(name, "file", "folder")] for name in ("a", "b")
    }


def test_several_attempts_of_a_call_are_joined(folder: Path) -> None:
    (folder / "a").write_text("a")
    seen: list[Observed] = []
    for text in ("half", "whole"):
        with observed(root=str(folder)) as one:
            open("a").close()
            Path("out").write_text(text)
        seen.append(one)
    whole = joined(seen)
    assert [path for path, *_ in paths(whole)] == ["a"]
    assert unchanged([*whole.reads, *whole.writes], str(folder), str(folder)) is None


def test_databases_that_an_attempt_makes_or_changes(folder: Path) -> None:
    def fill(name: str) -> None:
        with sqlite3.connect(name) as database:
            database.execute("CREATE TABLE p (x)")
        database.close()

    with observed(root=str(folder)) as seen:
        fill("new.db")
        sqlite3.connect("new.db").close()
    assert (paths(seen), seen.torn) == ([], [])
    assert [note.path for note in seen.writes] == ["new.db"]
    with observed(root=str(folder)) as seen:
        with sqlite3.connect("new.db") as database:
            database.execute("CREATE TABLE q (x)")
        database.close()
    assert seen.torn == ["new.db"]
    with observed(root=str(folder)) as seen:
        sqlite3.connect(f"file:{folder}/new.db?mode=ro", uri=True).close()
        sqlite3.connect(":memory:").close()
    assert [path for path, *_ in paths(seen)] == ["new.db", "new.db-wal"]
    keeper = sqlite3.connect("wal.db")
    keeper.execute("PRAGMA journal_mode=wal")
    keeper.execute("CREATE TABLE p (x)")
    keeper.commit()
    with observed(root=str(folder)) as seen:
        reader = sqlite3.connect("wal.db")
        assert reader.execute("SELECT * FROM p").fetchall() == []
        reader.close()
    assert seen.torn == []
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    keeper.execute("INSERT INTO p VALUES (1)")
    keeper.commit()  # into the log alone
    changed = unchanged(seen.reads, str(folder), str(folder))
    assert changed is not None
    assert changed.path == "wal.db-wal"
    keeper.close()


def test_what_is_no_file_is_never_the_same(folder: Path) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(
        target=lambda: subprocess.run(["sh", "-c", "echo a > pipe"], check=True)
    )
    writer.start()
    with observed(root=str(folder)) as seen:
        Path("pipe").read_text()
    writer.join()
    assert unchanged(seen.reads, str(folder), str(folder)) is not None


class Sly:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __fspath__(self) -> str:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), RuntimeError()])
def test_a_path_may_raise_what_it_likes(folder: Path, error: BaseException) -> None:
    with observed(root=str(folder)) as seen, pytest.raises(type(error)):
        open(Sly(error))
    assert seen.reads == []


def test_what_cannot_be_noted_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(observing, "_note", fails)
    (folder / "a").write_text("a")
    with observed(root=str(folder)) as seen:
        assert Path("a").read_text() == "a"
    assert seen.unseen == ["open"]


def test_odd_paths_do_no_harm(folder: Path) -> None:
    with observed(root=str(folder)) as seen:
        for path in ("", "a\0b", b"bytes", "x" * 5000, "\udc80"):
            with pytest.raises((OSError, ValueError)):
                open(path)
    assert seen.torn == []
    assert unchanged(seen.reads, str(folder), str(folder)) is None
    assert pickle.loads(pickle.dumps(seen)) == seen


def test_nothing_is_noted_where_nothing_is_observed(folder: Path) -> None:
    with observed(root=str(folder)):
        pass
    (folder / "a").write_text("a")
    called: list[str] = []
    before = observing._note
    observing._note = lambda *args: called.append("")  # type: ignore[assignment]
    try:
        open("a").close()
    finally:
        observing._note = before
    assert called == []


READERS = """
def plain(source, *, other=None):
    'Its text.'
    return source, other

def pair(function):
    import functools
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@pair
def read_parquet(source, *, other=1): return source, other

read_csv = plain
read_csv.__name__ = read_csv.__qualname__ = 'read_csv'

class DataFrame:
    def write_parquet(self, file=None, compression='zstd'):
        return file, compression
"""


def test_readers_that_are_imported_in_the_task_or_by_name_are_watched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "polars.py").write_text(READERS)
    (folder / "data").write_text("1")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(sys.modules, "polars", None)  # the real one comes back after the test
    del sys.modules["polars"]
    with observed(root=str(folder)) as seen:
        polars = importlib.import_module("polars")
        read = functools.partial(polars.read_parquet)
        assert read("data") == ("data", 1)
    assert [path for path, *_ in paths(seen)] == ["data"]
    by_name = polars.read_csv
    with observed(root=str(folder)) as seen:
        assert by_name("data", other=2) == ("data", 2)
    assert [path for path, *_ in paths(seen)] == ["data"]
    with observed(root=str(folder)) as seen:
        assert by_name(other=2, source="data") == ("data", 2)
        assert polars.DataFrame().write_parquet("out", compression="lz4") == ("out", "lz4")
    assert [path for path, *_ in paths(seen)] == ["data"]
    assert by_name.__name__ == "read_csv"
    assert by_name.__doc__ == "Its text."
    assert by_name.__code__.co_filename == polars.__file__
    assert pickle.loads(pickle.dumps(by_name)) is by_name


def test_readers_of_pandas_stay_what_they_are(folder: Path) -> None:
    import inspect

    import pandas as pd

    with observed(root=str(folder)):
        pass
    assert list(inspect.signature(pd.read_parquet).parameters)[:2] == ["path", "engine"]
    assert isinstance(pd.ExcelFile, type)
    pd.DataFrame({"x": [1]}).to_csv("a.csv")
    with observed(root=str(folder)) as seen:
        pd.read_csv("a.csv")
        with pytest.raises((ImportError, OSError)):
            pd.read_parquet("b.parquet")
    assert [path for path, *_ in paths(seen)] == ["a.csv", "b.parquet"]
