"""The choice of members, and the leaderboard."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import StratifiedKFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_tune._automl import _prediction_costs
from sk_tune._automl._blend import Trial
from sk_tune._automl._chosen import choose
from sk_tune._automl._leaderboard import leaderboard
from sk_tune._automl._limited_boosting import TimedBoostingClassifier
from sk_tune._automl._models import boosting_model
from sk_tune._automl._prediction_costs import PredictionCosts
from sk_tune._ensemble import Library
from sk_tune._scores import scorer_metric


def _trial(name, predictions, y, part, classes, score=0.5):
    return Trial(
        n_rows=100,
        label="",
        name=name,
        family=name.split()[0],
        params={},
        score=score,
        std=0.0,
        fold_scores=np.full(len(np.unique(part)), score),
        seconds=1.0,
        models=(),
        library=Library(
            candidates=np.arange(1),
            predictions=predictions[None],
            y=y,
            part=part,
            classes=classes,
        ),
    )


def _parts(problem):
    part = np.empty(len(problem.y), dtype=int)
    for fold, (_, test) in enumerate(problem.folds):
        part[test] = fold
    return part


@pytest.fixture
def regression(make_problem):
    """Return a problem and two trials with errors that cancel."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    problem = make_problem(np.zeros((300, 1)), y, is_classification=False)
    part = _parts(problem)
    noise = rng.normal(size=300)
    trials = [
        _trial("MLP 1", y + noise, y, part, None),
        _trial("boosting 1", y - noise, y, part, None),
        _trial("linear 1", y + 3 * noise, y, part, None),
    ]
    return problem, trials


def test_members_whose_errors_cancel_are_averaged(regression):
    """The average has hardly any error; a trial with the same error has no weight."""
    problem, trials = regression

    chosen = choose(trials, problem, scorer_metric("r2"), calibrate=False)

    by_name = {t.name: w for t, w in zip(chosen.trials, chosen.weights, strict=True)}
    assert by_name["MLP 1"] == pytest.approx(0.5, abs=0.1)
    assert by_name["boosting 1"] == pytest.approx(0.5, abs=0.1)
    assert by_name["linear 1"] < 0.1
    expected = chosen.scores["ensemble"]
    assert chosen.scores["ensemble"].score > 0.9
    assert expected.low <= expected.score <= expected.high


class _Costs:
    """Costs by trial, 1 ms if not given, and a limit of 1 ms; models have 2 MB."""

    most = 1.0

    def __init__(self, **ms):
        self.megabytes = {}
        self.ms = {name.replace("_", " "): value for name, value in ms.items()}

    def __call__(self, *trials):
        self.megabytes |= {trial.name: 2.0 for trial in trials}
        return sum(self.ms.setdefault(trial.name, 1.0) for trial in trials)


def test_the_row_of_the_larger_ensemble_has_the_cost_of_all_members(regression):
    """Either of two members is as slow as the limit."""
    problem, trials = regression

    chosen = choose(
        trials[:2], problem, scorer_metric("r2"), calibrate=False, costs=_Costs()
    )

    assert np.count_nonzero(chosen.weights) == 1
    assert np.count_nonzero(chosen.larger) == 2
    table = leaderboard(chosen.trials, chosen, None, {t.name for t in chosen.trials})
    assert table.loc["ensemble", "predict_ms"] == 1.0
    assert table.loc["larger ensemble", "predict_ms"] == 2.0
    assert table.loc[["ensemble", "larger ensemble"], "megabytes"].tolist() == [2.0, 4.0]
    assert table["cv_score"].notna().all()


def test_the_larger_ensemble_is_refitted_as_the_ensemble_is(regression):
    """Its further members then predict by one model, like the members of the ensemble."""
    problem, trials = regression
    trials = [replace(trial, models=(None,) * 5) for trial in trials[:2]]

    chosen = choose(trials, problem, scorer_metric("r2"), calibrate=False, costs=_Costs())

    weights = zip(chosen.trials, chosen.weights, strict=True)
    (member,) = (trial.name for trial, weight in weights if weight > 0)
    refitted = leaderboard(chosen.trials, chosen, None, {member})
    assert refitted.loc[["ensemble", "larger ensemble"], "predict_ms"].tolist() == [1, 2]
    averaged = leaderboard(chosen.trials, chosen, None)
    assert averaged.loc[["ensemble", "larger ensemble"], "predict_ms"].tolist() == [5, 10]


