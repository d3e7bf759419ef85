"""AutoClassifier and AutoRegressor."""

import errno
import pickle
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GroupKFold

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune._automl import _runner, _splitting
from sk_tune._automl._model_course import ModelCourse
from sk_tune.exceptions import SkTuneWarning, StoreWarning, TableError, VerdictWarning

FAST = {"time_budget": None, "n_rounds": 0, "random_state": 0}
pytestmark = pytest.mark.usefixtures("few_linear")


@pytest.fixture(scope="module")
def iris():
    """Return flowers with their names for labels."""
    data = load_iris(as_frame=True)
    return data.data, data.target_names[data.target]


@pytest.fixture(scope="module")
def fitted(iris):
    """Return a classifier of all families, with a held-out part."""
    return AutoClassifier(test_size=0.2, cv=2, **FAST).fit(*iris)


def test_a_fitted_classifier_has_its_attributes(fitted, iris):
    """Scores, verdict, leaderboard and ensemble exist and have plausible values."""
    X, y = iris

    assert (fitted.predict(X) == y).mean() > 0.9
    assert fitted.score(X, y) == pytest.approx(-log_loss(y, fitted.predict_proba(X)))
    assert fitted.predict(X).tolist()[:1] == ["setosa"]
    assert fitted.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)
    assert fitted.expected_score_.low < fitted.expected_score_.high
    families = {"dummy", "linear", "boosting", "networks"}
    assert set(fitted.model_scores_) == {*families, "best", "ensemble"}
    assert fitted.model_scores_["ensemble"].held_out > -0.5
    assert fitted.model_scores_["dummy"].score == pytest.approx(-np.log(3))
    assert "linear model" in fitted.summary_
    assert fitted.beats_baseline_
    assert fitted.feature_names_in_.tolist() == X.columns.tolist()
    assert fitted.n_trials_ == len(fitted.leaderboard_) - 2


def test_the_leaderboard_weighs_the_members(fitted):
    """Weights sum to 1, and the best row that is not an ensemble is the best model."""
    table = fitted.leaderboard_
    alone = table[table["family"] != "ensemble"]

    assert alone["weight"].sum() == pytest.approx(1)
    assert (alone["weight"] > 0).equals(alone["in_ensemble"])
    assert {"linear", "boosting", "MLP", "dummy"} == set(alone["family"])
    # Fitted on all rows instead of two folds.
    assert len(fitted.blends_["best"].combination.members) == 1


def test_a_pickled_copy_predicts_the_same(fitted, iris):
    """Predictions do not need the searches."""
    copy = pickle.loads(pickle.dumps(fitted))

    assert_array_equal(copy.predict_proba(iris[0]), fitted.predict_proba(iris[0]))


@pytest.mark.slow
def test_rounds_without_a_time_budget_are_repeatable(iris):
    """The same random_state gives the same probabilities."""
    X, y = iris
    common = {**FAST, "n_rounds": 1, "cv": 2, "leak_guard": False}
    auto = AutoClassifier(models=["boosting"], **common)

    first, second = (clone(auto).fit(X, y).predict_proba(X) for _ in range(2))

    assert_array_equal(first, second)


def test_a_regressor_learns_numbers():
    """It beats the mean, and its score is R^2."""
    X, y = load_diabetes(return_X_y=True)

    auto = AutoRegressor(models=["linear", "boosting"], cv=2, **FAST).fit(X, y)

    assert auto.score(X, y) > 0.4
    assert auto.model_scores_["dummy"].score < 0.01
    assert not hasattr(auto, "classes_")


def test_a_mixed_table_is_prepared(mixed):
    """Categories, dates, missing values and a constant column need no preparation."""
    X, y = mixed

    auto = AutoClassifier(models=["linear", "boosting"], cv=2, **FAST).fit(X, y)

    assert auto.score(X, y) > 0.8
    assert [f.name for f in auto.findings_ if f.outcome == "issue"] == []
    assert len(auto.predict(X.head(3).assign(town="Rom", size=np.nan))) == 3


