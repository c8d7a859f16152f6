"""Which files a scan takes to declare flows: by every form of the text, in every encoding."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from mxm.pipeline.discovery.scan import scan

DECLARING = {
    "decorated": "import mxm\n@mxm.flow\ndef f(): ...\n",
    "decorated by name": "from mxm import flow\n@flow()\ndef f(): ...\n",
    "async": "import mxm.pipeline as p\n@p.flow(name='found')\nasync def g(): ...\n",
    "called": "from mxm import flow; risk = flow(name='risk')(body)\n",
    "called through mxm": "import mxm\nrisk = mxm.flow(body)\n",
    "called in a loop": "import mxm\nflows = {k: mxm.flow(name=k)(body) for k in 'ab'}\n",
    "called in a class": "import mxm\nclass A:\n    x = mxm.flow(body)\n",
    "passed": "import mxm\nmap(mxm.flow, [body])\n",
    "in a partial": "import mxm, functools\nnightly = functools.partial(mxm.flow, params={})\n",
    "module renamed": "import mxm as m\n@m.flow\ndef f(): ...\n",
    "module renamed beside others": "import os, mxm as M; M.flow(body)\n",
    "module after others": "import os as o, mxm\nif o.name:\n    @ mxm . flow\n    def f(): ...\n",
    "import in a line of its if": "if True: import mxm\n@mxm.flow\ndef f(): ...\n",
    "name renamed": "from mxm import flow as F\n@F\ndef f(): ...\n",
    "names in brackets": "from mxm import (\n    task as T,  # x\n    flow as F,\n)\nF(body)\n",
    "assigned": "import mxm\nfl = mxm.flow\n@fl\ndef f(): ...\n",
    "star": "from mxm import *\n@flow\ndef f(): ...\n",
    "star of the package": "from mxm.pipeline import *\nregister_flow(spec)\n",
    "registered": "from mxm.pipeline import register_flow\nregister_flow(spec)\n",
    "registered by another name": "from mxm.pipeline import register_flow as reg\nreg(spec)\n",
    "registered through its module": "from mxm.pipeline import registry\nregistry.register_flow(s)\n",
    "registered by its whole name": "import mxm.pipeline.registry\nmxm.pipeline.registry.register_flow(s)\n",
    "registered behind a function": "from mxm.pipeline import register_flow\ndef main():\n    register_flow(s)\n",
    "strings before it": 'import mxm\nx = \'"\' "#"\n@mxm.flow\ndef f(): ...\n',
    "decorator on several lines": "import mxm\n@ mxm \\\n . flow\ndef f(): ...\n",
    "decorator in brackets": "import mxm\n@(\n    mxm.flow\n)\ndef f(): ...\n",
    "import on several lines": "from mxm \\\n import flow\n@flow\ndef f(): ...\n",
    "one of two imports": (
        "try:\n    from mxm import flow\nexcept ImportError:\n    flow = None\n@flow\ndef f(): ...\n"
    ),
}
INNOCENT = {
    "imported only": "import mxm\n",
    "imported by name only": "from mxm import flow, task\n@task\ndef f(): ...\n",
    "another flow": "def flow(f): return f\n@flow\ndef f(): ...\n",
    "another flow beside mxm": "import mxm\ndef flow(f): return f\n@flow\ndef g(): ...\n",
    "another module's flow": "import mxm\nimport firm.flow as f\nf.run()\n",
    "a module called flow": "from mxm import task as T\nimport flow as f\n",
    "another package": "import pandas_mxm\n@pandas_mxm.flow\ndef f(): ...\n",
    "a task called flow": "import mxm\n@mxm.task\ndef flow(): ...\nflow()\n",
    "a parameter called flow": "import mxm\ndef f(flow: mxm.Flow): return flow.run()\n",
    "in comments": "# import mxm; @mxm.flow\n",
    "in strings": "import mxm\n'@mxm.flow'  # @mxm.flow\n",
    "in long strings": "import mxm\n'''\n\\'''\n@mxm.flow\n'''\n",
    "in a docstring": 'import mxm\n"""Write:\n\n@mxm.flow\ndef f(): ...\n"""\n',
    "own register_flow": "import mxm\ndef register_flow(spec): ...\n",
}


def declaring(folder: Path, files: dict[str, str | bytes]) -> set[str]:
    """Which of *files*, texts by relative path, a scan takes to declare flows."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {os.path.relpath(path, folder) for path in scan(str(folder)).declaring}


