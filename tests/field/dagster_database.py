"""Three files in one database, and what each customer has ordered and paid."""

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import mxm


@mxm.resource
def db(path: str = "shop.db") -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as opened:
        yield opened


@mxm.task(limits=["db"])
def table(name: str, folder: str, opened: sqlite3.Connection = mxm.use(db)) -> int:
    with open(f"{folder}/raw_{name}.csv", newline="") as file:
        head, *rows = csv.reader(file)
    opened.execute(f"drop table if exists {name}")
    opened.execute(f"create table {name} ({', '.join(head)})")
    opened.executemany(f"insert into {name} values ({', '.join('?' * len(head))})", rows)
    return len(rows)


@mxm.task(after=table)
def aggregated(opened: sqlite3.Connection = mxm.use(db)) -> list[tuple[str, int, int, float]]:
    return opened.execute("""
        select first_name, count(distinct o.id), count(distinct p.id), coalesce(sum(amount), 0)
        from customers c left join orders o on c.id = user_id
        left join payments p on o.id = order_id group by c.id order by c.id
    """).fetchall()


@mxm.flow
def shop(folder: str) -> list[tuple[str, int, int, float]]:
    table.map(["customers", "orders", "payments"], folder=folder)
    return aggregated()