def test_a_leak_is_named(mixed):
    """A column that encodes the target is an issue, and a warning names it."""
    X, y = mixed
    leaking = X.assign(told=np.where(y == "yes", 7, 3))

    auto = AutoClassifier(models=["linear"], cv=2, **FAST)

    with pytest.warns(
        SkTuneWarning, match="'told' is the target in another encoding"
    ) as warned:
        auto.fit(leaking, y)
    issues = [f.name for f in auto.findings_ if f.outcome == "issue"]
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert auto.summary_.startswith("The leak guard found a reason why these scores may")
    assert "target among the features" in issues


@pytest.mark.parametrize(("first", "outcome"), [(100, "tip"), (0, "issue")])
def test_equal_rows_with_different_dropped_text_are_a_tip(first, outcome):
    """Text that no model uses shows whether rows are copies."""
    rows = np.append(np.arange(100), np.arange(40))
    names = [f"case {k}" for k in (*range(100), *range(first, first + 40))]
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 2))[rows]).assign(
        name=names
    )

    auto = AutoClassifier(models=["linear"], cv=5, **FAST)
    with warnings.catch_warnings(action="ignore"):
        auto.fit(X.rename(columns=str), rows % 2)

    assert (auto.findings_[0].code, auto.findings_[0].outcome) == ("SKT201", outcome)


def test_noise_is_reported_as_noise():
    """On pure noise a warning and an attribute say so."""
    rng = np.random.default_rng(0)
    X, y = pd.DataFrame(rng.normal(size=(200, 3))), rng.normal(size=200)
    X.columns = ["a", "b", "c"]

    with pytest.warns(SkTuneWarning, match="No model clearly beats predicting the mean"):
        auto = AutoRegressor(models=["linear"], cv=2, **FAST).fit(X, y)

    assert not auto.beats_baseline_
    assert auto.expected_score_.score < 0.02


@pytest.mark.filterwarnings("ignore:No model clearly beats")
@pytest.mark.parametrize("cv", [3, [(np.arange(80), np.arange(80, 120))]])
def test_attribute_verdict_and_score_agree_on_noise(cv):
    """The verdict, the attribute and the expected score use the same scores."""
    outcomes = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(120, 5)), rng.integers(2, size=120)
        auto = AutoClassifier(models=["linear"], cv=cv, scoring="roc_auc", **FAST)
        auto.fit(X, y)
        outcomes.append(auto.beats_baseline_)
        ensemble = auto.model_scores_["ensemble"].score
        assert outcomes[-1] != auto.summary_.startswith("No model clearly beats")
        assert auto.expected_score_.score == ensemble
        assert auto.leaderboard_.loc["ensemble", "cv_score"] == ensemble

    assert sum(outcomes) <= 1


