"""Lists names of Python and libraries that differ on each call: clock, random, network."""

from __future__ import annotations

import builtins
import os
import sys
from types import BuiltinFunctionType, MethodType, ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.instructions import MOMENTS, Chain
from mxm.pipeline.values.fingerprint.nodes import attribute_of

__all__ = [
    "LOADERS",
    "Reach",
    "environment_of",
    "is_dynamic",
    "is_shared",
    "kind_of",
    "kind_of_name",
    "kind_of_package",
    "loaders",
]

Reach = tuple[str, str]
"""The kind and the name of an impure object."""

_MEMBERS: dict[str, tuple[str, frozenset[str]]] = {
    "time": (
        "clock",
        frozenset(
            [
                "time",
                "time_ns",
                "monotonic",
                "monotonic_ns",
                "perf_counter",
                "perf_counter_ns",
                "localtime",
                "gmtime",
                "ctime",
                "strftime",
                "process_time",
                "process_time_ns",
            ]
        ),
    ),
    "uuid": ("random", frozenset({"uuid1", "uuid4"})),
    "os": ("random", frozenset({"urandom", "getrandom"})),
    "numpy.random": (
        "random",
        frozenset(
            [
                "beta",
                "binomial",
                "bytes",
                "chisquare",
                "choice",
                "dirichlet",
                "exponential",
                "f",
                "gamma",
                "geometric",
                "gumbel",
                "hypergeometric",
                "laplace",
                "logistic",
                "lognormal",
                "logseries",
                "multinomial",
                "multivariate_normal",
                "negative_binomial",
                "noncentral_chisquare",
                "noncentral_f",
                "normal",
                "pareto",
                "permutation",
                "poisson",
                "power",
                "rand",
                "randint",
                "randn",
                "random",
                "random_integers",
                "random_sample",
                "ranf",
                "rayleigh",
                "sample",
                "shuffle",
                "standard_cauchy",
                "standard_exponential",
                "standard_gamma",
                "standard_normal",
                "standard_t",
                "triangular",
                "uniform",
                "vonmises",
                "wald",
                "weibull",
                "zipf",
                "seed",
            ]
        ),
    ),
}
_MEMBERS["numpy.random.mtrand"] = _MEMBERS["numpy.random"]
# Objects that open files in compiled code and cannot be watched.
_MEMBERS["pyarrow"] = ("files", frozenset({"OSFile", "MemoryMappedFile"}))
_MEMBERS["pyarrow.fs"] = (
    "files",
    frozenset({"FileSystem", "LocalFileSystem", "SubTreeFileSystem"}),
)
# Names whose module is not the one that people import them from.
_PUBLIC = {"posix": "os", "nt": "os", "pyarrow.lib": "pyarrow", "pyarrow._fs": "pyarrow.fs"}
_GENERATORS = ("random", "numpy.random")  # modules with one object for all callers
_CLOCKS = frozenset({"now", "utcnow", "today"})
_DATES = frozenset({"Timestamp", "datetime64", "to_datetime"})  # of a string, which may mean now
_UNSEEDED = frozenset(
    ["default_rng", "Random", "RandomState", "SeedSequence", "SystemRandom", "PCG64", "PCG64DXSM",
     "MT19937", "Philox", "SFC64"]
)  # fmt: skip
_PACKAGES = {
    **dict.fromkeys(
        [
            "requests",
            "httpx",
            "urllib",
            "urllib3",
            "aiohttp",
            "socket",
            "http",
            "ftplib",
            "smtplib",
            "websocket",
            "websockets",
            "paramiko",
            "boto3",
            "botocore",
            "s3fs",
            "gcsfs",
            "grpc",
            "yfinance",
            "pandas_datareader",
            "blpapi",
        ],
        "network",
    ),
    **dict.fromkeys(
        [
            "sqlite3",
            "sqlalchemy",
            "psycopg",
            "psycopg2",
            "asyncpg",
            "pymysql",
            "MySQLdb",
            "mysql",
            "oracledb",
            "cx_Oracle",
            "pyodbc",
            "duckdb",
            "pymongo",
            "redis",
            "snowflake",
            "clickhouse_driver",
            "clickhouse_connect",
        ],
        "database",
    ),
    **dict.fromkeys(["h5py", "netCDF4", "tables"], "files"),
    "secrets": "random",
    "subprocess": "process",
    "multiprocessing": "process",
    "joblib": "process",
    "loky": "process",
}
_HARMLESS = frozenset({"urllib", "urllib.parse", "http", "http.cookies"})
# The code that they make is not named anywhere.
_UNPICKLES = frozenset({"load", "loads", "Unpickler"})
_PICKLES = frozenset({"pickle", "_pickle", "dill", "cloudpickle", "joblib"})
_SYSTEM = frozenset({"system", "popen", "fork", "posix_spawn", "posix_spawnp"})
_POOL = "ProcessPoolExecutor"  # in a package whose other parts stay in this process


