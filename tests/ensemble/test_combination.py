"""A combination is a loop over its members, whatever transformers they have in front."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from sk_tune import MLPClassifier, NetClassifier
from sk_tune.ensemble._combination import Combination, Lone, Member, Stacked, network_of
from sk_tune.ensemble._member_inputs import Inputs, affine_tail, common_bases, ways_of


@pytest.fixture
def nets(iris, make_estimator):
    """Return four networks of two architectures."""
    sizes = [(6,), (6,), (4, 4), (6,)]
    return [
        make_estimator("MLPClassifier", hidden_layer_sizes=own, random_state=seed).fit(
            *iris
        )
        for seed, own in enumerate(sizes)
    ]


def test_the_sum_is_that_of_a_loop(nets, iris, outputs):
    """Two architectures, four weights."""
    weights = [0.5, 2.0, 1.0, -0.25]
    combination = Combination(list(map(Member, nets, weights)), np.arange(3))

    expected = sum(w * outputs(n, iris.X) for w, n in zip(weights, nets, strict=True))
    np.testing.assert_allclose(combination(iris.X), expected, atol=1e-6)
    assert combination.n_stacks == 1


def test_each_member_is_told_apart(nets, iris, outputs):
    """Predictions come in the order of the members, whatever is stacked."""
    combination = Combination([Member(net, 1.0) for net in nets], np.arange(3))

    expected = [outputs(net, iris.X) for net in nets]
    np.testing.assert_allclose(combination.each(iris.X), expected, atol=1e-6)


def test_rows_of_any_number_give_the_same(nets, digits, outputs):
    """A row's prediction hardly depends on how many others are asked for."""
    members = [
        MLPClassifier(width=8, max_epochs=1, random_state=s).fit(*digits) for s in range(3)
    ]
    combination = Combination([Member(m, 1 / 3) for m in members], np.arange(10))
    X = np.tile(digits.X, (40, 1))

    many = combination(X)

    np.testing.assert_allclose(many[:200], combination(digits.X), atol=1e-6)
    np.testing.assert_allclose(many[-1:], combination(digits.X[-1:]), atol=1e-6)


@pytest.mark.parametrize("same", [True, False], ids=["same scaler", "several"])
def test_transformers_in_front_are_heeded(iris, make_estimator, outputs, same):
    """Networks are stacked behind equal and behind different transformers."""
    scalers = [StandardScaler(), StandardScaler() if same else MinMaxScaler()]
    pipes = [
        make_pipeline(scaler, make_estimator("MLPClassifier", random_state=seed)).fit(*iris)
        for seed, scaler in enumerate(scalers)
    ]
    combination = Combination([Member(pipe, 0.5) for pipe in pipes], np.arange(3))

    expected = np.mean([outputs(pipe, iris.X) for pipe in pipes], axis=0)
    np.testing.assert_allclose(combination(iris.X), expected, atol=1e-6)
    assert combination.n_stacks == 1
    assert len(combination._groups[0]._ways) == (1 if same else 2)


def test_members_without_probabilities_are_sure_of_their_label(iris):
    """A vote counts as a probability of 1."""
    ridge = RidgeClassifier().fit(*iris)
    combination = Combination([Member(ridge, 1.0)], np.arange(3))

    np.testing.assert_array_equal(combination(iris.X), np.eye(3)[ridge.predict(iris.X)])