def test_unreadable_cells_in_numeric_columns_count_as_missing():
    """All folds read the column in the same way."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=120)
    X = pd.DataFrame({
        "size": [*map(str, size[:117]), "free", "unknown", None],
        "other": rng.normal(size=120),
    })
    auto = AutoRegressor(models=["linear", "boosting"], cv=3, **FAST)

    with warnings.catch_warnings(action="ignore", category=SkTuneWarning):
        auto.fit(X, 3 * size)

    assert auto.failures_ == {}
    assert {"linear", "boosting"} <= set(auto.leaderboard_["family"])
    assert auto.model_scores_["ensemble"].score > 0.9


def test_without_usable_columns_only_the_dummy_is_trained():
    """A constant column still gives a result."""
    X, y = pd.DataFrame({"a": np.ones(40)}), np.arange(40) % 2

    with pytest.warns(SkTuneWarning, match="Only the dummy was trained"):
        auto = AutoClassifier(**FAST).fit(X, y)

    assert set(auto.leaderboard_["family"]) == {"dummy", "ensemble"}
    assert len(auto.predict(X)) == 40


def test_groups_stay_together():
    """Folds follow the groups, or the custom splitter."""
    X, y = load_iris(return_X_y=True)
    groups = np.arange(150) // 3

    for cv in (3, GroupKFold(2)):
        auto = AutoClassifier(models=["linear"], cv=cv, **FAST).fit(X, y, groups=groups)

        named = {f.name: f.outcome for f in auto.findings_}
        assert named["groups across folds"] == "passed"


def test_a_requested_score_decides_and_is_reported(iris):
    """Scores equal the scorer with that name."""
    X, y = iris

    options = {**FAST, "models": ["linear"], "scoring": "neg_log_loss", "cv": 2}
    auto = AutoClassifier(**options).fit(X, y)

    assert auto.leaderboard_["cv_score"].max() < 0
    assert auto.score(X, y) < 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"time_budget": None}, "time_budget"),
        ({"time_budget": -1}, "time_budget"),
        ({"models": ["trees"]}, "models"),
        ({"scoring": lambda estimator, X, y: 0.0, "n_rounds": 0}, "scoring"),
        ({"sampler": "magic"}, "sampler"),
    ],
)
def test_parameters_are_checked(params, message):
    """The message names the parameter."""
    with pytest.raises(ValueError, match=message):
        AutoClassifier(**params).fit([[0.0], [1.0]] * 10, [0, 1] * 10)


def test_a_sample_of_a_large_table_is_named(monkeypatch):
    """In the summary, because more time would use more rows."""
    monkeypatch.setattr(_splitting, "_LEAST_SAMPLE", 1_000)
    monkeypatch.setattr(_splitting, "_MOST_ROWS_PER_SECOND", 1)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3_000, 3))
    y = np.where(X[:, 0] + X[:, 1] > 0, "up", "down").astype(object)

    auto = AutoClassifier(time_budget=10, models=["linear"], random_state=0).fit(X, y)

    assert "2,000 rows were left out, because the time budget is too short" in auto.summary_
    assert (auto.predict(X) == y).mean() > 0.95


def test_a_short_budget_still_gives_a_result(mixed):
    """A model better than the dummy is trained, and the duration is reported."""
    X, y = mixed
    start = time.monotonic()

    auto = AutoClassifier(time_budget=2, random_state=0).fit(X, y)

    assert auto.beats_baseline_
    assert 0 < auto.seconds_ <= time.monotonic() - start


def test_an_interrupted_fit_can_be_used(iris):
    """Ctrl-C is raised again after the trials so far were combined into an ensemble."""

    def interrupt(progress):
        if progress.stage.startswith("table network"):
            raise KeyboardInterrupt

    auto = AutoClassifier(verbose=interrupt, cv=2, **FAST)

    with pytest.raises(KeyboardInterrupt):
        auto.fit(*iris)

    assert (auto.predict(iris[0]) == iris[1]).mean() > 0.9


def test_images_are_learnt_by_a_convolutional_network():
    """Flat rows with `input_shape` are images, and the network is among the models."""
    X, y = load_digits(return_X_y=True)
    options = {**FAST, "models": ["networks"], "cv": 2, "leak_guard": False}

    auto = AutoClassifier(input_shape=(1, 8, 8), **options).fit(X[:300], y[:300])

    assert "CNN" in set(auto.leaderboard_["family"])
    assert (auto.predict(X[300:600]) == y[300:600]).mean() > 0.7
    assert {finding.subject for finding in auto.findings_} == {"CNN"}


def test_several_targets_count_equally():
    """Units of targets change neither the mean R² nor `beats_baseline_`."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    informative, noise = X[:, 0] + 0.1 * rng.normal(size=120), rng.normal(size=120)
    autos = [
        AutoRegressor(
            time_budget=None, n_rounds=0, models=["linear", "boosting"], random_state=0
        ).fit(X, np.column_stack([informative, unit * noise]))
        for unit in (1, 1000)
    ]

    one, other = (auto.model_scores_["ensemble"] for auto in autos)

    assert one.beats_dummy
    assert other.beats_dummy
    assert other.score == pytest.approx(one.score, abs=0.05)
    y = np.column_stack([informative, 1000 * noise])
    predicted = autos[1].predict(X)
    assert predicted.shape == (120, 2)
    expected = np.mean([r2_score(*pair) for pair in zip(y.T, predicted.T, strict=True)])
    assert autos[1].score(X, y) == pytest.approx(expected)


