"""The weighted sum of members is that of a loop over them."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sk_tune import MLPClassifier, NetClassifier
from sk_tune.ensemble._combination import Combination, Member, network_of


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
