"""Spaces as sets of candidates."""

import numpy as np
import pytest
import skopt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.svm import SVC
from space.test_dimensions import OnlyRvs

from sk_tune._space import Choice, as_space
from sk_tune.exceptions import SpaceError


def test_a_dict_and_pairs_are_the_same_choice():
    """Options keep their order in both forms."""
    options = {"sgd": {"momentum": [0.9]}, "adamw": {}}

    assert Choice(options).pairs() == Choice(options.items()).pairs()
    assert Choice(options).pairs() == [("sgd", {"momentum": [0.9]}), ("adamw", {})]


def test_an_iterator_may_be_read_more_than_once():
    """Options of a generator are not used up by the first reader."""
    choice = Choice((value, {}) for value in ([1], [2]))

    assert choice.pairs() == [([1], {}), ([2], {})]
    assert choice.pairs() == choice.pairs()


def test_its_repr_names_the_values():
    """A notebook shows the options of a choice."""
    assert repr(Choice({"sgd": {}, None: {}})) == "Choice('sgd', None)"


RNG = np.random.RandomState

ACCEPTED_BY_SCIKIT_LEARN = [
    {"b": [1, 2, 3], "a": ["x", None], "c": np.linspace(0, 1, 5)},
    {"b": [1, 2, 3], "a": stats.uniform(0, 1), "c": stats.randint(1, 9)},
    [{"a": [1, 2]}, {"b": stats.norm(), "a": [3, 4]}],
    [{"a": [1, 2]}, {"b": [3, 4, 5], "c": [6, 7]}],
]


@pytest.mark.parametrize(
    "described",
    ACCEPTED_BY_SCIKIT_LEARN,
    ids=["lists", "distributions", "dicts", "dicts of lists"],
)
@pytest.mark.parametrize("seed", range(5))
def test_candidates_match_scikit_learn(described, seed):
    """For what ParameterSampler accepts, the same seed draws the same candidates."""
    expected = list(ParameterSampler(described, 6, random_state=seed))[:6]

    assert as_space(described).sample(6, RNG(seed)) == expected


@st.composite
def _spaces(draw, depth=2, prefix=""):
    """Draw a description with lists, ranges and nested choices, names distinct."""
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
    return {f"{prefix}{n}": draw(_dimensions(depth, f"{prefix}{n}")) for n in names}


def _dimensions(depth, prefix):
    leaf = st.one_of(
        st.lists(st.one_of(st.integers(), st.text(max_size=2)), min_size=1, max_size=4,
                 unique=True),
        st.tuples(st.integers(-5, 0), st.integers(0, 5)),
    )  # fmt: skip
    if depth == 0:
        return leaf
    branch = st.one_of(st.just({}), _spaces(depth - 1, prefix))
    options = st.lists(branch, min_size=1, max_size=3)
    return st.one_of(leaf, options.map(lambda bs: Choice(list(enumerate(bs)))))


def _n_listed(described):
    """Count all candidates of a description by recursion."""
    n = 1
    for dimension in described.values():
        if isinstance(dimension, Choice):
            n *= sum(_n_listed(space) for _, space in dimension.pairs())
        elif isinstance(dimension, tuple):
            n *= dimension[1] - dimension[0] + 1
        else:
            n *= len(dimension)
    return n


def _listed(described):
    """List all candidates of a description by recursion, in no particular order."""
    candidates = [{}]
    for name, dimension in described.items():
        if isinstance(dimension, Choice):
            settings_ = [
                {name: value, **inner}
                for value, space in dimension.pairs()
                for inner in _listed(space)
            ]
        elif isinstance(dimension, tuple):
            settings_ = [{name: v} for v in range(dimension[0], dimension[1] + 1)]
        else:
            settings_ = [{name: v} for v in dimension]
        candidates = [{**c, **s} for c in candidates for s in settings_]
    return candidates


def _sorted(candidates):
    return sorted(map(repr, (sorted(c.items(), key=str) for c in candidates)))


@settings(max_examples=60, deadline=None)
@given(described=_spaces())
def test_a_finite_space_is_drawn_without_replacement(described):
    """All candidates of a tree of choices are drawn once, and their number is known."""
    space, n = as_space(described), _n_listed(described)
    assert space.n_points == n
    if n > 500:
        return
    expected = _listed(described)

    assert _sorted(space.sample(len(expected) + 3, RNG(0))) == _sorted(expected)


