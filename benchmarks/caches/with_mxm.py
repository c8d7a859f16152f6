import json

import work

import mxm
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow

tasks = [
    TaskSpec("prices", work.prices, cache=True),
    TaskSpec("rates", work.rates, cache=True),
    TaskSpec("grown", work.grown, upstream=["prices"], cache=True),
    TaskSpec("limited", work.limited, upstream=["grown"], cache=True),
    TaskSpec("total", work.total, upstream=["limited"], cache=True),
    TaskSpec("converted", work.converted, upstream=["total"], cache=True),
    TaskSpec("curve", work.curve, upstream=["rates"], cache=True),
    TaskSpec("powered", work.powered, upstream=["curve"], cache=True),
    TaskSpec("adjusted", work.adjusted, upstream=["powered"], cache=True),
    TaskSpec("report", work.report, upstream=["converted", "adjusted"], cache=True),
]
assert mxm
run = compile_flow(FlowSpec("book", tasks), backend="inline").run()
print("VALUE", json.dumps(run.values["report"]))