def test_a_class_that_a_member_lacks_has_probability_0(iris, make_estimator):
    """Probabilities are put in the columns of their classes, stacked or alone."""
    X, y = iris.X / 10, iris.y
    members = [
        LogisticRegression().fit(X[y > 0], y[y > 0]),
        make_estimator("MLPClassifier").fit(X[y < 2], y[y < 2]),
        make_estimator("MLPClassifier", random_state=1).fit(X[y != 1], y[y != 1]),
    ]
    weights = [0.5, 0.3, 0.2]

    found = Combination(list(map(Member, members, weights)), np.arange(3))(X)

    expected = np.zeros((len(X), 3))
    for member, weight in zip(members, weights, strict=True):
        expected[:, member.classes_] += weight * member.predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_labels_of_which_a_row_has_several_are_summed_by_label(make_estimator):
    """Networks are stacked; trees give a list with a matrix for each label."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    # The last label is there in all rows, so that trees know one class of it only.
    y = np.column_stack([X[:, :2] > 0, np.ones(60)]).astype(int)
    nets = [
        make_estimator("MLPClassifier", random_state=seed, dtype="float64").fit(X, y)
        for seed in (0, 1)
    ]
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y)
    combination = Combination(
        list(map(Member, [*nets, tree], [0.5, 0.25, 0.25])), np.empty(0)
    )

    found = combination(X)

    expected = 0.5 * nets[0].predict_proba(X) + 0.25 * nets[1].predict_proba(X)
    of_tree = [own[:, 1] for own in tree.predict_proba(X)[:2]]
    expected += 0.25 * np.column_stack([*of_tree, np.ones(60)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert combination.n_stacks == 1


def test_networks_that_predict_in_their_own_way_are_asked_themselves(iris, outputs):
    """A class that overrides predict_proba is not stacked."""

    class Sure(MLPClassifier):
        def predict_proba(self, X):
            return np.round(super().predict_proba(X))

    members = [
        Sure(max_epochs=2, batch_size=16, random_state=s).fit(*iris) for s in range(2)
    ]
    combination = Combination([Member(m, 1.0) for m in members], np.arange(3))

    assert network_of(members[0]) is None
    expected = sum(outputs(m, iris.X) for m in members)
    np.testing.assert_array_equal(combination(iris.X), expected)
    assert combination.n_stacks == 0


def test_what_torch_cannot_run_as_one_is_asked_one_by_one(iris, outputs):
    """A module whose control flow depends on the data gives the same sum."""
    from torch import nn

    class Branching(nn.Module):
        def __init__(self, n_features, n_outputs):
            super().__init__()
            self.output = nn.Linear(n_features, n_outputs)

        def forward(self, x):
            return self.output(x if x.sum() > 0 else -x)

    members = [
        NetClassifier(Branching, max_epochs=1, random_state=s).fit(*iris) for s in range(2)
    ]
    combination = Combination([Member(m, 0.5) for m in members], np.arange(3))

    expected = np.mean([outputs(m, iris.X) for m in members], axis=0)
    np.testing.assert_allclose(combination(iris.X), expected)
    assert combination.n_stacks == 0


def test_weights_written_by_hand_are_seen(nets, iris, outputs):
    """A tensor that is changed in place makes a new stack."""
    combination = Combination([Member(net, 1.0) for net in nets[:2]], np.arange(3))
    combination(iris.X)

    nets[0].net_.module_.output.bias.data = nets[0].net_.module_.output.bias.data + 1.0
    nets[1].net_.module_.load_state_dict(nets[0].net_.module_.state_dict())

    expected = sum(outputs(net, iris.X) for net in nets[:2])
    np.testing.assert_allclose(combination(iris.X), expected, atol=1e-6)


def test_wrong_rows_are_refused_as_a_member_would(nets, iris):
    """Too few columns and missing values have the network's own errors."""
    combination = Combination([Member(net, 1.0) for net in nets], np.arange(3))
    combination(iris.X)

    with pytest.raises(ValueError, match="expecting 4 features"):
        combination(iris.X[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        combination(np.full((2, 4), np.nan))


def test_a_combination_is_pickled_without_its_stacks(nets, iris):
    """Stacked weights are copies, made anew when they are needed."""
    combination = Combination([Member(net, 1.0) for net in nets], np.arange(3))
    expected = combination(iris.X)

    copy = pickle.loads(pickle.dumps(combination))

    assert copy.n_stacks == 0
    np.testing.assert_array_equal(copy(iris.X), expected)


def test_threads_may_ask_at_the_same_time(nets, iris):
    """Each gets the sum for its own rows."""
    combination = Combination([Member(net, 1.0) for net in nets], np.arange(3))
    parts = [iris.X[start::7] for start in range(7)] * 8
    expected = [combination(part) for part in parts]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(combination, parts))

    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_only_fitted_networks_of_sk_tune_are_networks(nets):
    """Others are asked themselves."""
    assert network_of(nets[0]) is nets[0]
    assert network_of(make_pipeline(StandardScaler(), nets[0])) is nets[0]
    assert network_of(MLPClassifier()) is None
    assert network_of(LogisticRegression()) is None


SCALERS = {
    "standard": [StandardScaler()],
    "min-max": [MinMaxScaler()],
    "robust": [RobustScaler()],
    "several": [MinMaxScaler(feature_range=(-1, 1)), StandardScaler()],
    "imputer": [SimpleImputer(), StandardScaler()],
}


def _stacked(pipes, classes, dtype=None):
    members = [Member(pipe, 1.0) for pipe in pipes]
    ways = ways_of([pipe[-1] for pipe in pipes], members)
    (base,) = common_bases(ways).values()
    return Stacked(range(len(pipes)), ways, base, classes, dtype)


def _pipes(steps, net, data, n=3):
    """Return pipelines that were fitted on different parts of the rows."""
    return [
        make_pipeline(
            *[clone(step) for step in steps], clone(net).set_params(random_state=k)
        ).fit(data.X[k::n], data.y[k::n])
        for k in range(n)
    ]


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("scaler", SCALERS)
def test_scalers_go_into_the_networks(scaler, dtype, atol, make_estimator, iris):
    """Probabilities are those of the pipelines, for rows that all networks share."""
    net = make_estimator("MLPClassifier", dtype=dtype, hidden_layer_sizes=(8, 8))
    pipes = _pipes(SCALERS[scaler], net, iris)
    stacked = _stacked(pipes, np.arange(3))

    found = stacked.each(Inputs(iris.X))

    expected = [pipe.predict_proba(iris.X) for pipe in pipes]
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)
    assert stacked._scaled is not None
    assert stacked._plain is None


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float64", 1e-12)])
def test_targets_are_in_their_units(dtype, rtol, make_estimator, diabetes):
    """Regressors too, added up in float64."""
    net = make_estimator("MLPRegressor", dtype=dtype)
    pipes = _pipes([StandardScaler()], net, diabetes)
    weights = np.array([0.5, 0.2, 0.3])

    found = _stacked(pipes, None).weighted_sum(Inputs(diabetes.X), weights)

    expected = weights @ [pipe.predict(diabetes.X).astype(float) for pipe in pipes]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, 0], expected, rtol=rtol)


