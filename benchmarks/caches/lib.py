"""What the ten tasks use: each edit of benchmarks/caches.py is one of these lines."""

import functools
import os

# a comment
FACTOR = 2
LIMIT = 90
RATES = {"eur": 2}


def scale(x):
    """Makes it larger."""
    return x * FACTOR


def grow(x):
    return scale(x) + 1


def convert(x):
    return x * RATES["eur"]


class Base:
    def lift(self, x):
        return x + 10


class Curve(Base):
    level = 7

    def value(self):
        return self.level * 2


def power(number, x):
    return x**number


raised = functools.partial(power, 2)


def shift(x, by=3):
    return x + by


def plus(fn):
    @functools.wraps(fn)
    def inner(*args):
        return fn(*args) + 0

    return inner


@plus
def adjusted(x):
    return x


def desk():
    return int(os.environ["DESK"])
