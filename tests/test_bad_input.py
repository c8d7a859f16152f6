"""Bad input: each message names the thing, the place and the way out; never a traceback of ours."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest
from command import Outcome, call, invoke, write

GOOD = """
    import mxm

    @mxm.task
    def load(limit: int = 3) -> list[int]:
        return list(range(limit))

    @mxm.task(upstream=load)
    def total(rows: list[int]) -> int:
        return sum(rows)

    @mxm.flow
    def good():
        return total
    """
INLINE = ("--backend", "inline", "--quiet")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that holds the flow ``good``."""
    folder = tmp_path / "project"
    write(folder, {"good.py": GOOD})
    monkeypatch.chdir(folder)
    return folder


def assert_told(outcome: Outcome, code: int, *parts: str) -> None:
    """The exit code, every part on stderr, and no traceback anywhere."""
    assert outcome.code == code, outcome.err
    for part in parts:
        assert part in outcome.err, outcome.err
    assert "Traceback" not in outcome.err + outcome.out


def module(text: str) -> str:
    return "import mxm\n" + textwrap.dedent(text)


# Misspelt


@pytest.mark.parametrize("verb", ["run", "show", "graph", "check"])
def test_misspelt_flow(project: Path, verb: str) -> None:
    ran = invoke(verb, "goood")
    assert_told(ran, 2, "unknown flow 'goood'", "did you mean 'good'?")
    assert ran.out == ""


def test_misspelt_option(project: Path) -> None:
    ran = invoke("run", "good", "--parm", "limit=1")
    assert_told(ran, 2, "--parm", "--param")
    assert ran.out == ""


def test_misspelt_command(project: Path) -> None:
    assert_told(invoke("rnu", "good"), 2, "'rnu'", "'run'")


@pytest.mark.parametrize(
    ("option", "value", "nearest"),
    [("--backend", "prefct", "prefect"), ("--runner", "thread", "threads")],
)
def test_misspelt_value_of_an_option(project: Path, option: str, value: str, nearest: str) -> None:
    ran = invoke("run", "good", option, value)
    assert_told(ran, 2, f"{value!r}", f"did you mean {nearest!r}?")


def test_misspelt_format(project: Path) -> None:
    ran = invoke("graph", "good", "--format", "dto")
    assert_told(ran, 2, "unknown format 'dto'", "did you mean 'dot'?")


def test_misspelt_parameter_is_a_warning_that_suggests_the_nearest(project: Path) -> None:
    ran = invoke("run", "good", "-p", "limt=2", *INLINE)
    assert_told(ran, 0, "warning", "good.py:11", "'limt'", "did you mean 'limit'?")
    assert json.loads(ran.out)["total"] == 3


def test_misspelt_parameter_is_an_error_where_asked_for(project: Path) -> None:
    ran = invoke("run", "good", "-p", "limt=2", "--strict-params", *INLINE)
    assert_told(ran, 2, "error", "good.py:11", "'limt'", "did you mean 'limit'?")


def test_misspelt_file(project: Path) -> None:
    assert_told(invoke("run", "god.py:good"), 2, "no such file: 'god.py'", "'good.py'")


def test_misspelt_option_of_a_decorator(project: Path) -> None:
    write(project, {"bad.py": module("@mxm.task(retrys=3)\ndef t(): ...\n@mxm.flow\ndef f(): ...")})
    ran = invoke("list")
    assert_told(ran, 3, "bad.py:2", "'retrys'", "did you mean 'retries'?")


# Parameters


def test_value_that_does_not_fit_its_type(project: Path) -> None:
    ran = invoke("run", "good", "-p", "limit=ten", *INLINE)
    assert_told(ran, 2, "'limit'", "takes int, not", "ten", "'load'", "good.py:3")
    assert ran.out == ""


def test_parameter_without_a_value(project: Path) -> None:
    ran = invoke("run", "good", "-p", "limit")
    assert_told(ran, 2, "-p limit has no value", "-p limit=VALUE")
    assert ran.out == ""


@pytest.mark.parametrize("value", ["--quiet", "-q", "--limit=3"])
def test_option_in_the_place_of_a_parameter(project: Path, value: str) -> None:
    ran = invoke("run", "good", "-p", value)
    assert_told(ran, 2, "-p needs NAME=VALUE: an option follows it", "-p NAME=VALUE")


def test_parameter_without_a_name(project: Path) -> None:
    assert_told(invoke("run", "good", "-p", "=3"), 2, "-p needs NAME=VALUE", "-p NAME.FIELD=VALUE")


def test_missing_parameter_is_asked_for_before_anything_runs(project: Path) -> None:
    text = """
        @mxm.task
        def first():
            open("ran", "w")

        @mxm.task(after=first)
        def second(day: str):
            return day

        @mxm.flow
        def needs():
            return second
        """
    write(project, {"needs.py": module(text)})
    ran = invoke("run", "needs", *INLINE)
    assert_told(ran, 2, "missing parameter 'day'", "'second'", "needs.py:7", "-p day=VALUE")
    assert not (project / "ran").exists()


