"""Fits that are asked for while others train."""

from dataclasses import replace

import numpy as np
import pytest

from sk_tune import MLPClassifier
from sk_tune.engine import Fit, FitStream, train
from sk_tune.exceptions import SkTuneWarning


def _fits(iris, n_fits=3, **params):
    options = {"width": 4, "max_epochs": 2, "random_state": 1, **params}
    folds = [np.flatnonzero(np.arange(150) % n_fits != k) for k in range(n_fits)]
    return [
        Fit(
            estimator=MLPClassifier(**options),
            X=iris.X,
            y=iris.y,
            rows=rows,
            monitor=np.setdiff1d(np.arange(150), rows),
            name=f"fold {k}",
        )
        for k, rows in enumerate(folds)
    ]


def _assert_same(ours, theirs, rtol=0.0):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.predictions, b.predictions, rtol=rtol)
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=rtol)


def _all(stream):
    found = {}
    while stream.n_requests:
        number, trained = stream.next()
        found[number] = trained
    return found


@pytest.mark.parametrize(("n_jobs", "n_pieces"), [(1, 1), (2, 1), (2, 3)])
def test_a_stream_gives_what_a_call_gives(iris, n_jobs, n_pieces):
    """However many workers share the fits of a request, up to the order of summation."""
    rates = [0.001, 0.01, 0.1]
    with FitStream(n_jobs=n_jobs) as stream:
        for rate in rates:
            stream.ask([_fits(iris, learning_rate=rate)], n_pieces)
        found = _all(stream)

    for number, rate in enumerate(rates):
        expected = train(_fits(iris, learning_rate=rate))
        _assert_same(found[number], expected, rtol=0.0 if n_pieces == 1 else 1e-5)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_requests_of_one_call_share_a_shard(iris, n_jobs):
    """Each has its own result, all at once."""
    rates = [0.001, 0.01, 0.1]
    with FitStream(n_jobs=n_jobs) as stream:
        numbers = stream.ask([_fits(iris, learning_rate=rate) for rate in rates])
        assert stream.n_idle == n_jobs - 1
        # One more than there are workers, unless the worker is this process.
        assert stream.n_wanted == {1: 0, 2: 2}[n_jobs]
        stream.next()
        assert (stream.n_requests, stream.n_ended) == (2, 2)
        found = _all(stream)

    assert (numbers, sorted(found)) == ([0, 1, 2], [1, 2])
    for number, trained in found.items():
        _assert_same(trained, train(_fits(iris, learning_rate=rates[number])), rtol=1e-5)


def test_a_fit_goes_on_from_a_state(iris):
    """One epoch and then two more are three epochs."""
    fits = _fits(iris, max_epochs=3)
    with FitStream() as stream:
        stream.ask([[replace(fit, n_epochs=1) for fit in fits]])
        _, first = stream.next()
        states = [trained.state for trained in first]
        rest = [
            replace(fit, state=state, n_epochs=2)
            for fit, state in zip(fits, states, strict=True)
        ]
        stream.ask([rest])
        _, second = stream.next()

    _assert_same(second, train(fits))


def test_fits_of_several_signatures_and_failed_ones_are_one_request(iris):
    """Every fit has a result, in the order of the request."""
    kinds = {"dropout": -1.0}, {"width": 5}, {}
    fits = [_fits(iris, **params)[0] for params in kinds]
    with FitStream() as stream:
        stream.ask([fits])
        _, trained = stream.next()

    assert [own.status for own in trained] == ["failed", "trained", "trained"]
    assert trained[0].message.startswith("fold 0: ")


def test_a_request_of_failures_only_has_an_end(iris):
    """Though nothing of it trains."""
    with FitStream() as stream:
        (number,) = stream.ask([_fits(iris, dropout=-1.0)])
        ended, trained = stream.next()

    assert ended == number
    assert {own.status for own in trained} == {"failed"}


def test_what_the_store_has_is_not_trained(iris, tmp_path):
    """It is there at once, to the bit."""
    runs = []
    for _ in range(2):
        with FitStream(store=tmp_path / "fits.db") as stream:
            stream.ask([_fits(iris)])
            assert stream.n_idle == len(runs)
            runs.append(stream.next()[1])

    assert [own.is_loaded for own in runs[1]] == [True] * 3
    _assert_same(*runs)


def test_what_cannot_be_stored_is_said_once(iris, tmp_path):
    """When the stream ends, with the count of all requests."""

    def run():
        with FitStream(store=tmp_path / "fits.db") as stream:
            for _ in range(2):
                stream.ask([_fits(iris, random_state=None)])
            _all(stream)

    with pytest.warns(SkTuneWarning, match="6 fits are not stored") as caught:
        run()

    assert len(caught) == 1


def test_progress_counts_what_is_still_to_come(iris):
    """Fits that were expected, and more of them if there are more."""
    seen = []
    with FitStream(progress=seen.append, expected=[2] * 6) as stream:
        stream.ask([_fits(iris)])
        stream.next()
        assert (seen[-1].n_fits, seen[-1].n_fits_done) == (6, 3)
        assert (seen[-1].n_epochs, seen[-1].n_epochs_done) == (12, 6)
        for _ in range(2):
            stream.ask([_fits(iris)])
        _all(stream)

    assert (seen[-1].n_fits, seen[-1].n_fits_done) == (9, 9)


def test_errors_of_who_is_told_come_up_as_they_are(iris):
    """They are no failures of a fit."""

    def tell(progress):
        raise ZeroDivisionError

    with FitStream(progress=tell) as stream:
        stream.ask([_fits(iris)])
        with pytest.raises(ZeroDivisionError):
            stream.next()


def test_a_result_needs_a_request():
    """Or there is nothing to wait for."""
    with FitStream() as stream, pytest.raises(ValueError, match="needs a request"):
        stream.next()
