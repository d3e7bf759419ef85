"""What is done with each result that comes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sk_tune import MLPClassifier
from sk_tune.engine import Fit
from sk_tune.engine._fits import ProgressReporter
from sk_tune.engine._results import Results, StoredFits, end_shard, ready_fits
from sk_tune.engine._shard import Shard, train_shard


def _fits(iris, **params):
    net = MLPClassifier(width=4, max_epochs=2, random_state=3, **params)
    return {7: Fit(estimator=net, X=iris.X, y=iris.y, monitor=np.arange(9), name="it")}


@pytest.fixture
def told():
    """Return what was told, and results that tell of it."""
    own = []
    return own, Results(own.append, as_fleet=True)


def test_fits_that_are_ready_have_seed_and_epochs(iris, told):
    """They come from the estimator."""
    (fit,) = ready_fits(_fits(iris), told[1], "fleet").values()

    assert (fit.n_epochs, isinstance(fit.seed, int)) == (2, True)
    assert told[0] == []


def test_a_fit_that_cannot_be_trained_has_failed_at_once(iris, told):
    """With its name and the reason; it is told of as others are."""
    own, results = told

    assert ready_fits(_fits(iris, dropout=-1.0), results, "fleet") == {}

    assert own == [{7: results.trained[7]}]
    assert results.trained[7].status == "failed"
    assert results.trained[7].message.startswith("it: ")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_shard_that_ended_is_kept_and_told_of(iris, told, is_lost):
    """One that was lost with its worker is made of failures that say so."""
    own, results = told
    fits = ready_fits(_fits(iris), results, "fleet")
    shard = Shard(fits=fits, as_fleet=True, memory_limit=2**20)
    progress = []
    reporter = ProgressReporter(progress.append, {7: 2})
    ended = (None, "its worker died") if is_lost else (train_shard(shard), "")

    end_shard(shard, ended, results, StoredFits(None, fits), reporter)

    assert own == [{7: results.trained[7]}]
    assert results.trained[7].message == ("it: its worker died" if is_lost else "")
    assert (progress[-1].n_fits_done, progress[-1].n_epochs_done) == (1, 2)


def test_a_result_says_why_it_was_trained_alone(iris):
    """Unless nothing else was asked for."""
    shard = Shard(fits=_fits(iris), as_fleet=True, memory_limit=2**20)
    trained, _ = train_shard(shard)
    for as_fleet in (True, False):
        results = Results(None, as_fleet=as_fleet)
        done = results.take(trained, {7: "because"})

        assert done[7].solo_reason == ("because" if as_fleet else "")
        assert results.solo == {7: "because"}


class _Trained(MLPClassifier):
    """Trains otherwise than its class."""

    def fit(self, X, y, sample_weight=None):
        """Do what the base does."""
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("between", [MLPClassifier(width=4), LogisticRegression()])
def test_why_a_fit_trains_alone_is_not_said_of_the_next_kind(iris, told, between):
    """Whatever stands between two fits of the same estimator."""
    own = _Trained(width=4, max_epochs=2)
    fits = {
        i: Fit(estimator=net, X=iris.X, y=iris.y, n_epochs=2, seed=0)
        for i, net in enumerate([own, between, own])
    }

    ready_fits(fits, told[1], "fleet")

    reasons = told[1].solo
    assert reasons[0] == reasons[2] is not None
    assert reasons[1] != reasons[0]
