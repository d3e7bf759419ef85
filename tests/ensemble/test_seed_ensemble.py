"""One configuration under several seeds."""

import numpy as np
import pytest
import torch
from modules import OneLayer
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier

from sk_tune import NetClassifier, SeedEnsembleClassifier, SeedEnsembleRegressor
from sk_tune.ensemble import collapse


@pytest.fixture
def net(make_estimator):
    """Return a small network in float64."""
    return make_estimator("MLPClassifier", dtype="float64", max_epochs=4)


def test_members_are_networks_of_other_seeds(net, iris):
    """Each member is the network with a seed of its own, fitted on all samples."""
    ensemble = SeedEnsembleClassifier(net, 4, random_state=0).fit(*iris)

    seeds = [member.random_state for member in ensemble.estimators_]
    assert len(set(seeds)) == 4
    alone = [clone(net).set_params(random_state=s).fit(*iris) for s in seeds]
    expected = np.mean([member.predict_proba(iris.X) for member in alone], axis=0)
    assert_allclose(ensemble.predict_proba(iris.X), expected, atol=1e-9)
    assert_allclose(ensemble.weights_, 0.25)
    assert ensemble.n_features_in_ == 4


def test_seeds_come_from_the_random_state(net, iris):
    """Equal random states give equal ensembles, others do not."""
    first, second, other = (
        SeedEnsembleClassifier(net, 2, random_state=s).fit(*iris).predict_proba(iris.X)
        for s in (0, 0, 1)
    )

    assert_array_equal(first, second)
    assert not np.allclose(first, other)


def test_snapshots_are_epochs_of_the_last_half(net, iris):
    """With 2 snapshots of 8 epochs, networks of 6 and 8 epochs are members."""
    net.set_params(max_epochs=8, lr_schedule="cosine")
    ensemble = SeedEnsembleClassifier(net, 3, n_snapshots=2, random_state=0).fit(*iris)
    plain = SeedEnsembleClassifier(net, 3, random_state=0).fit(*iris)

    assert [len(member.history_) for member in ensemble.estimators_] == [6, 8, 6, 8, 6, 8]
    for last, member in zip(ensemble.estimators_[1::2], plain.estimators_, strict=True):
        assert_allclose(last.predict_proba(iris.X), member.predict_proba(iris.X), atol=1e-9)


def test_snapshots_need_epochs(net, iris):
    """What has no or too few epochs is refused."""
    with pytest.raises(ValueError, match="must be at most half of max_epochs=4"):
        SeedEnsembleClassifier(net, 2, n_snapshots=3).fit(*iris)
    with pytest.raises(ValueError, match="must be a network"):
        SeedEnsembleClassifier(DecisionTreeClassifier(), 2, n_snapshots=2).fit(*iris)
    plain = NeuralNetClassifier(torch.nn.Linear, max_epochs=4)
    with pytest.raises(ValueError, match="must be a network of sk_tune"):
        SeedEnsembleClassifier(plain, 2, n_snapshots=2).fit(*iris)


def test_members_may_be_pipelines_of_one_step(net, iris):
    """Which have nothing to transform with."""
    ensemble = SeedEnsembleClassifier(make_pipeline(net), 2, random_state=0).fit(*iris)

    alone = np.mean([m.predict_proba(iris.X) for m in ensemble.estimators_], axis=0)
    assert_allclose(ensemble.predict_proba(iris.X), alone, atol=1e-6)


class InPlace(OneLayer):
    """Works in place on its input."""

    def forward(self, x):
        return self.output(x.relu_())


def test_members_may_work_in_place(iris):
    """Each has samples of its own to work on, and the user's stay."""
    X = (iris.X - iris.X.mean(axis=0)).astype(np.float32)
    before = X.copy()
    net = NetClassifier(InPlace, max_epochs=2)

    ensemble = SeedEnsembleClassifier(net, 3, random_state=0).fit(X, iris.y)

    alone = np.mean([m.predict_proba(X) for m in ensemble.estimators_], axis=0)
    assert_allclose(ensemble.predict_proba(X), alone, atol=1e-6)
    assert_array_equal(X, before)


