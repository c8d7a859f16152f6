import json

import work
from joblib import Memory

memory = Memory("cache", verbose=0)
names = ("prices", "rates", "grown", "limited", "total", "converted", "curve", "powered",
         "adjusted", "report")  # fmt: skip
t = {name: memory.cache(getattr(work, name)) for name in names}
summed = t["converted"](t["total"](t["limited"](t["grown"](t["prices"]()))))
risk = t["adjusted"](t["powered"](t["curve"](t["rates"]())))
print("VALUE", json.dumps(t["report"](summed, risk)))