@pytest.mark.parametrize("kind", ["missing", "float16", "frame"])
def test_rows_of_any_kind_give_what_the_pipelines_give(kind, make_estimator, iris):
    """Missing values, other precisions and frames come out as in a loop."""
    X = iris.X
    if kind == "missing":
        X = X.copy()
        X[::4, 1] = np.nan
    elif kind == "float16":
        X = X.astype(np.float16)
    else:
        X = X.tolist()
    net = make_estimator("MLPClassifier", dtype="float64")
    pipes = _pipes(SCALERS["imputer"], net, iris)

    found = _stacked(pipes, np.arange(3)).each(Inputs(X))

    expected = [pipe.predict_proba(X) for pipe in pipes]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_columns_far_from_zero_keep_their_digits(make_estimator, iris):
    """In float32 too: scaling is in float64, before anything is rounded."""
    X = iris.X + 1e5
    far = type(iris)(X, iris.y)
    net = make_estimator("MLPClassifier")
    pipes = _pipes([StandardScaler()], net, far)

    found = _stacked(pipes, np.arange(3)).each(Inputs(X))

    expected = [pipe.predict_proba(X) for pipe in pipes]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_images_are_scaled_column_by_column(make_estimator, task_data):
    """A convolution cannot take the map into its weights; it is applied to the rows."""
    data = task_data("CNNClassifier")
    flat = type(data)(data.X.reshape(len(data.X), -1), data.y)
    net = make_estimator("CNNClassifier")
    pipes = _pipes([StandardScaler()], net, flat)

    found = _stacked(pipes, np.unique(data.y)).each(Inputs(flat.X))

    expected = [pipe.predict_proba(flat.X) for pipe in pipes]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_missing_values_without_an_imputer_are_refused(make_estimator, iris):
    """The network's own words."""
    pipes = _pipes([StandardScaler()], make_estimator("MLPClassifier"), iris)
    X = iris.X.copy()
    X[0, 0] = np.nan

    with pytest.raises(ValueError, match="NaN"):
        _stacked(pipes, np.arange(3)).each(Inputs(X))


