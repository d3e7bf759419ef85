"""Models and their defaults."""

import math
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import d2_tweedie_score, make_scorer, median_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune._automl import AutoClassifier
from sk_tune._automl._limited_boosting import (
    TimedBoostingClassifier,
    TimedBoostingRegressor,
    unfitted,
)
from sk_tune._automl._models import (
    ChannelScaler,
    boosting_model,
    dummy_model,
    linear_model,
    network_models,
)
from sk_tune._automl._resources import fits_within
from sk_tune._epochs import epochs_of, stops_early
from sk_tune._estimators import MLPRegressor
from sk_tune._prepare import table_pipeline
from sk_tune._sampler import RandomSampler
from sk_tune._space import as_space, table_space


def _models(problem):
    return [
        dummy_model(problem),
        linear_model(problem),
        boosting_model(problem),
        *network_models(problem),
    ]


@pytest.mark.parametrize("is_classification", [True, False])
def test_every_model_fits_a_mixed_table(mixed, make_problem, is_classification):
    """All models handle categories, dates and missing values."""
    X, labels = mixed
    y = labels if is_classification else np.arange(120.0)
    problem = make_problem(X, y, is_classification=is_classification)

    for model in _models(problem):
        estimator = clone(model.estimator)
        if model.resource:
            estimator.set_params(**{model.resource: 2})
        # Two steps of a solver do not converge.
        with warnings.catch_warnings(action="ignore"):
            assert len(estimator.fit(X, y).predict(X)) == 120


@pytest.mark.parametrize(("n_columns", "solver"), [(30, "auto"), (3000, "lsqr")])
def test_ridge_regression_of_many_columns_is_solved_iteratively(
    n_columns, solver, make_problem
):
    """The exact solution for images of 12,000 pixels takes minutes."""
    X = np.zeros((20, n_columns // 10, 10))

    problem = make_problem(X, np.arange(20.0), is_classification=False, kind="sequence")

    assert linear_model(problem).estimator[-1].solver == solver


def test_the_first_linear_model_has_moderate_regularisation(mixed, make_problem):
    """With little time it is the only linear model; unregularised it may be far off."""
    X, labels = mixed
    for is_classification in (True, False):
        y = labels if is_classification else np.arange(120.0)
        model = linear_model(make_problem(X, y, is_classification=is_classification))
        strength = next(name for name in model.grid if not name.startswith("prepare"))

        assert model.grid[strength][0] == pytest.approx(1.0)


def test_a_column_with_a_long_tail_can_be_scaled_linearly(make_problem):
    """The target is a multiple of it, also in the tail."""
    tail = np.random.default_rng(0).standard_t(2, size=400)
    X, y = pd.DataFrame({"delay": tail}), 3 * tail
    model = linear_model(make_problem(X, y, is_classification=False))

    search = GridSearchCV(model.estimator, dict(model.grid), cv=3, scoring="r2").fit(X, y)

    assert search.best_params_["prepare__numeric"] == "standard"
    assert search.best_score_ > 0.99


def test_small_tables_get_long_trainings_and_large_ones_large_batches(make_problem):
    """The number of steps hardly depends on the rows, within limits of the epochs."""

    def network(n):
        frame = pd.DataFrame(
            np.random.default_rng(0).normal(size=(n, 2)), columns=["a", "b"]
        )
        _, model = network_models(make_problem(frame, np.arange(n) % 2))
        return model.estimator[-1]

    assert network(150).max_epochs == 100
    assert 20 <= network(30_000).max_epochs < 60
    assert network(150).batch_size == 64
    assert network(30_000).batch_size > 64


def test_boosting_stops_early_only_with_enough_rows(make_problem):
    """A tenth of a few hundred rows, or of a rare class, is too small to decide it."""

    def boosting(y, **changes):
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({"a": rng.normal(size=len(y))})
        return boosting_model(make_problem(frame, y, **changes)).estimator[-1]

    assert boosting(np.arange(3000) % 2).early_stopping is True
    assert boosting(np.arange(300) % 2).early_stopping is False
    rare = np.arange(3000) % 2
    rare[:4] = 2
    assert boosting(rare).early_stopping is False
    # A class that is rare only in a later fold would fail there.
    y, rows = np.arange(6000) % 2, np.arange(6000)
    y[[2000, 2001, 2002]] = 2
    folds = [(rows[:2000], rows[4000:]), (rows[:4000], rows[4000:])]
    assert boosting(y, folds=folds).early_stopping is False


def test_boosting_is_regularised_if_a_class_is_rare(make_problem):
    """With scikit-learn's default of 0, predictions may diverge after 20 iterations."""
    y = np.arange(600) % 3
    X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=len(y))})
    penalties = [
        boosting_model(make_problem(X, labels)).estimator[-1].l2_regularization
        for labels in (y, np.where(np.arange(600) < 9, 3, y))
    ]

    assert penalties == [0.0, 1.0]


