# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Changes of values and of ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from skopt.space import Categorical, Integer, Real

from sk_tune.diagnosis import Change
from sk_tune.diagnosis._apply import changed_range, changed_value
from sk_tune.space import as_space


def change(action, value, parameter="learning_rate"):
    return Change(parameter=parameter, action=action, value=value, reason="")


@pytest.mark.parametrize(
    ("action", "value", "after"),
    [
        ("set", 7, 7),
        ("at least", 5, 5),
        ("at least", 3, 4),
        ("at most", 3, 3),
        ("at most", 5, 4),
        ("multiply", 2.4, 10),
        ("extend above", 9, 4),
        ("extend below", 1, 4),
    ],
)
def test_values_change(action, value, after):
    """A whole number stays one."""
    changed = changed_value(4, change(action, value, "width"))

    assert changed == after
    assert type(changed) is int


def test_a_floor_is_laid_under_what_is_not_set():
    """None becomes the bound; a name or a flag is left."""
    assert changed_value(None, change("at most", 1.0)) == 1.0
    assert changed_value("relu", change("at least", 1.0)) == "relu"
    assert changed_value(True, change("at least", 3)) is True


def test_values_stay_within_what_they_mean():
    """No dropout of all units, and full batches stay full."""
    assert changed_value(0.5, change("multiply", 4, "dropout")) < 1
    assert changed_value(0.5, change("multiply", 4, "module__dropout")) < 1
    assert changed_value(-1, change("multiply", 2, "batch_size")) == -1
    assert changed_value(2, change("multiply", 0.1, "width")) == 1


@pytest.mark.parametrize(
    ("values", "action", "value", "after"),
    [
        ([0.1, 0.2, 0.3], "at least", 0.2, [0.2, 0.3]),
        ([0.1, 0.2], "at least", 0.5, [0.5]),
        ([0.1, 0.2, 0.3], "at most", 0.2, [0.1, 0.2]),
        ([0.2], "at most", 0.1, [0.1]),
        ([1, 2], "multiply", 4, [4, 8]),
        ([1, 2], "extend above", 4, [1, 2, 4]),
        ([1, 2], "extend above", 2, [1, 2]),
        ([4, 8], "extend below", 2, [2, 4, 8]),
        (["a", "b"], "at least", 1, ["a", "b"]),
        ([0.1, None], "at least", 1, [0.1, None]),
        (np.array([1.0, 2.0]), "at least", 2.0, [2.0]),
        ([1, 2], "set", 5, [5]),
    ],
)
def test_lists_change(values, action, value, after):
    """What is not a list of numbers is left alone, unless it is set."""
    assert list(changed_range(values, change(action, value))) == after


@pytest.mark.parametrize(
    ("described", "action", "value", "ends"),
    [
        (stats.uniform(0, 0.5), "at least", 0.2, (0.2, 0.5)),
        (stats.uniform(0, 0.1), "at least", 0.2, (0.2, 0.3)),
        (stats.uniform(2, 1), "at most", 2.5, (2, 2.5)),
        (stats.uniform(0, 1), "extend above", 2.0, (0, 2)),
        (stats.loguniform(1e-4, 1e-2), "at most", 1e-5, (1e-7, 1e-5)),
        (stats.loguniform(1e-4, 1e-2), "at least", 1e-3, (1e-3, 1e-2)),
        (stats.loguniform(1e-4, 1e-2), "multiply", 10, (1e-3, 1e-1)),
        (stats.loguniform(1e-4, 1e-2), "extend below", 1e-5, (1e-5, 1e-2)),
        (stats.loguniform(1e-4, 1e-2), "extend below", 0.0, (1e-4, 1e-2)),
        (stats.randint(4, 9), "extend above", 12, (4, 12)),
        (stats.randint(4, 9), "at least", 6, (6, 8)),
    ],
)
def test_distributions_change(described, action, value, ends):
    """A distribution stays one, of the same family."""
    changed = changed_range(described, change(action, value))

    low, high = changed.support()
    assert (low, high) == pytest.approx(ends)
    assert changed.dist.name == described.dist.name


