"""Digests of data, of values and of code."""

import contextlib
import enum
import functools
import linecache
import os
import sys
import threading
import types
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from os import getenv

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn
from torch.nn import functional

from sk_tune import MLPClassifier
from sk_tune._engine._digest import (
    data_digest,
    installed_name,
    installed_version,
    value_digest,
)

A = np.arange(12, dtype=np.float64).reshape(4, 3)


def _payload(bits):
    return np.array([bits], dtype=np.uint64).view(np.float64)


def _frame(column, **options):
    return pd.DataFrame({"a": pd.Series(column, **options)})


def _frames(*columns, **options):
    return tuple(_frame(column, **options) for column in columns)


def _of_polars(*columns):
    return tuple(pl.DataFrame({"a": column}) for column in columns)


def _categories(values, categories, ordered=None):
    return _frame(pd.Categorical(values, categories=categories, ordered=ordered))


DIFFERENT = {
    "values": (A, A + 1),
    "types": (A, A.astype(np.float32)),
    "order of bytes": (A, A.astype(">f8")),
    "shapes": (A, A.reshape(3, 4)),
    "signs of zero": (np.array([0.0]), np.array([-0.0])),
    "bits of NaN": (_payload(0x7FF8000000000000), _payload(0x7FF8000000000001)),
    "units of time": (np.array([1], dtype="M8[s]"), np.array([1], dtype="M8[ms]")),
    "fields of records": (
        np.zeros(2, dtype=[("a", "i4"), ("b", "i4")]),
        np.zeros(2, dtype=[("b", "i4"), ("a", "i4")]),
    ),
    "masks": (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    "objects": (np.array([1, "1"], dtype=object), np.array(["1", "1"], dtype=object)),
    "missing objects": (np.array([None, 1], object), np.array([np.nan, 1], object)),
    "cuts between texts": (np.array(["ab", "c"], object), np.array(["a", "bc"], object)),
    "tensors": (torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16)),
    "gradients": (torch.zeros(2), torch.zeros(2, requires_grad=True)),
    "names of columns": (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    "types of names": (pd.DataFrame({0: [1]}), pd.DataFrame({"0": [1]})),
    "order of columns": (
        pd.DataFrame({"a": [1], "b": [1]}),
        pd.DataFrame({"b": [1], "a": [1]}),
    ),
    "types of columns": (_frame([1, 2]), _frame([1, 2], dtype="Int64")),
    "small columns": (_frame([1], dtype="int8"), _frame([1], dtype="int16")),
    "columns of objects": _frames([1, "a"], ["1", "a"], dtype=object),
    "missing in columns of objects": _frames([None, "a"], [np.nan, "a"], dtype=object),
    "missing numbers": _frames([1, None], [1, 0], dtype="Int64"),
    "large whole numbers": _frames([2**60, None], [2**60 + 1, None], dtype="Int64"),
    "categories": (_categories(["x"], ["x", "y"]), _categories(["x"], ["x", "z"])),
    "order of categories": (_categories(["x"], ["x", "y"]), _categories(["x"], ["y", "x"])),
    "ordered categories": (
        _categories(["x"], ["x", "y"], ordered=False),
        _categories(["x"], ["x", "y"], ordered=True),
    ),
    "zones of time": _frames(
        *(pd.DatetimeIndex(["2026-01-01"], tz=tz) for tz in ("UTC", "Europe/Berlin"))
    ),
    "intervals": _frames(
        *(pd.arrays.IntervalArray.from_breaks([0, end]) for end in (1, 2))
    ),
    "names of series": (pd.Series([1], name="a"), pd.Series([1], name="b")),
    "frames and series": (_frame([1]), pd.Series([1], name="a")),
    "frames and arrays": (_frame([1]), np.array([[1]])),
    "values of polars": _of_polars([1, None], [1, 0]),
    "places of polars' nulls": _of_polars([1, None], [None, 1]),
    "large numbers of polars": _of_polars([2**60, None], [2**60 + 1, None]),
    "polars and pandas": (pl.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})),
    "series of polars": (pl.Series("a", [1]), pl.Series("a", [2])),
    "tables": (pa.table({"a": [1]}), pa.table({"a": [2]})),
    "sparse values": (scipy.sparse.csr_array(A), scipy.sparse.csr_array(A + 1)),
    "sparse types": (scipy.sparse.csr_array(A), scipy.sparse.csr_matrix(A)),
    "sparse shapes": (scipy.sparse.csr_array((2, 3)), scipy.sparse.csr_array((3, 2))),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_different_data_have_different_digests(pair):
    """Each pair differs in one property."""
    one, other = map(data_digest, pair)

    assert None not in {one, other}
    assert one != other


