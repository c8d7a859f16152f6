import json

import hamilton_flow
from hamilton import driver

made = driver.Builder().with_modules(hamilton_flow).with_cache(path="cache").build()
print("VALUE", json.dumps(made.execute(["report"])["report"]))