@pytest.mark.parametrize(
    ("described", "action", "value", "after"),
    [
        (0, "at least", 0.2, 0.2),
        ([0, 0.1], "at least", 0.2, [0.2]),
        ((0, 0.5), "at least", 0.2, (0.2, 0.5)),
        (Real(0, 0.5), "at least", 0.2, (0.2, 0.5)),
        ((0, 0.5), "extend above", 0.75, (0.0, 0.75)),
        ([0, 1], "at most", 0.1, [0]),
    ],
)
def test_whole_numbers_of_a_real_parameter_are_not_rounded(described, action, value, after):
    """A dropout of 0 says nothing of the next one; nor does a rate of 1."""
    own = change(action, value, "net__dropout")

    found = changed_value(0, own) if described == 0 else changed_range(described, own)

    ends = (found.low, found.high) if isinstance(found, Real) else found
    assert ends == after
    assert changed_value(1, change("at most", 0.1)) == 0.1
    assert changed_range([1, 0.1], change("extend below", 0.0025)) == [0.0025, 1, 0.1]


def test_distributions_of_other_families_are_left():
    """A range that is not uniform cannot be cut without becoming another."""
    normal = stats.norm(0, 1)

    assert changed_range(normal, change("at least", 1.0)) is normal


@pytest.mark.parametrize(
    ("described", "action", "value", "after"),
    [
        (Real(1e-4, 1e-2, "log-uniform"), "at least", 1e-3, (1e-3, 1e-2)),
        (Integer(1, 8), "extend above", 16, (1, 16)),
        ((1e-4, 1e-2, "log-uniform"), "at most", 1e-3, (1e-4, 1e-3)),
        ((1, 8), "at least", 4, (4, 8)),
    ],
)
def test_ranges_of_scikit_optimize_change(described, action, value, after):
    """Dimensions and tuples keep their kind and their prior."""
    changed = changed_range(described, change(action, value))

    assert type(changed) is type(described)
    if isinstance(described, tuple):
        assert changed[:2] == after
        assert changed[2:] == described[2:]
    else:
        assert changed.bounds == after
        assert changed.prior == described.prior


def test_categories_change_as_lists_do():
    """Numbers among which scikit-optimize is to choose are cut like a list."""
    changed = changed_range(Categorical([8, 16, 32]), change("at least", 16))

    assert list(changed.categories) == [16, 32]


def test_a_range_without_width_becomes_a_value():
    """A bound of 0 on what cannot be negative leaves one value."""
    assert changed_range(stats.uniform(0, 0.5), change("at most", 0.0, "dropout")) == [0.0]
    assert changed_range(Real(0.0, 0.5), change("at most", 0.0, "dropout")) == [0.0]
    assert changed_range((0.0, 0.5), change("at most", 0.0, "dropout")) == [0.0]
    assert changed_range(stats.randint(1, 4), change("at most", 1, "n_layers")) == [1]


def test_tuples_are_lists_for_scikit_learn():
    """Its searches take a tuple for values to choose from."""
    changed = changed_range((8, 32), change("at least", 32), tuples_are_ranges=False)

    assert changed == [32]


@pytest.mark.parametrize(
    "described",
    [[1, 2], stats.uniform(0, 5), Real(0, 5), Integer(1, 5), (0.0, 5.0), Categorical([1])],
)
def test_what_is_no_change_is_the_same_object(described):
    """Whether anything happened can be told by identity."""
    assert changed_range(described, change("at least", 0)) is described


@given(
    action=st.sampled_from(["at least", "at most", "extend above", "extend below"]),
    value=st.floats(1e-6, 10),
    kind=st.sampled_from(["list", "loguniform", "Real", "tuple"]),
)
def test_what_comes_out_can_be_searched(action, value, kind):
    """Whatever is changed, sk_tune can parse the result, and floors and bounds hold."""
    described = {
        "list": [1e-4, 1e-2, 1.0],
        "loguniform": stats.loguniform(1e-4, 1.0),
        "Real": Real(1e-4, 1.0, "log-uniform"),
        "tuple": (1e-4, 1.0, "log-uniform"),
    }[kind]

    changed = changed_range(described, change(action, value))

    drawn = as_space({"x": changed}).sample(5, np.random.RandomState(0))
    values = [params["x"] for params in drawn]
    if action == "at least":
        assert min(values) >= value * (1 - 1e-9)
    if action == "at most":
        assert max(values) <= value * (1 + 1e-9)
