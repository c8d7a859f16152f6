import json

import work
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

names = ("prices", "rates", "grown", "limited", "total", "converted", "curve", "powered",
         "adjusted", "report")  # fmt: skip
t = {
    name: task(getattr(work, name), cache_policy=INPUTS + TASK_SOURCE, persist_result=True)
    for name in names
}


@flow
def book():
    summed = t["converted"](t["total"](t["limited"](t["grown"](t["prices"]()))))
    risk = t["adjusted"](t["powered"](t["curve"](t["rates"]())))
    return t["report"](summed, risk)


print("VALUE", json.dumps(book()))