@pytest.mark.parametrize("n_targets", [1, 2])
def test_a_refit_has_no_more_iterations_than_the_folds(n_targets):
    """A time limit ended these."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    boosting = TimedBoostingRegressor(max_iter=40, early_stopping=False)
    with fits_within(0.0, math.inf):
        model = Pipeline([("prepare", StandardScaler()), ("boosting", boosting)]).fit(
            X, X[:, :n_targets].squeeze()
        )

    assert unfitted([model, model])[-1].max_iter == 10


def test_a_refit_of_boosting_needs_no_validation_rows():
    """It trains for the best number of iterations, and a fifth more on more rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = X[:, 0] + rng.normal(size=400)
    boosting = TimedBoostingRegressor(max_iter=200, early_stopping=True, random_state=0)
    model = Pipeline([("prepare", StandardScaler()), ("boosting", boosting)]).fit(X, y)
    scores = model[-1].validation_score_

    refit = unfitted([model, model])[-1]

    assert 1 < scores.argmax() < len(scores) - 5
    assert refit.early_stopping is False
    assert refit.max_iter == round(1.2 * scores.argmax())


@pytest.mark.parametrize(("early_stopping", "expected"), [(False, 4), (True, 9)])
def test_a_refit_of_a_network_trains_for_the_median_of_epochs(early_stopping, expected):
    """A time limit may have cut the folds' fits; the best epoch is chosen again."""
    X, y = np.eye(20), np.arange(20.0)
    options = {"width": 4, "early_stopping": early_stopping, "random_state": 0}
    models = [
        Pipeline([("net", MLPRegressor(max_epochs=n, **options))]).fit(X, y)
        for n in (3, 5, 4)
    ]
    for model in models:
        model.set_params(net__max_epochs=9)

    assert unfitted(models)[-1].max_epochs == expected


def test_boosting_has_log_link_losses_only_for_positive_targets(mixed, make_problem):
    """scikit-learn refuses these losses for other targets."""
    X, labels = mixed

    def losses(y):
        model = boosting_model(make_problem(X, y, is_classification=False))
        assert model.grid.get("boosting__loss") == model.space.get("boosting__loss")
        return model.grid.get("boosting__loss")

    assert losses(np.arange(120.0)) is None
    assert "boosting__loss" not in boosting_model(make_problem(X, labels)).space
    first, *rest = losses(np.arange(1.0, 121.0))
    assert first == "squared_error"
    assert len(rest) == 2
    for loss in rest:
        with pytest.raises(ValueError, match="loss"):
            TimedBoostingRegressor(loss=loss).fit(np.ones((9, 1)), np.arange(-4, 5))


@pytest.mark.parametrize(
    "scoring", ["neg_mean_absolute_error", make_scorer(median_absolute_error)]
)
def test_absolute_errors_are_learnt_if_the_metric_needs_them(mixed, make_problem, scoring):
    """By boosting first, and by networks; for other metrics squared errors are."""
    X, _ = mixed
    problems = [
        make_problem(X, np.arange(1.0, 121.0), is_classification=False, scoring=own)
        for own in (scoring, "neg_root_mean_squared_error", None)
    ]

    boosting = [boosting_model(own).grid["boosting__loss"][0] for own in problems]
    networks = [{m.estimator[-1].loss for m in network_models(own)} for own in problems]

    assert boosting == ["absolute_error", "squared_error", "squared_error"]
    assert networks == [{"absolute_error"}, {"squared_error"}, {"squared_error"}]


