"""``train(store=…)``: what is there is not trained again."""

import pickle
import threading
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from skorch.callbacks import Callback
from torch import nn

from sk_tune import MLPClassifier, NetClassifier
from sk_tune.engine import Fit, FitStore, _store, _train, train
from sk_tune.engine._results import stored_fits
from sk_tune.engine._shard import Shard, train_shard
from sk_tune.engine.fleet import _active_batch
from sk_tune.exceptions import SkTuneWarning


def _fits(data, n_fits=6, **params):
    return [
        Fit(
            estimator=MLPClassifier(
                width=4,
                learning_rate=0.001 * (n + 1),
                max_epochs=3,
                random_state=n,
                **params,
            ),
            X=data.X,
            y=data.y,
            monitor=np.arange(0, len(data.y), 3),
        )
        for n in range(n_fits)
    ]


def _n_trained(results):
    return sum(not result.is_loaded for result in results)


def _assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.predictions, b.predictions)
        np.testing.assert_array_equal(a.train_loss, b.train_loss)


def test_a_second_run_trains_nothing(iris, tmp_path):
    """And has the same results, to the bit."""
    path = tmp_path / "fits.db"

    first, second = train(_fits(iris), store=path), train(_fits(iris), store=path)

    assert (_n_trained(first), _n_trained(second)) == (6, 0)
    _assert_same(second, first)


def test_more_fits_train_only_what_is_new(iris, tmp_path):
    """A search that is continued with more candidates."""
    path = tmp_path / "fits.db"
    train(_fits(iris, 4), store=path)

    assert _n_trained(train(_fits(iris, 6), store=path)) == 2


@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
@pytest.mark.filterwarnings("ignore:.*tasks have been successfully executed")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupted_run_goes_on_in_the_same_fleets(iris, tmp_path, n_jobs):
    """Shards that were finished are loaded; the others are cut as they would have been."""
    path = tmp_path / "fits.db"
    with (
        mock.patch.object(_train, "_MOST_NETWORKS_PER_SHARD", 3),
        mock.patch.object(_train, "_LEAST_SECONDS_PER_SHARD", 1e-9),
    ):
        whole = train(_fits(iris, 9), store=tmp_path / "cut.db", n_jobs=n_jobs)
        ended = []

        def stop_after_one(part):
            if len(ended) + len(part) > 5:
                raise ZeroDivisionError
            ended.extend(part)

        with pytest.raises(ZeroDivisionError):
            train(_fits(iris, 9), store=path, n_jobs=n_jobs, trained=stop_after_one)
        with FitStore(path) as store:
            n_there = store.info().n_fits
        resumed = train(_fits(iris, 9), store=path, n_jobs=n_jobs)

    assert 0 < n_there < 9
    assert _n_trained(resumed) == 9 - n_there
    _assert_same(resumed, whole)


@pytest.mark.parametrize(
    ("params", "end"),
    [({}, 6), ({"early_stopping": True, "patience": 2}, 3), ({"optimizer": "sgd"}, 6)],
    ids=str,
)
def test_a_shard_that_was_cut_short_goes_on_from_its_last_epochs(
    iris, tmp_path, monkeypatch, params, end
):
    """With the results of one that was not, to the bit; nothing of it stays behind."""
    monkeypatch.setattr(_store, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(_active_batch, "_SECONDS_AT_ONCE", 0.0)
    path = tmp_path / "fits.db"
    of_whole, seen, of_rest = [], [], []
    fits = _fits(iris, 5, **params)
    # Of different lengths, so that some have ended when the others are cut short.
    fits = [replace(fit, n_epochs=4 + 3 * (n % 2)) for n, fit in enumerate(fits)]
    whole = train(fits, progress=of_whole.append)

    def stop(progress):
        seen.append(progress)
        if len(seen) == end:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fits, store=path, progress=stop)
    with FitStore(path) as store:
        assert store.info().n_fits == 0
    resumed = train(fits, store=path, progress=of_rest.append)

    _assert_same(resumed, whole)
    # It is told of an epoch before it is kept.
    assert len(of_rest) == len(of_whole) - (end - 1)
    with FitStore(path) as store:
        (n_rows,) = store._one("SELECT count(*) FROM fits")
        assert n_rows == store.info().n_fits == 5


