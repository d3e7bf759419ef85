"""A combination is a loop over its members, whatever transformers they have in front."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modules import OneLayer
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from sk_tune import MLPClassifier, NetClassifier
from sk_tune._ensemble import Combination, Member, stackable_network


@pytest.fixture
def nets(iris, make_estimator):
    """Return four networks of two architectures."""
    sizes = [(6,), (6,), (4, 4), (6,)]
    kinds = [{"hidden_layer_sizes": s, "random_state": k} for k, s in enumerate(sizes)]
    return [make_estimator("MLPClassifier", **own).fit(*iris) for own in kinds]


def test_samples_of_any_number_give_the_same(nets, digits, outputs):
    """Predictions hardly depend on the number of samples in a call."""
    nets = [MLPClassifier(width=8, max_epochs=1, random_state=s) for s in range(3)]
    members = [net.fit(*digits) for net in nets]
    combination = Combination([Member(m, 1 / 3) for m in members], np.arange(10))
    X = np.tile(digits.X, (40, 1))

    many = combination(X)

    np.testing.assert_allclose(many[:200], combination(digits.X), atol=1e-6)
    np.testing.assert_allclose(many[-1:], combination(digits.X[-1:]), atol=1e-6)


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
        make_estimator("MLPClassifier", hidden_layer_sizes=(4, 4)).fit(X, y),
        make_estimator("MLPClassifier", random_state=1).fit(X[y != 1], y[y != 1]),
    ]
    weights = [0.5, 0.3, -0.25, 0.2]

    found = Combination(list(map(Member, members, weights)), np.arange(3))(X)

    expected = np.zeros((len(X), 3))
    for member, weight in zip(members, weights, strict=True):
        expected[:, member.classes_] += weight * member.predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_labels_of_which_a_sample_has_several_are_summed_by_label(make_estimator):
    """Networks are stacked; trees give a list with a matrix for each label."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    # The last label is there in all samples, so that trees know one class of it only.
    y = np.column_stack([X[:, :2] > 0, np.ones(60)]).astype(int)
    nets = [
        make_estimator("MLPClassifier", random_state=seed, dtype="float64").fit(X, y)
        for seed in (0, 1)
    ]
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y)
    members = map(Member, [*nets, tree], [0.5, 0.25, 0.25])
    combination = Combination(list(members), np.empty(0))

    found = combination(X)

    expected = 0.5 * nets[0].predict_proba(X) + 0.25 * nets[1].predict_proba(X)
    of_tree = [own[:, 1] for own in tree.predict_proba(X)[:2]]
    expected += 0.25 * np.column_stack([*of_tree, np.ones(60)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert combination.n_stacks == 1


class Sure(MLPClassifier):
    """A network with its own prediction method."""

    def predict_proba(self, X):
        return np.round(super().predict_proba(X))


class Branching(OneLayer):
    """A module that torch cannot batch over networks: its steps depend on the data."""

    def forward(self, x):
        return self.output(x if x.sum() > 0 else -x)


@pytest.mark.parametrize("net", [Sure(batch_size=16), NetClassifier(Branching)])
def test_networks_that_cannot_be_stacked_predict_in_turn(net, iris, outputs):
    """A class that overrides predict_proba, or a module of the user's, gives the sum."""
    net.set_params(max_epochs=2)
    members = [clone(net).set_params(random_state=s).fit(*iris) for s in range(2)]
    combination = Combination([Member(m, 1.0) for m in members], np.arange(3))

    assert (stackable_network(members[0]) is None) == isinstance(net, Sure)
    np.testing.assert_allclose(
        combination(iris.X), sum(outputs(m, iris.X) for m in members)
    )
    assert combination.n_stacks == 0


def test_weights_written_by_hand_are_seen(nets, iris, outputs):
    """A tensor that is changed in place makes a new stack."""
    combination = Combination([Member(net, 1.0) for net in nets[:2]], np.arange(3))
    combination(iris.X)

    nets[0].net_.module_.output.bias.data = nets[0].net_.module_.output.bias.data + 1.0
    nets[1].net_.module_.load_state_dict(nets[0].net_.module_.state_dict())

    expected = sum(outputs(net, iris.X) for net in nets[:2])
    np.testing.assert_allclose(combination(iris.X), expected, atol=1e-6)


def test_a_combination_is_pickled_without_its_stacks(nets, iris):
    """Stacked weights are copies, which are rebuilt on demand."""
    combination = Combination([Member(net, 1.0) for net in nets], np.arange(3))
    expected = combination(iris.X)

    copy = pickle.loads(pickle.dumps(combination))

    assert copy.n_stacks == 0
    np.testing.assert_array_equal(copy(iris.X), expected)


def test_threads_may_ask_at_the_same_time(nets, iris):
    """Each gets the sum for its own samples."""
    combination = Combination([Member(net, 1.0) for net in nets], np.arange(3))
    parts = [iris.X[start::7] for start in range(7)] * 8
    expected = [combination(part) for part in parts]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(combination, parts))

    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, other)