def in_encoding(text: str, form: str) -> bytes:
    """*text* as an editor may have written it."""
    if form == "cr":
        return text.replace("\n", "\r").encode()
    if form == "crlf":
        return text.replace("\n", "\r\n").encode()
    if form == "form feed":
        return ("\f" + text.replace("\n@", "\n\f@")).encode()
    if form == "bom":
        return b"\xef\xbb\xbf" + text.encode()
    if form == "latin-1":
        return f"# coding: latin-1\n# \xe9\n{text}".encode("latin-1")
    if form == "shift_jis":  # whose second bytes may be a backslash
        return f"#!python\n# -*- coding: shift_jis -*-\nx = '\u8868'\n{text}".encode("shift_jis")
    return text.encode(form)


FORMS = ["cr", "crlf", "form feed", "bom", "latin-1", "shift_jis", "utf-8", "utf-16", "utf-32"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", DECLARING.values(), ids=DECLARING)
def test_every_way_to_declare_a_flow_is_seen_in_every_encoding(
    tmp_path: Path, text: str, form: str
) -> None:
    assert declaring(tmp_path, {"a.py": in_encoding(text, form)}) == {"a.py"}


@pytest.mark.parametrize("form", ["utf-8", "cr", "bom"])
@pytest.mark.parametrize("text", INNOCENT.values(), ids=INNOCENT)
def test_file_that_declares_no_flow_is_left_alone(tmp_path: Path, text: str, form: str) -> None:
    assert declaring(tmp_path, {"a.py": in_encoding(text, form)}) == set()


@pytest.mark.parametrize(
    "text", ["import mxm\n@mxm.flow\ndef f(:", "import mxm as m\n@m.flow\ndef f(:"]
)
def test_file_that_cannot_be_parsed_is_imported_so_that_its_error_is_reported(
    tmp_path: Path, text: str
) -> None:
    assert declaring(tmp_path, {"a.py": text, "b.py": "def f(:"}) == {"a.py"}


# Factories and names of the project

FACTORY = """
import mxm

@mxm.task
def load(): ...

def make(name):
    @mxm.flow(name=name)
    def body(): ...
    return body

@mxm.flow
def own():
    return load
"""
TAKING = {
    "name": "from firm.fac import make\nrisk = make('risk')\n",
    "module": "from firm import fac\nfac.make('x')\n",
    "dotted module": "import firm.fac\nfirm.fac.make('x')\n",
    "module renamed": "import firm.fac as q\nq.make('x')\n",
    "star": "from firm.fac import *\nmake('x')\n",
    "name renamed and passed": "from firm.fac import make as m\nlist(map(m, 'ab'))\n",
    "on several lines": "from firm.fac import (\n    load,\n    make,\n)\nmake('x')\n",
}


@pytest.mark.parametrize("init", [{}, {"firm/__init__.py": ""}], ids=["no __init__", "__init__"])
@pytest.mark.parametrize("text", TAKING.values(), ids=TAKING)
def test_module_that_uses_a_factory_of_the_project_declares_flows(
    tmp_path: Path, text: str, init: dict[str, str | bytes]
) -> None:
    files: dict[str, str | bytes] = {"firm/fac.py": FACTORY, "a.py": text, **init}
    assert declaring(tmp_path, files) == {"firm/fac.py", "a.py"}


@pytest.mark.parametrize("text", TAKING.values(), ids=TAKING)
def test_module_that_uses_tasks_and_flows_beside_a_factory_does_not(
    tmp_path: Path, text: str
) -> None:
    for other in ("load", "own"):
        text = text.replace("make", other)
        files: dict[str, str | bytes] = {"firm/fac.py": FACTORY, "a.py": text}
        assert declaring(tmp_path, files) == {"firm/fac.py"}
        text = text.replace(other, "make")


PROJECTS: dict[str, tuple[dict[str, str], str]] = {
    "relative": (
        {
            "firm/fac.py": FACTORY,
            "firm/a.py": "from .fac import make\nmake(1)",
            "firm/b.py": "from . import fac\nfac.make(1)",
            "firm/c.py": "from .fac import own\nown.run()",
            "firm/d.py": "from .fac import load\nload()",
            "firm/sub/e.py": "from ..fac import make\nmake(1)",
        },
        "firm/fac.py firm/a.py firm/b.py firm/sub/e.py",
    ),
    "names passed on": (
        {
            "base.py": "from mxm import flow, task",
            "a.py": "from base import flow\n@flow\ndef f(): ...",
            "b.py": "from base import task\n@task\ndef f(): ...",
        },
        "a.py",
    ),
    "names passed on in a circle": (
        {
            "firm/__init__.py": "from .base import flow\nfrom .daily import risk",
            "firm/base.py": "from mxm import flow as flow",
            "firm/daily.py": "from firm import flow\n@flow\ndef risk(): ...",
        },
        "firm/daily.py",
    ),
    "mxm itself passed on": (
        {
            "base.py": "import mxm",
            "a.py": "from base import mxm\n@mxm.flow\ndef f(): ...",
            "b.py": "import base\nbase.mxm.flow(f)",
        },
        "a.py b.py",
    ),
    "one of two imports passed on": (
        {
            "base.py": "try:\n    from mxm import flow\nexcept ImportError:\n    from prefect import flow",
            "a.py": "from base import flow\n@flow\ndef f(): ...",
        },
        "a.py",
    ),
    "decorators with options": (
        {
            "base.py": "import mxm\ndaily = mxm.flow(schedule_cron='0 1 * * *')\nF = mxm.flow",
            "a.py": "from base import daily\n@daily\ndef f(): ...",
            "b.py": "from base import F\nF(f)",
        },
        "base.py a.py b.py",
    ),
    "factories of factories": (
        {
            "one.py": FACTORY,
            "two.py": "import one\ndef both(n):\n    return one.make(n)",
            "three.py": "from two import both\nboth(1)",
        },
        "one.py two.py three.py",
    ),
    "partials": (
        {
            "one.py": "import functools, mxm\nnightly = functools.partial(mxm.flow, name='x')",
            "two.py": "from one import nightly\nnightly(f)",
        },
        "one.py two.py",
    ),
    "classes": (
        {
            "one.py": "import mxm\nclass Book:\n    def build(self): return mxm.flow(f)",
            "two.py": "from one import Book\nBook().build()",
        },
        "one.py two.py",
    ),
    "stars of stars": (
        {
            "one.py": FACTORY,
            "two.py": "from one import *",
            "three.py": "from two import *",
            "four.py": "from three import make\nmake(1)",
        },
        "one.py four.py",
    ),
    "a package of stars": (
        {
            "firm/__init__.py": "from .base import *",
            "firm/base.py": "from mxm import *",
            "firm/c.py": "from . import flow\n@flow\ndef f(): ...",
            "d.py": "import firm\n@firm.flow\ndef f(): ...",
            "e.py": "from firm import task\n@task\ndef f(): ...",
        },
        "firm/c.py d.py",
    ),
    "flows that are run": (
        {
            "one.py": "from mxm import flow\n@flow\ndef risk(): ...\nmore = flow(name='x')(risk.fn)",
            "two.py": "from one import risk, more\nrisk.run(); more.run()",
        },
        "one.py",
    ),
    "factories of another project": (
        {
            "a/base.py": "def make(n): ...",
            "a/flows.py": "from base import make\nmake(1)",
            "b/base.py": FACTORY,
            "b/flows.py": "from base import make\nmake(1)",
        },
        "b/base.py b/flows.py",
    ),
}


@pytest.mark.parametrize(("files", "expected"), PROJECTS.values(), ids=PROJECTS)
def test_what_modules_take_from_each_other_is_followed(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    texts: dict[str, str | bytes] = {k: textwrap.dedent(v) for k, v in files.items()}
    assert declaring(tmp_path, texts) == {*expected.split()}


# What is left out


def test_what_is_left_out_is_named_with_its_reason(tmp_path: Path) -> None:
    task = "import mxm\n@mxm.task\ndef f(): ...\n"
    files: dict[str, str | bytes] = {
        "tasks.py": task,
        "plain.py": "x = 1",
        "tests/a.py": task,
        "build/a.py": task,
        "env/pyvenv.cfg": "",
        "test_a.py": task,
        "test_plain.py": "x = 1",
        "conftest.py": task,
        "flows.py": DECLARING["decorated"],
    }
    assert declaring(tmp_path, files) == {"flows.py"}
    (tmp_path / "dangling.py").symlink_to(tmp_path / "gone.py")
    os.mkfifo(tmp_path / "pipe.py")  # to open it would wait for ever
    left_out = [each for each in scan(str(tmp_path)).left_out if each.matters()]
    assert {os.path.relpath(each.path, tmp_path): each.why for each in left_out} == {
        "tasks.py": "uses mxm, but neither flow nor register_flow",
        "tests": "folders named 'tests' are not scanned",
        "build": "folders named 'build' are not scanned",
        "env": "a virtual environment",
        "test_a.py": "tests are not scanned",
        "conftest.py": "tests are not scanned",
        "dangling.py": "cannot be read: No such file or directory",
        "pipe.py": "cannot be read: not a regular file",
    }