def test_a_stack_may_compute_in_another_dtype(make_estimator, iris):
    """The scaled rows are rounded as the networks would have it."""
    pipes = _pipes([StandardScaler()], make_estimator("MLPClassifier"), iris)

    found = _stacked(pipes, np.arange(3), torch.float64).each(Inputs(iris.X))

    expected = [pipe.predict_proba(iris.X) for pipe in pipes]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_lone_member_has_its_columns_and_its_weight(make_estimator, iris):
    """What it predicts is put under its classes, times its weight."""
    some = iris.y > 0
    net = make_estimator("MLPClassifier").fit(iris.X[some][:, [2, 0]], iris.y[some])
    lone = Lone(4, Member(net, 0.5, np.array([2, 0])), np.arange(3))

    found = lone.weighted_sum(Inputs(iris.X), np.array([0.5]))

    assert lone.positions == [4]
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_allclose(found[:, 1:], 0.5 * net.predict_proba(iris.X[:, [2, 0]]))


@pytest.fixture
def make_ways(make_estimator, iris):
    """Return a function that fits transformers and a network on some of the rows."""

    def make(steps, folds=(slice(0, None, 2), slice(1, None, 2)), **params):
        pipes = [
            make_pipeline(*steps(), make_estimator("MLPClassifier", **params)).fit(
                iris.X[rows], iris.y[rows]
            )
            for rows in folds
        ]
        members = [Member(pipe, 1.0) for pipe in pipes]
        return ways_of([pipe[-1] for pipe in pipes], members), pipes

    return make


def _base(ways):
    (base,) = common_bases(ways).values()
    return base


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ways_that_differ_by_scalers_have_a_base(make_ways, iris, dtype):
    """What the base gives leads to the input of each network, by scale and shift."""
    ways, pipes = make_ways(lambda: [StandardScaler()], dtype=dtype)
    base = _base(ways)

    scale, shift = base.relative(ways)
    rows = base(Inputs(iris.X))

    assert rows.dtype is getattr(torch, dtype)
    atol = 1e-6 if dtype == "float32" else 1e-13
    for k, pipe in enumerate(pipes):
        np.testing.assert_allclose(
            rows * scale[k] + shift[k], pipe[:-1].transform(iris.X), atol=atol
        )
        np.testing.assert_array_equal(
            ways[k](Inputs(iris.X)), pipe[:-1].transform(iris.X).astype(dtype)
        )


def test_other_transformers_in_front_must_be_equal(make_ways, iris):
    """Polynomials are the same in all folds, whitened ones are not."""
    ways, _ = make_ways(lambda: [PolynomialFeatures(), StandardScaler()])
    assert _base(ways).relative(ways) is not None
    assert _base(ways)(Inputs(iris.X)).shape == (150, 15)

    ways, _ = make_ways(lambda: [StandardScaler(), PolynomialFeatures(), StandardScaler()])
    assert len(common_bases(ways)) == 2
    assert common_bases(ways)[ways[0].head_key].relative(ways) is None