def _rows(seed=0, n=60):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1, 50, 1e-3] + [0, 1e3, 2]
    X[:, 2] = 2.0 if seed % 2 else X[:, 2]  # constant, or not
    return X


def _pipes(steps, nets, folds):
    """Return pipelines with transformers fitted on different samples."""
    return [
        make_pipeline(*make_pipeline(*map(clone, steps)).fit(X), net)
        for X, net in zip(folds, nets, strict=True)
    ]


@pytest.fixture
def fitted_nets(make_estimator):
    """Return a function that trains networks for pipelines with `n` features."""

    def fit(n_features=3, dtype="float64", n=2):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(30, n_features)), np.arange(30) % 3
        params = {"dtype": dtype, "hidden_layer_sizes": (8, 8), "max_epochs": 1}
        return [
            make_estimator("MLPClassifier", random_state=seed, **params).fit(X, y)
            for seed in range(n)
        ]

    return fit


@pytest.fixture
def transforms(monkeypatch):
    """Return a list that grows by each call of a scaler's or an imputer's ``transform``."""
    calls = []

    def counted(transform):
        def call(self, X):
            calls.append(type(self).__name__)
            return transform(self, X)

        return call

    for kind in (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, SimpleImputer):
        monkeypatch.setattr(kind, "transform", counted(kind.transform))
    return calls


def _each(pipes, X, **params):
    combination = Combination([Member(p, 1.0) for p in pipes], np.arange(3), **params)
    return combination.each(X)


def _predicts_as(pipes, X, atol=1e-10, **params):
    """Return the predictions of a combination, after checking them against pipelines."""
    found = _each(pipes, X, **params)
    expected = [pipe.predict_proba(X) for pipe in pipes]
    np.testing.assert_allclose(found, expected, atol=atol)
    return found


SCALERS = [
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


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_scalers_go_into_the_networks(scaler, dtype, atol, fitted_nets, transforms):
    """Probabilities equal the pipelines', without calling the scalers."""
    for folds in ([_rows(0), _rows(2)], [_rows(1), _rows(3)]):
        pipes = _pipes([scaler], fitted_nets(dtype=dtype), folds)
        transforms.clear()

        _each(pipes, _rows(4)[:20])

        assert transforms == []
        _predicts_as(pipes, _rows(4)[:20], atol)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(range(len(SCALERS))), min_size=1, max_size=4))
def test_scalers_in_a_sample_are_one_map(fitted_nets, numbers):
    """In any order."""
    pipes = _pipes([SCALERS[i] for i in numbers], fitted_nets(), [_rows(0), _rows(2)])

    _predicts_as(pipes, _rows(4), atol=1e-8)


@pytest.mark.parametrize("strategy", ["median", "constant"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_missing_values_are_filled_where_the_imputer_stands(place, strategy, fitted_nets):
    """In front of, between or behind scalers; a second imputer has no effect."""
    X = _rows()
    X[::3, 0] = X[1::4, 1] = np.nan
    steps = [StandardScaler(), RobustScaler()]
    steps.insert(place, SimpleImputer(strategy=strategy, fill_value=7))

    _predicts_as(_pipes([*steps, SimpleImputer()], fitted_nets(), [X[::2], X[1::2]]), X)


@pytest.mark.parametrize(
    "steps",
    [
        [MinMaxScaler(clip=True)],
        [SimpleImputer(missing_values=0)],
        [VarianceThreshold()],
        [type("MyScaler", (StandardScaler,), {"transform": lambda self, X: 0 * X})()],
        [StandardScaler(), PolynomialFeatures(), MinMaxScaler()],
        [PolynomialFeatures(), StandardScaler()],
        [SimpleImputer(add_indicator=True)],
        [StandardScaler(), None, MinMaxScaler(), "passthrough"],
    ],
)
def test_other_transformers_in_front_are_heeded(steps, fitted_nets):
    """Clipping, indicators and code of others are called; scalers behind them are maps."""
    X = _rows()
    X[::3, 1] = 0.0
    if isinstance(steps[0], SimpleImputer) and steps[0].add_indicator:
        X[::3, 0] = np.nan
    fold = [step for step in steps if step not in {None, "passthrough"}]
    n_features = make_pipeline(*map(clone, fold)).fit_transform(X).shape[1]
    pipes = _pipes(fold, fitted_nets(n_features), [X[::2], X[1::2]])
    if len(fold) < len(steps):
        pipes = [Pipeline([*p.steps[:-1], ("no", None), p.steps[-1]]) for p in pipes]

    _predicts_as(pipes, X)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
def test_columns_without_a_value_are_left_to_the_imputer(fitted_nets):
    """It drops them."""
    X = _rows()
    X[:, 1] = np.nan
    pipes = _pipes([SimpleImputer(), StandardScaler()], fitted_nets(2), [X[::2], X[1::2]])

    _predicts_as(pipes, X)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float64", 1e-12)])
def test_targets_are_in_their_units(dtype, rtol, make_estimator, diabetes):
    """Regressors too, added up in float64."""
    net = make_estimator("MLPRegressor", dtype=dtype)
    pipes = [
        make_pipeline(StandardScaler(), clone(net).set_params(random_state=k)).fit(
            diabetes.X[k::3], diabetes.y[k::3]
        )
        for k in range(3)
    ]
    weights = np.array([0.5, 0.2, 0.3])

    found = Combination(list(map(Member, pipes, weights)))(diabetes.X)

    expected = weights @ [pipe.predict(diabetes.X).astype(float) for pipe in pipes]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, 0], expected, rtol=rtol)