def test_an_ensemble_within_the_limit_is_unchanged(regression):
    """Then there is no larger ensemble."""
    problem, trials = regression
    costs = _Costs(MLP_1=0.5, boosting_1=0.5, linear_1=0.1)

    chosen = choose(trials[:2], problem, scorer_metric("r2"), calibrate=False, costs=costs)

    assert (chosen.weights > 0).all()
    assert chosen.larger is None


def test_the_lead_over_the_linear_model_is_on_the_same_rows(regression):
    """It is the low end of an interval, 0 for the linear model itself."""
    problem, trials = regression

    scores = choose(trials, problem, scorer_metric("r2"), calibrate=False).scores

    gap = scores["ensemble"].score - scores["linear"].score
    assert 0 < scores["ensemble"].linear_lead < gap
    assert scores["linear"].linear_lead == 0
    others = choose(trials[:2], problem, scorer_metric("r2"), calibrate=False).scores
    assert np.isnan(others["ensemble"].linear_lead)


def test_groups_widen_intervals(regression):
    """If errors depend on the group, rows of a group tell little more than one row."""
    problem, trials = regression
    size = np.abs(problem.y)
    groups = np.searchsorted(np.quantile(size, [0.2, 0.4, 0.6, 0.8]), size)
    metric, options = scorer_metric("r2"), {"calibrate": False}

    of_rows = choose(trials, problem, metric, **options).scores["linear"]
    grouped = replace(problem, groups=groups)
    of_groups = choose(trials, grouped, metric, **options).scores["linear"]

    assert of_groups.score == of_rows.score
    assert of_groups.high - of_groups.low > 1.5 * (of_rows.high - of_rows.low)


@pytest.mark.parametrize(
    ("ms", "members"),
    [
        # Any of the two costs as much as the limit.
        ({}, {"MLP 1", "boosting 1"}),
        ({"MLP_1": 1.5}, {"boosting 1"}),
        # Another candidate if both are too slow.
        ({"MLP_1": 3, "boosting_1": 2}, {"linear 1"}),
        # The fastest if none is fast enough.
        ({"MLP_1": 3, "boosting_1": 2, "linear_1": 4}, {"boosting 1"}),
    ],
)
def test_the_limit_of_the_time_to_predict_holds(regression, ms, members):
    """One member remains, although the errors of two would cancel."""
    problem, trials = regression
    costs = _Costs(**ms)

    chosen = choose(trials, problem, scorer_metric("r2"), calibrate=False, costs=costs)

    names = {t.name for t, w in zip(chosen.trials, chosen.weights, strict=True) if w > 0}
    assert len(names) == 1
    assert names <= members
    assert chosen.scores["ensemble"].score < chosen.scores["larger ensemble"].score


def test_the_time_of_boosting_limits_the_time_to_predict(mixed, make_problem):
    """Each trial is timed once; without boosting there is no limit."""
    X, y = mixed
    problem = make_problem(X, y)
    model = boosting_model(problem).estimator.fit(X, y)
    part = _parts(problem)
    boosting = replace(
        _trial("boosting 1", np.ones((120, 2)) / 2, y, part, np.unique(y)),
        models=(model,),
    )

    costs = PredictionCosts([boosting], problem)

    ms = costs.ms["boosting 1"]
    assert ms > 0
    together = costs(boosting), costs(replace(boosting, models=()))
    assert together == pytest.approx((ms, ms))
    assert costs.most == pytest.approx(3 * ms)
    assert costs.megabytes["boosting 1"] == len(pickle.dumps(model)) / 1e6
    other = replace(boosting, family="linear")
    assert PredictionCosts([other], problem).most == np.inf


def test_the_first_boosting_of_scikit_learn_limits_the_time(regression, monkeypatch):
    """It has default parameters; those of better models may need more time."""
    _, (_, trial, _) = regression
    trials = [
        replace(trial, name=name, label=label, family="boosting", score=score)
        for name, label, score in (
            ("other package", "CatBoost", 0.7),
            ("first", "boosting", 0.5),
            ("best", "boosting", 0.9),
        )
    ]
    ms = {"other package": 1.0, "first": 2.0, "best": 9.0}
    monkeypatch.setattr(PredictionCosts, "__call__", lambda self, t: ms[t.name])

    assert PredictionCosts(trials, regression[0]).most == 6.0
    assert PredictionCosts(trials[:1], regression[0]).most == 3.0


