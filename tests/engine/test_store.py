"""A file of finished fits: what comes back, and what happens when the file is bad."""

import json
import random
import sqlite3
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sk_tune import MLPClassifier, MLPRegressor, NetClassifier
from sk_tune.engine import Fit, FitStore, Trained, train
from sk_tune.engine import _store as store_module
from sk_tune.exceptions import SkTuneWarning, StoreError
from sk_tune.training import arrays_of_state, values_of_state


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


def _assert_same(ours, theirs):
    assert repr(values_of_state(ours.state)) == repr(values_of_state(theirs.state))
    arrays, expected = arrays_of_state(ours.state), arrays_of_state(theirs.state)
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable
    np.testing.assert_array_equal(ours.predictions, theirs.predictions)
    for name in ("status", "message", "seconds", "engine", "solo_reason"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_results_come_back_to_the_bit(path, results):
    """All that a result has, from a file that was closed in between."""
    with FitStore(path) as store:
        loaded = store.load([*results, "of another"])

    assert loaded.keys() == results.keys()
    for key, result in results.items():
        assert loaded[key].is_loaded
        _assert_same(loaded[key], result)


def test_failed_fits_are_not_kept(tmp_path):
    """They are tried again: a failure may have had to do with the machine."""
    failed = Trained(
        status="failed",
        state=None,
        predictions=None,
        message="no",
        seconds=0,
        engine="fleet",
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
    """Another process sees it, and a kill leaves it."""
    with FitStore(path) as writer, FitStore(path) as reader:
        writer.save({"new": results["key 0"]})

        assert set(reader.load(["new"])) == {"new"}


def test_two_writers_take_turns(tmp_path, results):
    """No result is lost, and nobody fails."""
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


def test_opening_waits_for_no_writer(path, monkeypatch):
    """A search opens its store for each rung, whatever another one does to it."""
    monkeypatch.setattr("sk_tune.engine._store._TIMEOUT", 0.0)
    with FitStore(path) as writer, writer._transaction(), FitStore(path) as other:
        assert other.info().n_fits == 6


def test_on_a_network_the_file_has_a_rollback_journal(path, results, monkeypatch):
    """Write-ahead mode needs shared memory; a file that has it is changed, and back."""
    monkeypatch.setattr(store_module, "is_on_network", lambda _: True)
    with FitStore(path) as store:
        assert store._one("PRAGMA journal_mode") == ("delete",)
        store.save({"new": results["key 0"]})
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    monkeypatch.undo()
    with FitStore(path) as store:
        assert store._one("PRAGMA journal_mode") == ("wal",)
        assert store.info().n_fits == len(results) + 1


def test_opening_on_a_network_waits_for_no_writer(path, monkeypatch):
    """Those who only read may do so until a writer is done."""
    monkeypatch.setattr(store_module, "is_on_network", lambda _: True)
    monkeypatch.setattr(store_module, "_TIMEOUT", 0.0)
    with FitStore(path) as writer, writer._transaction(), FitStore(path) as other:
        assert other.info().n_fits == 6


def test_looking_for_what_is_not_there_waits_for_no_writer(path, monkeypatch):
    """Nothing was used, so nothing is noted."""
    monkeypatch.setattr(store_module, "_TIMEOUT", 0.0)
    with FitStore(path) as writer, writer._transaction(), FitStore(path) as other:
        assert other.load(["no key"]) == {}


@pytest.mark.parametrize(
    "content",
    [b"{}", b"SQLite format 3", b"\0" * 4096, random.Random(0).randbytes(9000)],
    ids=["json", "a part of the header", "zeros", "noise"],
)
def test_another_file_is_refused_and_left(tmp_path, content):
    """Whatever it is, it is not overwritten."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    with pytest.raises(StoreError, match="must be a store of sk_tune"):
        FitStore(path)

    assert path.read_bytes() == content


def test_another_database_is_refused_and_left(tmp_path):
    """A file of Optuna, say."""
    path = tmp_path / "study.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE trials (id)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(StoreError, match="Got another SQLite database"):
        FitStore(path)

    assert path.read_bytes() == before


def test_a_newer_store_is_refused(path):
    """Its rows may mean something else."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()

    with pytest.raises(StoreError, match="schema 2, newer than this sk_tune"):
        FitStore(path)


def test_a_path_must_be_a_file_in_a_folder(tmp_path):
    """Folders are named, and none is made."""
    with pytest.raises(StoreError, match=f"Got the folder {tmp_path}"):
        FitStore(tmp_path)
    with pytest.raises(StoreError, match="does not exist. Make it first"):
        FitStore(tmp_path / "none" / "fits.db")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_is_there(path, results):
    """The search goes on in memory, with one warning that names the file."""
    with FitStore(path) as store:
        (n_pages,) = store._one("PRAGMA page_count")
        store._connection.execute(f"PRAGMA max_page_count = {n_pages}")
        new = {f"new {n}": results["key 0"] for n in range(9)}
        with pytest.warns(SkTuneWarning, match=f"{path}.*full"):
            store.save(new)
        # filterwarnings is "error": what is said again would be raised.
        store.save(new)

        assert store.load(results).keys() == results.keys()


def test_a_changed_value_is_found(path, results):
    """A result that is not what was written is not used, and is named."""
    with sqlite3.connect(path) as connection:
        (meta,) = connection.execute("SELECT meta FROM fits WHERE key = 'key 1'").fetchone()
        assert json.loads(meta)
        changed = meta.replace('"seconds"', '"seconde"')
        connection.execute("UPDATE fits SET meta = ? WHERE key = 'key 1'", (changed,))
    connection.close()

    with FitStore(path) as store:
        with pytest.warns(SkTuneWarning, match="1 fits in it are damaged"):
            loaded = store.load(results)
        assert loaded.keys() == results.keys() - {"key 1"}
        assert store.verify() == ["key 1"]
        assert store.vacuum() == 1
        assert store.verify() == []


def _assert_survives(path, results):
    """Load and save as a search would, from a file that may be bad."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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


@pytest.mark.parametrize("seed", range(100))
def test_bit_flips_never_give_a_wrong_result(path, results, seed):
    """Either the right one, or none, or an error that names the file."""
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)

    _assert_survives(path, results)


@pytest.mark.parametrize("share", np.linspace(0, 0.99, 12))
def test_a_truncated_file_never_gives_a_wrong_result(path, results, share):
    """Or an error; of an empty file, too, for what was in it is lost."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    _assert_survives(path, results)


def test_vacuum_removes_what_was_not_used_for_longest(path, results, monkeypatch):
    """What was loaded last stays."""
    with FitStore(path) as store:
        monkeypatch.setattr(store_module.time, "time", lambda: 2.0**40)
        store.load(["key 4"])
        (size,) = store._one(
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
        train([fit], store=tmp_path / "fits.db", engine="reference")[0] for _ in range(2)
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


def test_an_empty_file_is_named(tmp_path):
    """It was a store once, or never became one; whoever gave it is told what to do."""
    path = tmp_path / "fits.db"
    path.touch()

    with pytest.raises(StoreError, match=r"fits\.db is empty.*Delete the file") as raised:
        FitStore(path)

    assert str(path) in str(raised.value)
    assert path.stat().st_size == 0
