"""One database engine for all tasks of a run: mxm-pipeline run ledger

Orders are written into a table of SQLite through SQLAlchemy, and the positions are read from it.
The engine is opened once and disposed of when the run ends. For another database:
--resource ledger_db.url=postgresql://..., or [tool.mxm.pipeline.resources.ledger_db] in
pyproject.toml. Only one task at a time queries the database; with
--runner threads --limit ledger_db=2, two do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import mxm

if TYPE_CHECKING:
    from sqlalchemy import Engine


class Order(NamedTuple):
    symbol: str
    quantity: int
    price: float


@mxm.resource(name="ledger_db")
def db(url: str = "sqlite:///out/ledger.db", echo: bool = False) -> Iterator[Engine]:
    """The database; each task that uses it commits for itself."""
    import os

    from sqlalchemy import create_engine

    if url.startswith("sqlite:///out/"):
        os.makedirs("out", exist_ok=True)
    engine = create_engine(url, echo=echo)
    yield engine
    engine.dispose()


@mxm.task
def orders(days: int) -> list[Order]:
    """What was bought and sold: the same on every day."""
    each = [Order("SPY", 10, 250.0), Order("QQQ", 5, 154.0), Order("SPY", -4, 252.5)]
    return each * days


@mxm.task(limits=["ledger_db"])
def book(taken: list[Order], engine: Engine = mxm.use(db)) -> int:
    """The orders in place of those of the last run: all of them, or none where one fails."""
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text("drop table if exists orders"))
        connection.execute(text("create table orders (symbol text, quantity int, price real)"))
        insert = text("insert into orders values (:symbol, :quantity, :price)")
        connection.execute(insert, [order._asdict() for order in taken])
    return len(taken)


@mxm.task(after=book, limits=["ledger_db"])
def positions(engine: Engine = mxm.use(db)) -> dict[str, int]:
    from sqlalchemy import text

    query = text("select symbol, sum(quantity) as quantity from orders group by symbol order by 1")
    with engine.connect() as connection:
        return {row.symbol: row.quantity for row in connection.execute(query)}


@mxm.task(after=book, limits=["ledger_db"])
def paid(engine: Engine = mxm.use(db)) -> float:
    from sqlalchemy import text

    with engine.connect() as connection:
        return float(
            connection.execute(text("select sum(quantity * price) from orders")).scalar_one()
        )


@mxm.flow
def ledger(days: int = 3) -> dict[str, object]:
    """Orders into a database, positions out of it."""
    return {"orders": book(orders(days)), "positions": positions(), "paid": paid()}