def test_rows_set_aside_and_columns_are_scored_by_all_targets():
    """Both targets of an exact linear relation are predicted; both columns matter."""
    X = np.random.default_rng(0).normal(size=(100, 2))
    auto = AutoRegressor(
        time_budget=None, n_rounds=0, models=["linear"], test_size=0.2, random_state=0
    ).fit(X, X * [1.0, 3.0])

    assert auto.model_scores_["ensemble"].held_out > 0.99
    assert (auto.column_importance_["importance"] > 0.5).all()


def test_members_are_fitted_on_rows_set_aside_after_the_last_check():
    """An effect that only these rows have is unknown in the check, not at the end."""
    rng, times = np.random.default_rng(0), np.arange(300)
    X = np.stack([rng.normal(size=300), times >= 240], axis=1)
    y = X @ [1.0, 5.0] + rng.normal(size=300)
    auto = AutoRegressor(models=["linear"], test_size=0.2, **FAST).fit(X, y, times=times)

    assert auto.model_scores_["ensemble"].held_out < 0
    assert auto.score(X, y) > 0.7


def test_sequences_of_unequal_length_are_learnt():
    """X may be a list of arrays with different lengths."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 2)) for n in rng.integers(3, 9, size=60)]
    y = [("low", "high")[int(row[:3, 0].sum() > 0)] for row in X]
    auto = AutoClassifier(time_budget=None, n_rounds=0, models=["linear"], random_state=0)

    assert auto.fit(X, y).score(X, y) > 0.8
    assert auto.predict([X[0], X[1][:2]]).shape == (2,)
    assert auto.column_importance_ is None
    assert auto.column_importance_reason_.endswith("needs a table.")


def test_a_warm_start_continues_with_earlier_trials(iris):
    """The second fit of a copy adds trials to the eight best of each library."""
    X, y = iris
    options = {**FAST, "n_rounds": 1, "leak_guard": False, "cv": 2}
    auto = AutoClassifier(models=["boosting"], warm_start=True, **options).fit(X, y)
    first = auto.leaderboard_
    copy = pickle.loads(pickle.dumps(auto))

    copy.fit(X, y)

    best = first.groupby(first.index.str.split().str[0], sort=False).head(8)
    assert set(best.index) <= set(copy.leaderboard_.index)
    drawn = [tuple(p.items()) for p in copy.leaderboard_["params"]]
    assert len(set(map(str, drawn))) > len(set(map(str, first["params"])))
    with pytest.raises(ValueError, match="warm_start"):
        copy.fit(X[:100], y[:100])


def test_folds_with_an_undefined_score_are_refused_at_once(iris):
    """ROC AUC is undefined in a group with one class, so no time is spent on training."""
    deaths = (np.arange(150) % 3 == 0) & (np.arange(150) >= 30)
    groups = np.arange(150) // 30
    auto = AutoClassifier(time_budget=600, scoring="roc_auc")

    with pytest.raises(TableError, match=r"Fold \d lacks \[True\]"):
        auto.fit(iris[0], deaths, groups=groups)


def test_a_warm_start_keeps_folds_that_depend_on_the_time_budget(iris):
    """Trials of different folds cannot be averaged."""
    X, y = iris
    common = {"models": ["linear"], "leak_guard": False, "random_state": 0}
    auto = AutoClassifier(time_budget=0.3, n_rounds=0, warm_start=True, **common).fit(X, y)
    assert np.isnan(auto.leaderboard_["cv_std"]).all()

    auto.set_params(time_budget=None).fit(X, y)

    assert len(auto.blends_["best"].names) == 1
    assert "linear" in set(auto.leaderboard_["family"])


def test_a_warm_start_follows_the_models_parameter(iris):
    """Removed families are neither searched nor averaged; new ones are trained."""
    common = {"warm_start": True, "leak_guard": False, "cv": 2}
    auto = AutoClassifier(models=["boosting"], **common, **FAST).fit(*iris)

    auto.set_params(models=["linear"], n_rounds=1).fit(*iris)

    assert set(auto.leaderboard_["family"]) == {"dummy", "linear", "ensemble"}


@pytest.mark.parametrize("use", ["linear", "boosting", "networks", "best"])
def test_a_fitted_estimator_predicts_with_the_model_of_use(fitted, iris, use):
    """The model of a family is the average of its folds."""
    X, _ = iris
    auto = clone(fitted)
    auto.__dict__.update({**vars(fitted), "use": use})

    probabilities = auto.predict_proba(X)

    members = fitted.blends_[use].combination.members
    expected = sum(m.weight * m.estimator.predict_proba(X) for m in members)
    if fitted.blends_[use].temperature == 1:
        # Networks of float32 are asked as one.
        expected = expected / expected.sum(axis=1, keepdims=True)
        assert_allclose(probabilities, expected, atol=1e-6)
    assert_array_equal(auto.predict(X), auto.classes_[probabilities.argmax(axis=1)])


def test_use_must_name_a_trained_model(iris):
    """The error is raised before training, or by ``predict``."""
    auto = AutoClassifier(models=["linear"], cv=2, leak_guard=False, **FAST)
    with pytest.raises(ValueError, match="'use' parameter .* must name a model that"):
        clone(auto).set_params(use="boosting").fit(*iris)
    with pytest.raises(ValueError, match=r"'linear', 'best', 'ensemble'\]. Got 'boosting'"):
        auto.fit(*iris).set_params(use="boosting").predict(iris[0])


class _CrashError(Exception):
    pass


def test_a_store_has_the_trials_after_a_crash(iris, tmp_path, monkeypatch):
    """The same fit continues and ends like a fit without a crash."""
    # On a slow disk the limit of the time for writing would leave out the last write.
    monkeypatch.setattr(_runner, "_SECONDS_FOR_EACH_OF_WRITING", 0)
    crashed = []

    def crash(progress):
        if progress.stage.startswith("boosting"):
            crashed.append(progress.n_trials)
            raise _CrashError

    common = {"models": ["linear", "boosting"], "cv": 2, "leak_guard": False, **FAST}
    expected = AutoClassifier(**common).fit(*iris)
    with pytest.raises(_CrashError):
        AutoClassifier(**common, checkpoint_dir=tmp_path / "a", verbose=crash).fit(*iris)
    stages = []

    auto = AutoClassifier(
        **common,
        checkpoint_dir=tmp_path / "a",
        verbose=lambda p: stages.append((p.stage, p.n_trials)),
    ).fit(*iris)

    assert crashed == [3]
    assert stages[0] == ("boosting, default", 3)
    pd.testing.assert_frame_equal(
        auto.leaderboard_.drop(columns="seconds"),
        expected.leaderboard_.drop(columns="seconds"),
    )
    other = AutoClassifier(**common, checkpoint_dir=tmp_path / "a")
    with pytest.raises(ValueError, match="must have the same data"):
        other.fit(iris[0][:100], iris[1][:100])
    monkeypatch.setattr("sk_tune._automl._auto.package_version", lambda name: "1.0")
    with pytest.raises(
        ValueError, match=r"same versions.*of sk_tune, scikit-learn and torch"
    ):
        other.fit(*iris)


@pytest.mark.filterwarnings("ignore:No model clearly beats")
def test_a_crash_loses_no_trained_network(iris, tmp_path, monkeypatch, small_network):
    """A long search stores each trained network; afterwards the file is removed."""
    monkeypatch.setattr(
        "sk_tune._automl._auto.network_models",
        lambda problem: [small_network(problem, enough_resources=1)],
    )
    epochs = []
    common = {"models": ["networks"], "cv": 2, "leak_guard": False, "diagnosis": False}
    common |= {**FAST, "n_rounds": 1, "checkpoint_dir": tmp_path / "a"}
    train = _runner.Runner._keep

    def crash(self, search, *args):
        if type(search).__name__ == "HyperbandSearchCV":
            epochs.append((search.ledger_.epochs_trained, search.ledger_.epochs_loaded))
            if len(epochs) == 1:
                raise _CrashError
        return train(self, search, *args)

    monkeypatch.setattr(_runner.Runner, "_keep", crash)
    with pytest.raises(_CrashError):
        AutoClassifier(**common).fit(*iris)
    assert (tmp_path / "a" / "MLP.networks.db").is_file()

    auto = AutoClassifier(**common).fit(*iris)

    (trained, _), (again, loaded) = epochs
    assert trained > 0
    assert (again, loaded) == (0, trained)
    assert auto.n_trials_ > 2
    assert auto.findings_ == auto.changes_ == ()
    assert [path.name for path in (tmp_path / "a").glob("*.db*")] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cv": 3}, "must have the same folds"),
        ({"test_size": 0.2}, "'test_size', groups and times of that fit"),
        ({"scoring": "neg_log_loss"}, "must have the same scoring"),
        ({}, "must have the same data"),
    ],
)
def test_a_warm_start_on_other_folds_or_weights_is_refused(iris, change, message):
    """Trials of different folds, data or scoring cannot be combined."""
    auto = AutoClassifier(models=["linear"], cv=2, warm_start=True, **FAST).fit(*iris)

    weights = None if change else 1.0 + np.arange(150) % 2
    with pytest.raises(ValueError, match=message):
        auto.set_params(**change).fit(*iris, sample_weight=weights)


@pytest.mark.parametrize("has_times", [False, True])
def test_without_refits_the_last_fold_predicts_in_time_order(monkeypatch, has_times):
    """Other members predict by the models of all folds."""
    monkeypatch.setattr(ModelCourse, "refits", lambda course, trials: {})
    X, y = load_diabetes(return_X_y=True)
    auto = AutoRegressor(models=["linear"], cv=3, **FAST)

    auto.fit(X, y, times=np.arange(len(y)) if has_times else None)

    counts = {len(b.names) // len(b.weights) for b in auto.blends_.values()}
    assert counts == {1 if has_times else 3}


def test_a_class_whose_rows_are_all_set_aside_has_probability_0_in_the_folds():
    """The other classes are scored by their own columns of the predictions."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(61, 1))
    y = np.where(X[:, 0] + 0.5 * rng.normal(size=61) > 0, "b", "c")
    y[7] = "a"
    auto = AutoClassifier(
        time_budget=None, n_rounds=0, models=["linear"], test_size=0.3, random_state=2
    )

    auto.fit(X, y)

    assert auto.classes_.tolist() == ["a", "b", "c"]
    assert auto.predict_proba(X)[7, 0] > 0
    assert (auto.oof_predictions_[:, 0] == 0).all()
    labels = auto.classes_[auto.oof_predictions_.argmax(axis=1)]
    assert (labels == y[auto._is_held_out]).mean() > 0.7