def test_scalers_far_from_each_other_have_no_base_in_common(make_ways, iris):
    """A shift by many deviations would cost digits."""
    _, pipes = make_ways(lambda: [StandardScaler()])
    pipes[1][0].mean_ = pipes[1][0].mean_ + 1000

    moved = ways_of([pipe[-1] for pipe in pipes], [Member(pipe, 1.0) for pipe in pipes])

    assert _base(moved).relative(moved) is None
    assert _base(moved).relative(moved[:1]) is not None


def test_equal_ways_are_gone_once(make_ways, iris):
    """Scalers that were fitted on the same rows have one key, and one result."""
    ways, _ = make_ways(lambda: [StandardScaler()], folds=(slice(None), slice(None)))
    inputs = Inputs(iris.X)

    assert ways[0].key == ways[1].key
    assert ways[0](inputs) is ways[1](inputs)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("missing", lambda X: np.where(np.arange(len(X))[:, None] == 3, np.nan, X)),
        ("infinite", lambda X: np.where(np.arange(len(X))[:, None] == 3, np.inf, X)),
        ("sparse", csr_array),
        ("objects", lambda X: X.astype(object)),
        ("half precision", lambda X: X.astype(np.float16)),
    ],
)
def test_rows_that_depend_on_the_scalers_code_have_no_base(make_ways, iris, kind, change):
    """Scikit-learn decides what becomes of them."""
    ways, _ = make_ways(lambda: [SimpleImputer(), StandardScaler()])

    assert _base(ways)(Inputs(change(iris.X))) is None


def test_float32_rows_are_scaled_in_float32_by_scikit_learn(make_ways, iris):
    """For networks in float64 that matters, for others it does not."""
    X = iris.X.astype(np.float32)
    wide, _ = make_ways(lambda: [StandardScaler()], dtype="float64")
    narrow, _ = make_ways(lambda: [StandardScaler()])

    assert _base(wide)(Inputs(X)) is None
    assert _base(narrow)(Inputs(X)) is not None


def test_rows_are_checked_as_the_first_scaler_would(make_ways, iris):
    """Frames with other columns, and rows of another width, are refused in its words."""
    ways, _ = make_ways(lambda: [StandardScaler()])
    base = _base(ways)

    with pytest.raises(ValueError, match="StandardScaler is expecting 4 features"):
        base(Inputs(iris.X[:, :3]))
    frame = pd.DataFrame(iris.X, columns=list("abcd"))
    with pytest.warns(UserWarning, match="fitted without feature names"):
        base(Inputs(frame))


def test_things_are_made_once():
    """The second time what was made is returned."""
    inputs, calls = Inputs(np.eye(3)), []

    for _ in range(2):
        assert inputs.made("a", lambda: calls.append(1)) is None

    assert calls == [1]
    np.testing.assert_array_equal(inputs.columns(np.array([2, 0])), np.eye(3)[:, [2, 0]])
    assert inputs.columns(None) is inputs.X


AFFINE_SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-1, 3)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False),
    RobustScaler(with_scaling=False),
]


def _rows(seed=0, n=40):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1, 50, 1e-3] + [0, 1e3, 2]
    X[:, 2] = 2.0 if seed % 2 else X[:, 2]  # constant, or not
    return X


@pytest.mark.parametrize("scaler", AFFINE_SCALERS, ids=str)
@pytest.mark.parametrize("seed", [0, 1], ids=["", "constant column"])
def test_a_scaler_is_an_affine_map(scaler, seed):
    """The map gives what the scaler gives, on rows that it has not seen too."""
    scaler.fit(_rows(seed))

    n_others, tail = affine_tail([scaler])

    assert n_others == 0
    X = _rows(seed + 2)
    np.testing.assert_allclose(tail(X), scaler.transform(X), rtol=1e-9, atol=1e-9)