@pytest.mark.parametrize(
    ("scoring", "loss", "boosting_losses"),
    [
        ("neg_mean_poisson_deviance", "poisson", None),
        ("neg_mean_gamma_deviance", "gamma", ["gamma", "poisson"]),
        (make_scorer(d2_tweedie_score, power=1.3), "tweedie", None),
    ],
)
def test_all_models_minimise_a_deviance_if_it_is_the_metric(
    mixed, make_problem, scoring, loss, boosting_losses
):
    """Squared errors could give negative predictions, which a deviance cannot score."""
    X, _ = mixed
    y = np.arange(120.0) + (loss == "gamma")
    problem = make_problem(X, y, is_classification=False, scoring=scoring)

    linear = linear_model(problem).estimator[-1]
    boosting = boosting_model(problem)
    networks = [m.estimator[-1] for m in network_models(problem)]

    power = {"poisson": 1, "gamma": 2, "tweedie": 1.3}[loss]
    assert (linear.power, linear.link) == (power, "log")
    assert boosting.grid.get("boosting__loss") == boosting_losses
    assert boosting.estimator[-1].loss == {"tweedie": "poisson"}.get(loss, loss)
    assert {net.loss for net in networks} == {loss}
    if loss == "tweedie":
        assert {net.tweedie_power for net in networks} == {1.3}


@pytest.mark.parametrize(
    ("kind", "shape", "families"),
    [("image", (1, 8, 8), ["CNN"]), ("sequence", (6, 2), ["RNN", "CNN"])],
)
def test_images_and_sequences_have_their_networks(make_problem, kind, shape, families):
    """All models fit them, and each of a few candidates can be trained."""
    X = np.random.default_rng(0).normal(size=(60, *shape))
    if kind == "sequence":
        X[::4, 4:] = np.nan
    y = np.arange(60) % 2
    problem = make_problem(X, y, kind=kind)

    models = _models(problem)

    assert [model.family for model in models if model.is_network] == families
    for model in models:
        estimator = clone(model.estimator)
        if model.resource:
            estimator.set_params(**{model.resource: 2})
        drawn = RandomSampler(as_space(model.space), 0).ask(3) if model.space else [{}]
        with warnings.catch_warnings(action="ignore"):
            for params in drawn:
                assert len(estimator.set_params(**params).fit(X, y).predict(X)) == 60


@pytest.mark.parametrize("is_classification", [True, False])
def test_networks_of_tables_surround_the_table_pipeline(
    mixed, make_problem, is_classification
):
    """A plain perceptron has no space; other networks vary the pipeline a little."""
    X, y = mixed
    kind = "classifier" if is_classification else "regressor"
    y = y if is_classification else np.arange(120.0)
    problem = make_problem(X, y, is_classification=is_classification)
    expected = table_pipeline(kind, random_state=0)
    net = expected.named_steps["net"]
    expected.set_params(
        net__device="cpu",
        net__max_epochs=epochs_of(net, problem.n_train),
        net__early_stopping=stops_early(net, problem.n_train),
        net__members=4,
        net__numerical_embedding__n_bins=16 if is_classification else 32,
    )
    features = {"prepare__crosses", "prepare__target_encoding"}

    network, plain = network_models(problem)

    assert (plain.family, plain.space, plain.is_narrow) == ("MLP", {}, False)
    assert (network.family, network.is_narrow) == ("MLP", True)
    # Classifiers keep their best epoch.
    assert network.can_grow == (not is_classification)
    assert (plain.is_fallback, network.is_fallback) == (True, False)
    assert plain.name != network.name
    assert repr(network.estimator) == repr(expected)
    assert set(network.space) == {*table_space(expected), *features, "net__random_state"}


def _wide(n_columns):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, n_columns)) + (rng.random(n_columns) < 0.1) * y[:, np.newaxis]
    return pd.DataFrame(X).rename(columns="c{}".format), y


def test_networks_of_wide_tables_do_not_embed_numbers(make_problem):
    """Embeddings take most of the time there."""
    wide, narrow = (network_models(make_problem(*_wide(n)))[0] for n in (300, 30))

    assert wide.estimator["net"].numerical_embedding is None
    assert narrow.estimator["net"].numerical_embedding is not None
    assert "net__numerical_embedding__n_bins" in narrow.space.keys() - wide.space.keys()