def test_trials_with_the_same_transformers_prepare_rows_once(regression, monkeypatch):
    """By this clock, preparation takes 5 ms and each model 2 ms."""
    problem, (trial, *_) = regression
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def prepare(self, X):
        clock.now += 0.005
        return X

    def predict(self, X):
        clock.now += 0.002
        return np.zeros(len(X))

    monkeypatch.setattr(_prediction_costs, "time", clock)
    monkeypatch.setattr(DummyRegressor, "predict", predict)
    monkeypatch.setattr(FunctionTransformer, "transform", prepare)
    shared, own = FunctionTransformer(), FunctionTransformer()
    trials = [
        replace(trial, name=name, models=(make_pipeline(step, model),))
        for name, step in (("a", shared), ("b", shared), ("c", own))
        for model in (DummyRegressor().fit(problem.X, problem.y),)
    ]
    costs = PredictionCosts([trial], problem)

    assert [costs(each) for each in trials] == pytest.approx([7.0] * 3)
    assert costs(*trials[:2]) == pytest.approx(5 + 2 * 2)
    assert costs(*trials) == pytest.approx(2 * 5 + 3 * 2)


def test_few_iterations_of_boosting_count_as_100(regression, monkeypatch):
    """The first takes 1 ms and the 24 others 1.2 ms, so 75 more take 3.75 ms."""
    problem, (trial, *_) = regression
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def prepare(self, X):
        clock.now += 0.005
        return X

    def predict(self, X):
        clock.now += 0.0022
        return np.zeros(len(X))

    def staged_predict(self, X):
        clock.now += 0.001
        yield np.zeros(len(X))

    boosting = HistGradientBoostingRegressor(max_iter=25)
    model = make_pipeline(FunctionTransformer(), boosting).fit(problem.X, problem.y)
    monkeypatch.setattr(_prediction_costs, "time", clock)
    monkeypatch.setattr(HistGradientBoostingRegressor, "predict", predict)
    monkeypatch.setattr(HistGradientBoostingRegressor, "staged_predict", staged_predict)
    monkeypatch.setattr(FunctionTransformer, "transform", prepare)
    trial = replace(trial, family="boosting", label="boosting", models=(model,))

    assert PredictionCosts([trial], problem).most == pytest.approx(3 * (5 + 2.2 + 3.75))


@pytest.mark.parametrize(("in_time_order", "ms"), [(False, 120.0), (True, 144.0)])
def test_times_of_boosting_are_those_of_its_refit(
    mixed, make_problem, monkeypatch, in_time_order, ms
):
    """Each iteration takes 1 ms, and a refit has 1.2 times the folds' median of the best.

    In order of time, it has 1.2 times the iterations of the last fold.
    """
    X, y = mixed
    problem = make_problem(X, y)
    if in_time_order:
        folds = TimeSeriesSplit(len(problem.folds)).split(X)
        problem = replace(problem, folds=tuple(folds))
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def predict_proba(self, X):
        clock.now += 1e-3 * self.n_iter_
        return np.full((len(X), 2), 0.5)

    monkeypatch.setattr(_prediction_costs, "time", clock)
    monkeypatch.setattr(TimedBoostingClassifier, "predict_proba", predict_proba)
    monkeypatch.setattr(TimedBoostingClassifier, "n_iter_", property(lambda self: self.n))
    models = []
    for n_best in (20, 60, 100, 140, 120):
        model = boosting_model(problem).estimator
        model[-1].early_stopping = True
        model[:-1].fit(X, y)
        model[-1].classes_, model[-1].n = np.unique(y), n_best + 20
        # The first entry is the score before the first iteration.
        model[-1].validation_score_ = -np.abs(np.arange(n_best + 21) - n_best)
        models.append(model)
    trial = _trial("linear 1", np.ones((len(y), 2)) / 2, y, _parts(problem), np.unique(y))
    trial = replace(trial, models=tuple(models))

    costs = PredictionCosts([trial], problem)

    assert costs(trial) == pytest.approx(ms)