def test_a_class_of_one_row_gives_a_warning(iris):
    """The warning names the class, and the other classes are learnt."""
    X, y = iris
    y = np.where(np.arange(150) == 7, "rare", y)

    with pytest.warns(SkTuneWarning, match="only 1 row of rare, so"):
        auto = AutoClassifier(models=["linear"], **FAST).fit(X, y)

    assert auto.beats_baseline_


def test_the_time_to_predict_is_limited_on_request(mixed):
    """Only the fastest model predicts if none is fast enough; the front begins with it."""
    X, y = mixed
    auto = AutoClassifier(
        time_budget=None,
        n_rounds=0,
        models=["linear", "boosting"],
        max_predict_ms=1e-6,
        random_state=0,
    ).fit(X, y)

    board, front = auto.leaderboard_, auto.pareto_front_
    (member,) = board.index[board["in_ensemble"]]
    assert board.loc[member, "predict_ms"] == board["predict_ms"].min()
    assert front["predict_ms"].is_monotonic_increasing
    smaller = front["megabytes"].diff() < 0
    assert (smaller | (front["cv_score"].diff().fillna(0) >= 0)).all()
    assert front["predict_ms"].iloc[0] == board["predict_ms"].min()


def test_without_limit_of_the_time_to_predict_the_larger_ensemble_predicts(mixed):
    """The time is infinite, so no row of the leaderboard is larger than the ensemble."""
    X, y = mixed
    common = {"models": ["linear", "boosting"], **FAST}
    free = AutoClassifier(max_predict_ms=np.inf, **common).fit(X, y)
    limited = AutoClassifier(max_predict_ms=1e-6, **common).fit(X, y)

    assert "larger ensemble" not in free.leaderboard_.index
    larger = limited.leaderboard_.loc["larger ensemble", "cv_score"]
    assert free.expected_score_.score == pytest.approx(larger)


