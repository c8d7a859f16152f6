"""The rules of fingerprints beyond edits: loaded code, calls, packages, reasons, memory."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from projects import edit, imported, write

from mxm.pipeline.values.fingerprint import (
    FileMemory,
    Fingerprint,
    Fingerprints,
    Item,
    differences,
)

ONE = "def h(x):\n    return x + 1\ndef t(x):\n    return h(x)\n"


def made(folder: Path, text: str, **files: str) -> Fingerprint:
    write(folder, {"tasks.py": text, **{f"{name}.py": other for name, other in files.items()}})
    with imported(folder) as module:
        return Fingerprints(str(folder)).of(module.t)


def labels(found: Fingerprint) -> list[str]:
    return [item.label for item in found.items]


def reasons(found: Fingerprint) -> list[tuple[str, str, int | None]]:
    return [(r.kind, r.text, r.line) for r in (*found.dynamic, *found.impure)]


# The code that is loaded counts, and is compared with its file.


def test_items_say_what_counts_and_where_it_is(tmp_path: Path) -> None:
    found = made(
        tmp_path, "LIMIT = 1\ndef h(x):\n    return x + LIMIT\ndef t(x):\n    return h(x)\n"
    )
    assert [(i.label, i.kind, i.file, i.line) for i in found.items] == [
        ("tasks.LIMIT", "constant", "tasks.py", None),
        ("tasks.h", "function", "tasks.py", 2),
        ("tasks.t", "function", "tasks.py", 4),
    ]


def test_code_that_was_edited_after_its_import_counts_as_loaded_and_is_reported(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"tasks.py": ONE})
    with imported(tmp_path) as module:
        before = Fingerprints(str(tmp_path)).of(module.t)
        edit(tmp_path, "tasks.py", "+ 1", "+ 2")
        after = Fingerprints(str(tmp_path)).of(module.t)
    assert after.digest == before.digest
    assert before.edited == ()
    assert [(r.kind, r.file, r.line) for r in after.edited][0] == ("edited", "tasks.py", 1)


def test_lines_and_docstrings_edited_after_the_import_are_no_edit(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": ONE})
    with imported(tmp_path) as module:
        before = Fingerprints(str(tmp_path)).of(module.t)
        edit(tmp_path, "tasks.py", "def h(x):\n", "\n# moved\ndef h(x):\n    'doc'\n")
        after = Fingerprints(str(tmp_path)).of(module.t)
    assert (after.digest, after.edited) == (before.digest, ())


def test_statements_edited_after_the_import_are_reported(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "import sys\nsys.flag = 1\ndef t(x):\n    return x\n"})
    with imported(tmp_path) as module:
        assert Fingerprints(str(tmp_path)).of(module.t).edited == ()
        edit(tmp_path, "tasks.py", "flag = 1", "flag = 2")
        assert Fingerprints(str(tmp_path)).of(module.t).edited != ()


def test_class_edited_after_the_import_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "class A:\n    k = 1\ndef t(x):\n    return A.k\n"})
    with imported(tmp_path) as module:
        before = Fingerprints(str(tmp_path)).of(module.t)
        edit(tmp_path, "tasks.py", "k = 1", "k = 2")
        after = Fingerprints(str(tmp_path)).of(module.t)
    assert (before.edited, bool(after.edited)) == ((), True)


def test_file_that_is_no_python_any_more_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": ONE})
    with imported(tmp_path) as module:
        (tmp_path / "tasks.py").write_text("def t(:\n")
        assert Fingerprints(str(tmp_path)).of(module.t).edited != ()


def test_code_in_no_file_counts_by_its_instructions(tmp_path: Path) -> None:
    def typed(body: str) -> Fingerprint:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(dedent(body), space)
        return Fingerprints(str(tmp_path)).of(space["t"])

    one, same = typed(ONE), typed("# moved\n\n" + ONE)
    assert one.digest == same.digest
    assert one.digest != typed(ONE.replace("+ 1", "+ 2")).digest
    assert one.edited == ()


def test_module_loaded_again_counts_as_it_is_now(tmp_path: Path) -> None:
    import importlib

    write(tmp_path, {"tasks.py": "import sys\nsys.flag = 1\n" + ONE})
    with imported(tmp_path) as module:
        before = Fingerprints(str(tmp_path)).of(module.t)
        edit(tmp_path, "tasks.py", "flag = 1", "flag = 22")
        importlib.reload(module)
        after = Fingerprints(str(tmp_path)).of(module.t)
    assert after.edited == ()
    assert after.digest != before.digest


def test_future_flags_of_a_module_count(tmp_path: Path) -> None:
    one = made(tmp_path / "a", "def t(x):\n    return x\n")
    other = made(tmp_path / "b", "from __future__ import annotations\ndef t(x):\n    return x\n")
    assert one.digest != other.digest


# Constants: by content, at the call, and bound anew.


def test_constant_that_can_change_counts_at_the_call(tmp_path: Path) -> None:
    write(
        tmp_path, {"tasks.py": "TABLE = {'a': 1}\nLIMIT = 1\ndef t(x):\n    return TABLE, LIMIT\n"}
    )
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        before, called = found.digest, found.at_call()
        assert [i.label for i in found.call_items()] == ["tasks.TABLE"]
        assert found.at_call() == called
        module.TABLE["a"] = 2
        assert found.at_call() != called
        assert Fingerprints(str(tmp_path)).of(module.t).digest == before


@pytest.mark.parametrize(
    ("start", "change"),
    [
        ("LIMIT = 1\ndef t(x):\n    return LIMIT\n", "module.LIMIT = 2"),
        ("def t(x):\n    return LIMIT\n", "module.LIMIT = 2"),
        ("LIMIT = [1]\ndef t(x):\n    return LIMIT\n", "module.LIMIT = [2]"),
        ("LIMIT = 1\ndef t(x):\n    return LIMIT\n", "del module.LIMIT"),
        ("LIMIT = 1\ndef t(x):\n    global LIMIT\n    LIMIT = x\n", "module.t(2)"),
        (ONE, "module.h = lambda x: x"),
        (ONE, "module.h = len"),
        ("def t(x):\n    return len(x)\n", "module.len = lambda x: 3"),
        ("class A:\n    k = 1\ndef t(x):\n    return A.k\n", "module.A.k = 2"),
        ("class A:\n    def m(self):\n        return 1\ndef t(x):\n    return A().m()\n", "module.A.m = lambda self: 2"),
        ("def h(x):\n    return h.k\nh.k = 1\ndef t(x):\n    return h(x)\n", "module.h.k = 2"),
        ("def make():\n    n = 1\n    def t(x):\n        return n\n    def up():\n        nonlocal n\n        n += 1\n    return t, up\nt, up = make()\n", "module.up()"),
        ("import enum\nclass C:\n    pass\nC.k = 1\nK = C()\ndef t(x):\n    return K.k\n", "module.C.k = 2"),
        ("def h(x, acc=[]):\n    acc.append(x)\n    return acc\ndef t(x):\n    return h(x)\n", "module.t(1)"),
        ("def make():\n    seen = []\n    def t(x):\n        seen.append(x)\n        return seen\n    return t\nt = make()\n", "module.t(1)"),
        ("def h(x, k=1):\n    return k\ndef t(x):\n    return h(x)\n", "module.h.__defaults__ = (2,)"),
        ("def h(x):\n    return 1\ndef g(x):\n    return 2\ndef t(x):\n    return h(x)\n", "module.h.__code__ = module.g.__code__"),
        ("class C:\n    n = 0\n    def up(self):\n        type(self).n += 1\nK = C()\ndef t(x):\n    K.up()\n    return K.n\n", "module.t(1)"),
        ("def t(x):\n    t.calls += 1\n    return t.calls\nt.calls = 0\n", "module.t(1)"),
        ("REG = {}\ndef t(x):\n    return REG\n", "module.REG['f'] = lambda: 1"),
        ("import math\ndef t(x):\n    return math.floor(x)\n", "module.math.floor = module.t"),
    ],
)  # fmt: skip
def test_what_was_bound_anew_counts_at_the_call(start: str, change: str, tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": start})
    import math

    floor = math.floor
    try:
        with imported(tmp_path) as module:
            found = Fingerprints(str(tmp_path)).of(module.t)
            called = found.at_call()
            assert found.at_call() == called
            exec(change, {"module": module})
            assert found.at_call() != called
            assert found.at_call() == found.at_call()
    finally:
        math.floor = floor


def test_helper_bound_anew_in_another_module_counts_at_the_call(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "import lib\ndef t(x):\n    return lib.h(x)\n", "lib.py": ONE})
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        called = found.at_call()
        module.lib.h = lambda x: x
        assert found.at_call() != called


def test_standard_output_taken_away_is_not_bound_anew(tmp_path: Path) -> None:
    import contextlib
    import io

    write(tmp_path, {"tasks.py": "import sys\ndef t(x):\n    print(x, file=sys.stdout)\n"})
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        called = found.at_call()
        with contextlib.redirect_stdout(io.StringIO()):
            assert found.at_call() == called


def test_constants_go_in_with_the_key_of_the_store(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "TOKEN = 'abc'\ndef t(x):\n    return TOKEN\n"})
    with imported(tmp_path) as module:
        [open_] = [
            i for i in Fingerprints(str(tmp_path)).of(module.t).items if i.kind == "constant"
        ]
        keyed = [
            Fingerprints(str(tmp_path), key=key).of(module.t) for key in (b"k" * 32, b"l" * 32)
        ]
    assert (
        len({open_.digest, *(i.digest for f in keyed for i in f.items if i.kind == "constant")})
        == 3
    )


def test_what_has_no_content_never_stops_a_fingerprint(tmp_path: Path) -> None:
    text = """
    import threading, contextvars, itertools, weakref, sys, socket
    LOCK = threading.Lock()
    LOCAL = threading.local()
    VAR = contextvars.ContextVar("v")
    COUNT = itertools.count()
    GEN = (i for i in range(3))
    class Bad:
        def __getattr__(self, name): raise RuntimeError(name)
        def __reduce_ex__(self, p): raise RuntimeError(p)
        def __eq__(self, o): raise RuntimeError
        def __bool__(self): raise RuntimeError
        def __repr__(self): raise RuntimeError
        __hash__ = None
    BAD = Bad()
    SELF = []
    SELF.append(SELF)
    REF = weakref.ref(Bad)
    def t(x, bad=BAD):
        return LOCK, LOCAL, VAR, COUNT, GEN, BAD, SELF, REF, sys.stdout
    """
    found = made(tmp_path, dedent(text))
    assert {"tasks.LOCK", "tasks.BAD", "tasks.SELF", "tasks.GEN"} <= set(labels(found))


def test_statement_that_binds_what_has_no_content_counts(tmp_path: Path) -> None:
    one = made(
        tmp_path / "a",
        "import itertools\nC = itertools.count(1)\ndef g():\n    yield 1\nG = g()\ndef t(x):\n    return C, G\n",
    )
    two = made(
        tmp_path / "b",
        "import itertools\nC = itertools.count(1)\ndef g():\n    yield 2\nG = g()\ndef t(x):\n    return C, G\n",
    )
    assert one.digest != two.digest


LOCKED = """
import threading
class C:
    def __init__(self, n):
        self.lock = threading.Lock()
        self.n = n
        self.table = {"a": [1], "lock": self.lock}