EQUAL = {
    "columns first": (A, np.asfortranarray(A)),
    "every other row": (A, np.repeat(A, 2, axis=0)[::2]),
    "backwards": (A, np.ascontiguousarray(A[::-1])[::-1]),
    "read-only": (A, np.frombuffer(A.tobytes()).reshape(A.shape)),
    "transposed tensors": (torch.arange(4).view(2, 2), torch.tensor([[0, 2], [1, 3]]).T),
    "empty arrays": (np.empty((0, 3)), np.empty((0, 3))),
    "empty tensors": (torch.empty(0, 3), torch.empty(0, 3)),
    "no dimension": (np.array(3.0), np.array(3.0)),
    "rows of a frame": (_frame([1, 2]), _frame([1, 2]).set_index(np.array([5, 6]))),
    "texts": (_frame(["a", None]), _frame(["a", np.nan])),
    "dates": _frames(*(pd.DatetimeIndex(["2026-01-01", None], tz="UTC") for _ in range(2))),
    "arrow's types": _frames([1, None], [1, None], dtype="int64[pyarrow]"),
    "sparse memory": (scipy.sparse.csr_array(A), scipy.sparse.csr_array(A.copy())),
    "sparse order": (
        scipy.sparse.csr_array(([1.0, 2.0], [0, 1], [0, 2]), shape=(1, 2)),
        scipy.sparse.csr_array(([2.0, 1.0], [1, 0], [0, 2]), shape=(1, 2)),
    ),
    "types of sparse indices": (
        scipy.sparse.csr_array(([1.0], ([0], [1])), shape=(2, 2)),
        scipy.sparse.csr_array(
            ([1.0], np.array([1], np.int64), np.array([0, 1, 1], np.int64)), shape=(2, 2)
        ),
    ),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_equal_data_have_equal_digests(pair):
    """Memory order and the index of a frame do not matter."""
    one, other = map(data_digest, pair)

    assert one is not None
    assert one == other


def test_sparse_data_are_not_changed():
    """Duplicate entries are summed in a copy."""
    data = scipy.sparse.coo_array((np.ones(2), (np.zeros(2, dtype=int),)), shape=(3,))

    assert data_digest(data) is not None
    assert data.nnz == 2


def test_a_memmap_is_an_array(tmp_path):
    """joblib sends large arrays as such to workers."""
    np.save(tmp_path / "data.npy", A)

    assert data_digest(np.load(tmp_path / "data.npy", mmap_mode="r")) == data_digest(A)


def test_other_objects_have_no_data_digest():
    """The digest of a value covers them."""
    assert [data_digest(value) for value in (None, 3, [1, 2], {"a": 1}, object())] == [
        None
    ] * 5


FLOATS = arrays(np.float64, st.integers(0, 4), elements=st.floats(width=64))


@given(FLOATS, FLOATS)
def test_digests_of_arrays_are_equal_if_all_bytes_are(one, other):
    """Neither NaN nor the sign of zero is an exception."""
    assert (data_digest(one) == data_digest(other)) == (one.tobytes() == other.tobytes())


TEXTS = st.lists(st.none() | st.text() | st.integers(), max_size=4)


@given(TEXTS, TEXTS)
def test_digests_of_columns_of_objects_are_equal_if_all_values_are(one, other):
    """Values of different types differ."""
    one_digest, other_digest = (data_digest(_frame(v, dtype=object)) for v in (one, other))

    assert (one_digest == other_digest) == (one == other)


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
def test_values_of_different_behaviour_have_different_digests(pair):
    """Each pair differs in one property."""
    one, other = pair

    assert value_digest(one) != value_digest(other)


# By what differs: a source, and what may stand in its gap.
SOURCES = {
    "code": ("def f(x): return x + {}", 1, 2),
    "code of an inner function": ("def f(x):\n return [(lambda: {})() for _ in x]", 1, 2),
    "a number of the module": ("K = {}\ndef f(x): return x + K", 1, 2),
    "a number that an inner function reads": (
        "K = {}\ndef f(x):\n return [(lambda: K)() for _ in x]",
        1,
        2,
    ),
    "a number that is not there": ("{}def f(x): return x + K", "", "K = 2\n"),
    "a function that is called": ("def g(x): return {}x\ndef f(x): return g(x)", "", "-"),
    "a class that is used": ("class G:\n size = {}\ndef f(x): return G()", 1, 2),
    "a base": ("class G:\n def forward(self): return {}\nclass f(G): pass", 1, 2),
    "a base of a library": (
        "from torch import nn\nclass f(nn.{}): pass",
        "Linear",
        "Bilinear",
    ),
    "a method": ("class f:\n def forward(self): return {}", 1, 2),
    "a property": ("class f:\n @property\n def size(self): return {}", 1, 2),
    "a static method": ("class f:\n @staticmethod\n def size(): return {}", 1, 2),
    "a default of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass f:\n size: int = {}",
        1,
        2,
    ),
    "a name that is imported": (
        "from torch import {} as g\ndef f(x): return g(x)",
        "relu",
        "tanh",
    ),
    "functions that call each other": (
        "def f(x): return g(x)\ndef g(x): return x and f(x - {})",
        1,
        2,
    ),
}