def test_a_refused_fit_keeps_the_earlier_one(iris):
    """Its classes and models belong together; a first fit that fails leaves none."""
    X, y = iris
    auto = AutoClassifier(models=["linear"], warm_start=True, **FAST).fit(X, y)
    before = auto.predict(X)

    with pytest.raises(ValueError, match="must have the same data"):
        auto.fit(X[:100], y[:100])

    assert auto.predict(X).tolist() == before.tolist()
    first = AutoClassifier(models=["linear"], **FAST)
    with pytest.raises(ValueError, match="NaN"):
        first.fit(X, np.where(y == y[0], np.nan, 1.0))
    with pytest.raises(NotFittedError):
        first.predict(X)


def test_a_checkpoint_needs_a_folder(iris, tmp_path, monkeypatch):
    """A file in its place is refused at once, and a full disk gives a warning."""
    (tmp_path / "file").write_text("")
    options = {"models": ["linear"], **FAST}

    with pytest.raises(OSError, match="file"):
        AutoClassifier(**options, checkpoint_dir=tmp_path / "file" / "a").fit(*iris)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pickle, "dump", full)
    with pytest.warns(StoreWarning, match="cannot be stored .*No space left"):
        AutoClassifier(**options, checkpoint_dir=tmp_path / "a").fit(*iris)


def test_a_constant_target_is_described():
    """Its scores say nothing about the columns, and it causes no warning of scipy."""
    X = np.random.default_rng(0).normal(size=(40, 2))
    auto = AutoRegressor(models=["linear"], **FAST)

    with pytest.warns(VerdictWarning, match="same value in all 40 held-out rows") as caught:
        auto.fit(X, np.ones(40))

    assert len(caught) == 1
    assert not auto.beats_baseline_


def test_a_constant_target_does_not_hide_the_others(mixed):
    """It has no deviation by which its errors could be divided."""
    X, _ = mixed
    y = np.column_stack([np.arange(len(X)) + 0.0, np.full(len(X), 5.0)])
    X = X.assign(count=np.arange(len(X)))

    auto = AutoRegressor(models=["linear"], leak_guard=False, **FAST).fit(X, y)

    assert auto.beats_baseline_
    assert np.isfinite(auto.model_scores_["ensemble"].loss)