def test_every_random_state_of_a_pipeline_is_set(net, iris):
    """A network behind a scaler gets its seed, too."""
    pipe = make_pipeline(StandardScaler(), net)
    ensemble = SeedEnsembleClassifier(pipe, 2, random_state=0).fit(*iris)

    first, second = (member[-1].random_state for member in ensemble.estimators_)
    assert first != second
    assert pipe[-1].random_state == 0


def test_regressors_are_averaged(make_estimator, diabetes):
    """The prediction is the mean of the members'."""
    net = make_estimator("MLPRegressor", max_epochs=10)
    ensemble = SeedEnsembleRegressor(net, 3, random_state=0).fit(*diabetes)

    members = [member.predict(diabetes.X) for member in ensemble.estimators_]
    # Members round to float32, the ensemble does not.
    assert_allclose(ensemble.predict(diabetes.X), np.mean(members, axis=0), rtol=1e-6)
    # Without a random state all members are alike.
    one = SeedEnsembleRegressor(Ridge(), 2).fit(*diabetes)
    assert_allclose(one.predict(diabetes.X), Ridge().fit(*diabetes).predict(diabetes.X))


def test_samples_have_weights(net, iris):
    """Sample weights are handed to every member."""
    weight = np.where(iris.y == 0, 0.0, 1.0)
    ensemble = SeedEnsembleClassifier(net, 2, random_state=0)

    plain = ensemble.fit(*iris).predict_proba(iris.X)
    weighted = ensemble.fit(*iris, sample_weight=weight).predict_proba(iris.X)

    assert weighted[:, 0].mean() < plain[:, 0].mean()


@pytest.mark.parametrize("values", [(0, 1, 2), (-1, 1), ("a", "b")])
def test_columns_of_labels_are_0_and_1(values):
    """Members might learn others, but their mean would be no probability."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.choice(np.array(values), size=(60, 2))

    with pytest.raises(ValueError, match="1 where a label applies, else 0|not supported"):
        SeedEnsembleClassifier(DecisionTreeClassifier(), 2).fit(X, y)


@pytest.mark.parametrize("scaler", [None, StandardScaler()], ids=["bare", "scaled"])
def test_members_predict_in_one_call(net, iris, scaler):
    """All networks are one stack, also when each has snapshots and a scaler."""
    pipe = net if scaler is None else make_pipeline(scaler, net)
    ensemble = SeedEnsembleClassifier(pipe, 3, n_snapshots=2, random_state=0).fit(*iris)

    found = ensemble.predict_proba(iris.X)

    members = [member.predict_proba(iris.X) for member in ensemble.estimators_]
    assert_allclose(found, np.mean(members, axis=0), atol=1e-12)
    collapsed = collapse(ensemble)
    assert_array_equal(collapsed.predict_proba(iris.X), found)
    assert collapsed.n_stacks_ == 1


def test_changed_weights_and_members_count(net, iris):
    """The prediction is that of the members and weights that are there now."""
    ensemble = SeedEnsembleClassifier(net, 3, random_state=0).fit(*iris)
    members = [member.predict_proba(iris.X) for member in ensemble.estimators_]
    ensemble.weights_[:] = [0.5, 0.25, 0.25]
    expected = 0.5 * members[0] + 0.25 * members[1] + 0.25 * members[2]
    assert_allclose(ensemble.predict_proba(iris.X), expected, atol=1e-12)
    ensemble.weights_[:] = [0.0, 0.25, 0.75]

    first = ensemble.predict_proba(iris.X)
    del ensemble.estimators_[0]
    ensemble.weights_ = np.array([0.25, 0.75])

    members = [member.predict_proba(iris.X) for member in ensemble.estimators_]
    expected = 0.25 * members[0] + 0.75 * members[1]
    assert_allclose(first, expected, atol=1e-12)
    assert_allclose(ensemble.predict_proba(iris.X), expected, atol=1e-12)