CONF = C(1)
BOX = {"lock": threading.Lock(), "n": 1}
def t(x):
    return CONF.n, CONF.table, BOX
"""


@pytest.mark.parametrize(
    "change",
    [
        "module.CONF.n = 2",
        "module.CONF.table['a'].append(2)",
        "module.CONF.table['b'] = 1",
        "module.CONF.new = 1",
        "module.BOX['n'] = 2",
    ],
)
def test_parts_of_what_has_no_content_as_a_whole_count(change: str, tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": LOCKED})
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        called = found.at_call()
        assert found.at_call() == called
        exec(change, {"module": module})
        after = Fingerprints(str(tmp_path)).of(module.t)
        assert found.at_call() != called
        assert after.digest + after.at_call() != found.digest + called


HOLDERS = """
import argparse, collections, functools, threading, types
class Slots:
    __slots__ = ("lock", "rate", "later")
LOCK = threading.Lock()
SPACE = types.SimpleNamespace(lock=LOCK, rate=[1])
PARSED = argparse.Namespace(lock=LOCK, rate=[1])
LIST = [LOCK, 1, [1]]
TUPLE = (LOCK, {"rate": 1})
DEQUE = collections.deque([LOCK, 1])
CHAIN = collections.ChainMap({"lock": LOCK}, {"rate": 1})
PARTIAL = functools.partial(max, LOCK, key={"rate": 1}.get)
SLOTS = Slots()
SLOTS.lock, SLOTS.rate = LOCK, [1]
def t(x):
    return SPACE, PARSED, LIST, TUPLE, DEQUE, CHAIN, PARTIAL, SLOTS