@pytest.mark.parametrize(("source", "one", "other"), SOURCES.values(), ids=SOURCES)
def test_digests_of_users_code_cover_everything_it_uses(source, one, other):
    """Also for equal names, and without source files."""
    first, second, again = (
        value_digest(_made(source.format(part)).f) for part in (one, other, one)
    )

    assert first == again != second


def _with_blocks(source, *numbers):
    """Return digests of g, in a module with the numbers a and b in `blocks`."""
    return [
        value_digest(_made(source, blocks=_made(f"a = {a}\nb = {b}")).g) for a, b in numbers
    ]


def test_attributes_read_from_a_users_module_count():
    """``blocks.a`` counts, but the unused ``blocks.b`` does not."""
    source = "def g(x): return [(lambda: blocks.a)() for _ in x]"
    digests = _with_blocks(source, (1, 1), (1, 2), (2, 2))

    assert digests[0] == digests[1] != digests[2]


def test_each_function_counts_the_attributes_that_it_reads():
    """The second function reads other names of the same module."""
    source = "def f(x): return blocks.a * x\ndef g(x): return blocks.b * f(x)"
    digests = _with_blocks(source, (1, 1), (1, 1), (1, 2), (2, 1))

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_replaced_methods_count(monkeypatch):
    """The current method counts, not the class statement."""

    class Own(nn.Module):
        def forward(self, x):
            return x

    before = value_digest(Own)
    monkeypatch.setattr(Own, "forward", lambda self, x: -x)

    assert value_digest(Own) != before