def test_workers_keep_what_has_not_ended(iris, tmp_path, monkeypatch):
    """In the file itself, because their shard comes back only when it ends."""
    monkeypatch.setattr(_store, "SECONDS_BETWEEN", 0.0)
    path = tmp_path / "fits.db"
    fits = _fits(iris, 4)
    shard = Shard(
        fits={i: replace(fit, seed=i, n_epochs=3) for i, fit in enumerate(fits)},
        as_fleet=True,
        memory_limit=2**30,
    )
    with stored_fits(path, shard.fits) as stored:
        train_shard(pickle.loads(pickle.dumps(stored.rest(shard))))

    with stored_fits(path, shard.fits) as stored:
        assert stored.loaded == {}
        assert [len(t.state.history) for t in stored.unfinished.values()] == [2] * 4
        rest = stored.rest(shard)
    assert [fit.n_epochs for fit in rest.fits.values()] == [1] * 4


def test_a_rung_goes_on_from_a_stored_one(iris, tmp_path):
    """States that come from the store lead to the same fits as those that were trained."""
    path = tmp_path / "fits.db"
    for expected in (2, 0):
        (first,) = train([replace(_fits(iris)[0], n_epochs=1)], store=path)
        fit = replace(_fits(iris)[0], n_epochs=2, state=first.state)
        (second,) = train([fit], store=path)

        assert _n_trained([first, second]) == expected
        assert len(second.state.history) == 3


def test_failed_fits_are_tried_again(iris, tmp_path):
    """A result is only what has been trained."""
    path = tmp_path / "fits.db"
    fits = [*_fits(iris, 1), *_fits(iris, 1, dropout=2.0)]

    for n_trained in (2, 1):
        results = train(fits, store=path)
        assert _n_trained(results) == n_trained
        assert [r.status for r in results] == ["trained", "failed"]


def test_networks_without_a_seed_are_not_kept(iris, tmp_path):
    """Said once; each run draws another seed, so that nothing would be found."""
    fits = [replace(fit, estimator=MLPClassifier(max_epochs=1)) for fit in _fits(iris, 2)]

    with pytest.warns(SkTuneWarning, match="2 fits are not stored: 2 because random_state"):
        train(fits, store=tmp_path / "fits.db")


def test_networks_that_cannot_be_told_apart_are_not_kept(iris, tmp_path):
    """A lock may stand for anything."""
    lock = threading.Lock()

    def build(n_features=4):
        with lock:
            return nn.Linear(n_features, 3)

    fits = [
        replace(fit, estimator=NetClassifier(build, max_epochs=1, random_state=0))
        for fit in _fits(iris, 1)
    ]

    with pytest.warns(SkTuneWarning, match="the variable 'lock' around .*build"):
        (trained,) = train(fits, store=tmp_path / "fits.db")

    assert trained.status == "trained"


class _RecordsAnObject(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("seen", object())


@pytest.mark.filterwarnings("ignore:1 network was trained alone")
def test_what_cannot_be_written_is_not_kept_and_disturbs_nothing(iris, tmp_path):
    """A callback may record anything."""
    path = tmp_path / "fits.db"
    odd = _fits(iris, 1, callbacks=[_RecordsAnObject()])

    with pytest.warns(SkTuneWarning, match="a fit is not kept in it: It must be made of"):
        results = train([*odd, *_fits(iris, 2)], store=path)

    assert [result.status for result in results] == ["trained"] * 3
    with FitStore(path) as store:
        assert store.info().n_fits == 2


def test_progress_counts_what_is_loaded(iris, tmp_path):
    """A run that finds everything is done at once."""
    path, seen = tmp_path / "fits.db", []
    train(_fits(iris), store=path)

    train(_fits(iris), store=path, progress=seen.append)

    assert [(p.n_fits_done, p.n_epochs_done) for p in seen] == [(6, 18)]


def test_the_callable_gets_every_result(iris, tmp_path):
    """Those of the store first."""
    path, seen = tmp_path / "fits.db", {}
    train(_fits(iris, 2), store=path)

    train(_fits(iris, 3), store=path, trained=seen.update)

    assert {i: result.is_loaded for i, result in seen.items()} == {
        0: True,
        1: True,
        2: False,
    }