@pytest.mark.parametrize("workers", ["0", "-1"])
def test_number_of_workers_that_is_none(project: Path, workers: str) -> None:
    ran = invoke("run", "good", "--runner", "threads", "--workers", workers)
    assert_told(ran, 2, "workers", workers)


def test_number_of_workers_in_words(project: Path) -> None:
    assert_told(invoke("run", "good", "--workers", "two"), 2, "'--workers'", "valid integer")


# Modules that do not import


BROKEN = {
    "raises.py": "import mxm\nraise RuntimeError('no licence')\n@mxm.flow\ndef f(): ...\n",
    "syntax.py": "import mxm\n@mxm.flow\ndef f(:\n    pass\n",
    "leaves.py": "import mxm\nraise SystemExit(0)\n@mxm.flow\ndef f(): ...\n",
    "skips.py": "import mxm, pytest\npytest.skip(allow_module_level=True)\n@mxm.flow\ndef f(): ...",
}
PLACES = {
    "raises.py": ("raises.py:2", "'raises'", "RuntimeError: no licence"),
    "syntax.py": ("syntax.py:3", "'syntax'", "SyntaxError"),
    "leaves.py": ("leaves.py:2", "'leaves'", "SystemExit"),
    "skips.py": ("skips.py:2", "'skips'", "Skipped"),
}


def test_flow_of_a_module_that_does_not_import_does_not_run(project: Path) -> None:
    half = textwrap.dedent(GOOD).replace("good", "half") + BROKEN["raises.py"]
    write(project, {"half.py": half})
    ran = invoke("run", "half", *INLINE)
    assert_told(ran, 3, "unknown flow 'half'", "half.py:15", "RuntimeError: no licence")
    assert (ran.out, invoke("list").out.count("half")) == ("", 0)


@pytest.mark.parametrize("name", BROKEN)
def test_module_that_does_not_import_hides_no_good_one(project: Path, name: str) -> None:
    write(project, {name: BROKEN[name]})
    ran = invoke("list")
    assert_told(ran, 3, *PLACES[name])
    assert [line.split()[0] for line in ran.out.splitlines()] == ["NAME", "good"]


@pytest.mark.parametrize("name", BROKEN)
def test_good_flow_runs_beside_a_module_that_does_not_import(project: Path, name: str) -> None:
    write(project, {name: BROKEN[name]})
    ran = invoke("run", "good", *INLINE)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["total"] == 3


@pytest.mark.parametrize("verb", ["run", "show", "graph", "check"])
@pytest.mark.parametrize("name", BROKEN)
def test_name_not_found_beside_a_module_that_does_not_import(
    project: Path, name: str, verb: str
) -> None:
    write(project, {name: BROKEN[name]})
    ran = invoke(verb, "missing")
    assert_told(ran, 3, "unknown flow 'missing'", *PLACES[name])


def test_check_beside_a_module_that_does_not_import(project: Path) -> None:
    write(project, BROKEN)
    ran = invoke("check")
    assert_told(ran, 3, *(place for place, *_ in PLACES.values()))
    assert ran.out == "1 flow checked: no problems\n"


def test_json_documents_name_the_modules_that_do_not_import(project: Path) -> None:
    write(project, {"raises.py": BROKEN["raises.py"]})
    for verb in ("list", "check"):
        ran = invoke(verb, "--json")
        assert ran.code == 3
        assert json.loads(ran.out)["failures"] == [
            {
                "module": "raises",
                "error": "RuntimeError: no licence",
                "source": "raises.py:2",
                "origin": None,
            }
        ]


def test_module_given_that_does_not_exist(project: Path) -> None:
    ran = invoke("list", "-m", "no_such")
    assert_told(
        ran, 3, "module 'no_such' (-m)", "No module named", f"imports are looked up in {project}"
    )
    assert [line.split()[0] for line in ran.out.splitlines()] == ["NAME", "good"]


@pytest.mark.parametrize(
    "arguments", [["list", "--json"], ["show", "good", "--json"], ["check", "--json"],
                  ["graph", "good", "--json"], ["run", "good", *INLINE]],
    ids=lambda a: a[0],
)  # fmt: skip
def test_stdout_is_one_document_whatever_a_module_prints_at_import(
    project: Path, arguments: list[str]
) -> None:
    text = """
        import os, subprocess
        print("printed")
        os.write(1, b"written\\n")
        subprocess.run(["echo", "spawned"], check=True)
        """
    write(project, {"good.py": textwrap.dedent(text) + textwrap.dedent(GOOD)})
    ran = call(*arguments, cwd=project)
    assert_told(ran, 0, "printed", "written", "spawned")
    assert isinstance(json.loads(ran.out), dict)