@pytest.mark.parametrize(
    ("n_rows", "in_time_order", "n_models"),
    [(80, False, 5), (80, True, 1), (96, False, 1), (100, True, 1)],
)
def test_fold_models_predict_unless_a_refit_replaces_them(
    mixed, make_problem, n_rows, in_time_order, n_models
):
    """Trials on samples are not refitted; in time order the last fold's model predicts."""
    X, y = mixed
    problem = make_problem(X, y)
    folds = (TimeSeriesSplit if in_time_order else StratifiedKFold)(5).split(X, y)
    problem = replace(problem, folds=tuple(folds))
    model = boosting_model(problem).estimator.set_params(boosting__max_iter=3).fit(X, y)
    trial = _trial("linear 1", np.ones((len(y), 2)) / 2, y, _parts(problem), np.unique(y))
    trial = replace(trial, models=(model,) * 5, n_rows=n_rows)

    costs = PredictionCosts([trial], problem)

    assert costs(trial) == pytest.approx(n_models * costs.ms["linear 1"])


def test_the_time_of_10000_rows_contains_one_call(regression, monkeypatch):
    """A model that takes 5 ms per call and 2 ms per 1,000 rows takes 25 ms."""
    problem, (trial, *_) = regression
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def predict(self, X):
        clock.now += 0.005 + 2e-6 * len(X)
        return np.zeros(len(X))

    monkeypatch.setattr(_prediction_costs, "time", clock)
    monkeypatch.setattr(DummyRegressor, "predict", predict)
    model = DummyRegressor().fit(problem.X, problem.y)
    costs = PredictionCosts([trial], problem)

    assert costs(replace(trial, models=(model,))) == pytest.approx(25.0)


def test_the_score_of_one_member_is_its_own(regression):
    """It is the mean R^2 over the folds of its out-of-fold predictions."""
    problem, trials = regression

    chosen = choose(trials[:1], problem, scorer_metric("r2"), calibrate=False)

    y, (p,) = trials[0].library.y, trials[0].library.predictions
    expected = [r2_score(y[test], p[test]) for _, test in problem.folds]
    assert chosen.weights.tolist() == [1.0]
    assert chosen.scores["ensemble"].score == pytest.approx(np.mean(expected))
    assert chosen.scores["ensemble"].std == pytest.approx(np.std(expected))


def test_the_score_of_noise_is_not_optimistic(make_problem):
    """On random labels the score of the best of 20 trials is about one half."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 600)
    problem = make_problem(np.zeros((600, 1)), y)
    part = _parts(problem)
    trials = []
    for i in range(20):
        p = rng.uniform(0.2, 0.8, 600)
        proba = np.column_stack([1 - p, p])
        score = accuracy_score(y, p > 0.5)
        trials.append(_trial(f"MLP {i}", proba, y, part, np.array([0, 1]), score=score))

    chosen = choose(trials, problem, scorer_metric("accuracy"), calibrate=True)

    assert chosen.scores["ensemble"].score == pytest.approx(0.5, abs=0.05)
    assert chosen.temperature > 1


def test_one_held_out_part_has_one_score(make_problem):
    """With a single split the ensemble is scored on all of its rows."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=100)
    folds = [(np.arange(60), np.arange(60, 100))]
    problem = make_problem(np.zeros((100, 1)), y, is_classification=False, folds=folds)
    targets = y[60:]
    trial = _trial("MLP 1", targets + 0.1, targets, np.arange(40) % 5, None)

    chosen = choose([trial], problem, scorer_metric("r2"), calibrate=False)

    assert chosen.scores["ensemble"].score == pytest.approx(
        r2_score(targets, targets + 0.1)
    )
    assert np.isnan(chosen.scores["ensemble"].std)


def _members(trials, problem, metric, dummy):
    chosen = choose(trials, problem, metric, calibrate=False, dummy=dummy)
    return [trial.name for trial in chosen.trials]


def test_trials_below_the_dummy_are_not_members_of_a_regression(regression):
    """They are far off on some rows, as linear models are on unusual rows."""
    problem, (first, *_) = regression
    library = first.library

    def scored(name, score):
        return _trial(name, library.predictions[0], library.y, library.part, None, score)

    dummy = scored("dummy 1", -0.1)
    bad, good = scored("linear 8", -2.0), scored("linear 9", 0.3)
    r2 = scorer_metric("r2")

    assert _members([bad, good], problem, r2, dummy) == ["linear 9"]
    assert _members([bad], problem, r2, dummy) == ["linear 8"]
    assert _members([bad, good], problem, r2, None) == ["linear 9", "linear 8"]