@pytest.mark.parametrize(
    ("n_columns", "order"),
    [
        (300, ["dummy", "linear", "MLP", "boosting"]),
        (30, ["dummy", "linear", "boosting", "MLP"]),
    ],
)
def test_the_linear_model_comes_first_and_networks_next_in_wide_tables(
    make_problem, n_columns, order
):
    """Boosting is slow on many columns."""
    models = AutoClassifier()._models(make_problem(*_wide(n_columns)))

    families = [model.family for model in models if not model.is_packaged]
    assert list(dict.fromkeys(families)) == order


def test_a_wide_table_has_more_columns_than_rows(make_problem):
    """And at least two hundred."""
    X, y = _wide(300)

    assert make_problem(X, y).is_wide
    assert not make_problem(X.iloc[:, :100], y).is_wide
    assert not make_problem(pd.concat([X] * 6), np.tile(y, 6)).is_wide
    assert make_problem(X, y).sampled(20).is_wide


def _spectra(n_rows, n_columns=40):
    """Return smooth spectra of three substances, with a little noise."""
    rng = np.random.default_rng(0)
    channels = np.linspace(0, 1, n_columns)
    peaks = [np.exp(-8 * (channels - center) ** 2) for center in (0.2, 0.5, 0.8)]
    X = rng.uniform(size=(n_rows, 3)) @ peaks + 1e-3 * rng.normal(size=(n_rows, n_columns))
    return pd.DataFrame(X).add_prefix("channel ")


@pytest.mark.parametrize("is_classification", [True, False])
def test_spectra_get_a_network_behind_principal_components(make_problem, is_classification):
    """The folds train on 54 rows, and half of 40 columns are 20."""
    X = _spectra(81)
    y = np.arange(81) % 2 if is_classification else np.arange(81.0)
    problem = make_problem(X, y, is_classification=is_classification)

    model, *others = network_models(problem)

    assert model.name == "component network"
    assert [other.name for other in others] == ["table network", "MLP"]
    pipe = model.estimator
    assert pipe["components"].get_params()["whiten"]
    assert pipe["components"].n_components == 20
    assert model.space["components__n_components"] == [5, 10, 20]
    assert set(model.space) >= set(table_space(pipe))
    assert np.isfinite(pipe.set_params(net__max_epochs=2).fit(X, y).predict(X)).all()


@pytest.mark.parametrize(("n_first", "sizes"), [(11, [5]), (6, [3]), (1, [1])])
def test_components_are_at_most_half_of_the_rows_of_a_fold(make_problem, n_first, sizes):
    """Folds in the order of time may begin with few rows."""
    rows = np.arange(40)
    folds = [(rows[:n_first], rows[n_first:20]), (rows[:20], rows[20:])]
    problem = make_problem(_spectra(40), rows % 2, folds=folds)

    assert network_models(problem)[0].space["components__n_components"] == sizes


def test_unused_columns_of_spectra_do_not_count(make_problem):
    """Constant columns, and columns without values, as columns that fit drops have."""
    spectra = _spectra(90)
    y = np.arange(90) % 2
    unused = pd.DataFrame(
        np.nan, index=range(90), columns=[f"unused {k}" for k in range(9)]
    )

    assert make_problem(spectra.join(unused).assign(constant=1.0), y).is_collinear
    assert not make_problem(0 * spectra, y).is_collinear
    assert not make_problem(np.nan * spectra, y).is_collinear


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X.iloc[:, :29],
        lambda X: X.iloc[:29],
        lambda X: X.assign(town="Bern"),
        lambda X: X.mask(np.arange(X.shape[1]) % 5 == np.arange(len(X))[:, None] % 5),
        lambda X: X.apply(np.random.default_rng(0).permutation),
    ],
    ids=["few columns", "few rows", "text", "missing values", "independent columns"],
)
def test_other_tables_get_no_network_behind_components(make_problem, change):
    """Components of equal variance do harm where the columns are not nearly equal."""
    X = change(_spectra(90))

    problem = make_problem(X, np.arange(len(X)) % 2)

    assert not problem.is_collinear
    assert "component network" not in [model.name for model in network_models(problem)]


