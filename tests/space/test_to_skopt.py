# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Spaces as scikit-optimize says them."""

import numpy as np
import pytest
from scipy.stats import loguniform, norm, poisson, randint, uniform
from skopt.space import Categorical, Integer, Real

from sk_tune.space import Choice, as_space, points_of, skopt_space


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ((0.0, 2.0), Real(0.0, 2.0)),
        ((1e-3, 1.0, "log-uniform"), Real(1e-3, 1.0, prior="log-uniform")),
        ((1, 8), Integer(1, 8)),
        (Integer(1, 64, prior="log-uniform"), Integer(1, 64, prior="log-uniform")),
        (["relu", "tanh"], Categorical(["relu", "tanh"])),
        ([1, 2.5, "auto"], Categorical([1, 2.5, "auto"])),
        (uniform(1, 2), Real(1.0, 3.0)),
        (loguniform(1e-4, 1e-1), Real(1e-4, 1e-1, prior="log-uniform")),
        (randint(2, 6), Integer(2, 5)),
        (norm(), Real(-1.5, 2.5)),
        (poisson(3), Integer(0, 7)),
    ],
    ids=[
        "range",
        "log range",
        "integers",
        "log integers",
        "strings",
        "mixed",
        "uniform",
        "loguniform",
        "randint",
        "norm",
        "poisson",
    ],
)
def test_each_kind_of_value_has_its_dimension(described, expected):
    """Ranges keep their ends and scale; a distribution without end has those drawn."""
    drawn = [{"x": -1.5}, {"x": 2.5}] if expected == Real(-1.5, 2.5) else [{"x": 7}]

    (dimension,) = skopt_space(as_space({"x": described}), drawn)

    expected.name = "x"
    assert dimension == expected
    assert (dimension.name, dimension.prior) == ("x", expected.prior)


def test_dimensions_are_sorted_by_name():
    """As scikit-optimize's own search sorts them, whatever the order of the dict."""
    dimensions = skopt_space(as_space({"b": (0, 1), "a": (0.0, 1.0)}), [])

    assert [dimension.name for dimension in dimensions] == ["a", "b"]


def test_a_branch_cannot_be_said():
    """A parameter that exists for some candidates only has no place there."""
    branches = Choice({"sgd": {"momentum": (0.0, 0.9)}, "adam": {}})

    assert skopt_space(as_space({"optimizer": branches}), []) is None


def test_points_are_lists_in_the_order_of_the_dimensions():
    """numpy's scalars become Python's; a tuple becomes its repr, None stays."""
    layers = [(64,), (64, 64), None]
    dimensions = skopt_space(as_space({"sizes": layers, "rate": (0.0, 1.0)}), [])

    points = points_of(dimensions, [{"sizes": (64, 64), "rate": np.float64(0.5)}])

    assert points == [[0.5, "(64, 64)"]]
    assert type(points[0][0]) is float
    assert dimensions[1].categories == ("(64,)", "(64, 64)", None)
