"""Stacked members predict what each predicts alone."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from sk_tune.ensemble._groups import Lone, Member, Stacked
from sk_tune.ensemble._inputs import Inputs, common_bases, ways_of

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
