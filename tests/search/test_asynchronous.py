"""Asynchronous rungs: candidates do not wait for each other."""

import time

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, HalvingGridSearchCV, HyperbandSearchCV
from sk_tune._search._network_training import Trainer
from sk_tune.exceptions import TimeBudgetWarning

CV = StratifiedKFold(3, shuffle=True, random_state=1)


RATES = list(np.geomspace(1e-4, 1e-1, 9))
HARD = {
    "dtype": "float64",
    "dropout": 0.3,
    "normalization": "batch",
    "optimizer": "adamw",
    "lr_schedule": "cosine",
}


def halving(estimator, grid=None, prefix="", **options):
    """Return a search of 9, 3 and 1 candidates by 1, 3 and 9 epochs."""
    settings = {
        "resource": f"{prefix}max_epochs",
        "max_resources": 9,
        "min_resources": 1,
        "cv": CV,
        "random_state": 0,
        "asynchronous": True,
    }
    grid = {f"{prefix}learning_rate": RATES} if grid is None else grid
    return HalvingGridSearchCV(estimator, grid, **{**settings, **options})


# Four, two and one candidates by 1, 2 and 4 epochs.
SHORT = {"max_resources": 4, "factor": 2}
FEW = {"learning_rate": RATES[1::2]}


def hyperband(net, **options):
    """Return a search with brackets of at most 9 epochs."""
    settings = {"max_resources": 9, "cv": CV, "random_state": 0, "asynchronous": True}
    settings |= {"factor": 3, "select_epoch": "last"}
    space = {"learning_rate": loguniform(1e-4, 1e-1)}
    return HyperbandSearchCV(net, space, **{**settings, **options})


def _table(search):
    return pd.DataFrame(search.cv_results_)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_winner_equals_synchronous_halving(net, digits, n_jobs):
    """If one candidate is best on every rung, it is promoted whenever it arrives."""
    grid = {"learning_rate": [1e-5, 1e-4, 1e-2, 2e-5, 3e-5, 5e-5, 2e-4, 4e-5, 1e-6]}
    searches = [
        halving(net, grid, asynchronous=own, n_jobs=n_jobs).fit(*digits)
        for own in (True, False)
    ]

    ours, theirs = searches
    best = {"learning_rate": 1e-2, "max_epochs": 9}
    assert ours.best_params_ == theirs.best_params_ == best
    assert ours.best_score_ == pytest.approx(theirs.best_score_, abs=1e-9)
    assert_allclose(ours.predict_proba(digits.X), theirs.predict_proba(digits.X), atol=1e-9)
    assert ours.n_resources_ == theirs.n_resources_ == [1, 3, 9]
    assert all(np.greater_equal(ours.n_candidates_, theirs.n_candidates_))
    assert ours.n_iterations_ == 3
    assert ours.n_remaining_candidates_ >= 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_promoted_candidates_equal_one_full_training(make_estimator, iris, n_jobs):
    """The last rung equals a training of all epochs at once, also behind a pipeline."""
    pipeline = Pipeline([
        ("scale", StandardScaler()),
        ("net", make_estimator("MLPClassifier", **HARD)),
    ])
    few = {"net__learning_rate": RATES[1::2]}
    options = {"prefix": "net__", "scoring": "neg_log_loss", "n_jobs": n_jobs, **SHORT}
    search = halving(pipeline, few, **options).fit(*iris)

    results = _table(search)
    last = results[results["iter"] == 2]
    grid = [{n: [v] for n, v in params.items()} for params in last["params"]]
    at_once = GridSearchCV(pipeline, grid, cv=CV, scoring="neg_log_loss").fit(*iris)
    names = [f"split{k}_test_score" for k in range(3)]
    assert_allclose(
        last[names], np.transpose([at_once.cv_results_[name] for name in names]), rtol=1e-9
    )


def test_one_worker_follows_the_decisions_by_hand(net, iris):
    """Results are in the order of arrival, and a search repeats itself."""
    first, second = (halving(net).fit(*iris) for _ in range(2))

    results = _table(first)
    assert list(results["n_resources"]) == [3 ** int(i) for i in results["iter"]]
    # Nobody is promoted before a third of the first rung can be.
    assert list(results["iter"][:4]) == [0, 0, 0, 1]
    assert (results["iter"] == 0).sum() == 9
    best = results[:3].nlargest(1, "mean_test_score")["param_learning_rate"].iloc[0]
    assert results["param_learning_rate"][3] == best
    assert_array_equal(results["mean_test_score"], second.cv_results_["mean_test_score"])


