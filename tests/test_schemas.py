"""Schemas of pandera and dataframely as checks of assets: their real packages, newly installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from environments import environment

FLOWS = """
import dataframely as dy
import pandas as pd
import pandera.pandas as pa
import pandera.polars as pp
import polars as pl
from mxm.pipeline import AssetDecl, Check, FlowSpec, TaskSpec, compile_flow


class Model(pa.DataFrameModel):
    close: float = pa.Field(gt=0)

class Coerced(Model):
    class Config:
        coerce = True

class Polars(pp.DataFrameModel):
    close: float = pp.Field(gt=0)

class Typed(dy.Schema):
    close = dy.Float64(nullable=False, min=0)

OBJECT = pa.DataFrameSchema({"close": pa.Column(float, pa.Check.gt(0))}, name="closes")
FILTER = pa.DataFrameSchema({"close": pa.Column(float)}, strict="filter")
DROPS = pa.DataFrameSchema({"close": pa.Column(float, pa.Check.gt(0))}, drop_invalid_rows=True)

class Drops:
    def validate(self, value):
        return DROPS.validate(value, lazy=True)

def ends(check, value):
    made = AssetDecl("prices", path_template="x.parquet", checks=[check])
    spec = FlowSpec("f", [TaskSpec("t", lambda: value, produces=made)])
    run = compile_flow(spec, backend="inline").run()
    said = str(run.tasks["t"].error or "").splitlines()
    codes = [problem.code for problem in run.warnings]
    return f"{run.state.value} {codes} {said[0] if said else ''}".strip()

good, bad = {"close": [1.5, 2.0]}, {"close": [1.5, -2.0]}
for name, check, frame in (
    ("model", Model, pd.DataFrame), ("object", OBJECT, pd.DataFrame),
    ("polars", Polars, pl.DataFrame), ("dataframely", Typed, pl.DataFrame),
):
    print(name, "good:", ends(check, frame(good)))
    print(name, "bad:", ends(check, frame(bad)))
    print(name, "warns:", ends(Check(check, severity="warn"), frame(bad)))
print("coerces:", ends(Coerced, pd.DataFrame({"close": [1, 2]})))
print("filters:", ends(FILTER, pd.DataFrame({**good, "more": [1, 2]})))
print("drops:", ends(Drops(), pd.DataFrame(bad)))
"""


@pytest.mark.slow
def test_schemas_of_the_real_packages_are_checks(tmp_path: Path) -> None:
    env = environment(tmp_path / "env", sys.executable)
    ours = str(Path(__file__).parent.parent)
    env.install(ours, "pandera[pandas,polars]", "dataframely", "pyarrow")
    (tmp_path / "flows.py").write_text(FLOWS)
    lines = env.run("flows.py", cwd=tmp_path).splitlines()
    said = dict(line.split(": ", 1) for line in lines if ": " in line)
    for name in ("model", "object", "polars", "dataframely"):
        assert said[f"{name} good"] == "succeeded []"
        assert said[f"{name} bad"].startswith("failed [] check "), said
        assert said[f"{name} warns"] == "succeeded ['MXM810']"
    assert "column 'close' of int64 is float64 in what the schema returns" in said["coerces"]
    assert "column 'more' is left out in what the schema returns" in said["filters"]
    assert "2 rows are 1 in what the schema returns" in said["drops"]
