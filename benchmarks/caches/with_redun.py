import json

import work
from redun import File, Scheduler, task
from redun.config import Config
from redun.file import glob_file

redun_namespace = "book"


# Files are arguments, as redun wants them; each function is a task of its own.
@task()
def prices(file: File):
    work.called("prices")
    return [int(line) for line in file.read().split()]


@task()
def rates(files: list):
    work.called("rates")
    return [int(line) for file in files for line in file.read().split()]


t = {
    name: task(name=name)(getattr(work, name))
    for name in ("grown", "limited", "total", "converted", "curve", "powered", "adjusted",
                 "report")
}  # fmt: skip


@task(cache=False)
def main():
    found = [File(path) for path in sorted(glob_file("data/rates/*.csv"))]
    summed = t["converted"](t["total"](t["limited"](t["grown"](prices(File("data/prices.csv"))))))
    risk = t["adjusted"](t["powered"](t["curve"](rates(found))))
    return t["report"](summed, risk)


scheduler = Scheduler(config=Config({"backend": {"db_uri": "sqlite:///redun.db"}}))
scheduler.load()
print("VALUE", json.dumps(scheduler.run(main())))