@settings(max_examples=60, deadline=None)
@given(described=_spaces(), seed=st.integers(0, 2**31))
def test_codes_are_a_faithful_image_of_candidates(described, seed):
    """Decoding is inverse to encoding, keys are equal where candidates are."""
    space = as_space(described)
    codes = space.random_codes(20, RNG(seed))
    candidates = space.decode(codes)

    np.testing.assert_allclose(space.encode(candidates), codes)
    np.testing.assert_allclose(space.snap(codes), codes)
    assert space.decode(space.encode(candidates)) == candidates
    keys = space.keys(codes)
    for i, j in zip(range(19), range(1, 20), strict=True):
        assert (keys[i] == keys[j]) == (repr(candidates[i]) == repr(candidates[j]))


@settings(max_examples=30, deadline=None)
@given(first=st.integers(0, 20), second=st.integers(0, 30), seed=st.integers(0, 99))
def test_later_draws_leave_out_what_was_drawn(first, second, seed):
    """In any batches, every candidate is drawn exactly once."""
    space = as_space({"a": range(6), "b": ["x", "y", "z", "w"]})
    rng, drawn = RNG(seed), set()

    candidates = [c for n in (first, second, 30) for c in space.sample(n, rng, drawn)]

    assert _sorted(candidates) == _sorted(ParameterGrid({"a": range(6), "b": list("xyzw")}))


NET = Choice({
    "sgd": {"momentum": stats.uniform(0, 0.99), "nesterov": [True, False]},
    "adamw": {},
})


def test_parameters_of_a_branch_exist_in_that_branch_only():
    """A candidate has momentum if, and only if, its optimizer is SGD."""
    candidates = as_space({"optimizer": NET}).sample(100, RNG(0))

    kinds = {c["optimizer"]: set(c) for c in candidates}

    assert kinds == {"sgd": {"optimizer", "momentum", "nesterov"}, "adamw": {"optimizer"}}


def test_inactive_parameters_are_neutral():
    """To a model, candidates without a parameter are equal in it."""
    space = as_space({"optimizer": NET, "lr": stats.loguniform(1e-4, 1)})
    codes = space.encode(space.sample(100, RNG(0)))
    names = [column.name for column in space.columns]
    adamw = codes[codes[:, names.index("optimizer")] == 1]

    assert names == ["lr", "optimizer", "momentum", "nesterov"]
    assert len(np.unique(adamw[:, 0])) == len(adamw)
    np.testing.assert_array_equal(adamw[:, 2:], np.tile([0.5, 0.0], (len(adamw), 1)))
    assert not space.active(adamw)[:, 2:].any()


def test_unhashable_values_choose_branches():
    """A step of a pipeline may be one of several estimators, each with parameters."""
    small, large = SVC(), SVC(kernel="linear")
    space = as_space({
        "svc": Choice([(small, {"svc__gamma": [0.1, 1.0]}), (large, {}), ([1], {})])
    })

    candidates = space.sample(10, RNG(0))

    assert space.n_points == len(candidates) == 4
    assert {id(c["svc"]) for c in candidates if "svc__gamma" in c} == {id(small)}
    assert any(c["svc"] is large for c in candidates)
    assert [c["svc"] for c in space.decode(space.encode(candidates))] == [
        c["svc"] for c in candidates
    ]


def test_ten_to_the_thirty_combinations_are_not_listed():
    """Counting, drawing and drawing more do not go through the product."""
    space = as_space({f"p{i}": range(10) for i in range(30)} | {"f": [len, {}, lambda: 0]})
    rng, drawn = RNG(0), set()

    candidates = space.sample(20, rng, drawn) + space.sample(20, rng, drawn)

    assert space.n_points == 3 * 10**30
    assert len(drawn) == len({repr(sorted(c.items())) for c in candidates}) == 40


def test_a_distribution_makes_a_space_endless_unless_it_is_finite():
    """The number of points is known for discrete distributions with two ends."""
    assert as_space({"a": stats.uniform(), "b": [1]}).n_points is None
    assert as_space({"a": stats.randint(0, 4), "b": [1, 2]}).n_points == 8
    assert as_space({"a": (0.0, 1.0)}).n_points is None


def test_names_include_all_branches():
    """Parameters that are not always there are named too, once."""
    space = as_space([{"a": NET}, {"a": [1], "b": [2]}])

    assert space.names == ["a", "b", "momentum", "nesterov"]
    assert repr(space) == "Space(a, b, momentum, nesterov)"


