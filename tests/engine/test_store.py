"""Results in a file, and runs that continue from it."""

import contextlib
import json
import pickle
import random
import sqlite3
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from marks import slow
from skorch.callbacks import Callback
from torch import nn

from sk_tune import MLPClassifier, MLPRegressor, NetClassifier
from sk_tune._engine import Fit, FitStore, Trained, _database, _store, _train, train
from sk_tune._engine._results import stored_fits
from sk_tune._engine._shard import Shard, train_shard
from sk_tune._engine._store import (
    SECONDS_BETWEEN,
    UNFINISHED,
    UnfinishedFits,
    remaining_fit,
)
from sk_tune._fleets import _active_batch
from sk_tune._training import arrays_of_state, values_of_state
from sk_tune.exceptions import StoreError, StoreWarning


@pytest.fixture(scope="module")
def results(iris):
    """Six results by key: of early stopping, of SGD and of others."""
    nets = [
        MLPClassifier(width=4, early_stopping=True, max_epochs=3, random_state=0),
        MLPClassifier(width=4, optimizer="sgd", max_epochs=3, random_state=0),
        MLPRegressor(width=3, dtype="float64", max_epochs=3, random_state=0),
        *(MLPClassifier(width=2, max_epochs=1, random_state=n) for n in range(3)),
    ]
    monitor = np.arange(0, 150, 5)
    trained = train([Fit(estimator=n, X=iris.X, y=iris.y, monitor=monitor) for n in nets])
    return {f"key {n}": result for n, result in enumerate(trained)}


@pytest.fixture
def path(tmp_path, results):
    """A store with all results."""
    path = tmp_path / "fits.db"
    with FitStore(path) as store:
        store.save(results)
    return path


def test_readers_do_not_release_the_locks_of_a_writer(tmp_path, results):
    """Opening and closing the file in the same process does not matter."""
    path = tmp_path / "fits.db"
    names = list(results)
    with FitStore(path) as store:
        store.save({names[0]: results[names[0]]})
        FitStore(path).close()
        # The last one to close a file of SQLite removes its log, and may not be the last.
        look = "sqlite3.connect(sys.argv[1]).execute('SELECT key FROM fits').fetchall()"
        look = f"import sqlite3, sys; {look}"
        subprocess.run([sys.executable, "-c", look, path], check=True)
        store.save({names[1]: results[names[1]]})
        with FitStore(path) as other:
            assert other.load(names).keys() == set(names[:2])