def kind_of_package(name: str) -> str | None:
    """What the module *name* reaches: network, database, files, random, process; or None."""
    top = name.partition(".")[0]
    return None if name in _HARMLESS else _PACKAGES.get(top)


def kind_of(owner: Any, name: str, value: Any, chain: Chain | None) -> Reach | None:
    """The kind of impurity of *value*, the attribute *name* of *owner*; None if it is pure.

    Parameters
    ----------
    owner
        A module or a class; None for a global of that name.
    name
        The attribute.
    value
        What it is.
    chain
        The chain by which it was reached, if it ends with it.
    """
    called_bare = chain is not None and chain.after == ("()",)
    module = owner.__name__ if isinstance(owner, ModuleType | type) else ""
    if name in _DATES and chain is not None and MOMENTS.intersection(chain.after):
        return "clock", f"{name}({chain.after[1]!r})"
    if chain is not None and isinstance(value, ModuleType) and value.__name__ in _GENERATORS:
        return "random", value.__name__  # under another name, or passed on
    if name in _UNSEEDED and called_bare and _module_of(value).startswith(("numpy", "random")):
        return "random", f"{name}()"
    if isinstance(owner, type) and name in _CLOCKS and _tells_time(owner):
        return "clock", f"{owner.__name__}.{name}"
    hidden = getattr(sys.modules.get("random"), "_inst", None)
    if isinstance(value, MethodType | BuiltinFunctionType):
        bound: Any = value.__self__
        if (
            hidden is not None
            and bound is hidden
            and value.__name__ not in ("getstate", "setstate")
        ):
            return "random", f"random.{value.__name__}"
        own = getattr(value, "__name__", name)
        if bound is not None and type(bound).__name__ == "RandomState" and own in (
            _MEMBERS["numpy.random"][1]
        ):  # fmt: skip
            return "random", f"numpy.random.{own}"
        if isinstance(bound, type) and own in _CLOCKS and _tells_time(bound):
            return "clock", f"{bound.__name__}.{own}"
    of = _module_of(value) or module
    own = attribute_of(value, "__name__") or name
    if own in _UNPICKLES and of.partition(".")[0] in _PICKLES:
        return "pickle", f"{of.partition('.')[0].lstrip('_')}.{own}"
    if own == _POOL:
        return "process", _POOL
    if callable(value):
        of = _PUBLIC.get(of, of)
        kind, members = _MEMBERS.get(of, ("", frozenset[str]()))
        if own in members:
            return kind, f"{of}.{own}"
        if of == "os" and own in _SYSTEM:
            return "process", f"os.{own}"
    return None


