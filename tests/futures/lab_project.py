"""A scientist's project: a package, a script beside it, and the callables that one maps."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "lab/__init__.py": "",
    "lab/model.py": """
import functools
from pathlib import Path
from lab.shapes import Point

def fit(x, scale=1):
    from lab.lazy import offset      # lazy
    words = (Path(__file__).parent / "words.txt").read_text().split()
    return x * scale + offset() + len(words)

def relative(x):
    from . import lazy
    return lazy.offset() + x

def named(x):
    import importlib
    return importlib.import_module("lab.plugin").plug(x)

def twice(func):
    @functools.wraps(func)
    def both(*args):
        return func(func(*args))
    return both

@twice
def decorated(x):
    return x + 1

def adder(n):
    def add(x):
        from lab.lazy import offset
        return x + n + offset()
    return add

class Model:
    def __init__(self, k):
        self.k = k
    def __call__(self, x):
        return self.k * x
    def predict(self, x):
        return Point(x, self.k)
    @classmethod
    def make(cls, x):
        return cls(x).k
    @staticmethod
    def plain(x):
        return -x

def generator(x):
    yield x

async def coroutine(x):
    return x
""",
    "lab/shapes.py": """
from dataclasses import dataclass

@dataclass
class Point:
    x: float
    y: float
""",
    "lab/lazy.py": "def offset():\n    return 100\n",
    "lab/plugin.py": "def plug(x):\n    return ['plugged', x]\n",
    "lab/unused.py": "raise RuntimeError('nobody imports this')\n",
    "lab/words.txt": "one two three",
    "lab/large.bin": "x" * (1 << 20) + "y",
    "lab/.env": "SECRET=1",
    "beside.py": "NUMBER = 7\ndef offset(x):\n    return x + NUMBER\n",
    "elsewhere/other/deep.py": "def far(x):\n    return ('far', x)\n",
}

SCRIPT = """
import dataclasses, enum, functools, math, operator, sys, types
import numpy as np
import lab.shapes as shapes
from beside import offset
from lab import model
from lab.model import Model, adder, fit

FACTOR = 3

def plain(x): return x * FACTOR
def helped(x): return plain(x) + offset(x)
def lazy(x):
    from lab.lazy import offset
    return offset() + x
def computed(x):
    import importlib
    return importlib.import_module("lab.plugin").plug(x)
def far(x):
    import other.deep
    return other.deep.far(x)
def aliased(x): return shapes.Point(x, FACTOR)
def recursive(n): return n if n < 2 else recursive(n - 1) + recursive(n - 2)
def options(x, y=5, *, z=7, **more): return (x, y, z, sorted(more.items()))
def array(x): return np.arange(x).sum().item()

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Scaled:
    k: int
    def __call__(self, x): return Scaled(self.k * x)
    def method(self, x): return (self.k, x, Colour.RED)
    @classmethod
    def make(cls, x): return cls(x)

@functools.lru_cache(maxsize=4)
def cached(x): return x * FACTOR

def twice(func):
    @functools.wraps(func)
    def both(x): return func(func(x))
    return both

@twice
def decorated(x): return x + FACTOR

def closure(n):
    m = n + 1
    def inner(x): return (x, n, m)
    return inner

bare = types.ModuleType("bare_module")
sys.modules["bare_module"] = bare
MADE = [
    "SECRET = 5",
    "def reveal(x): return x + SECRET",
    "class Made:",
    "    def __call__(self, x): return [x]",
]
exec(chr(10).join(MADE), bare.__dict__)

CALLABLES = {
    "project function": (fit, (2,), {}),
    "project function with kwargs": (fit, (2,), {"scale": 10}),
    "lazy relative import": (model.relative, (2,), {}),
    "import by literal name": (model.named, (2,), {}),
    "decorated in the project": (model.decorated, (2,), {}),
    "closure of the project": (adder(5), (2,), {}),
    "instance of the project": (Model(5), (2,), {}),
    "method of the project": (Model(5).predict, (2,), {}),
    "classmethod of the project": (Model.make, (2,), {}),
    "staticmethod of the project": (Model.plain, (2,), {}),
    "class of the project": (shapes.Point, (2, 3), {}),
    "lambda": (lambda x: x + FACTOR, (2,), {}),
    "lambda with a project's name": (lambda x: fit(x), (2,), {}),
    "script's function": (plain, (2,), {}),
    "function that calls others": (helped, (2,), {}),
    "lazy import in the script": (lazy, (2,), {}),
    "computed import in the script": (computed, (2,), {}),
    "module of another folder": (far, (2,), {}),
    "module alias": (aliased, (2,), {}),
    "recursive": (recursive, (9,), {}),
    "options": (options, (2,), {"z": 1, "w": 2}),
    "numpy inside": (array, (5,), {}),
    "script's instance": (Scaled(3), (2,), {}),
    "script's method": (Scaled(3).method, (2,), {}),
    "script's classmethod": (Scaled.make, (2,), {}),
    "script's class": (Scaled, (2,), {}),
    "cached": (cached, (2,), {}),
    "cached lambda": (functools.lru_cache(lambda x: x + FACTOR), (2,), {}),
    "decorated in the script": (decorated, (2,), {}),
    "closure": (closure(4), (2,), {}),
    "partial": (functools.partial(options, 1, z=2), (3,), {}),
    "partial of the project's": (functools.partial(fit, scale=4), (3,), {}),
    "partial of a partial": (functools.partial(functools.partial(plain), 3), (), {}),
    "builtin": (len, ([1, 2],), {}),
    "extension function": (math.sqrt, (16,), {}),
    "itemgetter": (operator.itemgetter(1), ((1, 2),), {}),
    "method of a builtin": (str.upper, ("a",), {}),
    "bound builtin": ("x-{}".format, (2,), {}),
    "ufunc": (np.sqrt, (16.0,), {}),
    "vectorized": (np.vectorize(lambda x: x + FACTOR), ([1, 2],), {}),
    "function of a bare module": (bare.reveal, (2,), {}),
    "instance of a bare module": (bare.Made(), (2,), {}),
}
"""


def write_lab(folder: Path) -> Path:
    """The project, written to ``folder``."""
    for name, text in {**FILES, "run_all.py": SCRIPT}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