def _assert_same(ours, theirs):
    assert repr(values_of_state(ours.state)) == repr(values_of_state(theirs.state))
    arrays, expected = arrays_of_state(ours.state), arrays_of_state(theirs.state)
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable
    np.testing.assert_array_equal(ours.predictions, theirs.predictions)
    for name in ("status", "message", "seconds", "engine", "alone_reason"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_results_come_back_to_the_bit(path, results):
    """All parts of a result, from a file that was closed in between."""
    with FitStore(path) as store:
        loaded = store.load([*results, "of another"])

    assert loaded.keys() == results.keys()
    for key, result in results.items():
        assert loaded[key].is_loaded
        _assert_same(loaded[key], result)


def test_failed_fits_are_not_kept(tmp_path):
    """They are tried again: a failure may have had to do with the machine."""
    failed = Trained(
        status="failed", state=None, predictions=None, message="", seconds=0, engine="fleet"
    )
    with FitStore(tmp_path / "fits.db") as store:
        store.save({"a": failed})

        assert store.load(["a"]) == {}


def test_many_keys_are_looked_up_at_once(path, results):
    """More than SQLite takes variables in one query."""
    keys = [f"no {n}" for n in range(1200)]
    with FitStore(path) as store:
        assert store.load([*keys, *results]).keys() == results.keys()


def test_a_result_is_on_the_disk_when_it_is_saved(path, results):
    """Another process reads it, and a kill does not lose it."""
    with FitStore(path) as writer, FitStore(path) as reader:
        writer.save({"new": results["key 0"]})

        assert set(reader.load(["new"])) == {"new"}
        # FULL: a commit waits for the disk, so that not even a power cut takes it.
        assert writer._database.query("PRAGMA synchronous") == [(2,)]


def test_two_writers_take_turns(tmp_path, results):
    """No result is lost, and neither writer fails."""
    path = tmp_path / "fits.db"

    def write(worker):
        with FitStore(path) as store:
            for n in range(20):
                store.save({f"{worker} {n}": results["key 3"]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))

    with FitStore(path) as store:
        assert store.info().n_fits == 80
        assert store.verify() == []


@pytest.mark.parametrize("is_on_network", [False, True])
def test_reading_does_not_wait_for_a_writer(path, monkeypatch, is_on_network):
    """A search opens its store for each rung; the time of use is then not updated."""
    monkeypatch.setattr(_database, "is_on_network", lambda _: is_on_network)
    monkeypatch.setattr(_database, "_TIMEOUT", 0.0)
    with FitStore(path) as writer, writer._database.transaction(), FitStore(path) as other:
        assert other.info().n_fits == 6
        assert other.load(["no key"]) == {}


def test_on_a_network_the_file_has_a_rollback_journal(path, results, monkeypatch):
    """Write-ahead mode needs shared memory; a file that has it is changed, and back."""
    monkeypatch.setattr(_database, "is_on_network", lambda _: True)
    with FitStore(path) as store:
        assert store._database.query("PRAGMA journal_mode") == [("delete",)]
        store.save({"new": results["key 0"]})
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    monkeypatch.undo()
    with FitStore(path) as store:
        assert store._database.query("PRAGMA journal_mode") == [("wal",)]
        assert store.info().n_fits == len(results) + 1


def _execute(path, statement):
    """Change or create an SQLite database."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


NO_STORES = {
    "json": (lambda path: path.write_bytes(b"{}"), "must be a store of sk_tune"),
    "a part of the header": (
        lambda path: path.write_bytes(b"SQLite format 3"),
        "must be a store of sk_tune",
    ),
    "zeros": (lambda path: path.write_bytes(b"\0" * 4096), "must be a store of sk_tune"),
    "noise": (
        lambda path: path.write_bytes(random.Random(0).randbytes(9000)),
        "must be a store of sk_tune",
    ),
    "of Optuna, say": (
        lambda path: _execute(path, "CREATE TABLE trials (id)"),
        "Got another SQLite database",
    ),
    # It was a store once, or never became one; whoever gave it is told what to do.
    "empty": (lambda path: path.touch(), r"fits\.db is empty.*Delete the file"),
}


@pytest.mark.parametrize(("make", "message"), NO_STORES.values(), ids=NO_STORES)
def test_other_files_are_refused_and_not_changed(tmp_path, make, message):
    """The error names the file."""
    path = tmp_path / "fits.db"
    make(path)
    before = path.read_bytes()

    with pytest.raises(StoreError, match=message) as raised:
        FitStore(path)

    assert str(path) in str(raised.value)
    assert path.read_bytes() == before


def test_a_newer_store_is_refused(path):
    """Its rows may have another meaning."""
    _execute(path, "PRAGMA user_version = 2")

    with pytest.raises(StoreError, match="schema 2. This version of sk_tune reads"):
        FitStore(path)


def test_a_path_must_be_a_file_in_a_folder(tmp_path):
    """Folders are named, and none is made."""
    with pytest.raises(StoreError, match=f"Got the folder {tmp_path}"):
        FitStore(tmp_path)
    with pytest.raises(StoreError, match="does not exist. Create it first"):
        FitStore(tmp_path / "none" / "fits.db")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_stored_results(path, results):
    """The search continues in memory, with one warning that names the file."""
    with FitStore(path) as store:
        ((n_pages,),) = store._database.query("PRAGMA page_count")
        store._database.query(f"PRAGMA max_page_count = {n_pages}")
        new = {f"new {n}": results["key 0"] for n in range(9)}
        with pytest.warns(StoreWarning, match=f"{path}.*full"):
            store.save(new)
        # filterwarnings is "error": what is said again would be raised.
        store.save(new)

        assert store.load(results).keys() == results.keys()


def test_a_changed_value_is_found(path, results):
    """Changed or exchanged results are reported and not used."""
    with sqlite3.connect(path) as connection:
        (meta,) = connection.execute("SELECT meta FROM fits WHERE key = 'key 1'").fetchone()
        text = zlib.decompress(meta)
        assert json.loads(text)
        changed = zlib.compress(text.replace(b'"seconds"', b'"seconde"'))
        connection.execute("UPDATE fits SET meta = ? WHERE key = 'key 1'", (changed,))
        connection.execute("UPDATE fits SET key = 'key 9' WHERE key = 'key 2'")
    connection.close()

    with FitStore(path) as store:
        with pytest.warns(StoreWarning, match="2 fits in it are damaged"):
            loaded = store.load([*results, "key 9"])
        assert loaded.keys() == results.keys() - {"key 1", "key 2"}
        assert store.verify() == ["key 1", "key 9"]
        assert store.vacuum() == 2
        assert store.verify() == []


def _assert_survives(path, results):
    """Load and save as a search would, from a file that may be bad."""
    with warnings.catch_warnings(action="ignore"):
        try:
            with FitStore(path) as store:
                loaded = store.load(results)
                store.save(results)
                loaded |= store.load(results)
        except StoreError as error:
            named = str(path) in str(error)
            loaded = {}
        else:
            named = True
    assert named
    for key, result in loaded.items():
        _assert_same(result, results[key])


@pytest.mark.parametrize("seed", range(40))
def test_bit_flips_never_give_a_wrong_result(path, results, seed):
    """The outcome is the right result, no result, or an error that names the file."""
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)

    _assert_survives(path, results)


@pytest.mark.parametrize("share", np.linspace(0, 0.99, 6))
def test_a_truncated_file_never_gives_a_wrong_result(path, results, share):
    """It gives an error or no result, also if it is empty."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    _assert_survives(path, results)


def test_vacuum_removes_the_least_recently_used_results(path, results, monkeypatch):
    """Results loaded last stay."""
    with FitStore(path) as store:
        monkeypatch.setattr(_store.time, "time", lambda: 2.0**40)
        store.load(["key 4"])
        ((size,),) = store._database.query(
            "SELECT length(arrays) + length(meta) FROM fits WHERE key = 'key 4'"
        )
        before = store.info().n_bytes

        assert store.vacuum(size) == len(results) - 1

        assert set(store.load(results)) == {"key 4"}
        assert store.info().n_bytes < before


def test_info_counts(path, results):
    """Fits, and their epochs together."""
    with FitStore(path) as store:
        info = store.info()

    assert (info.path, info.n_fits, info.schema_version) == (str(path), 6, 1)
    assert info.n_epochs == sum(len(r.state.history) for r in results.values())
    assert info.n_bytes >= path.stat().st_size


class Turned(nn.Module):
    """A module with a buffer that lies column by column in memory."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        values = torch.arange(n_features**2, dtype=torch.float32) / n_features**2
        self.register_buffer("basis", values.reshape(n_features, -1).T)
        self.out = nn.Linear(n_features, n_outputs)

    def forward(self, x):
        return self.out(x @ self.basis)


def test_arrays_come_back_whatever_their_order_in_memory(tmp_path, iris, results):
    """Of weights and of predictions, from the store and from a file of the estimator."""
    net = NetClassifier(Turned, max_epochs=1, random_state=0)
    fit = Fit(estimator=net, X=iris.X, y=iris.y)
    first, again = (
        train([fit], store=tmp_path / "fits.db", engine="alone")[0] for _ in range(2)
    )
    turned = replace(
        results["key 0"], predictions=np.asfortranarray(results["key 0"].predictions)
    )
    with FitStore(tmp_path / "own.db") as store:
        store.save({"turned": turned})
        loaded = store.load(["turned"])["turned"]
    net.fit(iris.X, iris.y).save(tmp_path / "net")

    assert again.is_loaded
    np.testing.assert_array_equal(first.state.weights["basis"], Turned(4, 3).basis.numpy())
    np.testing.assert_array_equal(
        again.state.weights["basis"], first.state.weights["basis"]
    )
    np.testing.assert_array_equal(loaded.predictions, turned.predictions)
    copy = NetClassifier.load(tmp_path / "net", module=Turned)
    np.testing.assert_array_equal(copy.predict_proba(iris.X), net.predict_proba(iris.X))


KEY = "0" * 64


def _fit(n_epochs=5):
    X, y = np.eye(8), np.arange(8) % 2
    net = MLPClassifier(width=2, max_epochs=9, random_state=0)
    return Fit(estimator=net, X=X, y=y, seed=0, n_epochs=n_epochs)


@pytest.fixture(scope="module")
def two():
    """Return the result of a fit after two epochs."""
    return train([_fit(2)])[0]


@pytest.fixture
def unfinished(tmp_path):
    """A store that is open, and its place for fits that have not ended."""
    with FitStore(tmp_path / "fits.db") as store:
        yield (
            store,
            UnfinishedFits(location=store.location, keys={0: KEY, 1: KEY[:-1] + "1"}),
        )


def test_a_resumed_fit_has_the_remaining_epochs(two):
    """Also if the fit itself continues from a state."""
    (three,) = train([replace(_fit(1), state=two.state)])

    assert remaining_fit(_fit(5), two.state).n_epochs == 3
    assert remaining_fit(replace(_fit(5), state=two.state), three.state).n_epochs == 4


def test_states_with_too_many_epochs_are_not_used(two):
    """Such a fit trains from its start."""
    for fit in (_fit(1), _fit(2)):
        (trained,) = train([replace(fit, checkpoint=two.state)])
        assert remaining_fit(fit, two.state) is fit
        assert len(trained.train_loss) == fit.n_epochs


def test_unfinished_fits_have_other_keys(two, unfinished):
    """An unfinished fit is not taken for a finished fit."""
    store, place = unfinished
    place.keep({0: two, 4: two})

    assert store.load([KEY]) == {}
    assert list(store.load([KEY + UNFINISHED])) == [KEY + UNFINISHED]
    assert store.info().n_fits == 0
    assert place.seconds == SECONDS_BETWEEN


def test_finished_fits_are_not_overwritten_by_unfinished_ones(two, unfinished):
    """A worker of a killed coordinator may train a fit that another run has finished."""
    store, place = unfinished
    store.save({KEY: two}, instead_of=[KEY + UNFINISHED])

    place.keep({0: two, 1: two})

    found = store.load([KEY, *(key + UNFINISHED for key in place.keys.values())])
    assert set(found) == {KEY, place.keys[1] + UNFINISHED}


def test_other_machines_do_not_store_unfinished_fits(two, unfinished, tmp_path):
    """They would create another file under the same path."""
    store, place = unfinished

    replace(place, host="elsewhere").keep({0: two})
    replace(place, location=str(tmp_path / "gone.db")).keep({0: two})

    assert store.load([KEY + UNFINISHED]) == {}
    assert not (tmp_path / "gone.db").exists()


def test_a_replaced_file_disturbs_nothing(two, tmp_path):
    """The process with the old file warns."""
    path = tmp_path / "fits.db"
    with FitStore(path) as store:
        place = UnfinishedFits(location=store.location, keys={0: KEY})
    path.write_bytes(b"something else, of some length")

    place.keep({0: two})

    assert path.read_bytes() == b"something else, of some length"


def _fits(data, n_fits=6, **params):
    own = {"width": 4, "max_epochs": 3, **params}
    return [
        Fit(
            estimator=MLPClassifier(**own, learning_rate=0.001 * (n + 1), random_state=n),
            X=data.X,
            y=data.y,
            monitor=np.arange(0, len(data.y), 3),
        )
        for n in range(n_fits)
    ]


def _n_trained(results):
    return sum(not result.is_loaded for result in results)


def _assert_same_stored(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.predictions, b.predictions)
        np.testing.assert_array_equal(a.train_loss, b.train_loss)


def test_a_second_run_trains_only_new_fits(iris, tmp_path):
    """Loaded results are bitwise equal, reported first, and counted as done."""
    path, seen, told = tmp_path / "fits.db", [], {}
    first = train(_fits(iris, 4), store=path)

    again = train(_fits(iris, 4), store=path, progress=seen.append)
    more = train(_fits(iris, 6), store=path, trained=told.update)

    assert [_n_trained(run) for run in (first, again, more)] == [4, 0, 2]
    _assert_same_stored(again, first)
    assert [(p.n_fits_done, p.n_epochs_done) for p in seen] == [(4, 12)]
    assert list(told)[:4] == [0, 1, 2, 3]
    assert [told[i].is_loaded for i in range(6)] == [True] * 4 + [False] * 2


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.filterwarnings("ignore:.*tasks which were still being processed")
@pytest.mark.filterwarnings("ignore:.*tasks have been successfully executed")
@pytest.mark.parametrize("n_jobs", [1, slow(2)])
def test_an_interrupted_run_continues_in_the_same_fleets(iris, tmp_path, n_jobs):
    """Finished shards are loaded; the rest are cut in the same way as before."""
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
    _assert_same_stored(resumed, whole)


@pytest.mark.parametrize(
    ("params", "end"),
    [
        ({}, 6),
        ({"early_stopping": True, "n_iter_no_change": 2}, 3),
        ({"optimizer": "sgd"}, 6),
    ],
    ids=str,
)
def test_a_cut_shard_continues_from_its_last_epochs(
    iris, tmp_path, monkeypatch, params, end
):
    """Results are bitwise equal to an uninterrupted run; no checkpoints remain."""
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

    _assert_same_stored(train(fits, store=path, progress=of_rest.append), whole)
    # It is told of an epoch before it is kept.
    assert len(of_rest) == len(of_whole) - (end - 1)
    with FitStore(path) as store:
        ((n_rows,),) = store._database.query("SELECT count(*) FROM fits")
        assert n_rows == store.info().n_fits == 5


@pytest.mark.usefixtures("workers_for_little")
def test_workers_store_unfinished_fits(iris, tmp_path, monkeypatch):
    """They write to the file, because shards return only when they end."""
    monkeypatch.setattr(_store, "SECONDS_BETWEEN", 0.0)
    path = tmp_path / "fits.db"
    fits = _fits(iris, 4)
    shard = Shard(
        fits={i: replace(fit, seed=i, n_epochs=3) for i, fit in enumerate(fits)},
        as_fleet=True,
        memory_limit=2**30,
    )
    with stored_fits(path, shard.fits) as stored:
        claimed, *_ = stored.claim(shard)
        train_shard(pickle.loads(pickle.dumps(claimed)))

    with stored_fits(path, shard.fits) as stored:
        assert stored.loaded == {}
        remaining, *_ = stored.claim(shard)
    assert [len(fit.state.history) for fit in remaining.fits.values()] == [2] * 4
    assert [fit.n_epochs for fit in remaining.fits.values()] == [1] * 4


def test_a_rung_continues_from_a_stored_rung(iris, tmp_path):
    """States from the store lead to the same fits as trained states."""
    path = tmp_path / "fits.db"
    for expected in (2, 0):
        (first,) = train([replace(_fits(iris)[0], n_epochs=1)], store=path)
        fit = replace(_fits(iris)[0], n_epochs=2, state=first.state)
        (second,) = train([fit], store=path)

        assert _n_trained([first, second]) == expected
        assert len(second.state.history) == 3
    train([replace(_fits(iris)[0], n_epochs=2, checkpoint=first.state)], store=path)
    with FitStore(path) as store:
        assert store.info().n_epochs == 1 + 2 + 1


def test_failed_fits_are_tried_again(iris, tmp_path):
    """Only trained fits are stored."""
    path = tmp_path / "fits.db"
    fits = [*_fits(iris, 1), *_fits(iris, 1, dropout=2.0)]

    for n_trained in (2, 1):
        results = train(fits, store=path)
        assert _n_trained(results) == n_trained
        assert [r.status for r in results] == ["trained", "failed"]


def test_networks_without_a_seed_are_not_stored(iris, tmp_path):
    """One warning says so; another run draws other seeds and could not load them."""
    fits = [replace(fit, estimator=MLPClassifier(max_epochs=1)) for fit in _fits(iris, 2)]

    with pytest.warns(StoreWarning, match="2 fits are not stored: 2 because random_state"):
        train(fits, store=tmp_path / "fits.db")


def test_fits_with_unreadable_parameters_are_not_stored(iris, tmp_path):
    """A lock is an example."""
    lock = threading.Lock()

    def build(n_features=4):
        with lock:
            return nn.Linear(n_features, 3)

    fits = [
        replace(fit, estimator=NetClassifier(build, max_epochs=1, random_state=0))
        for fit in _fits(iris, 1)
    ]

    with pytest.warns(StoreWarning, match="the variable 'lock' around .*build"):
        (trained,) = train(fits, store=tmp_path / "fits.db")

    assert trained.status == "trained"


class _RecordsAnObject(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("seen", object())


@pytest.mark.filterwarnings("ignore:1 network was trained alone")
def test_unwritable_results_are_not_stored_and_disturb_no_other(iris, tmp_path):
    """A callback may record any object."""
    path = tmp_path / "fits.db"
    odd = _fits(iris, 1, callbacks=[_RecordsAnObject()])

    with pytest.warns(StoreWarning, match="a fit is not kept in it: It must consist of"):
        results = train([*odd, *_fits(iris, 2)], store=path)

    assert [result.status for result in results] == ["trained"] * 3
    with FitStore(path) as store:
        assert store.info().n_fits == 2


def test_a_store_opens_while_another_process_recovers_it(tmp_path, monkeypatch):
    """SQLite then reports a lock at once, instead of waiting for it."""
    path = tmp_path / "fits.db"
    FitStore(path).close()
    query, errors = _database.SQLite.query, ["database is locked"] * 2

    def busy(database, statement, values=()):
        if "journal_mode" in statement and errors:
            error = sqlite3.OperationalError(errors.pop())
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
            raise error
        return query(database, statement, values)

    monkeypatch.setattr(_database.SQLite, "query", busy)

    with FitStore(path) as store:
        assert store.info().n_fits == 0
    assert not errors
