"""Digests of values: different for what acts differently, equal in any process."""

import contextlib
import enum
import functools
import linecache
import os
import subprocess
import sys
import threading
import types
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from os import getenv

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn
from torch.nn import functional

from sk_tune import MLPClassifier
from sk_tune.engine._digest import value_digest


class Mode(enum.Enum):
    """Two members."""

    FAST = 1
    SLOW = 2


class Text(str):
    """Looks like any other."""

    def __repr__(self):
        return "text"


@dataclass
class Settings:
    """An object of values."""

    size: int = 3


Point = namedtuple("Point", "x y")


def _made(source, **variables):
    """Return the names of a module of the user's that is nowhere on disk."""
    module = types.ModuleType("users")
    module.__dict__.update(variables)
    exec(source, module.__dict__)
    return module


def _class(size):
    class Own(nn.Module):
        def forward(self, x):
            return x * size

    return Own


def _decorated(function, factor):
    @functools.wraps(function)
    def wrapper(*args):
        return factor * function(*args)

    return wrapper


def _double(x):
    return 2 * x


def _triple(x):
    return 3 * x


TWO_IN_A_LINE = [lambda x: x + 1, lambda x: x + 2]
DEFAULTS = [lambda x, k=k: x + k for k in range(2)]


def _tied():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.weight = one.weight
    return nn.Sequential(one, other)


def _untied():
    module = _tied()
    module[1].weight = nn.Parameter(module[0].weight.detach().clone())
    return module


def _frozen(is_frozen):
    module = nn.Linear(2, 1)
    for parameter in module.parameters():
        nn.init.ones_(parameter).requires_grad_(not is_frozen)
    return module


def _seeded(make):
    torch.manual_seed(0)
    return make()


PAIRS = {
    "numbers of other types": (1, 1.0),
    "truth": (1, True),
    "texts and bytes": ("a", b"a"),
    "signs of zero": (0.0, -0.0),
    "numpy's numbers": (np.float32(0.5), np.float64(0.5)),
    "lists and tuples": ([1, 2], (1, 2)),
    "depth of lists": ([[1], 2], [1, [2]]),
    "what a list holds": (["a", "b"], ["a, b"]),
    "order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "keys and values": ({"a": "b"}, {"b": "a"}),
    "kinds of dicts": ({"a": 1}, OrderedDict(a=1)),
    "defaults of a dict": (defaultdict(int), defaultdict(list)),
    "sets": ({1, 2}, {1, 3}),
    "members": (Mode.FAST, Mode.SLOW),
    "texts with a form of their own": (Text("a"), Text("b")),
    "named tuples": (Point(1, 2), (1, 2)),
    "attributes": (Settings(3), Settings(4)),
    "arrays in lists": ([np.arange(3)], [np.arange(3)[::-1]]),
    "callbacks": (EarlyStopping(patience=2), EarlyStopping(patience=3)),
    "functions in callbacks": (
        LRScheduler(torch.optim.lr_scheduler.LambdaLR, lr_lambda=_double),
        LRScheduler(torch.optim.lr_scheduler.LambdaLR, lr_lambda=_triple),
    ),
    "estimators": (MLPClassifier(width=1), MLPClassifier(width=2)),
    "types of torch": (torch.float32, torch.float64),
    "devices": (torch.device("cpu"), torch.device("cuda")),
    "classes of a library": (nn.Linear, nn.Bilinear),
    "functions of a library": (torch.relu, torch.tanh),
    "functions of one line": tuple(TWO_IN_A_LINE),
    "defaults of a function": tuple(DEFAULTS),
    "what a class was made with": (_class(2), _class(3)),
    "what a decorator was given": (_decorated(_double, 2), _decorated(_double, 3)),
    "what is decorated": (_decorated(_double, 2), _decorated(_triple, 2)),
    "a copy of a library's name": (nn.Linear, _decorated(nn.Linear, 2)),
    "torch's decorators": (torch.no_grad()(_double), torch.no_grad()(_triple)),
    "arguments of partials": (functools.partial(_class, 1), functools.partial(_class, 2)),
    "functions of partials": (functools.partial(_double), functools.partial(_triple)),
    "functions in dicts": ({"f": _double}, {"f": _triple}),
    "cached functions": (functools.cache(_double), functools.cache(_triple)),
    "methods of objects": (Text("a").upper, Text("b").upper),
    "weights": (_seeded(lambda: nn.Linear(2, 1)), nn.Linear(2, 1)),
    "frozen weights": (_frozen(True), _frozen(False)),
    "weights that layers share": (_seeded(_tied), _seeded(_untied)),
    "frames": (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_what_acts_differently_differs(pair):
    """Of each pair."""
    one, other = pair

    assert value_digest(one) != value_digest(other)


SOURCES = {
    "code": ("def f(x): return x + 1", "def f(x): return x + 2"),
    "code of an inner function": (
        "def f(x):\n return [(lambda: 1)() for _ in x]",
        "def f(x):\n return [(lambda: 2)() for _ in x]",
    ),
    "a number of the module": (
        "K = 1\ndef f(x): return x + K",
        "K = 2\ndef f(x): return x + K",
    ),
    "a number that is not there": (
        "def f(x): return x + K",
        "K = 2\ndef f(x): return x + K",
    ),
    "a function that is called": (
        "def g(x): return x\ndef f(x): return g(x)",
        "def g(x): return -x\ndef f(x): return g(x)",
    ),
    "a class that is used": (
        "class G:\n size = 1\ndef f(x): return G()",
        "class G:\n size = 2\ndef f(x): return G()",
    ),
    "a base": (
        "class G:\n def forward(self): return 1\nclass f(G): pass",
        "class G:\n def forward(self): return 2\nclass f(G): pass",
    ),
    "a base of a library": (
        "from torch import nn\nclass f(nn.Linear): pass",
        "from torch import nn\nclass f(nn.Bilinear): pass",
    ),
    "a method": (
        "class f:\n def forward(self): return 1",
        "class f:\n def forward(self): return 2",
    ),
    "a property": (
        "class f:\n @property\n def size(self): return 1",
        "class f:\n @property\n def size(self): return 2",
    ),
    "a static method": (
        "class f:\n @staticmethod\n def size(): return 1",
        "class f:\n @staticmethod\n def size(): return 2",
    ),
    "a default of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass f:\n size: int = 1",
        "import dataclasses\n@dataclasses.dataclass\nclass f:\n size: int = 2",
    ),
    "a name that is imported": (
        "from torch import relu as g\ndef f(x): return g(x)",
        "from torch import tanh as g\ndef f(x): return g(x)",
    ),
    "functions that call each other": (
        "def f(x): return g(x)\ndef g(x): return x and f(x - 1)",
        "def f(x): return g(x)\ndef g(x): return x and f(x - 2)",
    ),
}


@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES)
def test_code_of_a_user_counts_with_all_that_it_uses(sources):
    """Also where the name is the same, and no source can be read."""
    one, other = (value_digest(_made(source).f) for source in sources)

    assert one != other
    assert one == value_digest(_made(sources[0]).f)