def test_columns_far_from_zero_keep_their_digits(fitted_nets):
    """A million standard deviations from 0, the error equals the scaler's."""
    X = 1e6 + np.random.default_rng(0).normal(size=(60, 3))
    for dtype, atol in (("float32", 1e-6), ("float64", 1e-10)):
        pipes = _pipes([StandardScaler()], fitted_nets(dtype=dtype), [X[::2], X[1::2]])

        _predicts_as(pipes, X, atol)


def test_scalers_far_from_each_other_are_called(fitted_nets, transforms):
    """A shift by many deviations would cost digits."""
    folds = [_rows(0), _rows(2) + 1000 * _rows(2).std(axis=0)]
    pipes = _pipes([StandardScaler()], fitted_nets(), folds)
    transforms.clear()

    _each(pipes, _rows(4))

    assert len(transforms) == 2
    _predicts_as(pipes, _rows(4), atol=1e-12)


def test_equal_transformers_are_called_once(fitted_nets, transforms):
    """Scalers that were fitted on the same samples give one result."""
    selection = VarianceThreshold()
    pipes = _pipes([StandardScaler(), selection], fitted_nets(), [_rows(0), _rows(0)])
    transforms.clear()

    _each(pipes, _rows(4))

    assert transforms == ["StandardScaler"]


@pytest.mark.parametrize(
    "change",
    [
        lambda X: np.where(np.arange(len(X))[:, None] == 3, np.nan, X),
        csr_array,
        lambda X: X.astype(object),
        lambda X: X.astype(np.float16),
        lambda X: X.astype(np.float32),
        lambda X: X.tolist(),
    ],
    ids=["missing", "sparse", "objects", "half", "single", "lists"],
)
def test_samples_of_any_kind_match_the_pipelines(change, fitted_nets):
    """scikit-learn converts them, with their precision."""
    X = change(_rows(4) * [1, 1e-3, 1])
    folds = [_rows(0) * [1, 1e-3, 1], _rows(2) * [1, 1e-3, 1]]
    steps = [SimpleImputer(), StandardScaler(with_mean=False)]

    _predicts_as(_pipes(steps, fitted_nets(), folds), X, atol=1e-12)


def test_images_are_scaled_column_by_column(make_estimator, task_data):
    """A convolution cannot take the map into its weights; it is applied to the samples."""
    data = task_data("CNNClassifier")
    flat = data.X.reshape(len(data.X), -1)
    pipes = [
        make_pipeline(
            StandardScaler(), make_estimator("CNNClassifier", random_state=k)
        ).fit(flat[k::2], data.y[k::2])
        for k in range(2)
    ]
    combination = Combination([Member(p, 1.0) for p in pipes], np.unique(data.y))

    expected = [pipe.predict_proba(flat) for pipe in pipes]
    np.testing.assert_allclose(combination.each(flat), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: np.where(X[0, 0] == X, np.nan, X), "NaN"),
        (lambda X: np.where(X[0, 0] == X, np.inf, X), "infinity"),
        (lambda X: X[:, :2], "StandardScaler is expecting 3 features"),
    ],
    ids=["missing", "infinite", "width"],
)
def test_wrong_samples_are_refused_as_the_pipeline_would(change, words, fitted_nets):
    """Missing or infinite values by the network, another width by the scaler."""
    pipes = _pipes([StandardScaler()], fitted_nets(), [_rows(0), _rows(2)])

    with pytest.raises(ValueError, match=words):
        _each(pipes, change(_rows(4)))


def test_names_of_columns_are_checked_by_the_scaler(fitted_nets):
    """A frame for scalers that were fitted without names has their warning."""
    pipes = _pipes([StandardScaler()], fitted_nets(), [_rows(0), _rows(2)])

    with pytest.warns(UserWarning, match="fitted without feature names"):
        _each(pipes, pd.DataFrame(_rows(4), columns=list("abc")))


def test_a_stack_may_compute_in_another_dtype(fitted_nets):
    """The scaled samples are rounded as the networks would have it."""
    pipes = _pipes([StandardScaler()], fitted_nets(dtype="float32"), [_rows(0), _rows(2)])

    found = _predicts_as(pipes, _rows(4), atol=1e-6, dtype="float64")

    assert not np.array_equal(found, found.astype(np.float32))