def test_later_edits_of_a_file_do_not_count(tmp_path, monkeypatch):
    """The code in memory trains."""
    path = tmp_path / "edited_since.py"
    path.write_text("def f(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    function = __import__("edited_since").f
    before = value_digest(function)

    path.write_text("def f(x):\n    return x + 2\n")
    linecache.checkcache()

    assert value_digest(function) == before
    del sys.modules["edited_since"]


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
    """The identity of objects does not matter."""
    assert value_digest(make()) == value_digest(make())


def test_comments_lines_and_identity_do_not_count():
    """Repeated references to one list do not count either."""
    one, other = "def f(x): return x + 1", "# A reason.\n\n\ndef f(x):\n    return x + 1"
    pair = [1, 2]

    assert value_digest(_made(one).f) == value_digest(_made(other).f)
    assert value_digest([pair, pair]) == value_digest([[1, 2], [1, 2]])


def _reads_a_lock():
    return LOCK


def _imports_a_users_module():
    import no_library_of_this_name

    return no_library_of_this_name


def _imports_the_environment():
    from os import environ

    return environ["SK_TUNE_NO_SUCH_VARIABLE"]


LOCK = threading.Lock()
ITSELF = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_reads_a_lock, "the variable 'LOCK' that _reads_a_lock reads cannot be read"),
        (_imports_a_users_module, "imports 'no_library_of_this_name' when it is called"),
        (_decorated(_double, LOCK), "the variable 'factor' around _double cannot be read"),
        (lambda: os.environ["SK_TUNE_NO_SUCH"], "exposes os.environ, which may change"),
        (lambda: getenv("SK_TUNE_NO_SUCH"), "depends on the environment, which may change"),
        (_imports_the_environment, "reads values of os that may change"),
        (lambda: globals()["LOCK"], r"calls globals\(\)"),
        (lambda: sys.modules["torch"], "exposes sys.modules, which may change"),
        (lambda: __import__("torch"), r"calls __import__\(\)"),
        (ITSELF, "a list contains itself"),
        (LOCK, "cannot pickle"),
    ],
)
def test_errors_name_the_unreadable_value(value, message):
    """They also name its place."""
    with pytest.raises(TypeError, match=message):
        value_digest(value)


def test_an_unbound_closure_variable_is_allowed():
    """A recursive inner function has such a variable."""
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


@given(VALUES, VALUES)
def test_plain_values_have_equal_digests_if_they_are_written_alike(one, other):
    """Python's representation of plain values is lossless."""
    assert (value_digest(one) == value_digest(other)) == (repr(one) == repr(other))


class _Rectified(nn.Module):
    """Calls a function, and a method, of torch's."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return functional.relu(self.layer(x))


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("where", ["function", "method"])
def test_patches_of_a_library_count(where, wraps, monkeypatch):
    """Its version does not show them, even if the patch looks like the original."""
    owner, name = (functional, "relu") if where == "function" else (nn.Linear, "forward")
    own = getattr(owner, name)
    before = value_digest(_Rectified)

    def patched(*args):
        return 2 * own(*args)

    monkeypatch.setattr(owner, name, functools.wraps(own)(patched) if wraps else patched)

    assert value_digest(_Rectified) != before
    monkeypatch.undo()
    assert value_digest(_Rectified) == before


def test_classes_and_functions_of_libraries_have_a_name_and_a_version():
    """Python's own have Python's version."""
    assert (
        installed_name(nn.Linear) == f"torch.nn.modules.linear.Linear {torch.__version__}"
    )
    assert installed_name(MLPClassifier).startswith("sk_tune.")
    assert installed_name(functools.partial).startswith("functools.partial python")


@pytest.mark.parametrize(
    ("name", "folder", "version", "installed"),
    [
        # Has a version, and may be edited without another.
        ("checked_out", ".", "", None),
        ("of_a_user", "lib/dist-packages", "1.0", "of_a_user.f 1.0"),
    ],
)
def test_packages_are_installed_in_folders_of_packages(
    name, folder, version, installed, tmp_path, monkeypatch
):
    """Including a user's folder, and that of an interpreter below the environment."""
    own = tmp_path / folder
    own.mkdir(parents=True, exist_ok=True)
    (own / f"{name}.py").write_text("__version__ = '1.0'\ndef f(): return 1\n")
    monkeypatch.syspath_prepend(str(own))
    module = __import__(name)

    assert installed_version(name) == version
    assert installed_name(module.f) == installed
    del sys.modules[name]


def test_modules_without_a_file_belong_to_the_user(monkeypatch):
    """A notebook is an example."""
    monkeypatch.setitem(sys.modules, "nowhere", types.ModuleType("nowhere"))

    assert installed_version("nowhere") == ""
    assert installed_version("__main__") == ""