def kind_of_name(name: str, chain: Chain) -> Reach | None:
    """The kind of *name* in a module that is not loaded: ``uuid.uuid4``, ``httpx.get``."""
    steps = name.split(".")
    for end in range(len(steps), 1, -1):
        of, own = ".".join(steps[: end - 1]), steps[end - 1]
        kind, members = _MEMBERS.get(of, ("", frozenset[str]()))
        if own in members:
            return kind, f"reads {of}.{own}"
    module, _, last = name.rpartition(".")
    if last in _UNSEEDED and module in (*_GENERATORS, "numpy.random.mtrand"):
        return ("random", f"reads {last}()") if chain.after == ("()",) else None
    if last in _DATES and MOMENTS.intersection(chain.after):
        return "clock", f"reads {last}({chain.after[1]!r})"
    if name in _GENERATORS:
        return "random", f"reads {name}"
    if last in _CLOCKS and module.rpartition(".")[2] in ("datetime", "date", "Timestamp"):
        return "clock", f"reads {name}"
    if last == _POOL:
        return "process", f"uses {_POOL}"
    top = name.partition(".")[0]
    if top in _PICKLES and last in _UNPICKLES:
        return "pickle", f"reads {name}"
    if top == "random" and module == "random":
        return "random", f"reads {name}"
    harmless = any(name == each or module == each for each in _HARMLESS)
    reach = None if harmless else kind_of_package(top + ".")
    return None if reach is None else (reach, f"uses {top}")


def is_shared(value: Any) -> bool:
    """Whether *value* is the generator behind ``random.random`` or ``numpy.random.rand``.

    Its use is reported; its state is not part of the code.
    """
    numpy = sys.modules.get("numpy.random.mtrand")
    shared = (
        getattr(sys.modules.get("random"), "_inst", None),
        getattr(numpy, "_rand", None),
    )
    return value is not None and any(value is each for each in shared)


def _module_of(value: Any) -> str:
    module = attribute_of(value, "__module__")
    return module if isinstance(module, str) else ""


def _tells_time(kind: type) -> bool:
    import datetime as dt

    return issubclass(kind, dt.date)


_READS = frozenset({"get", "setdefault", "pop", "__getitem__", "__contains__"})


def environment_of(chain: Chain, values: list[Any]) -> str | None:
    """How *chain* reads the environment: ``c:NAME``, ``g:GLOBAL``, ``?`` if not known; or None.

    Parameters
    ----------
    chain
        Names.
    values
        The value of each of its names, as far as is known.
    """
    for number, value in enumerate(values):
        last = number == len(chain.names) - 1
        if value is os.environ or value is getattr(os, "environb", os.environ):
            rest = chain.names[number + 1 :]
            if (not rest or (len(rest) == 1 and rest[0] in _READS)) and len(chain.after) == 2:
                return f"{chain.after[0]}:{chain.after[1]}"
            return "?"
        if value is os.getenv or value is getattr(os, "getenvb", os.getenv):
            return f"{chain.after[0]}:{chain.after[1]}" if last and len(chain.after) == 2 else "?"
    return None


_DYNAMIC = {id(builtins.eval): "eval", id(builtins.exec): "exec", id(builtins.compile): "compile"}


def is_dynamic(value: Any) -> str | None:
    """``eval`` or ``exec`` if *value* is one, because then the code cannot be known; else None."""
    return _DYNAMIC.get(id(value))


LOADERS = frozenset(
    [
        "importlib.machinery.ExtensionFileLoader",
        "importlib.machinery.SourceFileLoader",
        "importlib.machinery.SourcelessFileLoader",
        "importlib.metadata.EntryPoint",
        "importlib.metadata.entry_points",
        "importlib.util.module_from_spec",
        "importlib.util.spec_from_file_location",
        "marshal.load",
        "marshal.loads",
        "pkg_resources.iter_entry_points",
        "pkgutil.resolve_name",
        "runpy.run_module",
        "runpy.run_path",
    ]
)
"""Functions that load code that is not named anywhere."""


def loaders() -> dict[int, str]:
    """Those of `LOADERS` that are loaded, by identity."""
    loaded: dict[int, str] = {}
    for name in LOADERS:
        module, _, own = name.rpartition(".")
        value = vars(sys.modules[module]).get(own) if module in sys.modules else None
        if value is not None:
            loaded[id(value)] = name
    return loaded