@given(st.lists(st.sampled_from(range(len(AFFINE_SCALERS))), min_size=1, max_size=4))
def test_scalers_in_a_row_are_one_map(numbers):
    """Whatever their order."""
    pipe = make_pipeline(*[AFFINE_SCALERS[i] for i in numbers]).fit(_rows())

    _, tail = affine_tail([step for _, step in pipe.steps])

    np.testing.assert_allclose(
        tail(_rows(2)), pipe.transform(_rows(2)), rtol=1e-8, atol=1e-8
    )


def test_a_constant_fills_too():
    """Its statistics are objects, as they may be texts."""
    X = _rows()
    X[::3, 1] = np.nan
    imputer = SimpleImputer(strategy="constant", fill_value=7).fit(X)

    n_others, tail = affine_tail([imputer])

    assert n_others == 0
    np.testing.assert_allclose(tail(X), imputer.transform(X))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_missing_values_are_filled_where_the_imputer_stands(place):
    """Before, between or behind scalers; a second imputer finds nothing to do."""
    X = _rows()
    X[::3, 0] = X[1::4, 1] = np.nan
    steps = [StandardScaler(), RobustScaler()]
    steps.insert(place, SimpleImputer(strategy="median"))
    pipe = make_pipeline(*steps, SimpleImputer(strategy="mean")).fit(X)

    n_others, tail = affine_tail([step for _, step in pipe.steps])

    assert n_others == 0
    np.testing.assert_allclose(tail(X), pipe.transform(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        MinMaxScaler(clip=True),
        SimpleImputer(add_indicator=True),
        SimpleImputer(missing_values=0),
        VarianceThreshold(),
        type("MyScaler", (StandardScaler,), {})(),
    ],
    ids=["clipping", "indicator", "zeros", "selection", "subclass"],
)
def test_what_is_no_affine_map_is_left_alone(other):
    """Clipping, indicators and code of others stay transformers."""
    steps = [other.fit(_rows()), None, StandardScaler().fit(_rows()), "passthrough"]

    n_others, tail = affine_tail(steps)

    assert n_others == 2
    assert tail is not None
    assert affine_tail([steps[2], other]) == (2, None)


def test_columns_without_a_value_are_left_alone():
    """An imputer drops them, a scaler has no mean of them."""
    X = _rows()
    X[:, 1] = np.nan
    with np.errstate(invalid="ignore"):
        scaler, imputer = StandardScaler().fit(X), SimpleImputer().fit(X)

    assert affine_tail([scaler]) == (1, None)
    assert affine_tail([imputer]) == (1, None)


def test_of_more_transformers_the_last_scalers_count():
    """What comes before them is not looked at."""
    pipe = make_pipeline(StandardScaler(), PolynomialFeatures(), MinMaxScaler())
    pipe.fit(_rows())

    n_others, tail = affine_tail([step for _, step in pipe.steps])

    assert n_others == 2
    inner = pipe[:2].transform(_rows())
    np.testing.assert_allclose(tail(inner), pipe.transform(_rows()), atol=1e-12)


def test_one_map_is_near_to_another():
    """Scale and shift lead from what one gives to what the other gives."""
    first, second = (affine_tail([StandardScaler().fit(_rows(seed))])[1] for seed in (0, 2))

    scale, shift = second.relative_to(first)

    X = _rows(4)
    np.testing.assert_allclose(first(X) * scale + shift, second(X), atol=1e-11)


def test_a_map_of_columns_far_from_zero_keeps_its_digits():
    """A million standard deviations from 0, the error is that of the scaler."""
    X = 1e6 + np.random.default_rng(0).normal(size=(50, 2))
    scaler = StandardScaler().fit(X)

    _, tail = affine_tail([scaler])

    np.testing.assert_allclose(tail(X), scaler.transform(X), rtol=1e-12, atol=1e-15)
