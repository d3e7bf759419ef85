"""A time budget shapes the rungs so that the best candidate has all resources."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedKFold, _validation

from sk_tune import HalvingGridSearchCV, HalvingRandomSearchCV, HyperbandSearchCV
from sk_tune._fleets._active_batch import ActiveNetwork
from sk_tune._search import _base_search, _rounds, _time_budget
from sk_tune._training import _time_limit
from sk_tune.exceptions import TimeBudgetWarning

CV = StratifiedKFold(2, shuffle=True, random_state=1)
RATES = {"learning_rate": loguniform(1e-3, 1e-1)}
MODULES = (_base_search, _rounds, _time_budget, _time_limit, _validation)
# Epochs of the networks of a search with 9, 5 and 3 candidates and at most 9 epochs on two
# folds, and of its refit: each takes a second.
WHOLE = 2 * (21 + 21 + 27) + 9


class Clock:
    """One second for each epoch of each network, in place of ``time``."""

    now = 0.0

    @classmethod
    def monotonic(cls):
        return cls.now

    time = monotonic


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that only epochs advance."""
    real = ActiveNetwork.end_epoch

    def end_epoch(self, seconds):
        Clock.now += 1.0
        real(self, 1.0)

    monkeypatch.setattr(Clock, "now", 0.0)
    monkeypatch.setattr(ActiveNetwork, "end_epoch", end_epoch)
    for module in MODULES:
        monkeypatch.setattr(module, "time", Clock)
    return Clock


@pytest.fixture
def net(make_estimator):
    """Return a small classifier."""
    return make_estimator("MLPClassifier", max_epochs=9)


def hyperband(net, **options):
    """Return a search, unfitted."""
    settings = {"cv": CV, "random_state": 0, "max_resources": 9}
    settings |= {"factor": 3, "select_epoch": "last", **options}
    return HyperbandSearchCV(net, RATES, **settings)


def n_epochs_of_winner(search):
    """Return the epochs of the networks of the best candidate."""
    curves = search.learning_curves_
    return curves.loc[curves["result_row"] == search.best_index_, "epoch"].max()


def assert_adds_up(ledger):
    """Fail unless each epoch of a full training is counted once, as trained or not."""
    assert ledger.epochs_full == (
        ledger.epochs_trained + ledger.epochs_loaded + ledger.epochs_saved_by_pruning
        + ledger.epochs_saved_by_early_stopping + ledger.epochs_left_out
    )  # fmt: skip


KINDS = pytest.mark.parametrize(
    "options", [{}, {"sampler": "bayes"}, {"asynchronous": True}], ids=str
)


@KINDS
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_every_bracket_that_starts_has_a_candidate_with_all_epochs(
    net, iris, clock, options, share
):
    """So has the winner, in time; the sentence names the omitted parts."""
    search = hyperband(net, time_budget=share * WHOLE, **options)

    with pytest.warns(TimeBudgetWarning, match="planned 17 candidates") as caught:
        search.fit(*iris)

    assert clock.now <= 1.1 * share * WHOLE
    assert len(caught) == 1
    assert n_epochs_of_winner(search) == search.best_params_["max_epochs"] == 9
    results = search.cv_results_
    full = results["n_resources"] == 9
    assert np.isfinite(results["mean_test_score"][full]).all()
    if not options.get("asynchronous"):
        assert set(results["bracket"]) == set(results["bracket"][full])
    n, n_full = search.ledger_.n_candidates, full.sum()
    assert f"was enough for {n}, {n_full} of them with all 9 epochs" in search.cut_short_
    assert_adds_up(search.ledger_)


@KINDS
def test_without_time_for_all_epochs_the_best_candidate_has_the_rest(
    net, iris, clock, options
):
    """It is the best of several, and the sentence has its epochs."""
    search = hyperband(net, time_budget=26.0, **options)

    with pytest.warns(TimeBudgetWarning, match="none of them with all 9 epochs"):
        search.fit(*iris)

    assert clock.now <= 1.1 * 26
    n_epochs = n_epochs_of_winner(search)
    assert 3 <= n_epochs < 9
    assert f"the best had {n_epochs}." in search.cut_short_
    assert search.ledger_.n_candidates >= 2
    assert len(search.best_estimator_.history_) == n_epochs
    assert_adds_up(search.ledger_)
    assert search.ledger_.epochs_left_out >= 2 * (9 - n_epochs)