def test_half_of_the_members_leave_other_parameters_alone(mixed, make_problem):
    """Only `members` of the network changes, from 4 to 2."""
    X, y = mixed
    network, _ = network_models(make_problem(X, y))

    params = network.estimator[-1].get_params()
    half = network.with_half_the_members().estimator[-1].get_params()

    assert half.pop("members") == params.pop("members") / 2
    assert repr(half) == repr(params)


def test_a_model_on_a_sample_has_the_defaults_of_few_rows(make_problem):
    """Batches are smaller, epochs more, and boosting does not stop early."""
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60_000, 2)), columns=["a", "b"])
    problem = make_problem(X, np.arange(60_000) % 2)
    small = problem.sampled(500)

    plain, boosting = network_models(problem)[1], boosting_model(problem)

    assert plain.on(small).estimator[-1].batch_size < plain.estimator[-1].batch_size
    assert plain.on(small).most_resources > plain.most_resources
    assert boosting.estimator[-1].early_stopping
    assert not boosting.on(small).estimator[-1].early_stopping
    assert dummy_model(problem).on(small).estimator is not None


def test_channels_get_mean_0_and_variance_1():
    """The result equals scikit-learn's scaler with one column per channel."""
    X = np.random.default_rng(0).normal(3, 2, size=(20, 2, 4, 5))
    columns = np.moveaxis(X, 1, -1).reshape(-1, 2)
    expected = StandardScaler().fit_transform(columns).reshape(20, 4, 5, 2)

    scaled = ChannelScaler(1).fit_transform(X)

    np.testing.assert_allclose(np.moveaxis(scaled, 1, -1), expected, atol=1e-5)


def test_missing_steps_are_ignored():
    """The padding of a short sequence stays NaN; convolutions get the mean instead."""
    X = np.random.default_rng(0).normal(size=(6, 5, 3))
    X[2, 3:] = np.nan

    scaled = ChannelScaler(-1).fit_transform(X)
    for_convolutions = ChannelScaler(-1, channels_first=True).fit_transform(X)

    assert np.isnan(scaled[2, 3:]).all()
    np.testing.assert_allclose(np.nanmean(scaled, axis=(0, 1)), 0, atol=1e-6)
    expected = np.moveaxis(np.nan_to_num(scaled), -1, 1)
    np.testing.assert_array_equal(for_convolutions, expected)
    # The scale of a constant channel stays 1.
    assert (ChannelScaler(1).fit_transform(np.ones((4, 1, 2, 2))) == 0).all()


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_fit_in_parts_equals_the_fit_of_scikit_learn(early_stopping):
    """With enough time the probabilities equal a single call."""
    X, y = load_breast_cancer(return_X_y=True)
    params = {"max_iter": 60, "early_stopping": early_stopping, "random_state": 0}
    expected = HistGradientBoostingClassifier(**params).fit(X, y)

    with fits_within(math.inf, math.inf):
        timed = TimedBoostingClassifier(**params).fit(X, y)

    assert timed.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(timed.predict_proba(X), expected.predict_proba(X), atol=1e-8)


def test_without_time_boosting_has_its_first_iterations():
    """Parameters are unchanged, and the second fit does not continue the first."""
    X, y = load_diabetes(return_X_y=True)
    model = TimedBoostingRegressor(max_iter=500, early_stopping=False)

    with fits_within(1e-9, time.monotonic()):
        first = model.fit(X, y).n_iter_
        second = model.fit(X, y).n_iter_

    assert first == second == 10
    assert (
        clone(model).get_params()
        == HistGradientBoostingRegressor(max_iter=500, early_stopping=False).get_params()
    )


def test_boosting_of_several_targets_is_one_model_for_each():
    """Predictions equal scikit-learn's regressor on each column."""
    X, y = load_diabetes(return_X_y=True)
    several = np.column_stack([y, -(y**2)])

    predicted = TimedBoostingRegressor(max_iter=5).fit(X, several).predict(X)

    for values, target in zip(predicted.T, several.T, strict=True):
        expected = HistGradientBoostingRegressor(max_iter=5).fit(X, target).predict(X)
        np.testing.assert_allclose(values, expected)
    with fits_within(1e-9, time.monotonic()):
        in_time = TimedBoostingRegressor(max_iter=50).fit(X, several)
    assert [model.n_iter_ for model in in_time.targets_] == [10, 10]
