"""What an edit of a project does to the fingerprint of a task: each row is one edit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from projects import edit, imported, write

from mxm.pipeline.values.fingerprint import Fingerprint, Fingerprints


class Edit(NamedTuple):
    name: str
    files: Mapping[str, str]
    file: str
    old: str
    new: str
    since: tuple[int, int] = (3, 11)


def tasks(body: str, name: str, old: str, new: str, since: tuple[int, int] = (3, 11)) -> Edit:
    """An edit of a project of one file."""
    return Edit(name, {"tasks.py": body}, "tasks.py", old, new, since)


def lib(main: str, other: str, name: str, old: str, new: str) -> Edit:
    """An edit of ``lib.py``, which ``tasks.py`` imports."""
    return Edit(name, {"tasks.py": main, "lib.py": other}, "lib.py", old, new)


def fingerprint_in(folder: Path, *more: Path) -> tuple[Fingerprint, str]:
    with imported(folder, *more) as module:
        found = Fingerprints(str(folder)).of(module.t)
        return found, found.digest + found.at_call()


STALE = [
    lib("import lib\ndef t(df):\n    return lib.q(df, 'LIMIT')\n", "LIMIT = 1\ndef q(df, name):\n    return df.query('x > @' + name)\n", "constant of an expression that is put together", "LIMIT = 1", "LIMIT = 2"),
    lib("import lib\ndef t(df):\n    return lib.q(df, 'LIMIT')\n", "LIMIT = 1\ndef q(df, name):\n    return df.query(f'x > @{name}')\n", "constant of an expression that is formatted", "LIMIT = 1", "LIMIT = 2"),
    lib("import lib\ndef t(df):\n    return lib.q(df, 'x > @LIMIT')\n", "LIMIT = 1\ndef q(df, text):\n    return df.query(text)\n", "constant of an expression that is passed on", "LIMIT = 1", "LIMIT = 2"),
    lib("import lib\ndef t(df):\n    return lib.q(df, 'x * @LIMIT')\n", "LIMIT = 1\ndef q(df, text):\n    return [df.eval(each) for each in [text]]\n", "constant of an expression that a comprehension evaluates", "LIMIT = 1", "LIMIT = 2"),
    lib("import lib\ndef t(x):\n    return lib.A().k\n", "import dataclasses\nA = dataclasses.make_dataclass('A', [('k', int, 1)])\n", "default of a dataclass that is made by a call", "int, 1", "int, 2"),
    lib("import lib\ndef t(x):\n    return lib.A().k\n", "import dataclasses\nA = dataclasses.make_dataclass('A', [('k', int, dataclasses.field(default_factory=lambda: h()))])\ndef h(): return 1\n", "factory of a dataclass that is made by a call", "return 1", "return 2"),
    lib("import lib\ndef t(x):\n    return lib.A.k\n", "import types\nA = types.new_class('A', (), {}, lambda names: names.update(k=1))\n", "class made by types.new_class", "k=1", "k=2"),
    lib("import lib\ndef t(x):\n    return lib.A().h()\n", "import abc\nA = abc.ABCMeta('A', (), {'h': lambda self: 1})\n", "class made by its metaclass", ": 1", ": 2"),
    lib("import lib\ndef t(x):\n    return lib.V.get()\n", "from contextvars import ContextVar\nV = ContextVar('V', default=1)\n", "default of a context variable of a module", "=1", "=2"),
    lib("from lib import V\ndef t(x):\n    return V.get()()\n", "from contextvars import ContextVar\ndef h(): return 1\nV = ContextVar('V', default=h)\n", "function in a context variable", "return 1", "return 2"),
    lib("import lib\ndef t(x):\n    return next(lib.C)\n", "import itertools\nC = itertools.count(3)\n", "iterator of a module", "(3)", "(4)"),
    lib("import lib\ndef t(x):\n    return lib.h.__doc__\n", "def h():\n    'one'\n", "docstring that code reads", "one", "two"),
    lib("import lib\ndef t(x):\n    return lib.A.__doc__\n", "class A:\n    'one'\n", "docstring of a class that code reads", "one", "two"),
    lib("import inspect, lib\ndef t(x):\n    return inspect.getdoc(lib.h)\n", "def h():\n    'one'\n", "docstring that inspect reads", "one", "two"),
    lib("import inspect, lib\ndef t(x):\n    return inspect.getsource(lib.h)\n", "def h():\n    # one\n    return 1\n", "source that code reads", "one", "two"),
    lib("import lib\ndef t(x):\n    return lib.h.__code__.co_firstlineno\n", "X = 1\ndef h():\n    return 1\n", "line that code reads", "X = 1", "X = 1\n"),
    tasks("def t(x):\n    return x + 1\n", "the task itself", "+ 1", "+ 2"),
    tasks("def h(x):\n    return x + 1\ndef t(x):\n    return h(x)\n", "helper", "+ 1", "+ 2"),
    tasks("def g(x):\n    return x + 1\ndef h(x):\n    return g(x)\ndef t(x):\n    return h(x)\n", "helper of a helper", "+ 1", "+ 2"),
    lib("import lib\ndef t(x):\n    return lib.h(x)\n", "def h(x):\n    return x + 1\n", "helper of a module", "+ 1", "+ 2"),
    lib("from lib import h as k\ndef t(x):\n    return k(x)\n", "def h(x):\n    return x + 1\n", "helper under another name", "+ 1", "+ 2"),
    lib("import lib as other\ndef t(x):\n    m = other\n    return m.h(x)\n", "def h(x):\n    return x + 1\n", "module in a variable", "+ 1", "+ 2"),
    lib("import lib\ndef run(m, x):\n    return m.h(x)\ndef t(x):\n    return run(lib, x)\n", "def h(x):\n    return x + 1\n", "module as an argument", "+ 1", "+ 2"),
    lib("import lib\nMODULES = {'a': lib}\ndef t(x):\n    return MODULES['a'].h(x)\n", "def h(x):\n    return x + 1\n", "module in a dict", "+ 1", "+ 2"),
    tasks("class A:\n    def m(self, x):\n        return x + 1\ndef t(x):\n    return A().m(x)\n", "method", "+ 1", "+ 2"),
    tasks("class A:\n    @property\n    def m(self):\n        return 1\ndef t(x):\n    return A().m\n", "property", "return 1", "return 2"),
    tasks("class A:\n    @classmethod\n    def m(cls):\n        return 1\ndef t(x):\n    return A.m()\n", "class method", "return 1", "return 2"),
    tasks("class A:\n    @staticmethod\n    def m():\n        return 1\ndef t(x):\n    return A.m()\n", "static method", "return 1", "return 2"),
    tasks("import functools\nclass A:\n    @functools.cached_property\n    def m(self):\n        return 1\ndef t(x):\n    return A().m\n", "cached property", "return 1", "return 2"),
    tasks("class B:\n    def m(self):\n        return 1\nclass A(B):\n    pass\ndef t(x):\n    return A().m()\n", "base class", "return 1", "return 2"),
    lib("from lib import B\nclass A(B):\n    pass\ndef t(x):\n    return A().m()\n", "class C:\n    def m(self):\n        return 1\nclass B(C):\n    pass\n", "base class of a base class", "return 1", "return 2"),
    tasks("class M(type):\n    def __call__(cls):\n        return 1\nclass A(metaclass=M):\n    pass\ndef t(x):\n    return A()\n", "metaclass", "return 1", "return 2"),
    tasks("class A:\n    k = 1\ndef t(x):\n    return A.k\n", "class attribute", "k = 1", "k = 2"),
    tasks("K = 1\nclass A:\n    k = K\ndef t(x):\n    return A.k\n", "class attribute from a constant", "K = 1", "K = 2"),
    tasks("from dataclasses import dataclass\n@dataclass\nclass A:\n    k: int = 1\ndef t(x):\n    return A().k\n", "default of a dataclass", "= 1", "= 2"),
    tasks("from dataclasses import dataclass, field\n@dataclass\nclass A:\n    k: list = field(default_factory=lambda: [1])\ndef t(x):\n    return A().k\n", "factory of a dataclass", "[1]", "[2]"),
    tasks("from dataclasses import dataclass\n@dataclass\nclass A:\n    k: int = 1\n    j: int = 1\ndef t(x):\n    return A(3)\n", "annotation of a dataclass", "j: int", "j: float"),
    tasks("from dataclasses import dataclass\n@dataclass(order=False)\nclass A:\n    k: int = 1\ndef t(x):\n    return A(3)\n", "option of a dataclass", "order=False", "order=True"),
    tasks("from pydantic import BaseModel\nclass A(BaseModel):\n    k: int = 1\ndef t(x):\n    return A(k=x)\n", "annotation of a pydantic model", "k: int", "k: float"),
    tasks("from pydantic import BaseModel, Field\nMOST = 3\nclass A(BaseModel):\n    k: int = Field(1, le=MOST)\ndef t(x):\n    return A(k=x)\n", "constant in a pydantic field", "MOST = 3", "MOST = 4"),
    tasks("from pydantic import BaseModel, field_validator\nclass A(BaseModel):\n    k: int = 1\n    @field_validator('k')\n    @classmethod\n    def check(cls, v):\n        return v + 1\ndef t(x):\n    return A(k=x)\n", "pydantic validator", "v + 1", "v + 2"),
    tasks("from typing import TypedDict\nclass A(TypedDict):\n    k: int\ndef t(x):\n    return A.__annotations__\n", "annotation of a TypedDict", "k: int", "k: str"),
    tasks("from typing import NamedTuple\nclass A(NamedTuple):\n    k: int = 1\ndef t(x):\n    return A()\n", "default of a NamedTuple", "= 1", "= 2"),
    tasks("from typing import get_type_hints\ndef h(a: int): ...\ndef t(x):\n    return get_type_hints(h)\n", "annotation that code reads", "a: int", "a: str"),
    tasks("def make(n):\n    def inner(x):\n        return x + n\n    return inner\nh = make(1)\ndef t(x):\n    return h(x)\n", "closure", "make(1)", "make(2)"),
    tasks("def make(n):\n    def inner(x):\n        return x + n\n    return inner\nh = make(1)\ndef t(x):\n    return h(x)\n", "code of a closure", "x + n", "x - n"),
    tasks("def make():\n    def k(x):\n        return x + 1\n    def inner(x):\n        return k(x)\n    return inner\nh = make()\ndef t(x):\n    return h(x)\n", "function in a closure", "+ 1", "+ 2"),
    tasks("from functools import partial\ndef g(a, x):\n    return a + x\nh = partial(g, 1)\ndef t(x):\n    return h(x)\n", "argument of a partial", "g, 1", "g, 2"),
    tasks("from functools import partial\ndef g(a, x):\n    return a + x\nh = partial(g, a=1)\ndef t(x):\n    return h(x=x)\n", "keyword of a partial", "a=1", "a=2"),
    tasks("from functools import partial\ndef g(a, x):\n    return a + x\nh = partial(g, 1)\ndef t(x):\n    return h(x)\n", "function of a partial", "a + x", "a - x"),
    tasks("import functools\ndef d(f):\n    @functools.wraps(f)\n    def w(x):\n        return f(x) + 1\n    return w\n@d\ndef h(x):\n    return x\ndef t(x):\n    return h(x)\n", "decorator with wraps", "+ 1", "+ 2"),
    tasks("def d(f):\n    def w(x):\n        return f(x) + 1\n    return w\n@d\ndef h(x):\n    return x * 3\ndef t(x):\n    return h(x)\n", "decorator without wraps", "+ 1", "+ 2"),
    tasks("def d(f):\n    def w(x):\n        return f(x) + 1\n    return w\n@d\ndef h(x):\n    return x * 3\ndef t(x):\n    return h(x)\n", "what a decorator without wraps wraps", "* 3", "* 4"),
    tasks("def d(n):\n    def dd(f):\n        def w(x):\n            return f(x) + n\n        return w\n    return dd\n@d(1)\ndef h(x):\n    return x\ndef t(x):\n    return h(x)\n", "argument of a decorator", "@d(1)", "@d(2)"),
    tasks("def d(f):\n    f.k = 1\n    return f\n@d\ndef h(x):\n    return x\ndef t(x):\n    return h.k\n", "attribute of a function", "f.k = 1", "f.k = 2"),
    tasks("import functools\n@functools.cache\ndef h(x):\n    return x + 1\ndef t(x):\n    return h(x)\n", "functools.cache", "+ 1", "+ 2"),
    tasks("from contextlib import contextmanager\n@contextmanager\ndef h():\n    yield 1\ndef t(x):\n    with h() as k:\n        return k\n", "context manager", "yield 1", "yield 2"),
    tasks("import functools\n@functools.singledispatch\ndef h(x):\n    return 1\n@h.register\ndef _(x: int):\n    return 2\ndef t(x):\n    return h(x)\n", "singledispatch", "return 2", "return 3"),
    lib("import functools\n@functools.singledispatch\ndef h(x):\n    return 1\nimport lib\ndef t(x):\n    return h(x)\n", "import tasks\n@tasks.h.register\ndef _(x: int):\n    return 2\n", "singledispatch of another module", "return 2", "return 3"),
    tasks("def h(x):\n    return x + 1\ndef t(x):\n    return [h(i) for i in x]\n", "helper in a comprehension", "+ 1", "+ 2"),
    tasks("def h(x):\n    return x + 1\ndef t(x):\n    return list(map(lambda i: h(i), x))\n", "helper in a lambda", "+ 1", "+ 2"),
    tasks("def h(x):\n    return x + 1\ndef t(x):\n    if (y := h(x)):\n        return y\n", "walrus", "+ 1", "+ 2"),
    tasks("K = 1\nclass C:\n    LOW = 1\ndef t(x):\n    match x:\n        case C.LOW:\n            return 1\n", "match", "LOW = 1", "LOW = 2"),
    tasks("LIMIT = 1\ndef t(x):\n    return LIMIT\n", "constant", "LIMIT = 1", "LIMIT = 2"),
    tasks("LIMIT = 1\ndef t(x):\n    return LIMIT\n", "type of a constant", "LIMIT = 1", "LIMIT = True"),
    tasks("TABLE = {'a': [1]}\ndef t(x):\n    return TABLE\n", "dict", "[1]", "[2]"),
    tasks("LIMIT = 1\nLIMIT = LIMIT + 1\ndef t(x):\n    return LIMIT\n", "constant changed at import", "+ 1", "+ 2"),
    tasks("TABLE = []\nfor i in range(3):\n    TABLE.append(i)\ndef t(x):\n    return TABLE\n", "list filled at import", "range(3)", "range(4)"),
    tasks("import enum\nclass E(enum.Enum):\n    A = 1\ndef t(x):\n    return E.A.value\n", "enum", "A = 1", "A = 2"),
    tasks("import enum\nclass E(enum.Enum):\n    A = 1\n    def k(self):\n        return 1\ndef t(x):\n    return E.A.k()\n", "method of an enum", "return 1", "return 2"),
    tasks("import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nK = E.A\ndef t(x):\n    return K\n", "enum member", "K = E.A", "K = E.B"),
    lib("from lib import *\ndef t(x):\n    return h(x)\n", "def h(x):\n    return x + 1\n", "star import", "+ 1", "+ 2"),
    lib("from lib import *\ndef t(x):\n    return sum(x)\n", "def other(x):\n    return x + 1\n", "star import that hides a builtin", "def other", "def sum"),
    lib("def t(x):\n    from lib import h\n    return h(x)\n", "def h(x):\n    return x + 1\n", "lazy import", "+ 1", "+ 2"),
    lib("def t(x):\n    import lib\n    return lib.h(x)\n", "K = 1\ndef h(x):\n    return x + K\n", "constant behind a lazy import", "K = 1", "K = 2"),
    Edit("lazy import of a lazy import", {"tasks.py": "def t(x):\n    import lib\n    return lib.h(x)\n", "lib.py": "def h(x):\n    from deep import g\n    return g(x)\n", "deep.py": "def g(x):\n    return x + 1\n"}, "deep.py", "+ 1", "+ 2"),
    Edit("lazy import from a package", {"tasks.py": "def t(x):\n    from pkg import lib\n    return lib.h(x)\n", "pkg/__init__.py": "", "pkg/lib.py": "def h(x):\n    return x + 1\n"}, "pkg/lib.py", "+ 1", "+ 2"),
    Edit("re-export", {"tasks.py": "from pkg import h\ndef t(x):\n    return h(x)\n", "pkg/__init__.py": "from pkg.lib import h\n", "pkg/lib.py": "def h(x):\n    return x + 1\n"}, "pkg/lib.py", "+ 1", "+ 2"),
    Edit("re-export of another function", {"tasks.py": "from pkg import h\ndef t(x):\n    return h(x)\n", "pkg/__init__.py": "from pkg.lib import h\n", "pkg/lib.py": "def h(x):\n    return x + 1\ndef g(x):\n    return x + 1\n"}, "pkg/__init__.py", "import h", "import g as h"),
    Edit("function in a package", {"tasks.py": "import pkg\ndef t(x):\n    return pkg.h(x)\n", "pkg/__init__.py": "def h(x):\n    return x + 1\n"}, "pkg/__init__.py", "+ 1", "+ 2"),
    Edit("module of a package", {"tasks.py": "import pkg.lib\ndef t(x):\n    return pkg.lib.h(x)\n", "pkg/__init__.py": "", "pkg/lib.py": "def h(x):\n    return x + 1\n"}, "pkg/lib.py", "+ 1", "+ 2"),
    Edit("namespace package", {"tasks.py": "import pkg.lib\ndef t(x):\n    return pkg.lib.h(x)\n", "pkg/lib.py": "def h(x):\n    return x + 1\n"}, "pkg/lib.py", "+ 1", "+ 2"),
    Edit("relative import", {"tasks.py": "from pkg.a import h\ndef t(x):\n    return h(x)\n", "pkg/__init__.py": "", "pkg/a.py": "from .b import g\ndef h(x):\n    return g(x)\n", "pkg/b.py": "def g(x):\n    return x + 1\n"}, "pkg/b.py", "+ 1", "+ 2"),
    lib("import lib\ndef t(x):\n    return lib.anything\n", "T = {'anything': 1}\ndef __getattr__(name):\n    return T[name]\n", "__getattr__ of a module", "'anything': 1", "'anything': 2"),
    tasks("import pandas as pd\nLIMIT = 1\ndef t(df):\n    return df.query('x > @LIMIT')\n", "word of a query", "LIMIT = 1", "LIMIT = 2"),
    tasks("import pandas as pd\nLIMIT = 1\nQUERY = 'x > @LIMIT'\ndef t(df):\n    return df.query(QUERY)\n", "word of a constant query", "LIMIT = 1", "LIMIT = 2"),
    lib("import lib\ndef t(x):\n    return getattr(lib, x)(1)\n", "def h(x):\n    return x + 1\n", "getattr of a module", "+ 1", "+ 2"),
    tasks("def h(x):\n    return x + 1\ndef t(x):\n    return globals()[x](1)\n", "globals", "+ 1", "+ 2"),
    tasks("import sys\ndef h(x):\n    return x + 1\ndef t(x):\n    return getattr(sys.modules[__name__], x)(1)\n", "sys.modules of its own name", "+ 1", "+ 2"),
    lib("import importlib\ndef t(x):\n    return importlib.import_module('lib').h(x)\n", "def h(x):\n    return x + 1\n", "import_module of a constant", "+ 1", "+ 2"),
    lib("import importlib\nimport lib\nNAME = 'lib'\ndef t(x):\n    return importlib.import_module(NAME).h(x)\n", "def h(x):\n    return x + 1\n", "import_module of a named constant", "+ 1", "+ 2"),
    tasks("import pandas as pd\n@pd.api.extensions.register_dataframe_accessor('mine')\nclass Mine:\n    def __init__(self, df):\n        self.df = df\n    def k(self):\n        return 1\ndef t(df):\n    return df.mine.k()\n", "registered accessor", "return 1", "return 2"),
    lib("import lib\ndef t(df):\n    return df.mine.k()\n", "import pandas as pd\n@pd.api.extensions.register_dataframe_accessor('mine')\nclass Mine:\n    def __init__(self, df):\n        self.df = df\n    def k(self):\n        return h()\ndef h():\n    return 1\n", "helper of an accessor of a module", "return 1", "return 2"),
    lib("import lib, pandas as pd\ndef t(df):\n    return df.my_attr()\n", "import pandas as pd\ndef g(self):\n    return 1\npd.DataFrame.my_attr = g\n", "attribute set of an installed class", "return 1", "return 2"),
    lib("import lib\nimport pandas as pd\ndef t(x):\n    return str(x)\n", "import pandas as pd\npd.set_option('display.precision', 5)\n", "option of a library", "5", "6"),
    lib("import lib\ndef t(x):\n    return str(x)\n", "import numpy as np\nold = np.seterr(all='warn')\n", "option of a library, its result bound", "warn", "raise"),
    Edit("option set two imports away", {"tasks.py": "import lib\ndef t(x):\n    return str(x)\n", "lib.py": "import deep\n", "deep.py": "import numpy as np\nnp.set_printoptions(precision=3)\n"}, "deep.py", "3", "4"),
    Edit("option set in the package of the task", {"tasks.py": "from pkg.lib import t\n", "pkg/__init__.py": "import numpy as np\nnp.set_printoptions(precision=3)\n", "pkg/lib.py": "def t(x):\n    return str(x)\n"}, "pkg/__init__.py", "3", "4"),
    tasks("class D:\n    def __get__(self, o, k):\n        return 1\nclass A:\n    d = D()\ndef t(x):\n    return A().d\n", "descriptor", "return 1", "return 2"),
    tasks("class D:\n    def __init__(self, n):\n        self.n = n\n    def __get__(self, o, k):\n        return self.n\nclass A:\n    d = D(1)\ndef t(x):\n    return A().d\n", "state of a descriptor", "D(1)", "D(2)"),
    tasks("class B:\n    def __init_subclass__(cls):\n        cls.k = 1\nclass A(B):\n    pass\ndef t(x):\n    return A.k\n", "__init_subclass__", "cls.k = 1", "cls.k = 2"),
    tasks("class B:\n    known = {}\n    def __init_subclass__(cls):\n        B.known[cls.__name__] = cls\nclass A(B):\n    def m(self):\n        return 1\ndef t(x):\n    return B.known[x]().m()\n", "registered subclass", "return 1", "return 2"),
    tasks("class B:\n    pass\nclass A(B):\n    def m(self):\n        return 1\ndef t(x):\n    return [c().m() for c in B.__subclasses__()]\n", "subclasses", "return 1", "return 2"),
    tasks("class A:\n    def __class_getitem__(cls, k):\n        return 1\ndef t(x):\n    return A[x]\n", "__class_getitem__", "return 1", "return 2"),
    tasks("import sys\nif sys.version_info > (3, 0):\n    def h(x):\n        return x + 1\nelse:\n    def h(x):\n        return x\ndef t(x):\n    return h(x)\n", "conditional definition", "+ 1", "+ 2"),
    tasks("try:\n    import nowhere_at_all\nexcept ImportError:\n    def h(x):\n        return x + 1\ndef t(x):\n    return h(x)\n", "definition in an except", "+ 1", "+ 2"),
    tasks("async def h(x):\n    return x + 1\nasync def t(x):\n    return await h(x)\n", "async helper", "+ 1", "+ 2"),
    tasks("def h(x):\n    yield x + 1\ndef t(x):\n    return list(h(x))\n", "generator", "+ 1", "+ 2"),
    tasks("async def h(x):\n    yield x + 1\nasync def t(x):\n    return [i async for i in h(x)]\n", "async generator", "+ 1", "+ 2"),
    tasks("def t[T](x: T) -> T:\n    return h(x)\ndef h[T](x: T) -> T:\n    return x + 1\n", "PEP 695 function", "+ 1", "+ 2", (3, 12)),
    tasks("class A[T]:\n    def m(self, x: T) -> T:\n        return x + 1\ndef t(x):\n    return A[int]().m(x)\n", "PEP 695 class", "+ 1", "+ 2", (3, 12)),
    tasks("def h(x, k=1):\n    return x + k\ndef t(x):\n    return h(x)\n", "default", "k=1", "k=2"),
    tasks("def h(x, *, k=1):\n    return x + k\ndef t(x):\n    return h(x)\n", "keyword default", "k=1", "k=2"),
    tasks("K = 1\ndef h(x, k=K):\n    return x + k\ndef t(x):\n    return h(x)\n", "default from a constant", "K = 1", "K = 2"),
    tasks("def h(x, f=lambda v: v + 1):\n    return f(x)\ndef t(x):\n    return h(x)\n", "lambda as a default", "+ 1", "+ 2"),
    tasks("F = {'a': lambda v: v + 1, 'b': lambda v: v + 2}\ndef t(x):\n    return F['a'](x)\n", "lambda in a dict", "+ 1", "+ 3"),
    tasks("F = {'a': lambda v: v + 1, 'b': lambda v: v + 2}\ndef t(x):\n    return F['a'](x)\n", "two lambdas change places", "lambda v: v + 1, 'b': lambda v: v + 2", "lambda v: v + 2, 'b': lambda v: v + 1"),
    tasks("def a(x):\n    return x + 1\ndef b(x):\n    return x + 2\ndef t(x):\n    return a(x) / b(x)\n", "two helpers change places", "a(x) / b(x)", "b(x) / a(x)"),
    tasks("def a(x):\n    return x + 1\ndef b(x):\n    return x + 2\nF = [a, b]\ndef t(x):\n    return F[0](x)\n", "order of functions in a list", "[a, b]", "[b, a]"),
    tasks("def a(x):\n    return x + 1\nF = {'k': [a]}\ndef t(x):\n    return F['k'][0](x)\n", "function in a dict", "+ 1", "+ 2"),
    tasks("REG = {}\ndef reg(f):\n    REG[f.__name__] = f\n    return f\n@reg\ndef h(x):\n    return x + 1\ndef t(x):\n    return REG['h'](x)\n", "registry of the project", "+ 1", "+ 2"),
    tasks("class C:\n    def __init__(self):\n        self.limit = 1\nCONF = C()\ndef t(x):\n    return CONF.limit\n", "attribute of an object", "limit = 1", "limit = 2"),
    tasks("class C:\n    def m(self):\n        return 1\nCONF = C()\ndef t(x):\n    return CONF.m()\n", "method of an object", "return 1", "return 2"),
    tasks("class C:\n    def m(self):\n        return 1\nrun = C().m\ndef t(x):\n    return run()\n", "bound method", "return 1", "return 2"),
    tasks("import threading\nclass C:\n    def __init__(self, n):\n        self.lock = threading.Lock()\n        self.n = n\nCONF = C(1)\ndef t(x):\n    return CONF.n\n", "what cannot be digested, by its statement", "C(1)", "C(2)"),
    tasks("import threading\nN = 1\nclass C:\n    def __init__(self, n):\n        self.lock = threading.Lock()\n        self.n = n\nCONF = C(N)\ndef t(x):\n    return CONF.n\n", "what cannot be digested, by a constant of its statement", "N = 1", "N = 2"),
    lib("from lib import CONF\ndef t(x):\n    return CONF.n\n", "import threading\nclass C:\n    def __init__(self, n):\n        self.lock = threading.Lock()\n        self.n = n\nCONF = C(1)\n", "what cannot be digested, of another module", "C(1)", "C(2)"),
    tasks("import pathlib\nHERE = pathlib.Path(__file__).parent / 'a'\ndef t(x):\n    return HERE\n", "path", "'a'", "'b'"),
    tasks("import re\nP = re.compile('a')\ndef t(x):\n    return P.match(x)\n", "pattern", "'a'", "'b'"),
    tasks("import numpy as np\nW = np.array([1.0, 2.0])\ndef t(x):\n    return W.sum()\n", "array", "2.0", "3.0"),
    tasks("def t(x):\n    return (x / 2)\n", "future import", "def t(x):", "from __future__ import annotations\ndef t(x):"),
    tasks("def t(x):\n    class L:\n        k = 1\n    return L.k\n", "class inside the task", "k = 1", "k = 2"),
    tasks("def t(x):\n    return f'{x:.2f}'\n", "format", ".2f", ".3f"),
    tasks("def t(x):\n    return x.a\n", "attribute", "x.a", "x.b"),
    tasks("def t(x):\n    try:\n        return 1 / x\n    except ZeroDivisionError:\n        return 0\n", "except", "ZeroDivisionError", "ValueError"),
    tasks("def t(x):\n    return x in {'a', 'b'}\n", "member of a set", "'b'", "'c'"),
    tasks("def t(a, b):\n    return a - b\n", "order of parameters", "t(a, b)", "t(b, a)"),
    tasks("def h(a, b):\n    return a - b\ndef t(x):\n    return h(b=1, a=x)\n", "name of a keyword", "b=1, a=x", "a=1, b=x"),
    tasks("import functools\nclass A:\n    @functools.singledispatchmethod\n    def h(self, x):\n        return 1\n    @h.register\n    def _(self, x: int):\n        return 2\ndef t(x):\n    return A().h(x)\n", "singledispatchmethod", "return 2", "return 3"),
    tasks("import functools\nclass A:\n    def g(self, n):\n        return n\n    h = functools.partialmethod(g, 1)\ndef t(x):\n    return A().h()\n", "partialmethod", "g, 1", "g, 2"),
    tasks("from abc import ABC, abstractmethod\nclass B(ABC):\n    @abstractmethod\n    def m(self): ...\n    def k(self):\n        return 1\nclass A(B):\n    def m(self):\n        return 2\ndef t(x):\n    return A().k()\n", "abstract class", "return 1", "return 2 + 1"),
    tasks("import mxm\n@mxm.task\ndef h(x: int) -> int:\n    return x + 1\n@mxm.task\ndef t(x: int) -> int:\n    return h(x)\n", "a task that a task calls", "+ 1", "+ 2"),
    tasks("import mxm\n@mxm.resource\ndef db():\n    yield 1\n@mxm.task\ndef t(x: int, d: int = mxm.use(db)) -> int:\n    return x\n", "a resource", "yield 1", "yield 2"),
    tasks("import json\ndef mine(x):\n    return '1'\njson.dumps_mine = mine\ndef t(x):\n    return json.dumps_mine(x)\n", "attribute set of a standard module", "'1'", "'2'"),
    tasks("class A:\n    __slots__ = ('a',)\n    def __init__(self):\n        self.a = 1\ndef t(x):\n    return A().a\n", "slots", "self.a = 1", "self.a = 2"),
    tasks("class A:\n    def __eq__(self, o):\n        return True\n    __hash__ = None\ndef t(x):\n    return A() == x\n", "operator", "return True", "return False"),
    tasks("def h(x):\n    return x + 1\nALIAS = h\ndef t(x):\n    return ALIAS(x)\n", "alias", "+ 1", "+ 2"),
    tasks("from types import SimpleNamespace\nC = SimpleNamespace(limit=1)\ndef t(x):\n    return C.limit\n", "SimpleNamespace", "limit=1", "limit=2"),
    tasks("from types import MappingProxyType\nC = MappingProxyType({'limit': 1})\ndef t(x):\n    return C['limit']\n", "mapping proxy", "'limit': 1", "'limit': 2"),
    tasks("from collections import namedtuple\nA = namedtuple('A', 'k', defaults=[1])\ndef t(x):\n    return A().k\n", "default of a namedtuple", "[1]", "[2]"),
    tasks("A = type('A', (), {'k': 1, 'm': lambda self: 1})\ndef t(x):\n    return A().m()\n", "class made by type", "lambda self: 1", "lambda self: 2"),
    tasks("import os\ndef t(x):\n    return os.environ['A']\n", "name of a variable of the environment", "'A'", "'B'"),
    lib("import lib\ndef t(x):\n    return lib.__dict__[x](1)\n", "def h(x):\n    return x + 1\n", "__dict__ of a module", "+ 1", "+ 2"),
    lib("def get():\n    import lib\n    return lib\ndef t(x):\n    return get().h(x)\n", "def h(x):\n    return x + 1\n", "module that a function returns", "+ 1", "+ 2"),
    lib("import lib\nclass A:\n    m = lib\ndef t(x):\n    return A.m.h(x)\n", "def h(x):\n    return x + 1\n", "module in a class", "+ 1", "+ 2"),
    lib("import lib, operator\ndef t(x):\n    return operator.attrgetter('h')(lib)(x)\n", "def h(x):\n    return x + 1\n", "attrgetter of a module", "+ 1", "+ 2"),
    tasks("import enum\nE = enum.Enum('E', 'A B')\ndef t(x):\n    return list(E)\n", "order of a functional enum", "A B", "B A"),
    tasks("import enum\nclass E(enum.Enum):\n    A = enum.auto()\n    B = enum.auto()\ndef t(x):\n    return E.A\n", "order of enum members", "    A = enum.auto()\n    B = enum.auto()\n", "    B = enum.auto()\n    A = enum.auto()\n"),
    tasks("import attrs\n@attrs.define\nclass A:\n    k: int = 1\n    def m(self):\n        return self.k\ndef t(x):\n    return A().m()\n", "default of an attrs class", "k: int = 1", "k: int = 2"),
    tasks("import attrs\n@attrs.define\nclass A:\n    k: int = 1\n    def m(self):\n        return self.k\ndef t(x):\n    return A().m()\n", "method of an attrs class", "return self.k", "return -self.k"),
    tasks("import numpy as np\ndef h(x):\n    return x + 1\nF = np.frompyfunc(h, 1, 1)\ndef t(x):\n    return F(x)\n", "ufunc of a function", "+ 1", "+ 2"),
    tasks("import numpy as np\ndef h(x):\n    return x + 1\nF = np.vectorize(h)\ndef t(x):\n    return F(x)\n", "vectorized function", "+ 1", "+ 2"),
    tasks("import numpy as np\n@np.vectorize\ndef h(x):\n    return x + 1\ndef t(x):\n    return h(x)\n", "function under an installed decorator", "+ 1", "+ 2"),
    tasks("import mxm\n@mxm.task\ndef a(x: int) -> int:\n    return x + 1\n@mxm.flow(tasks=[a])\ndef f(x: int = 1): ...\n@mxm.task\ndef t(x: int):\n    return f.run(x=x)\n", "task of a declared flow that runs in the task", "+ 1", "+ 2"),
    tasks("from typing import Annotated\ndef mark(x): ...\ndef d(f):\n    f.hints = f.__annotations__\n    return f\n@d\ndef h(x: int):\n    return x\ndef t(x):\n    return h(x)\n", "annotation that a decorator reads", "x: int", "x: float"),
    tasks("from pydantic import validate_call\n@validate_call\ndef h(x: int):\n    return x\ndef t(x):\n    return h(x)\n", "annotation that an installed decorator reads", "x: int", "x: float"),
    tasks("from weakref import WeakValueDictionary\nclass A:\n    def __init__(self, n):\n        self.n = n\na = A(1)\nR = WeakValueDictionary(k=a)\ndef t(x):\n    return R['k'].n\n", "weak values, by their statement", "A(1)", "A(2)"),
    tasks("import contextvars\nV = contextvars.ContextVar('V', default=1)\ndef t(x):\n    return V.get()\n", "context variable, by its statement", "default=1", "default=2"),
    tasks("class A:\n    def __init__(self, n):\n        self.n = n\n    def __getattr__(self, name):\n        return self.n\nK = A(1)\ndef t(x):\n    return K.anything\n", "object that computes its attributes", "A(1)", "A(2)"),
    tasks("class A:\n    pass\nK = A()\nK.f = lambda x: x + 1\ndef t(x):\n    return K.f(x)\n", "function in an object", "+ 1", "+ 2"),
    tasks("import string\nT = string.Template('$a')\ndef t(x):\n    return T.substitute(a=x)\n", "object of the standard library", "'$a'", "'$a!'"),
    tasks("class E(Exception):\n    code = 1\ndef t(x):\n    raise E(x)\n", "exception class", "code = 1", "code = 2"),
    tasks("class C:\n    def __enter__(self):\n        return 1\n    def __exit__(self, *a): ...\ndef t(x):\n    with C() as c:\n        return c\n", "context manager class", "return 1", "return 2"),
    tasks("from typing import Protocol\nclass P(Protocol):\n    def m(self): ...\nclass A(P):\n    def m(self):\n        return 1\ndef t(x):\n    return A().m()\n", "implementation of a protocol", "return 1", "return 2"),
    tasks("import collections\nclass A(collections.UserDict):\n    def __missing__(self, k):\n        return 1\nD = A()\ndef t(x):\n    return D[x]\n", "method of a container", "return 1", "return 2"),
    tasks("def h(x, *, key=None):\n    return x\ndef t(x):\n    return sorted(x, key=k)\ndef k(v):\n    return v + 1\n", "function as an argument", "v + 1", "v + 2"),
    tasks("if True:\n    LIMIT = 1\nelse:\n    LIMIT = 2\ndef t(x):\n    return LIMIT\n", "branch at import", "if True", "if False"),
    tasks("A = B = 1\n(C, D), *E = (1, 2), 3\ndef t(x):\n    return A, D, E\n", "unpacked constant", "(1, 2), 3", "(1, 4), 3"),
    tasks("def t(x):\n    global N\n    N = x\n    return h()\ndef h():\n    return N + 1\nN = 0\n", "helper that reads what the task binds", "N + 1", "N + 2"),
]  # fmt: skip

SAME = [
    tasks("def t(x):\n    return x + 1\n", "comment", "    return", "    # why\n    return"),
    tasks("def t(x):\n    return x + 1\n", "white space", "x + 1", "(x  +  1)"),
    tasks("def t(x):\n    'doc'\n    return x + 1\n", "docstring", "'doc'", "'other words'"),
    tasks("def t(x):\n    return x + 1\n", "new docstring", "    return", "    'doc'\n    return"),
    tasks("def t(x):\n    return x + 1\n", "moved lines", "def t", "\n\n\ndef t"),
    tasks("def h(x: int):\n    return x + 1\ndef t(x):\n    return h(x)\n", "annotation of a plain function", "x: int", "x: float"),
    tasks("def h(x):\n    return x + 1\ndef t(x):\n    return h(x)\n", "new annotation of a result", "def h(x):", "def h(x) -> int:"),
    tasks("def t(x):\n    y: int = x + 1\n    return y\n", "annotation of a variable", "y: int", "y: float"),
    tasks("class A:\n    def m(self, x: int):\n        return x\ndef t(x):\n    return A().m(x)\n", "annotation of a method", "x: int", "x: float"),
    tasks("class A:\n    'doc'\n    def m(self, x):\n        'doc2'\n        return x\ndef t(x):\n    return A().m(x)\n", "docstring of a class", "'doc'", "'other'"),
    tasks("class A:\n    def m(self, x):\n        return x\ndef t(x):\n    return A().m(x)\n", "comment in a class", "        return x", "        # why\n        return x"),
    tasks("def other(x):\n    return x + 1\ndef t(x):\n    return x\n", "another function of the module", "+ 1", "+ 2"),
    tasks("OTHER = 1\ndef t(x):\n    return x\n", "another constant", "OTHER = 1", "OTHER = 2"),
    tasks("class Other:\n    k = 1\ndef t(x):\n    return x\n", "another class", "k = 1", "k = 2"),
    tasks("'doc'\ndef t(x):\n    return x\n", "docstring of the module", "'doc'", "'other'"),
    lib("import lib\ndef t(x):\n    return lib.h(x)\n", "def h(x):\n    return x\ndef g(x):\n    return x + 1\n", "another function of another module", "+ 1", "+ 2"),
    lib("from lib import h\ndef t(x):\n    return h(x)\n", "def h(x):\n    return x\nOTHER = 1\n", "another constant of another module", "OTHER = 1", "OTHER = 2"),
    lib("def t(x):\n    from lib import h\n    return h(x)\n", "def h(x):\n    return x\n", "comment behind a lazy import", "    return", "    # why\n    return"),
    tasks("import mxm\n@mxm.task(retries=1)\ndef t(x: int) -> int:\n    return x\n", "option of a task", "retries=1", "retries=2"),
    tasks("import mxm\n@mxm.task\ndef other(x: int) -> int:\n    return x + 1\n@mxm.task\ndef t(x: int) -> int:\n    return x\n", "another task", "+ 1", "+ 2"),
    tasks("import mxm\n@mxm.task\ndef t(x: int) -> int:\n    return x\n@mxm.flow\ndef f(x: int = 1):\n    return t(x)\n", "the flow", "x: int = 1", "x: int = 2"),
    tasks("import logging\nlog = logging.getLogger('a')\ndef t(x):\n    log.info('hi')\n    return x\n", "name of a logger", "'a'", "'b'"),
    tasks("if __name__ == '__main__':\n    print(1)\ndef t(x):\n    return x\n", "what runs only as a program", "print(1)", "print(2)"),
    tasks("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\ndef t(x):\n    return x\n", "import for type checkers", "import json", "import csv"),
    tasks("import os\nimport sys\ndef t(x):\n    return x\n", "order of imports", "import os\nimport sys", "import sys\nimport os"),
    lib("import lib\ndef t(df):\n    return lib.q(df)\n", "OTHER = 1\ndef h():\n    return 1\ndef q(df):\n    return df.query('x > 1')\n", "constant beside a constant expression", "OTHER = 1", "OTHER = 2"),
    lib("import lib\ndef t(df):\n    return lib.q(df, 'x > 1')\n", "def h():\n    return 1\ndef q(df, text):\n    return df.query(text)\n", "function beside an expression", "return 1", "return 2"),
    tasks("class A:\n    k: int = 1\ndef t(x):\n    return A.k\n", "annotation of a plain class", "k: int", "k: float"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:registration of accessor")
@pytest.mark.parametrize("case", STALE, ids=lambda case: case.name)
def test_edit_that_changes_what_a_task_does_changes_its_fingerprint(
    case: Edit, tmp_path: Path
) -> None:
    if sys.version_info < case.since:
        return
    write(tmp_path, case.files)
    before = fingerprint_in(tmp_path)
    assert fingerprint_in(tmp_path)[1] == before[1]
    edit(tmp_path, case.file, case.old, case.new)
    assert fingerprint_in(tmp_path)[1] != before[1]
    assert before[0].edited == ()


@pytest.mark.parametrize("case", SAME, ids=lambda case: case.name)
def test_edit_that_changes_nothing_leaves_the_fingerprint(case: Edit, tmp_path: Path) -> None:
    write(tmp_path, case.files)
    before = fingerprint_in(tmp_path)
    edit(tmp_path, case.file, case.old, case.new)
    after = fingerprint_in(tmp_path)
    assert before[0].items == tuple(
        item._replace(line=mine.line) for item, mine in zip(after[0].items, before[0].items)
    )
    assert after[1] == before[1]