def test_members_of_a_classifier_are_chosen_by_log_loss(make_problem):
    """Accuracy would never predict a rare class; the informative trial is a member."""
    y = np.tile(np.repeat([0, 1], [9, 1]), 10)
    part = np.arange(100) // 20
    folds = [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(5)]
    problem = make_problem(np.zeros((100, 1)), y, folds=folds)
    share = np.full(100, 0.1)
    better = np.where(y == 1, 0.4, 0.07)
    sure_and_wrong = np.where(y == 1, 0.001, 0.1)
    dummy, knows, harms = (
        _trial(name, np.stack([1 - p, p], axis=1), y, part, np.array([0, 1]), score=0.9)
        for name, p in [("dummy 1", share), ("MLP 1", better), ("MLP 2", sure_and_wrong)]
    )

    accuracy = scorer_metric("accuracy")

    assert _members([knows, harms], problem, accuracy, dummy) == ["MLP 1"]


def _kernel_trials(problem, rng, n_trials):
    """Return kernel ridge regressions with different weights of the columns."""
    X, y = problem.X, problem.y
    part = _parts(problem)
    trials = []
    for k in range(n_trials + 1):
        Z = X * rng.lognormal(size=X.shape[1])
        kernel = Z @ Z.T
        predictions, scores = np.empty(len(y)), []
        for train, test in problem.folds:
            inner = kernel[np.ix_(train, train)]
            inner = inner + np.trace(kernel) / 10 * np.eye(len(train))
            weights = np.linalg.solve(inner, y[train]) * (k < n_trials)
            predictions[test] = kernel[np.ix_(test, train)] @ weights
            scores.append(-np.mean((y[test] - predictions[test]) ** 2))
        name = f"MLP {k}" if k < n_trials else "dummy 1"
        trial = _trial(name, predictions, y, part, None, score=np.mean(scores))
        trials.append(replace(trial, fold_scores=np.array(scores)))
    return trials[:-1], trials[-1]


@pytest.mark.slow
def test_the_deduction_removes_the_bias_of_shared_labels_on_noise(make_problem):
    """Without it, choices by other folds are worse than the mean of all trials."""
    metric = scorer_metric("neg_mean_squared_error")
    gains = {None: [], True: []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(100, 8)), rng.normal(size=100)
        problem = make_problem(X, y, is_classification=False, n_folds=5)
        trials, dummy = _kernel_trials(problem, rng, 12)
        mean = np.mean([trial.score for trial in trials])
        for deducts, values in gains.items():
            chosen = choose(
                trials, problem, metric, calibrate=False, dummy=dummy, beats_dummy=deducts
            )
            values.append(chosen.scores["best"].score - mean)

    assert np.mean(gains[None]) < 2 * np.std(gains[None]) / np.sqrt(12)
    deducted = np.subtract(gains[True], gains[None])
    assert np.mean(deducted) > 2 * np.std(deducted) / np.sqrt(12)


def test_trials_without_models_count_in_the_choice_for_other_rows(make_problem):
    """The scores of the best 2 of 40 are optimistic on the rows that chose them."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    problem = make_problem(np.zeros((200, 1)), y, n_folds=5)
    part = _parts(problem)
    trials = []
    for i in range(40):
        p = rng.uniform(0.3, 0.7, 200)
        trial = _trial(f"MLP {i}", np.stack([1 - p, p], 1), y, part, np.array([0, 1]))
        right = (p > 0.5) == y
        scores = np.array([right[test].mean() for _, test in problem.folds])
        trials.append(replace(trial, fold_scores=scores, score=scores.mean()))
    trials.sort(key=lambda trial: -trial.score)
    metric = scorer_metric("accuracy")
    how = {"calibrate": True, "beats_dummy": True}

    alone = choose(trials[:2], problem, metric, **how)
    among = choose(trials[:2], problem, metric, others=trials[2:], **how)

    assert {trial.name for trial in among.trials} == {t.name for t in trials[:2]}
    assert alone.scores["ensemble"].score > 0.56
    assert among.scores["ensemble"].score < 0.53