def test_curves_ledger_and_models_belong_to_rungs(net, iris):
    """Epochs by hand: each rung trains its additional epochs."""
    search = halving(net, keep_models=2).fit(*iris)
    n = search.n_candidates_
    ledger, curves = search.ledger_, search.learning_curves_

    assert ledger.epochs_trained == 3 * (n[0] * 1 + n[1] * 2 + n[2] * 6)
    assert ledger.epochs_saved_by_warm_start == 3 * (n[1] * 1 + n[2] * 3)
    assert (ledger.n_candidates, ledger.n_fits) == (9, 3 * sum(n))
    lengths = curves.groupby(["result_row", "fold"])["epoch"].max().unstack()
    assert_array_equal(
        lengths.to_numpy(), np.tile(search.cv_results_["n_resources"], (3, 1)).T
    )
    assert len(search.models_) == 2
    assert search.best_index_ in search.models_
    for fold, (_, test) in enumerate(CV.split(*iris)):
        model = search.models_[search.best_index_][fold]
        assert_allclose(
            search.oof_predictions_[search.best_index_][test],
            model.predict_proba(iris.X[test]),
            atol=1e-9,
        )


def test_each_row_has_its_best_epoch(net, iris):
    """As without rungs: the epoch with the best mean over the folds."""
    search = halving(net, select_epoch="best").fit(*iris)

    curves = search.learning_curves_
    assert set(search.best_epochs_) == set(range(len(search.cv_results_["params"])))
    for row, epoch in search.best_epochs_.items():
        means = curves[curves["result_row"] == row].groupby("epoch")["valid_score"].mean()
        assert search.cv_results_["mean_test_score"][row] == pytest.approx(means.max())
        assert means[epoch] == pytest.approx(means.max())


def test_resumable_states_are_kept_during_training(net, iris, monkeypatch):
    """Including checkpoints of the best epoch, while other candidates end."""
    dropped, requested = set(), set()
    keep_only, request = Trainer.keep_only, Trainer.request

    def keep(trainer, candidates):
        before = set(trainer._states) | set(trainer._ends)
        keep_only(trainer, candidates)
        dropped.update(before - (set(trainer._states) | set(trainer._ends)))

    def find(trainer, *task):
        asked = request(trainer, *task)
        requested.add((asked.key, asked.key in dropped))
        return asked

    monkeypatch.setattr(Trainer, "keep_only", keep)
    monkeypatch.setattr(Trainer, "request", find)
    rates = {"learning_rate": list(np.geomspace(0.01, 1.0, 27))}
    search = halving(net, rates, select_epoch="best", n_jobs=2).fit(*iris)

    assert search.ledger_.n_candidates == 27
    assert len(requested) >= 3 * 27
    assert not any(is_late for _, is_late in requested)


def test_failed_candidates_are_never_promoted(net, iris):
    """They have a reason, and one warning at the end of the search."""
    grid = {"dropout": [-1.0, 0.0, -2.0, 0.1, 0.2, 0.3, -3.0, 0.4, 0.5]}
    search = halving(net, grid)
    with pytest.warns(FitFailedWarning, match="9 fits failed"):
        search.fit(*iris)

    results = _table(search)
    is_bad = results["param_dropout"] < 0
    assert (results["iter"][is_bad] == 0).all()
    assert results["mean_test_score"][is_bad].isna().all()
    assert not results["mean_test_score"][~is_bad].isna().any()
    assert results["failure_reason"][is_bad].str.contains("dropout").all()
    for row, reason in results["failure_reason"][is_bad].items():
        assert reason.startswith(f"candidate {search.candidates_[row]}, fold 0: ")
    assert search.ledger_.n_failed == 9


