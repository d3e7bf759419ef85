"""Boosting by other packages, where they are installed."""

import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.pipeline import Pipeline, make_pipeline

from sk_tune import AutoClassifier, TablePreparer
from sk_tune._automl import _limited_boosting, _models
from sk_tune._automl._limited_boosting import (
    OBJECTIVES,
    PACKAGES,
    SPACE,
    PackagedClassifier,
    PackagedRegressor,
    unfitted,
)
from sk_tune._automl._models import boosting_models
from sk_tune._automl._resources import fits_within
from sk_tune._sampler import RandomSampler
from sk_tune._space import as_space

KINDS = [PackagedClassifier, PackagedRegressor]


@pytest.fixture(params=PACKAGES)
def package(request):
    """Return the name of an installed package."""
    pytest.importorskip(request.param)
    return request.param


def _n_trees(model):
    counts = {
        "lightgbm": lambda m: m.booster_.num_trees(),
        "xgboost": lambda m: m.get_booster().num_boosted_rounds(),
        "catboost": lambda m: m.tree_count_,
    }
    return counts[model.package](model.model_)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_learns_a_table_with_gaps_and_categories(
    mixed, make_problem, package, kind
):
    """Each point of the space is accepted; a pickled copy predicts the same."""
    X, labels = mixed
    is_classification = kind is PackagedClassifier
    y = labels if is_classification else (labels == "yes") + 0.5
    problem = make_problem(X, y, is_classification=is_classification)
    models = {model.label: model for model in boosting_models(problem)}
    model = models[PACKAGES[package]]
    pipe = clone(model.estimator).set_params(boosting__n_estimators=30)

    scores = [
        clone(pipe).set_params(**params).fit(X, y).score(X, y)
        for params in [{}, *RandomSampler(as_space(model.space), 0).ask(3)]
    ]

    assert max(scores) > 0.5
    fitted = pipe.fit(X, y, boosting__sample_weight=np.ones(len(y)))
    numbers = model.on(replace(problem, X=X[["size"]])).estimator
    assert len(numbers.fit(X[["size"]], y).predict(X[["size"]])) == len(y)
    new = X.head(9).assign(town="Rome")
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict(new), fitted.predict(new))
    assert set(SPACE) < set(fitted[-1].get_params())


def test_a_package_accepts_any_column_name(mixed, package):
    """LightGBM refuses commas and brackets in names, XGBoost brackets."""
    X, y = mixed
    X = X[["size", "town"]].set_axis(["size [m], net", "<town>"], axis=1)
    model = PackagedClassifier(package, n_estimators=3, early_stopping=False)
    pipe = make_pipeline(TablePreparer(embeddings=True, max_categories=1), model)

    assert pipe.fit(X, y).predict_proba(X).shape == (len(X), 2)


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_a_package_predicts_positive_means(package, loss):
    """On the scale of the target, if it has the loss."""
    if loss not in OBJECTIVES[package]:
        pytest.skip(f"{package} lacks the loss")
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(600, 2))
    mean = np.exp(2 + 2 * X[:, 0])
    y = rng.poisson(mean) + float(loss == "gamma")

    model = PackagedRegressor(package, n_estimators=100, loss=loss).fit(X, y)

    predicted = model.predict(X)
    assert (predicted > 0).all()
    assert predicted.mean() == pytest.approx(y.mean(), rel=0.1)
    assert r2_score(mean, predicted) > 0.8


def test_a_late_fit_ends_after_its_first_trees(mixed, make_problem, package):
    """Like boosting of scikit-learn."""
    X, y = mixed
    problem = make_problem(X, y)
    prepared = boosting_models(problem)[0].estimator[0].fit_transform(X)
    model = PackagedClassifier(package, n_estimators=200, early_stopping=False)

    with fits_within(1e-9, time.monotonic()):
        late = _n_trees(clone(model).fit(prepared, y))

    assert 5 <= late <= 11
    assert _n_trees(model.fit(prepared, y)) > 11


def test_rows_that_are_not_trained_on_end_the_training(mixed, make_problem, package):
    """The predictions of noise soon stop to improve."""
    X, _ = mixed
    y = np.random.default_rng(0).integers(2, size=len(X))
    prepared = boosting_models(make_problem(X, y))[0].estimator[0].fit_transform(X)

    model = PackagedClassifier(package, n_estimators=1000).fit(prepared, y)

    assert _n_trees(model) < 500


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_refit_has_the_best_number_of_trees(mixed, make_problem, package, early_stopping):
    """With early stopping a fifth more, on more rows."""
    X, y = mixed
    pipe = boosting_models(make_problem(X, y))[0].estimator
    model = PackagedClassifier(package, n_estimators=30, early_stopping=early_stopping)
    fitted = Pipeline([pipe.steps[0], ("boosting", model)]).fit(X, y)
    n_trees = fitted[-1].n_best()

    refit = clone(unfitted([fitted])).fit(X, y)

    assert 1 < n_trees <= 30 if early_stopping else n_trees == 30
    assert refit[-1].early_stopping is False
    expected = round(1.2 * n_trees) if early_stopping else 30
    assert refit[-1].n_best() == expected == _n_trees(refit[-1])


def test_without_the_packages_scikit_learn_is_the_only_boosting(
    mixed, make_problem, monkeypatch
):
    """Packages that are not installed are not tried, and never for images."""
    X, y = mixed
    monkeypatch.setattr(_limited_boosting, "find_spec", lambda name: None)
    assert [model.name for model in boosting_models(make_problem(X, y))] == ["boosting"]
    monkeypatch.setattr(_limited_boosting, "find_spec", lambda name: name)
    names = [model.name for model in boosting_models(make_problem(X, y))]
    assert names == ["boosting", *PACKAGES.values()]
    images = make_problem(np.zeros((40, 1, 2, 2)), np.arange(40) % 2, kind="image")
    assert len(boosting_models(images)) == 1
    several = make_problem(X, np.ones((120, 2)), is_classification=False, folds=[])
    monkeypatch.setattr(_models, "boosting_model", lambda problem: None)
    assert len(boosting_models(several)) == 1


@pytest.mark.usefixtures("few_linear")
def test_a_package_is_a_member_that_onnx_refuses_by_name(mixed, tmp_path, package):
    """The leaderboard has its trials in the family of boosting."""
    X, y = mixed
    auto = AutoClassifier(
        time_budget=None, n_rounds=0, models=["boosting"], cv=2, random_state=0
    ).fit(X, y)
    name = PACKAGES[package]

    assert auto.leaderboard_.loc[f"{name} 1", "family"] == "boosting"
    auto.blends_["boosting"] = auto.blends_["ensemble"]
    if f"{name} 1" in auto.ensemble_.names:
        pytest.importorskip("onnx")
        with pytest.raises(TypeError, match="To become one ONNX model"):
            auto.to_onnx(tmp_path / "model.onnx")