def test_what_code_takes_from_a_module_of_the_user_counts():
    """As ``blocks.size`` does, and ``blocks.unused`` does not."""
    source = "def f(x): return blocks.size * x"
    digests = [
        value_digest(_made(source, blocks=_made(f"size = {size}\nunused = {other}")).f)
        for size, other in [(1, 1), (1, 2), (2, 2)]
    ]

    assert digests[0] == digests[1] != digests[2]


def test_each_function_counts_with_what_it_takes_from_a_module():
    """The second one that reads a module takes other names out of it."""
    source = "def f(x): return blocks.a * x\ndef g(x): return blocks.b * f(x)"
    digests = [
        value_digest(_made(source, blocks=_made(f"a = {a}\nb = {b}")).g)
        for a, b in [(1, 1), (1, 1), (1, 2), (2, 1)]
    ]

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_methods_that_were_replaced_count(monkeypatch):
    """What runs is not what the class statement says."""

    class Own(nn.Module):
        def forward(self, x):
            return x

    before = value_digest(Own)
    monkeypatch.setattr(Own, "forward", lambda self, x: -x)

    assert value_digest(Own) != before


def test_a_file_that_was_edited_since_does_not_count(tmp_path, monkeypatch):
    """The code in memory is what trains."""
    path = tmp_path / "edited_since.py"
    path.write_text("def f(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    function = __import__("edited_since").f
    before = value_digest(function)

    path.write_text("def f(x):\n    return x + 2\n")
    linecache.checkcache()

    assert value_digest(function) == before
    del sys.modules["edited_since"]


def test_comments_and_lines_do_not_count():
    """A file may be edited elsewhere."""
    one, other = "def f(x): return x + 1", "# A reason.\n\n\ndef f(x):\n    return x + 1"

    assert value_digest(_made(one).f) == value_digest(_made(other).f)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1, 0.5, "a", None, {"b": (2, 3)}],
        lambda: {"y", "x", "z"},
        lambda: _class(2),
        lambda: functools.partial(_class(2), k=3),
        lambda: EarlyStopping(patience=4),
        lambda: nn.Sequential(_frozen(False), nn.ReLU()),
        lambda: np.random.RandomState(3),
        lambda: [np.arange(6).reshape(2, 3)[:, ::-1], None],
        lambda: float("nan"),
    ],
)
def test_equal_values_have_equal_digests(make):
    """Whatever object they are."""
    assert value_digest(make()) == value_digest(make())