class Progress:
    """Counts, and presses Ctrl-C after some fits."""

    def __init__(self, stop_at=np.inf):
        self.stop_at = stop_at
        self.last = None

    def __call__(self, progress):
        self.last = progress
        if progress.n_fits_done >= self.stop_at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_keeps_evaluated_candidates(net, iris, n_jobs):
    """The best candidate so far is refitted, and then KeyboardInterrupt is raised."""
    search = halving(net, n_jobs=n_jobs, verbose=Progress(12))
    with pytest.raises(KeyboardInterrupt):
        search.fit(*iris)

    assert 1 <= len(search.cv_results_["params"]) < 9
    assert search.predict(iris.X).shape == (150,)


@pytest.mark.parametrize(
    "options",
    [{"factor": 3}, {"factor": "auto", "scoring": ["accuracy", "r2"], "refit": "accuracy"}],
)
def test_results_are_formatted_once(net, iris, monkeypatch, options):
    """At the end of the search, with the columns and means of synchronous rungs."""
    calls = []
    format_all = BaseSearchCV._format_results

    def counting(*args):
        calls.append(args)
        return format_all(*args)

    monkeypatch.setattr(BaseSearchCV, "_format_results", counting)
    search = hyperband(net, **options).fit(*iris)
    assert len(calls) == 1
    expected = hyperband(net, asynchronous=False, **options).fit(*iris)
    assert list(search.cv_results_) == list(expected.cv_results_)
    table = _table(search)
    for name in [name for name in table if name.startswith("mean_test")]:
        folds = table.filter(regex=name.replace("mean", r"^split\d"))
        assert_allclose(table[name], folds.mean(axis=1), rtol=1e-12)


def test_a_callable_names_the_scores_of_failed_candidates(net, iris):
    """Also of candidates that failed before the first success."""

    def own(estimator, X, y):
        return {"own": estimator.score(X, y)}

    search = hyperband(net, scoring=own, refit="own")
    search.set_params(param_distributions={"learning_rate": [-1.0, 1e-3, 1e-2]})
    with pytest.warns(FitFailedWarning):
        search.fit(*iris)

    is_invalid = search.cv_results_["param_learning_rate"].astype(float) < 0
    assert_array_equal(np.isnan(search.cv_results_["mean_test_own"]), is_invalid)


def test_repeated_rungs_train_their_epochs_again(net, iris):
    """Progress expects the planned 27, 9 and 6 epochs on each of three folds."""
    reports = []
    options = {"min_resources": 3, "aggressive_elimination": True}
    search = halving(net, verbose=lambda p: reports.append(p.n_epochs), **options)

    plan = search.plan()
    search.set_params(refit=False).fit(*iris)

    assert [r.n_resources for r in plan.rounds] == [3, 3, 9]
    assert reports[0] == plan.n_epochs == 3 * (9 * 3 + 3 * 3 + 1 * 6)
    assert reports[-1] == search.ledger_.epochs_trained


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_ends_in_its_time(net, iris, n_jobs):
    """With no time at all the first candidates are evaluated, and the search is usable.

    It says what it left out.
    """
    with pytest.warns(TimeBudgetWarning) as warned:
        search = halving(net, n_jobs=n_jobs, time_budget=1e-6).fit(*iris)

    # What had ended by the time that the first was looked at counts, too.
    assert len(search.cv_results_["params"]) <= (1 if n_jobs == 1 else n_jobs + 1)
    assert search.predict(iris.X).shape == (150,)
    assert search.cut_short_ == str(warned[0].message)
    assert search.cut_short_.startswith("HalvingGridSearchCV planned 9 candidates.")


def _same_results(ours, theirs):
    for name, column in theirs.cv_results_.items():
        if "time" not in name and not name.startswith("param"):
            assert_array_equal(ours.cv_results_[name], column, err_msg=name)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]


def test_a_resumed_search_of_one_worker_equals_an_uninterrupted_search(net, iris, tmp_path):
    """To the bit, and without training finished fits again."""
    uninterrupted = halving(net, FEW, **SHORT).fit(*iris)
    stored = {"store": tmp_path / "fits.db", **SHORT}
    with pytest.raises(KeyboardInterrupt):
        halving(net, FEW, verbose=Progress(7), **stored).fit(*iris)

    resumed = halving(net, FEW, **stored).fit(*iris)
    again = halving(net, FEW, **stored).fit(*iris)

    _same_results(resumed, uninterrupted)
    _same_results(again, uninterrupted)
    trained = resumed.ledger_.epochs_trained
    assert 0 < trained < uninterrupted.ledger_.epochs_trained
    assert trained + resumed.ledger_.epochs_loaded == uninterrupted.ledger_.epochs_trained
    assert again.ledger_.epochs_trained == 0