def test_a_candidate_is_found_in_its_dict():
    """Of a list of dicts, the first that has exactly the candidate's parameters counts."""
    space = as_space([{"a": [1, 2]}, {"a": [3]}, {"a": [1], "b": [4]}])
    candidates = [{"a": 2}, {"a": 3}, {"a": 1, "b": 4}]

    codes = space.encode(candidates)

    assert codes[:, 0].tolist() == [0, 1, 2]
    assert space.decode(codes) == candidates


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"lr": 0.1}, "must set 'optimizer'. It is missing"),
        ({"lr": 2.0, "optimizer": "adamw"}, "value of 'lr' must be in the space. Got 2.0"),
        ({"lr": 0.1, "optimizer": "lion"}, "value of 'optimizer' must be in the space"),
        (
            {"lr": 0.1, "optimizer": "adamw", "momentum": 0.5},
            "Got \\['momentum'\\] as well",
        ),
    ],
)
def test_a_candidate_of_another_space_is_refused(candidate, message):
    """The error names the parameter that does not fit."""
    space = as_space({"lr": (0.0, 1.0), "optimizer": NET})

    with pytest.raises(SpaceError, match=message):
        space.encode([candidate])


def test_a_candidate_of_none_of_the_dicts_is_refused():
    """Another value or an additional parameter is an error."""
    space = as_space([{"a": [1]}, {"b": [2]}])

    with pytest.raises(SpaceError, match="must be in the space. Got 3"):
        space.encode([{"a": 3}])
    with pytest.raises(SpaceError, match="parameters of one dict"):
        space.encode([{"a": 1, "b": 2}])


def test_an_object_with_rvs_only_is_sampled():
    """Random search needs no codes."""
    space = as_space({"a": [1], "drawn": OnlyRvs()})

    assert len(space.sample(3, RNG(0))) == 3


def test_uniform_points_are_spread_as_candidates_are_drawn():
    """The middle half of the unit cube is half of a log-uniform parameter, and so on."""
    space = as_space({"a": (1e-4, 1.0, "log-uniform"), "b": ["x", "y"]})
    unit = np.array([[0.25, 0.1], [0.75, 0.9]])

    first, second = space.decode(space.from_unit(unit))

    assert (first["a"], second["a"]) == pytest.approx((1e-3, 1e-1))
    assert (first["b"], second["b"]) == ("x", "y")


def test_uniform_points_are_spread_by_the_weights_of_categories():
    """In proportion to their weights; a weight of 0 never occurs."""
    weighted = skopt.space.Categorical(["a", "b", "c"], prior=[0.75, 0.25, 0.0])
    space = as_space({"p": weighted})

    drawn = space.decode(space.from_unit((np.arange(100)[:, None] + 0.5) / 100))

    values = [candidate["p"] for candidate in drawn]
    assert [values.count(value) for value in "abc"] == [75, 25, 0]


OPTIMIZERS = Choice({"sgd": {"momentum": [0.0, 0.9]}, "adamw": {"beta": [0.9]}})


@pytest.mark.parametrize(
    ("space", "params", "candidate"),
    [
        ({"a": stats.uniform(0, 1), "b": ["x", None]}, {"a": 0.1, "b": None}, {"a", "b"}),
        ({"a": stats.loguniform(1e-3, 1)}, {"a": 0.1, "b": 3}, {"a"}),
        ({"a": stats.loguniform(1e-3, 1)}, {"a": 2.0}, None),
        ({"a": [1, 2]}, {"b": 1}, None),
        ({"optimizer": OPTIMIZERS}, {"optimizer": "sgd", "momentum": 0.9, "beta": 0.9},
         {"optimizer", "momentum"}),
        ([{"a": [1]}, {"b": [3]}], {"a": 2, "b": 3}, {"b"}),
        ({"a": OnlyRvs()}, {"a": 0.5}, None),
    ],
    ids=["inside", "others", "outside", "missing", "choice", "list", "no codes"],
)  # fmt: skip
def test_parameters_of_an_estimator_make_a_candidate(space, params, candidate):
    """Of the parameters that the space has for these values; None if one is outside."""
    expected = candidate and {name: params[name] for name in candidate}

    assert as_space(space).candidate_of(params) == expected