def test_how_often_a_list_is_the_same_object_does_not_count():
    """Equal lists are as good as one list twice."""
    pair = [1, 2]

    assert value_digest([pair, pair]) == value_digest([[1, 2], [1, 2]])


def _reads_a_lock():
    return LOCK


def _imports_a_users_module():
    import no_library_of_this_name

    return no_library_of_this_name


def _reads_the_environment():
    return os.environ["SK_TUNE_NO_SUCH_VARIABLE"]


def _asks_for_a_variable():
    return getenv("SK_TUNE_NO_SUCH_VARIABLE")


def _imports_the_environment():
    from os import environ

    return environ["SK_TUNE_NO_SUCH_VARIABLE"]


def _reads_all_globals():
    return globals()["LOCK"]


def _reads_all_modules():
    return sys.modules["torch"]


def _imports_by_name():
    return __import__("torch")


LOCK = threading.Lock()
ITSELF = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_reads_a_lock, "the variable 'LOCK' that _reads_a_lock reads cannot be read"),
        (_imports_a_users_module, "imports 'no_library_of_this_name' when it is called"),
        (_decorated(_double, LOCK), "the variable 'factor' around _double cannot be read"),
        (_reads_the_environment, "tells os.environ, which may change"),
        (_asks_for_a_variable, "tells of surroundings, which may change"),
        (_imports_the_environment, "asks os for what may change"),
        (_reads_all_globals, r"calls globals\(\)"),
        (_reads_all_modules, "tells sys.modules, which may change"),
        (_imports_by_name, r"calls __import__\(\)"),
        (ITSELF, "a list holds itself"),
        (LOCK, "cannot pickle"),
    ],
)
def test_what_cannot_be_read_is_said(value, message):
    """With where it was met."""
    with pytest.raises(TypeError, match=message):
        value_digest(value)


def test_a_variable_that_is_not_set_yet_is_no_error():
    """The recursive function of a function."""
    with contextlib.suppress(NameError):

        def function():
            return later

        digest = value_digest(function)
        later = 3

    assert digest != value_digest(function)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def _form(value):
    """Return what tells plain values apart: Python writes them without loss."""
    return repr(value)


@given(VALUES, VALUES)
def test_plain_values_have_equal_digests_if_they_are_written_alike(one, other):
    """And only then."""
    assert (value_digest(one) == value_digest(other)) == (_form(one) == _form(other))


SCRIPT = """
import collections
from torch import nn
from skorch.callbacks import EarlyStopping
from sk_tune.engine._digest import value_digest

SIZES = {"a", "b", "c"}

class Net(nn.Module):
    names = frozenset({"x", "y", "z"})
    def __init__(self, n_features=3):
        super().__init__()
        self.layer = nn.Linear(n_features, len(SIZES))
    def forward(self, x):
        return self.layer(x) if "a" in {"a", "b", "c"} else x

values = [Net, {"p", "q", "r"}, EarlyStopping(), collections.Counter("aab"), nn.ReLU()]
print(value_digest(values))
"""


def test_digests_are_the_same_in_every_process():
    """Also of sets, whose order is another in each."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


class _Rectified(nn.Module):
    """Calls a function, and a method, of torch's."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return functional.relu(self.layer(x))


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("where", ["function", "method"])
def test_what_is_patched_into_a_library_counts(where, wraps, monkeypatch):
    """A version says nothing of it, even if it looks like what it takes the place of."""
    owner, name = (functional, "relu") if where == "function" else (nn.Linear, "forward")
    own = getattr(owner, name)
    before = value_digest(_Rectified)

    def patched(*args):
        return 2 * own(*args)

    monkeypatch.setattr(owner, name, functools.wraps(own)(patched) if wraps else patched)

    assert value_digest(_Rectified) != before
    monkeypatch.undo()
    assert value_digest(_Rectified) == before
