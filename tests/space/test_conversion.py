"""Spaces from users' input, and as scikit-optimize's."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import loguniform, norm, poisson, randint, uniform
from skopt.space import Categorical, Integer, Real

from sk_tune._space import Choice, as_space, points_of, skopt_space
from sk_tune.exceptions import SpaceError

RNG = np.random.RandomState


def _values(described, n=200, **options):
    space = as_space({"a": described}, **options)
    return [candidate["a"] for candidate in space.sample(n, RNG(0))]


def test_a_space_is_a_space():
    """A parsed space is returned unchanged."""
    space = as_space({"a": [1]})

    assert as_space(space) is space


def test_tuples_mean_what_they_mean_to_scikit_optimize():
    """Two integers bound integers, two numbers reals, anything else is a list."""
    integers = _values((1, 3))
    reals = _values((1, 3.0))
    logs = _values((1e-4, 1.0, "log-uniform"), n=1000)

    assert sorted(integers) == [1, 2, 3]
    assert {type(v) for v in integers} == {int}
    assert min(reals) >= 1.0
    assert max(reals) <= 3.0
    assert {type(v) for v in reals} == {float}
    # The median of a log-uniform variable is the geometric mean of its bounds.
    assert np.log10(np.median(logs)) == pytest.approx(-2, abs=0.2)
    assert sorted(_values((16, 32, 64))) == [16, 32, 64]
    assert sorted(_values(("adam", "sgd"))) == ["adam", "sgd"]
    assert sorted(_values((True, False))) == [False, True]
    assert sorted(_values((7,))) == [7]


def test_tuples_may_mean_what_they_mean_to_scikit_learn():
    """On request, a tuple is a list of values."""
    assert sorted(_values((1, 3), tuples_are_ranges=False)) == [1, 3]
    nested = {"a": Choice({"x": {"b": (1, 9)}})}
    assert as_space(nested, tuples_are_ranges=False).n_points == 2


def test_dimensions_of_scikit_optimize_keep_their_meaning():
    """Bounds are included, priors and weights kept, categories are of any kind."""
    space = as_space({
        "c": Categorical([(8, 8), None], prior=[1.0, 0.0]),
        "i": Integer(2, 4),
        "l": Integer(1, 1000, prior="log-uniform"),
        "r": Real(0.5, 0.75),
    })
    drawn = space.sample(1000, RNG(0))

    assert {c["c"] for c in drawn} == {(8, 8)}
    assert {c["i"] for c in drawn} == {2, 3, 4}
    assert all(0.5 <= c["r"] <= 0.75 for c in drawn)
    assert np.median([c["l"] for c in drawn]) == pytest.approx(1000**0.5, rel=0.2)


@pytest.mark.parametrize("described", [(3, 3), (2.5, 2.5), (1, 1, "log-uniform")])
def test_equal_bounds_are_a_constant(described):
    """A range of one value is that value."""
    assert _values(described) == [described[0]]


@pytest.mark.parametrize(
    "listed", [range(3), np.arange(3), {0: "x", 1: "y", 2: "z"}.keys(), iter([0, 1, 2])]
)
def test_lists_come_in_many_forms(listed):
    """Whatever can be iterated over in an order is a list of values."""
    assert sorted(_values(listed)) == [0, 1, 2]


def test_a_list_of_dicts_keeps_the_number_of_candidates_of_each():
    """scikit-optimize's pairs give every part its number of candidates."""
    parts = as_space([({"a": [1, 2]}, 5), {"b": [3]}]).parts()

    assert [(part.names, n) for part, n in parts] == [(["a"], 5), (["b"], None)]
    assert [(part.names, n) for part, n in as_space([({"a": [1]}, 4)]).parts()] == [
        (["a"], 4)
    ]


def test_one_of_several_dicts_may_be_empty():
    """As in scikit-learn, an empty dict is the estimator as it is."""
    assert as_space([{}, {"a": [1, 2]}]).n_points == 3


NAN = float("nan")
REFUSED = [
    ({}, "must have at least one parameter"),
    ([], "must have at least one parameter"),
    ([{}], "must have at least one parameter"),
    ([({"a": [1]}, -1)], "must be dicts or \\(dict, int\\) pairs"),
    ([({"a": [1]}, 1, 1)], "must be dicts or \\(dict, int\\) pairs"),
    ({1: [1]}, "name of a parameter must be a str. Got 1"),
    ({"lr": []}, "'lr' must be a non-empty sequence. Got \\[\\]"),
    ({"lr": np.array([])}, "'lr' must be a non-empty sequence"),
    ({"lr": "adam"}, "'lr' must be a list .* Got 'adam' \\(of type str\\)"),
    ({"lr": 0.1}, "'lr' must be a list"),
    ({"lr": np.array(0.1)}, "'lr' must be a list"),
    ({"lr": {0.1, 0.2}}, "'lr' must be a list"),
    ({"lr": stats.uniform.__class__}, "'lr' must be a list"),
    ({"lr": (5, 1)}, "'lr' must satisfy low <= high. Got \\(5, 1\\)"),
    ({"lr": (0, 1.0, "log-uniform")}, "'lr' must be > 0 .* Got \\(0, 1.0\\)"),
    ({"lr": (-1, 5, "log-uniform")}, "'lr' must be > 0"),
    ({"lr": (1, 5, "loguniform")}, "prior of 'lr' must be a str among"),
    ({"lr": (NAN, 1.0)}, "'lr' must be finite numbers. Got \\(nan, 1.0\\)"),
    ({"lr": Real(NAN, 1.0)}, "'lr' must be finite numbers"),
    ({"lr": (0.0, np.inf)}, "'lr' must be finite numbers"),
    ({"lr": stats.uniform(0, -1)}, "'lr' must have parameters in .*Got \\(0, -1"),
    ({"lr": stats.loguniform(0, 1)}, "'lr' must have parameters in their domain"),
    ({"lr": stats.loguniform}, "'lr' must be frozen"),
    ({"o": Choice({})}, "'o' must have at least one option"),
    ({"o": Choice(["sgd"])}, "options of 'o' must be a dict of dicts, or"),
    ({"o": Choice({"sgd": [1]})}, "options of 'o' must be a dict of dicts, or"),
    ({"o": Choice({"sgd": {"lr": (2, 1)}})}, "'lr' must satisfy low <= high"),
    ({"lr": [1], "o": Choice({"sgd": {"lr": [1]}})}, "must not set 'lr', because"),
    ({"o": Choice({"sgd": {"o": [1]}})}, "must not set 'o', because"),
    (
        {"o": Choice({1: {"lr": [1]}}), "p": Choice({1: {}, 2: {"lr": [1]}})},
        "Only one choice may set 'lr'. Both 'o' and 'p' do",
    ),
]


@pytest.mark.parametrize("described", [3, "abc", [3], ["C", (1.0, 1)]], ids=str)
def test_what_holds_no_dict_is_of_the_wrong_type(described):
    """As for scikit-learn's ParameterGrid and scikit-optimize's search."""
    with pytest.raises(TypeError, match="must be (a dict or a list of dicts|dicts or)"):
        as_space(described)


@pytest.mark.parametrize(("described", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_invalid_spaces_are_refused_by_name(described, message):
    """The error names the parameter, the requirement and the value."""
    with pytest.raises(SpaceError, match=message):
        as_space(described)


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
    """scikit-optimize has no dependent parameters."""
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