def test_a_store_serves_several_workers(net, iris, tmp_path):
    """For any promotions, stored fits are not trained again."""
    stored = {"store": tmp_path / "fits.db", "n_jobs": 2, **SHORT}
    with joblib.parallel_config(backend="threading"):
        for _ in range(2):
            search = halving(net, FEW, **stored).fit(*iris)

    assert search.ledger_.epochs_loaded >= 4 * 3


def test_a_straggler_does_not_stall_others(net, iris, straggling, do_nothing):
    """The other worker takes a candidate to the last rung while one waits in the first."""
    reached = []

    class Watch(do_nothing):
        def on_fit_task_end(self, estimator, context, **_):
            results, _ = estimator.results_so_far()
            reached[:] = list(results.get("iter", ()))
            if 2 in reached:
                straggling.set()

    start = time.monotonic()
    search = halving(net, n_jobs=None).set_callbacks(Watch()).fit(*iris)

    assert time.monotonic() - start < 50
    rungs = list(search.cv_results_["iter"])
    rates = list(search.cv_results_["param_learning_rate"])
    assert rates.index(RATES[0]) > rungs.index(2)


def test_hyperband_trains_all_of_its_brackets(net, iris):
    """Each bracket has at least its planned candidates, on each of its rungs."""
    search = hyperband(net).fit(*iris)

    results = _table(search)
    for bracket in search.brackets_:
        rows = results[results["bracket"] == bracket.index]
        for i, rung in enumerate(bracket.rungs):
            on_rung = rows[rows["iter"] == i]
            assert len(on_rung) >= rung.n_candidates
            assert set(on_rung["n_resources"]) == {rung.n_resources}
        assert (rows["iter"] == 0).sum() == bracket.rungs[0].n_candidates
    assert search.best_params_["max_epochs"] == 9


class Asked:
    """A sampler with few candidates, which records its scores."""

    def __init__(self, n):
        self.left = list(np.geomspace(1e-3, 1e-1, n))
        self.told = []

    def ask(self, n_points):
        batch, self.left = self.left[:n_points], self.left[n_points:]
        return [{"learning_rate": float(rate)} for rate in batch]

    def tell(self, candidates, scores, n_resources=None):
        self.told += [
            (candidate["learning_rate"], float(score), n_resources)
            for candidate, score in zip(candidates, scores, strict=True)
        ]


def test_a_sampler_gets_each_score_before_the_next_question(net, iris):
    """An exhausted space ends the brackets early."""
    sampler = Asked(4)
    search = hyperband(net, sampler=lambda *_: sampler).fit(*iris)

    results = _table(search)
    assert sampler.left == []
    names = ["param_learning_rate", "mean_test_score", "n_resources"]
    assert sampler.told == [tuple(row) for row in results[names].itertuples(index=False)]
    assert (results["iter"] == 0).sum() == 4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"resource": "n_samples", "max_resources": "auto"}, "epochs as the resource"),
        ({"resource": "width", "max_resources": 8}, "epochs as the resource"),
    ],
)
def test_unsupported_asynchronous_searches_are_refused(net, iris, options, text):
    """Before any training; a name that ends in max_epochs does not make a network."""
    with pytest.raises(ValueError, match=text):
        halving(net, **options).fit(*iris)
    search = halving(LogisticRegression(), {"C": [1.0, 2.0]}, resource="max_iter")
    with pytest.raises(ValueError, match="needs a network"):
        search.fit(*iris)


def test_a_verbose_search_prints_only_evaluated_fits(net, iris, capsys):
    """scikit-learn's line for each candidate and rung, and one of progress."""
    search = halving(net, verbose=1).fit(*iris)

    out = capsys.readouterr().out
    assert out.count("Fitting 3 folds for each of 1 candidates") == len(
        search.cv_results_["params"]
    )