"""


@pytest.mark.parametrize(
    "change",
    [
        *("SPACE.rate = [2]", "SPACE.rate[0] = 2", "SPACE.new = 1", "PARSED.rate = 2"),
        *("LIST[1] = 2", "LIST[2][0] = 2", "LIST.append(2)", "LIST.pop()", "TUPLE[1]['rate'] = 2"),
        *("DEQUE[1] = 2", "DEQUE.append(2)", "CHAIN.maps[1]['rate'] = 2", "CHAIN.maps.pop()"),
        *("PARTIAL.keywords['key'].__self__['rate'] = 2", "SLOTS.rate = [2]"),
        *("SLOTS.rate[0] = 2", "SLOTS.later = 2", "del SLOTS.rate"),
    ],
)
def test_parts_count_of_whatever_holds_something_without_content(
    change: str, tmp_path: Path
) -> None:
    write(tmp_path, {"tasks.py": HOLDERS})
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        called = found.at_call()
        assert found.at_call() == called
        exec(f"module.{change.removeprefix('del ')}" if "del " not in change else
             f"del module.{change.removeprefix('del ')}", {"module": module})  # fmt: skip
        after = Fingerprints(str(tmp_path)).of(module.t)
        assert found.at_call() != called
        assert after.digest + after.at_call() != found.digest + called


@pytest.mark.parametrize(
    "held",
    [
        *("itertools.count()", "itertools.cycle([1, 2])", "iter([1, 2])", "(n for n in (1, 2))"),
        *("zip([1], [2])", "map(str, [1])", "io.BytesIO(b'12')", "io.StringIO('12')"),
        *("open(__file__)", "mmap.mmap(-1, 2)", "queue.SimpleQueue()", "csv.reader(['1', '2'])"),
        *("[iter([1])]", "{'a': iter([1])}", "types.SimpleNamespace(a=iter([1]))"),
        *("functools.partial(next, iter([1]))", "iter([1]).__next__"),
    ],
)
def test_what_was_read_of_an_iterator_cannot_be_known(held: str, tmp_path: Path) -> None:
    head = "import csv, functools, io, itertools, mmap, queue, types\n"
    for text in (f"HELD = {held}\ndef t(x):\n    return HELD\n",
                 f"def t(x, held={held}):\n    return held\n",
                 f"class A:\n    held = {held}\ndef t(x):\n    return A.held\n",
                 f"def make(held):\n    return lambda x: held\nt = make({held})\n"):  # fmt: skip
        found = made(tmp_path, head + text)
        assert {r.kind for r in found.dynamic} == {"used up"}, text
        assert "does not say what it will give next" in found.dynamic[0].text


@pytest.mark.parametrize(
    "text",
    [
        "ROWS = iter([1])\nSUM = []\nfor row in ROWS:\n    SUM.append(row)\ndef t(x):\n    return SUM\n",
        "import sys\nOUT = sys.stderr\ndef t(x):\n    print(x, file=OUT)\n",
        "FILE = open(__file__)\nTEXT = FILE.read()\nFILE.close()\ndef t(x):\n    return TEXT, FILE\n",
        "class Days:\n    def __next__(self):\n        return 1\nDAYS = Days()\ndef t(x):\n    return next(DAYS)\n",
    ],
)
def test_an_iterator_that_a_call_does_not_read_is_no_matter(text: str, tmp_path: Path) -> None:
    found = made(tmp_path, text)
    assert (found.dynamic, found.impure) == ((), ())


def test_constant_that_opens_a_huge_graph_of_objects_is_dynamic(tmp_path: Path) -> None:
    text = "class N:\n    def __init__(self, n):\n        self.next = n\n        self.k = object()\nALL = []\nfor i in range(30_000):\n    ALL.append(N(i))\ndef t(x):\n    return ALL\n"
    found = made(tmp_path, text.replace("object()", "{1: (i, [])}"))
    assert [(r.kind, "tasks.ALL" in r.text) for r in found.dynamic] == [("dynamic", True)]


def test_state_of_the_shared_generators_is_not_that_of_the_code(tmp_path: Path) -> None:
    text = "import random\nimport numpy as np\nfrom random import choice\nfrom numpy.random import rand\ndef t(x):\n    return random.random(), choice([1, 2]), rand(2), np.random.rand(3)\n"
    write(tmp_path, {"tasks.py": text})
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        called = found.at_call()
        module.t(1)
        assert found.at_call() == called
    assert {r.kind for r in found.impure} == {"random"}


def test_generator_of_the_project_counts_with_its_state(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"tasks.py": "import random\nR = random.Random(1)\ndef t(x):\n    return R.random()\n"},
    )
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        called = found.at_call()
        module.t(1)
        assert found.at_call() != called


# Paths count relative to the project.


PLACED = (
    "import pathlib\nHERE = pathlib.Path(__file__).parent\ndef t(x):\n    return __file__, HERE\n"
)


def test_copy_of_a_project_has_the_same_fingerprint(tmp_path: Path) -> None:
    assert made(tmp_path / "a", PLACED).digest == made(tmp_path / "b", PLACED).digest


def test_two_folders_with_one_text_differ_where_the_code_reads_its_place(tmp_path: Path) -> None:
    write(tmp_path, {"a/__init__.py": "", "b/__init__.py": "", "a/t.py": PLACED, "b/t.py": PLACED,
                     "tasks.py": "import a.t, b.t\n"})  # fmt: skip
    with imported(tmp_path) as module:
        prints = Fingerprints(str(tmp_path))
        assert prints.of(module.a.t.t).digest != prints.of(module.b.t.t).digest


def test_two_modules_of_one_name_are_told_apart(tmp_path: Path) -> None:
    from modules import module_of

    text = "def h(x):\n    return x + 1\ndef t(x):\n    return h(x)\nclass A:\n    k = 1\n"
    one = module_of(_folder(tmp_path / "a"), text)
    other = module_of(_folder(tmp_path / "b"), text.replace("+ 1", "+ 2").replace("k = 1", "k = 2"))
    prints = Fingerprints(str(tmp_path))
    assert prints.of(one.t).digest != prints.of(other.t).digest
    assert prints.of(one.A).digest != prints.of(other.A).digest
    assert prints.of(one.t).edited == prints.of(other.t).edited == ()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_editable_sibling_counts_by_its_code_under_its_own_root(tmp_path: Path) -> None:
    sibling = tmp_path / "sibling"
    write(sibling, {"pyproject.toml": "", "src/sib/__init__.py": "def h(x):\n    return x + 1\n"})
    write(tmp_path / "main", {"tasks.py": "from sib import h\ndef t(x):\n    return h(x)\n"})
    with imported(tmp_path / "main", sibling / "src") as module:
        before = Fingerprints(str(tmp_path / "main")).of(module.t)
    edit(sibling, "src/sib/__init__.py", "+ 1", "+ 2")
    with imported(tmp_path / "main", sibling / "src") as module:
        after = Fingerprints(str(tmp_path / "main")).of(module.t)
    assert [d.label for d in differences(before.items, after.items)] == ["src.sib.h"]
    assert before.digest != after.digest


def test_this_package_never_counts(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        "import mxm\nfrom mxm.pipeline import Skip\n@mxm.task\ndef t(x: int) -> int:\n    raise Skip('no')\n",
    )
    assert labels(found) == ["tasks.t"]


# Packages.


def _install(
    site: Path, version: str, text: str = "def f(x):\n    return x\n", requires: str = ""
) -> None:
    info = site / f"acme-{version}.dist-info"
    for old in site.glob("acme-*.dist-info"):
        shutil.rmtree(old)
    write(site, {"acme/__init__.py": text})
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: acme\nVersion: {version}\n{requires}\n"
    )
    import hashlib

    digest = hashlib.sha256(text.encode()).hexdigest()
    (info / "RECORD").write_text(
        f"acme/__init__.py,sha256={digest},1\n../../bin/acme,sha256={os.urandom(4).hex()},1\n"
        f"acme-{version}.dist-info/RECORD,,\nacme/__pycache__/x.pyc,,\n"
    )


USES = "import acme\ndef t(x):\n    return acme.f(x)\n"


def _with_acme(folder: Path, site: Path, text: str = USES) -> Fingerprint:
    write(folder, {"tasks.py": text})
    with imported(folder, site) as module:
        return Fingerprints(str(folder)).of(module.t)


def test_package_counts_by_version_and_content(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    _install(site, "1.0")
    one = _with_acme(tmp_path / "p", site)
    assert "acme" in labels(one)
    _install(site, "1.0")
    again = _with_acme(tmp_path / "p", site)
    assert again.digest == one.digest  # the program of another folder does not count
    _install(site, "1.0", "def f(x):\n    return x + 1\n")
    rebuilt = _with_acme(tmp_path / "p", site)
    _install(site, "2.0", "def f(x):\n    return x + 1\n")
    upgraded = _with_acme(tmp_path / "p", site)
    assert len({one.digest, rebuilt.digest, upgraded.digest}) == 3
    [changed] = differences(rebuilt.items, upgraded.items)
    assert changed.kind == "package"
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before.digest.split()[0], changed.after.digest.split()[0]) == ("1.0", "2.0")


@pytest.mark.parametrize(
    "text",
    [
        "from acme import f\ndef t(x):\n    return f(x)\n",
        "def t(x):\n    import acme\n    return acme.f(x)\n",
        "def t(x):\n    from acme import f\n    return f(x)\n",
        "import acme\nOBJ = acme.C()\ndef t(x):\n    return OBJ\n",
        "import acme\nclass A(acme.C):\n    pass\ndef t(x):\n    return A()\n",
        "import acme\n@acme.deco\ndef t(x):\n    return x\n",
        "import importlib\ndef t(x):\n    return importlib.import_module('acme').f(x)\n",
    ],
)
def test_package_counts_however_it_is_reached(text: str, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    _install(
        site,
        "1.0",
        "def f(x):\n    return x\nclass C:\n    pass\ndef deco(f):\n    def w(*a):\n        return f(*a)\n    return w\n",
    )
    assert "acme" in labels(_with_acme(tmp_path / "p", site, text))


def test_what_an_installed_decorator_wraps_counts(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    _install(
        site,
        "1.0",
        "def deco(n):\n    def d(f):\n        def w(*a):\n            return f(*a)\n        return w\n    return d\n",
    )
    text = "import acme\n@acme.deco(1)\ndef h(x):\n    return g(x)\ndef g(x):\n    return x + 1\ndef t(x):\n    return h(x)\n"
    one = _with_acme(tmp_path / "p", site, text)
    helper = _with_acme(tmp_path / "p", site, text.replace("+ 1", "+ 2"))
    option = _with_acme(tmp_path / "p", site, text.replace("deco(1)", "deco(2)"))
    assert len({one.digest, helper.digest, option.digest}) == 3


def test_what_a_package_requires_counts(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    _install(site, "1.0", requires="Requires-Dist: numpy>=1\nRequires-Dist: rich ; extra == 'x'\n")
    found = labels(_with_acme(tmp_path / "p", site))
    assert "numpy" in found
    assert "rich" not in found


def test_module_of_no_distribution_counts_by_its_files(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    write(site, {"acme.py": "def f(x):\n    return x\n"})
    one = _with_acme(tmp_path / "p", site)
    write(site, {"acme.py": "def f(x):\n    return x + 1\n"})
    assert _with_acme(tmp_path / "p", site).digest != one.digest


def test_types_bring_their_packages_and_classes(tmp_path: Path) -> None:
    import pandas as pd

    write(
        tmp_path,
        {"tasks.py": "class A:\n    def m(self):\n        return 1\ndef t(x):\n    return x\n"},
    )
    with imported(tmp_path) as module:
        prints = Fingerprints(str(tmp_path))
        assert {"pandas", "numpy"} <= {i.label for i in prints.of_types([pd.DataFrame])}
        assert [i.label for i in prints.of_types([module.A])] == ["tasks.A", "tasks.A.m"]
        assert prints.of_types([int, dict]) == ()


# What is dynamic, impure, or read from the environment.


@pytest.mark.parametrize(
    "body",
    [
        "return eval(x)",
        "exec(x)",
        "return compile(x, 'a', 'eval')",
        "return __import__(x)",
        "import importlib\n    return importlib.import_module(x)",
        "import os\n    return os.environ[x]",
        "import os\n    return os.environ.get(x)",
        "import os\n    return os.getenv(x)",
        "import os\n    return os.path.expandvars('$A')",
        "import os\n    return dict(os.environ)",
        "from os import environ\n    return environ[x]",
        "import sys\n    return sys.modules[x]",
        "import sys\n    return sys._getframe(1)",
        "import runpy\n    return runpy.run_path(x)",
        "import importlib.util as u\n    return u.spec_from_file_location('m', x)",
        "from importlib.machinery import SourceFileLoader\n    return SourceFileLoader('m', x)",
        "from importlib.metadata import entry_points\n    return entry_points(group=x)",
        "import importlib.metadata as m\n    return m.entry_points()",
        "import marshal\n    return marshal.loads(x)",
        "import pkgutil\n    return pkgutil.resolve_name(x)",
        "return h.__globals__[x]",
    ],
)
def test_code_that_nobody_can_know_is_dynamic(body: str, tmp_path: Path) -> None:
    found = made(tmp_path, f"def h(): ...\ndef t(x):\n    {body}\n")
    assert [(r.kind, r.file) for r in found.dynamic] == [("dynamic", "tasks.py")]
    assert found.dynamic[0].line == 2 + len(body.splitlines())


def test_helpers_are_dynamic_for_the_task(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        "import lib\ndef t(x):\n    return lib.h(x)\n",
        lib="\ndef h(x):\n    return eval(x)\n",
    )
    assert [(r.text, r.file, r.line) for r in found.dynamic] == [("calls eval", "lib.py", 3)]


def test_dynamic_code_behind_a_lazy_import_is_dynamic(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        "def t(x):\n    import lib\n    return lib.h(x)\n",
        lib="import os\ndef h(x):\n    return os.environ[x], eval(x)\n",
    )
    assert [r.file for r in found.dynamic] == ["lib.py", "lib.py"]


@pytest.mark.parametrize(
    "body",
    [
        "return df.eval('a + b')",
        "return open(x)",
        "return getattr(x, 'a')",
        "import re\n    return re.compile('a')",
        "import importlib\n    return importlib.import_module('json')",
        "import os\n    return os.path.join(x, 'a')",
    ],
)
def test_what_only_looks_like_it_is_not_dynamic(body: str, tmp_path: Path) -> None:
    assert made(tmp_path, f"df = 1\ndef t(x):\n    {body}\n").dynamic == ()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("import time\n    return time.time()", "clock"),
        ("from time import time_ns\n    return time_ns()", "clock"),
        ("import datetime\n    return datetime.datetime.now()", "clock"),
        ("from datetime import date\n    return date.today()", "clock"),
        ("import datetime as dt\n    return dt.datetime.utcnow()", "clock"),
        ("import pandas as pd\n    return pd.Timestamp.now()", "clock"),
        ("import pandas as pd\n    return pd.Timestamp.today()", "clock"),
        ("import random\n    return random.random()", "random"),
        ("from random import choice\n    return choice(x)", "random"),
        ("import random\n    return random.Random()", "random"),
        ("import numpy as np\n    return np.random.rand(3)", "random"),
        ("import numpy as np\n    return np.random.default_rng()", "random"),
        ("from numpy.random import normal\n    return normal()", "random"),
        ("import uuid\n    return uuid.uuid4()", "random"),
        ("import os\n    return os.urandom(3)", "random"),
        ("import secrets\n    return secrets.token_hex()", "random"),
        ("import httpx\n    return httpx.get(x)", "network"),
        ("import urllib.request\n    return urllib.request.urlopen(x)", "network"),
        ("from urllib.request import urlopen\n    return urlopen(x)", "network"),
        ("import socket\n    return socket.create_connection(x)", "network"),
        ("import sqlite3\n    return sqlite3.connect(x)", "database"),
        ("import sqlalchemy as sa\n    return sa.create_engine(x)", "database"),
        ("import subprocess\n    return subprocess.run(x)", "process"),
        ("import multiprocessing\n    return multiprocessing.Pool(1).map(x, [1])", "process"),
        ("from concurrent.futures import ProcessPoolExecutor as P\n    return P(1)", "process"),
        ("import concurrent.futures as c\n    return c.ProcessPoolExecutor(1)", "process"),
        ("import os\n    return os.fork()", "process"),
        ("import os\n    return os.system(x)", "process"),
        ("import sys\n    return sys.argv", "process"),
        ("import pickle\n    return pickle.load(x)", "pickle"),
        ("from pickle import loads\n    return loads(x)", "pickle"),
    ],
)
@pytest.mark.parametrize("where", ["inside", "above"])
def test_clock_random_and_network_are_reported(
    body: str, kind: str, where: str, tmp_path: Path
) -> None:
    line, _, rest = body.partition("\n    ")
    text = (
        f"def t(x):\n    {line}\n    {rest}\n"
        if where == "inside"
        else f"{line}\ndef t(x):\n    {rest}\n"
    )
    found = made(tmp_path, text)
    assert {(r.kind, r.file, r.line) for r in found.impure} == {(kind, "tasks.py", 3)}
    assert found.dynamic == ()


@pytest.mark.parametrize(
    "body",
    [
        "import random\n    return random.Random(3)",
        "import numpy as np\n    return np.random.default_rng(3)",
        "import numpy as np\n    return np.mean(x)",
        "import time\n    return time.sleep(3)",
        "import datetime\n    return datetime.datetime(2020, 1, 1)",
        "import pandas as pd\n    return pd.Timestamp('2020')",
        "import urllib.parse\n    return urllib.parse.quote(x)",
        "from urllib.parse import quote\n    return quote(x)",
        "import uuid\n    return uuid.UUID(x)",
    ],
)
@pytest.mark.parametrize("where", ["inside", "above"])
def test_what_gives_the_same_each_time_is_not_reported(
    body: str, where: str, tmp_path: Path
) -> None:
    line, _, rest = body.partition("\n    ")
    text = (
        f"def t(x):\n    {line}\n    {rest}\n"
        if where == "inside"
        else f"{line}\ndef t(x):\n    {rest}\n"
    )
    assert made(tmp_path, text).impure == ()


FORMS = {
    "files": [
        "import pyarrow as pa\n    return pa.OSFile(x)",
        "from pyarrow import OSFile\n    return OSFile(x)",
        "from pyarrow import fs\n    return fs.LocalFileSystem().open_input_file(x)",
        "import pyarrow.fs\n    return pyarrow.fs.FileSystem.from_uri(x)",
        "import h5py\n    return h5py.File(x)",
    ],
    "random": [
        "import numpy as np\n    return np.random.rand()",
        "import numpy.random\n    return numpy.random.normal(size=3)",
        "import numpy.random as r\n    return r.rand()",
        "from numpy import random as r\n    return r.rand()",
        "from numpy.random import normal as n\n    return n()",
        "import numpy as np\n    r = np.random\n    return r.rand()",
        "import numpy as np\n    f = np.random.rand\n    return f()",
        "import numpy as np\n    return getattr(np.random, 'rand')()",
        "import numpy as np\n    return [np.random.rand() for _ in x]",
        "import numpy as np\n    return (lambda: np.random.rand())()",
        "import numpy as np\n    for _ in x:\n        np.random.rand()",
        "import numpy as np\n    return np.random.mtrand.rand()",
        "import numpy as np\n    return np.random.default_rng()",
        "import numpy as np\n    return np.random.default_rng(None)",
        "import numpy as np\n    return np.random.default_rng(seed=None)",
        "import numpy as np\n    return np.random.RandomState().rand()",
        "import numpy as np\n    return np.random.Generator(np.random.PCG64())",
        "import random\n    return random.Random(None)",
    ],
    "clock": [
        "import pandas as pd\n    return pd.Timestamp('now')",
        "import pandas as pd\n    return pd.to_datetime('today')",
        "import numpy as np\n    return np.datetime64('now')",
        "import pandas as pd\n    return pd.Timestamp.now()",
    ],
    "": [
        "import numpy as np\n    return np.random.default_rng(3)",
        "from numpy.random import default_rng\n    return default_rng(seed=3)",
        "import numpy as np\n    return np.random.Generator(np.random.PCG64(3))",
        "import random\n    return random.Random(3)",
        "import pandas as pd\n    return pd.Timestamp('2026-01-02')",
        "import numpy as np\n    return np.zeros(3)",
    ],
}
LOOK = """
import json, sys
from mxm.pipeline.values.fingerprint import Fingerprints
{first}
import tasks
prints = Fingerprints({root!r})
functions = [value for name, value in vars(tasks).items() if name.startswith("task_")]
print(json.dumps([[r.kind for r in prints.of(each).impure] for each in functions]))
"""


@pytest.mark.parametrize("first", ["", "import numpy.random, pandas"])
def test_forms_of_random_and_clock_are_reported_loaded_or_not(first: str, tmp_path: Path) -> None:
    listed = [(kind, body) for kind, bodies in FORMS.items() for body in bodies]
    text = "\n".join(f"def task_{n}(x):\n    {body}" for n, (_, body) in enumerate(listed))
    (tmp_path / "tasks.py").write_text(text, "utf-8")
    ran = subprocess.run(
        [sys.executable, "-B", "-c", LOOK.format(first=first, root=str(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout)
    wrong = [
        (body, kinds)
        for (kind, body), kinds in zip(listed, found, strict=True)
        if set(kinds) != ({kind} if kind else set())
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "body",
    [
        "import os\n    return os.environ['A']",
        "import os\n    return os.environ.get('A')",
        "import os\n    return os.environ.get('A', 'b')",
        "import os\n    return os.getenv('A')",
        "import os\n    return os.environ[NAME]",
        "import os\n    return 'A' in os.environ",
        "from os import environ\n    return environ['A']",
        "from os import getenv\n    return getenv('A')",
        "import os as o\n    return o.environ.setdefault('A', 'b')",
        "import os\n    os.environ['A'] = x",
    ],
)
@pytest.mark.parametrize("where", ["inside", "above"])
def test_variables_of_the_environment_are_named(body: str, where: str, tmp_path: Path) -> None:
    line, _, rest = body.partition("\n    ")
    text = (
        f"NAME = 'A'\ndef t(x):\n    {body}\n"
        if where == "inside"
        else f"{line}\nNAME = 'A'\ndef t(x):\n    {rest}\n"
    )
    found = made(tmp_path, text)
    assert (found.environment, found.dynamic) == (("A",), ())


def test_secrets_in_code_are_not_in_what_is_kept(tmp_path: Path) -> None:
    text = "from pydantic import SecretStr\nTOKEN = SecretStr('hunter2000')\ndef t(x):\n    return x == 'hunter3000' or SecretStr('hunter4000') or TOKEN\n"
    from mxm.pipeline.values.fingerprint.sources import read_source

    assert "hunter" not in str(read_source(text.encode(), "tasks.py").to_json())
    write(tmp_path, {"tasks.py": text})
    with imported(tmp_path) as module:
        one, other = (Fingerprints(str(tmp_path), key=k).of(module.t) for k in (b"1", b"2"))
    assert "hunter" not in repr(one.items)
    digests = [{i.digest for i in each.items if i.kind != "package"} for each in (one, other)]
    assert digests[0].isdisjoint(digests[1])


# Statements, patches, lazy imports.


def test_statements_of_the_flows_module_count_for_every_task(tmp_path: Path) -> None:
    files = {
        "flows.py": "import lib\nimport sys\nsys.flag = 1\ndef f():\n    return lib.t\n",
        "lib.py": ONE,
    }
    write(tmp_path, files)

    def found(also: bool) -> str:
        with imported(tmp_path, module="flows") as module:
            prints = Fingerprints(str(tmp_path), also=[module.f] if also else [])
            return prints.of(module.lib.t).digest

    before = found(True), found(False)
    edit(tmp_path, "flows.py", "flag = 1", "flag = 2")
    assert (found(True) != before[0], found(False) != before[1]) == (True, False)
    edit(tmp_path, "flows.py", "return lib.t", "return lib.h")
    again = found(True)
    edit(tmp_path, "flows.py", "return lib.h", "return lib.t")
    assert found(True) == again


def test_attribute_of_an_installed_module_set_elsewhere_counts(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    _install(site, "1.0")
    write(
        tmp_path / "p",
        {"tasks.py": USES, "patch.py": "import acme\ndef mine(x):\n    return 1\nacme.f = mine\n"},
    )

    def found() -> Fingerprint:
        with imported(tmp_path / "p", site) as module:
            __import__("patch")
            return Fingerprints(str(tmp_path / "p")).of(module.t)

    before = found()
    assert "patch.mine" in labels(before)
    edit(tmp_path / "p", "patch.py", "return 1", "return 2")
    assert found().digest != before.digest


def test_accessor_of_a_module_that_is_not_imported_counts_by_the_class_it_is_in(
    tmp_path: Path,
) -> None:
    site = tmp_path / "site-packages"
    _install(
        site,
        "1.0",
        "class Frame:\n    pass\nclass Cached:\n    def __init__(self, c):\n        self.c = c\n",
    )
    patch = "import acme\nclass Mine:\n    def k(self):\n        return 1\nacme.Frame.mine = acme.Cached(Mine)\nacme.Frame.f = lambda self: 1\n"
    write(
        tmp_path / "p",
        {"tasks.py": "import acme\ndef t(df):\n    return df.mine.k()\n", "patch.py": patch},
    )

    def found() -> tuple[Any, ...]:
        with imported(tmp_path / "p", site) as module:
            __import__("patch")
            return Fingerprints(str(tmp_path / "p")).of_types([module.acme.Frame])

    before = found()
    assert {"patch.Mine", "patch.<lambda>"} <= {item.label for item in before}
    edit(tmp_path / "p", "patch.py", "return 1", "return 2")
    assert [d.label for d in differences(before, found())] == ["patch.Mine", "patch.Mine.k"]


def test_lazy_import_counts_the_same_once_it_ran(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "def t(x):\n    import lib\n    return lib.h(x)\n", "lib.py": ONE})
    with imported(tmp_path) as module:
        first = Fingerprints(str(tmp_path)).of(module.t)
        module.t(1)
        second = Fingerprints(str(tmp_path)).of(module.t)
    assert first.digest == second.digest
    assert first.recheck() == ()


def test_module_edited_before_its_lazy_import_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "def t(x):\n    import lib\n    return lib.h(x)\n", "lib.py": ONE})
    with imported(tmp_path) as module:
        found = Fingerprints(str(tmp_path)).of(module.t)
        edit(tmp_path, "lib.py", "+ 1", "+ 2")
        assert module.t(1) == 3
    assert [(r.kind, r.text) for r in found.recheck()] == [
        ("edited", "lib was edited before it was imported")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "def t(x):\n    import _elementtree\n    return _elementtree.XMLParser()\n",
        "import _elementtree\ndef t(x):\n    return _elementtree.SubElement(x)\n",
        "from _elementtree import SubElement\ndef t(x):\n    return SubElement(x)\n",
        "from _elementtree import XMLParser\ndef t(x):\n    return XMLParser()\n",
    ],
)
def test_extension_of_the_project_counts_by_its_content(text: str, tmp_path: Path) -> None:
    import _elementtree
    from importlib.machinery import EXTENSION_SUFFIXES

    site = tmp_path / "p"
    write(site, {"tasks.py": "import ext\ndef t(x):\n    return ext.f(x)\n"})
    source = getattr(_elementtree, "__file__", None)
    if source is None:  # built into Python
        return
    library = site / f"_elementtree{EXTENSION_SUFFIXES[0]}"
    (site / "tasks.py").write_text(
        "def t(x):\n    import _elementtree\n    return _elementtree.XMLParser()\n"
    )
    shutil.copy(source, library)
    loaded = sys.modules.pop("_elementtree")
    try:
        with imported(site) as module:
            one = Fingerprints(str(site)).of(module.t)
        with open(library, "ab") as file:
            file.write(b"more")
        with imported(site) as module:
            two = Fingerprints(str(site)).of(module.t)
    finally:
        sys.modules["_elementtree"] = loaded
    assert one.digest != two.digest


# Memory, pickles, processes.


def test_memory_is_used_only_for_files_that_did_not_change(tmp_path: Path) -> None:
    write(tmp_path / "p", {"tasks.py": ONE})
    path = tmp_path / "p" / "tasks.py"
    store = tmp_path / "memory.json"

    def found() -> tuple[str, bool]:
        memory = FileMemory(store)
        with imported(tmp_path / "p") as module:
            prints = Fingerprints(str(tmp_path / "p"), memory)
            digest = prints.of(module.t).digest
        prints.save()
        return digest, store.exists() and str(path) in store.read_text()

    young, kept = found()
    assert not kept  # its clock may not have ticked since
    from mxm.pipeline.values.fingerprint import memory as module

    settled = module._SETTLED_NS
    module._SETTLED_NS = -(10**12)
    try:
        assert found() == (young, True)
        assert found() == (young, True)
        text = store.read_text()
        edit(tmp_path / "p", "tasks.py", "+ 1", "+ 2")
        assert found()[0] != young
        edit(tmp_path / "p", "tasks.py", "+ 2", "+ 1")
        for wrong in ("{", "[]", '{"scheme": 1}', text.replace('"scheme":"', '"scheme":"x')):
            store.write_text(wrong)
            assert found()[0] == young
    finally:
        module._SETTLED_NS = settled


def test_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    memory = FileMemory(tmp_path / "nowhere" / "memory.json")
    write(tmp_path, {"tasks.py": ONE})
    with imported(tmp_path) as module:
        prints = Fingerprints(str(tmp_path), memory)
        assert prints.of(module.t).digest
    prints.save()


def test_fingerprint_travels_without_what_is_live(tmp_path: Path) -> None:
    found = made(tmp_path, ONE)
    other = pickle.loads(pickle.dumps(found))
    assert (other.items, other.digest) == (found.items, found.digest)
    with pytest.raises(RuntimeError, match="another process"):
        other.at_call()


def test_other_processes_find_the_same(tmp_path: Path) -> None:
    text = """
    import enum, functools, re, mxm
    from dataclasses import dataclass, field
    NAMES = {"a", "b", "c", "d"}
    TABLE = {"x": frozenset({"p", "q", "r"})}
    class E(enum.Flag):
        A = 1
        B = 2
    @dataclass
    class D:
        k: set = field(default_factory=lambda: {"u", "v", "w"})
    F = {"b": lambda x: x, "a": lambda x: x + 1}
    @functools.cache
    def h(x):
        return x in {"one", "two", "three"}, NAMES, TABLE, E.A | E.B, D(), F
    @mxm.task
    def t(x: int) -> int:
        return h(x)
    """
    write(tmp_path, {"tasks.py": dedent(text)})
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tasks\n"
        "from mxm.pipeline.values.fingerprint import Fingerprints\n"
        "f = Fingerprints(sys.argv[1]).of(tasks.t); print(f.digest, f.at_call(), f.items, f.edited)"
    )
    root = str(Path(__file__).parent.parent)
    found = {
        subprocess.run(
            [sys.executable, "-B", "-c", program, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1
    assert found.pop().rstrip().endswith("()")


def test_each_definition_is_read_once_for_all_tasks(tmp_path: Path) -> None:
    text = "def h(x):\n    return x\n" + "".join(
        f"def t{n}(x):\n    return h(x)\n" for n in range(5)
    )
    write(tmp_path, {"tasks.py": text})
    from mxm.pipeline.values.fingerprint import functions

    read: list[str] = []
    original = functions.raw_digest

    def counted(code: Any) -> str:
        read.append(code.co_name)
        return original(code)

    functions.raw_digest = counted
    try:
        with imported(tmp_path) as module:
            prints = Fingerprints(str(tmp_path))
            for n in range(5):
                prints.of(getattr(module, f"t{n}"))
    finally:
        functions.raw_digest = original
    assert read.count("h") == 1


def test_differences_name_what_changed_what_is_new_and_what_is_gone() -> None:
    a, b, c = (Item(name, "1", "function") for name in "abc")
    found = differences([a, b], [a._replace(line=9), b._replace(digest="2"), c])
    assert [(d.label, d.before is None, d.after is None) for d in found] == [
        ("b", False, False),
        ("c", True, False),
    ]
    assert [d.label for d in differences([c], [])] == ["c"]
    assert differences([a], [a]) == []


def test_reasons_and_differences_say_it_in_words(tmp_path: Path) -> None:
    found = made(tmp_path, "import time\ndef t(x):\n    return time.time()\n")
    assert [str(r) for r in found.impure] == ["reads time.time at tasks.py:3"]
    one = Item("lib.h", "1", "function", "lib.py", 3)
    package = Item("pandas", "2.2.2 aa", "package")
    both = differences(
        [one, package], [one._replace(digest="2"), package._replace(digest="2.2.3 bb")]
    )
    assert [str(d) for d in both] == ["function lib.h changed at lib.py:3", "pandas 2.2.2 -> 2.2.3"]
    assert [(str(d), d.what) for d in differences([], [one])] == [
        ("function lib.h new at lib.py:3", "added")
    ]
    assert [(str(d), d.what) for d in differences([one], [])] == [
        ("function lib.h gone at lib.py:3", "removed")
    ]


def test_classes_and_modules_have_fingerprints(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": ONE + "class A:\n    k = 1\n"})
    with imported(tmp_path) as module:
        prints = Fingerprints(str(tmp_path))
        assert "tasks.h" in labels(prints.of(module))
        assert labels(prints.of(module.A)) == ["tasks.A", "tasks.A.k"]
        before = prints.of(module).digest
    edit(tmp_path, "tasks.py", "+ 1", "+ 2")
    with imported(tmp_path) as module:
        assert Fingerprints(str(tmp_path)).of(module).digest != before