def test_search_that_is_cut_short_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mxm.pipeline.discovery.scan.MOST_FILES", 1)
    write(project, {"more.py": "x = 1\n"})
    told = f"warning: only the first 1 Python files under {project} were scanned: set modules"
    for arguments in (
        ["list"],
        ["check"],
        ["check", "good"],
        ["show", "good"],
        ["run", "good", *INLINE],
    ):
        assert_told(invoke(*arguments), 0, told)
    assert_told(invoke("run", "missing"), 2, "known: 'good'", "hint: only the first 1 Python files")


# Graphs


def test_upstream_that_is_a_plain_function(project: Path) -> None:
    text = """
        def plain():
            return 1

        @mxm.task(upstream=plain)
        def takes(x):
            return x

        @mxm.flow
        def wrong():
            return takes
        """
    write(project, {"wrong.py": module(text)})
    told = ("wrong.py:6", "'takes'", "'plain'", "plain function", "@mxm.task above 'plain'")
    assert_told(invoke("run", "wrong"), 4, *told)
    assert_told(invoke("graph", "wrong"), 4, *told)
    assert_told(invoke("check"), 4, *told)
    listed = invoke("list")
    assert (listed.code, "INVALID" in listed.out) == (0, True)


def test_upstream_that_lists_itself(project: Path) -> None:
    text = """
        @mxm.task(upstream="selfish")
        def selfish(x):
            return x

        @mxm.flow
        def wrong():
            return selfish
        """
    write(project, {"wrong.py": module(text)})
    told = ("wrong.py:3", "cycle: selfish -> selfish", "remove one of these upstreams")
    assert_told(invoke("run", "wrong"), 4, *told)
    assert_told(invoke("check", "wrong"), 4, *told)


@pytest.mark.parametrize(
    "text",
    [
        "@mxm.flow\ndef empty(): ...\n",
        "@mxm.flow(tasks=[])\ndef empty(): ...\n",
        "from mxm.pipeline import FlowSpec, register_flow\nregister_flow(FlowSpec('empty'))\n",
    ],
)
def test_flow_without_tasks(project: Path, text: str) -> None:
    write(project, {"empty.py": module(text)})
    told = ("empty.py:", "flow 'empty' has no tasks", "hint: ", "asks=[")
    assert_told(invoke("run", "empty"), 4, *told)
    assert_told(invoke("check"), 4, *told)


def test_every_problem_of_every_flow_is_told_at_once(project: Path) -> None:
    text = """
        from mxm.pipeline import FlowSpec, TaskSpec, register_flow

        def f(*args): ...

        register_flow(FlowSpec("many", [
            TaskSpec("a", f, upstream=["b"]),
            TaskSpec("b", f, upstream=["a", "lost"]),
            TaskSpec("b", f),
        ]))
        register_flow(FlowSpec("none", []))
        """
    write(project, {"many.py": module(text)})
    told = ("duplicate task name 'b'", "unknown upstream 'lost'", "cycle: a -> b -> a", "'none'")
    assert_told(invoke("check"), 4, *told)


def test_one_name_in_two_files(project: Path) -> None:
    write(project, {"other/more.py": GOOD})
    listed = invoke("list")
    assert listed.code == 0
    assert listed.out.count("INVALID: 1 problem") == 2
    rows = [line.split("  ")[0] for line in listed.out.splitlines()[1:]]
    assert sorted(rows) == ["good (good.py)", f"good ({os.path.join('other', 'more.py')})"]
    for one in json.loads(invoke("list", "--json").out)["flows"]:
        assert [problem["code"] for problem in one["problems"]] == ["MXM107"]
        assert not one["valid"]
    places = ("good.py:11", "other/more.py:11")
    assert_told(invoke("check"), 4, "2 flows are named 'good'", *places)
    assert_told(invoke("run", "good"), 2, "2 flows are named 'good'", *places, "good.py:good")
    ran = invoke("run", "other/more.py:good", *INLINE)
    assert (ran.code, json.loads(ran.out)["total"]) == (0, 3)


CHAIN = """
    from mxm.pipeline.registry import register_flow
    from mxm.pipeline.spec import FlowSpec, TaskSpec

    def first() -> int:
        return 0

    def step(x: int) -> int:
        return x + 1

    tasks = [TaskSpec("t0", first)]
    tasks += [TaskSpec(f"t{i}", step, upstream=[f"t{i - 1}"]) for i in range(1, 10_000)]
    register_flow(FlowSpec("chain", tasks))
    """