@KINDS
def test_a_sufficient_budget_changes_no_result(net, iris, options):
    """Same candidates and scores as without a budget, and no message."""
    free, timed = (
        hyperband(net, time_budget=budget, **options).fit(*iris)
        for budget in (None, 10.0 * WHOLE)
    )

    np.testing.assert_array_equal(
        timed.cv_results_["mean_test_score"], free.cv_results_["mean_test_score"]
    )
    assert timed.cut_short_ == free.cut_short_ == ""
    for search in (free, timed):
        assert search.ledger_.epochs_left_out == 0
        assert_adds_up(search.ledger_)


def test_the_recommended_time_is_enough(net, iris):
    """It suffices for the full plan."""
    with pytest.warns(TimeBudgetWarning, match="for the whole plan"):
        short = hyperband(net, time_budget=60.0).fit(*iris)
    seconds = float(short.cut_short_.partition("time_budget=")[2].split()[0])

    long = hyperband(net, time_budget=seconds).fit(*iris)

    assert WHOLE <= seconds < 1.5 * WHOLE
    assert long.cut_short_ == ""
    assert long.ledger_.n_candidates == 17


def test_a_resumed_search_continues_its_plan(net, iris, tmp_path):
    """Stored trainings count with their original time; new trainings follow."""
    options = {"time_budget": 80.0, "store": tmp_path / "fits.db"}
    with pytest.warns(TimeBudgetWarning, match="planned"):
        first, again = (hyperband(net, **options).fit(*iris) for _ in range(2))

    assert again.ledger_.epochs_loaded == first.ledger_.epochs_trained
    assert again.ledger_.n_candidates > first.ledger_.n_candidates
    n = len(first.cv_results_["params"])
    assert again.cv_results_["params"][:n] == first.cv_results_["params"]
    for search in (first, again):
        assert search.best_params_["max_epochs"] == 9
        assert_adds_up(search.ledger_)


GRID = {"learning_rate": np.geomspace(1e-3, 1e-1, 9)}


@pytest.mark.parametrize("is_grid", [True, False])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_halving_has_fewer_candidates(net, iris, clock, is_grid, asynchronous):
    """Nine candidates with 1, 3 and 9 epochs take 42 seconds and the refit 9."""
    options = {"resource": "max_epochs", "max_resources": 9, "cv": CV, "time_budget": 54.0}
    options |= {"asynchronous": asynchronous, "random_state": 0}
    search = HalvingGridSearchCV(net, GRID, **options)
    if not is_grid:
        search = HalvingRandomSearchCV(net, RATES, min_resources=1, **options)

    with pytest.warns(TimeBudgetWarning, match="planned 9 candidates"):
        search.fit(*iris)

    assert clock.now <= 1.1 * 54
    assert 2 <= search.n_candidates_[0] < 9
    assert search.n_resources_[-1] == n_epochs_of_winner(search) == 9
    assert_adds_up(search.ledger_)
    if is_grid:
        # They are not the first of the grid, which have one value of its first parameter.
        rates = set(search.cv_results_["param_learning_rate"])
        assert rates != set(GRID["learning_rate"][: len(rates)])


class Rounds(ClassifierMixin, BaseEstimator):
    """Takes a second for each uninterruptible round, and scores by its value."""

    def __init__(self, value=0.0, n_rounds=1):
        self.value = value
        self.n_rounds = n_rounds

    def fit(self, X, y):
        Clock.now += self.n_rounds
        self.classes_ = np.unique(y)
        return self

    def score(self, X, y):
        return self.value


@pytest.mark.parametrize(
    ("budget", "candidates", "resources"),
    [
        # Two folds: 9 * 2 + 3 * 6 + 18 seconds for all.
        (200.0, [9, 3, 1], [1, 3, 9]),
        (45.0, [5, 2, 1], [1, 3, 9]),
        (30.0, [3, 1], [1, 9]),
        # Not even one candidate has time for nine rounds.
        (19.0, [3, 1], [1, 3]),
    ],
)
def test_uninterruptible_rungs_end_in_time(iris, clock, budget, candidates, resources):
    """The last rung is the highest that fits into the time."""
    grid = {"value": np.linspace(0, 1, 9)}
    options = {"resource": "n_rounds", "max_resources": 9, "min_resources": 1, "cv": CV}
    search = HalvingGridSearchCV(Rounds(), grid, refit=False, time_budget=budget, **options)

    if budget == 200:
        search.fit(*iris)
    else:
        with pytest.warns(TimeBudgetWarning, match=f"was enough for {candidates[0]}"):
            search.fit(*iris)

    assert clock.now <= budget
    assert search.n_candidates_ == candidates
    assert search.n_resources_ == resources
    assert search.n_iterations_ == len(resources)
    # The best of a rung are promoted.
    results = search.cv_results_
    first = results["param_value"][results["iter"] == 0]
    assert search.best_params_ == {"value": first.max(), "n_rounds": resources[-1]}