def test_graph_of_10_000_tasks_in_one_line(project: Path) -> None:
    write(project, {"chain.py": CHAIN})
    assert invoke("check", "chain").code == 0
    for kind in ("tree", "mermaid", "dot"):
        drawn = invoke("graph", "chain", "--format", kind)
        assert (drawn.code, "t9999" in drawn.out) == (0, True)
    ran = invoke("run", "chain", *INLINE)
    assert (ran.code, json.loads(ran.out)["t9999"]) == (0, 9_999)


def test_body_that_calls_3_000_tasks_in_one_line(project: Path) -> None:
    text = """
        @mxm.task
        def step(x: int) -> int:
            return x + 1

        @mxm.flow
        def chain(x: int = 0):
            for _ in range(3_000):
                x = step(x)
            return x
        """
    write(project, {"chain.py": module(text)})
    ran = invoke("run", "chain", *INLINE)
    assert (ran.code, json.loads(ran.out)["step_3000"]) == (0, 3_000)


def test_circle_of_10_000_tasks(project: Path) -> None:
    closed = CHAIN.replace('TaskSpec("t0", first)', 'TaskSpec("t0", step, upstream=["t9999"])')
    write(project, {"chain.py": closed})
    ran = invoke("check", "chain")
    assert_told(ran, 4, "cycle: t0 -> t1 -> ", "-> t9999 -> t0", "chain.py:")
    assert len(ran.err) < 3_000


# Results


def test_result_that_json_cannot_hold_names_task_and_path_and_hides_no_other(
    project: Path,
) -> None:
    text = """
        @mxm.task
        def fine():
            return 1

        @mxm.task
        def odd():
            return {"rows": [1, object()]}

        @mxm.flow
        def results():
            return [odd, fine]
        """
    write(project, {"results.py": module(text)})
    ran = invoke("run", "results", "--strict-json", *INLINE)
    assert_told(ran, 1, "'odd'", "$.rows[1]", "object", "hint: ")
    assert json.loads(ran.out) == {"fine": 1}


# Nothing there


def test_no_flows_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a.py": "x = 1\n"})
    looked = f"1 Python files under {tmp_path}, 0 of which declare flows"
    for arguments in (["list"], ["list", "--json"], ["check"]):
        ran = invoke(*arguments)
        assert_told(ran, 2 if arguments == ["check"] else 0, "no flows found", looked)
        assert "decorate a function with @mxm.flow, or name modules with -m" in ran.err
    way_out = "decorate a function with @mxm.flow, or name modules with -m"
    assert_told(invoke("run", "any"), 2, "unknown flow 'any'", looked, way_out)


def test_no_flows_where_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = '[tool.mxm.pipeline]\npaths = ["src"]\n'
    write(tmp_path, {"pyproject.toml": settings, "src/a.py": "x = 1\n", "flows.py": GOOD})
    ran = invoke("list")
    assert_told(ran, 0, "[tool.mxm.pipeline] of pyproject.toml", f"under {tmp_path / 'src'}")


# Prefect and the home folder


def test_prefect_not_installed(project: Path, tmp_path: Path) -> None:
    text = """
        import sys

        class Refuses:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "prefect":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Refuses())
        """
    write(tmp_path / "without", {"sitecustomize.py": text})
    paths = [str(tmp_path / "without"), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    ran = call("run", "good", cwd=project, env=env)
    assert_told(ran, 2, "Prefect is not installed", "pip install 'mxm-pipeline[prefect]'", "inline")
    assert ran.out == ""
    assert call("run", "good", *INLINE, cwd=project, env=env).code == 0
    assert call("check", cwd=project, env=env).code == 0


def tree(folder: Path) -> set[str]:
    """Everything under *folder*, Python's own caches aside."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {path for path in found if "__pycache__" not in path}


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("kind", ["fresh", "read-only", "missing", "no folder", "unset"])
def test_run_through_prefect_leaves_nothing_whatever_the_home_folder_is(
    project: Path, tmp_path: Path, kind: str, fails: bool
) -> None:
    if fails:
        write(project, {"good.py": GOOD.replace("sum(rows)", "sum(rows) // 0")})
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir()
    if kind in ("fresh", "read-only"):
        home.mkdir(mode=0o500 if kind == "read-only" else 0o700)
    place = {"no folder": "/dev/null/home", "unset": None}.get(kind, str(home))
    before = tree(tmp_path)
    real = Path("~").expanduser() / ".prefect"
    had_real = real.exists()
    env: dict[str, str | None] = {"HOME": place, "TMPDIR": str(temporary)}
    # As at a user's; should anything be sent all the same, it ends at a closed port.
    unset = ("PREFECT_HOME", "XDG_CACHE_HOME", "DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED")
    env |= dict.fromkeys(unset)
    env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    ran = call("run", "good", cwd=project, env=env)
    assert ran.code == (1 if fails else 0), ran.err
    assert json.loads(ran.out).get("total") == (None if fails else 3)
    assert "warning" not in ran.err.lower()
    assert tree(tmp_path) == before
    assert real.exists() == had_real
