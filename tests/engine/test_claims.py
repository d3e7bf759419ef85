"""Processes that share a store, in a file and in PostgreSQL, and the claims among them."""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import postgresql
import pytest

from sk_tune import GridSearchCV, MLPClassifier
from sk_tune._engine import Fit, FitStore, _claims, train
from sk_tune._engine._results import stored_fits
from sk_tune._training import TimeLimit
from sk_tune.exceptions import StoreError

KEYS = {"a", "b"}
has_server = pytest.mark.skipif(
    not postgresql.has_server(), reason="needs PostgreSQL and psycopg"
)
needs_psycopg = pytest.mark.skipif(not postgresql.has_psycopg(), reason="needs psycopg")


@pytest.fixture(scope="module")
def server():
    """The URL of a temporary server's database."""
    with postgresql.server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=has_server)])
def location(request, tmp_path):
    """The location of an empty store."""
    if request.param == "sqlite":
        yield str(tmp_path / "fits.db")
        return
    url = request.getfixturevalue("server")
    yield url
    with FitStore(url) as store:
        store._database._connection.execute("DROP SCHEMA sk_tune_1 CASCADE")


@pytest.fixture
def two(location):
    """Two stores with claims of different processes, one on another machine."""
    with FitStore(location) as ours, FitStore(location) as theirs:
        theirs.claims._owner = "elsewhere 1 2"
        yield ours, theirs


def _fits(data, n_fits=4, **params):
    own = {"width": 4, "max_epochs": 3, **params}
    rates = [0.001 * (n + 1) for n in range(n_fits)]
    nets = [MLPClassifier(**own, learning_rate=rate, random_state=0) for rate in rates]
    return [Fit(estimator=net, X=data.X, y=data.y, seed=0, n_epochs=3) for net in nets]


def _keys_of(location, fits):
    with stored_fits(location, dict(enumerate(fits))) as stored:
        return set(stored._keys.values())


def test_a_fit_is_claimed_by_one_process(two):
    """Another process may claim it after its release."""
    ours, theirs = two

    assert ours.claims.take(KEYS) == set()
    assert theirs.claims.take({"b", "c"}) == {"b"}
    assert ours.claims.take({"a", "c"}) == {"c"}
    assert ours.claims.n_processes() == theirs.claims.n_processes() == 2
    ours.claims.release({"b"})
    assert theirs.claims.take({"b", "c"}) == set()


def test_only_claims_of_all_keys_keep_a_process_waiting(two):
    """A process checks again when one of the fits has ended."""
    ours, theirs = two
    theirs.claims.take(KEYS)

    assert ours.claims.are_busy(KEYS)
    assert not ours.claims.are_busy({*KEYS, "c"})


def test_a_closed_store_has_no_claims(location):
    """An error or Ctrl-C in a process does not block others."""
    with FitStore(location) as store:
        store.claims.take(KEYS)

    with FitStore(location) as store:
        store.claims._owner = "elsewhere 1 2"
        assert store.claims.take(KEYS) == set()


@pytest.mark.parametrize("renewal", [0.05, 60.0])
def test_claims_last_while_their_process_renews_them(location, monkeypatch, renewal):
    """The database's clock counts."""
    monkeypatch.setattr(_claims, "_LEASE", 0.5)
    monkeypatch.setattr(_claims, "_RENEWAL", renewal)
    with FitStore(location) as ours, FitStore(location) as theirs:
        ours.claims._owner = "elsewhere 1 2"
        ours.claims.take(KEYS)
        time.sleep(1.0)

        assert theirs.claims.take(KEYS) == (KEYS if renewal < 0.5 else set())


def test_a_wrong_clock_makes_no_eternal_claims(two):
    """A claim that expires later than any lease has already expired."""
    ours, theirs = two
    theirs.claims.take(KEYS)
    update = "UPDATE claims SET expires = expires + 3600"
    ours._database.execute(update, [()])

    assert ours.claims.take(KEYS) == set()


@pytest.mark.parametrize("owner", ["", "one", "one two three four", "x" * 10_000])
def test_claims_of_unknown_form_count_until_they_expire(location, owner):
    """The store may come from a stranger."""
    with FitStore(location) as store:
        insert = f"INSERT INTO claims SELECT ?, ?, {store._database.now} + 30"
        store._database.execute(insert, [("a", owner)])

        assert store.claims.take(KEYS) == {"a"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_claims_of_a_killed_process_of_this_machine_are_free_at_once(location):
    """The lease is only for other machines."""
    code = (
        "import sys; from sk_tune.engine import FitStore;"
        "FitStore(sys.argv[1]).claims.take({'a'}); print(flush=True); input()"
    )
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(
            [sys.executable, "-c", code, location], stdin=pipe, stdout=pipe
        ) as process,
        FitStore(location) as store,
    ):
        process.stdout.readline()
        assert store.claims.take(KEYS) == {"a"}
        process.kill()
        process.wait()

        assert store.claims.n_processes() == 1
        assert store.claims.take(KEYS) == set()


def test_finished_fits_are_not_claimed(iris, location):
    """Their results are loaded."""
    fits = _fits(iris, 1)
    train(fits, store=location)
    (key,) = _keys_of(location, fits)

    with FitStore(location) as store:
        store.claims.take({key})
        held = "SELECT 1 FROM claims WHERE key = ?"
        assert store._database.query(held, [key]) == []


@pytest.mark.parametrize("is_stored", [True, False])
def test_fits_of_another_process_are_awaited(iris, location, is_stored):
    """They are loaded, or trained here if they failed there; the progress counts them."""
    fits = _fits(iris)
    keys = _keys_of(location, fits[:2])
    expected = train(fits)
    with FitStore(location) as theirs:
        theirs.claims._owner = "elsewhere 1 2"
        theirs.claims.take(keys)

        def finish():
            time.sleep(0.3)
            if is_stored:
                with stored_fits(location, dict(enumerate(fits[:2]))) as stored:
                    stored.save(dict(enumerate(expected[:2])))
            theirs.claims.release(keys)

        thread = threading.Thread(target=finish)
        thread.start()
        reports = []
        results = train(fits, store=location, progress=reports.append)
        thread.join()

    assert {report.n_fits_elsewhere for report in reports} == {0, 2}
    assert [r.is_loaded for r in results] == [is_stored, is_stored, False, False]
    for ours, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(ours.train_loss, other.train_loss)


def test_an_unfinished_fit_of_a_killed_process_continues(iris, location):
    """Its new process has the epochs that the store has."""
    (fit,) = _fits(iris, 1)
    (two_epochs,) = train([replace(fit, n_epochs=2)])
    (key,) = _keys_of(location, [fit])
    with FitStore(location) as theirs:
        theirs.save({key + " underway": two_epochs})

    epochs = []
    (trained,) = train([fit], store=location, progress=epochs.append)

    np.testing.assert_array_equal(trained.train_loss, train([fit])[0].train_loss)
    assert len(epochs) == 2
    with FitStore(location) as store:
        assert store._database.query("SELECT count(*) FROM fits") == [(1,)]


def test_a_time_limit_ends_the_wait(iris, location):
    """Fits that another process still trains count as left out."""
    fits = _fits(iris)
    keys = _keys_of(location, fits[:1])
    with FitStore(location) as theirs:
        theirs.claims._owner = "elsewhere 1 2"
        theirs.claims.take(keys)
        results = train(fits, store=location, limit=TimeLimit(until=time.monotonic() + 1.0))

    assert [result.is_cut for result in results] == [True, False, False, False]


def _train_next_to_another(fits, location, **options):
    """Return results next to an idle process, and the numbers of claims at their ends."""
    shares = []
    with FitStore(location) as theirs:
        theirs.claims._owner = "elsewhere 1 2"
        theirs.claims.take(())

        def note(part):
            held = theirs._database.query("SELECT 1 FROM claims WHERE key <> owner")
            shares.append(len(held))

        return train(fits, store=location, trained=note, **options), shares


def test_processes_share_small_rounds(iris, location):
    """A round is cut into one part for each process, if it has enough fits."""
    fits = _fits(iris)
    _, shares = _train_next_to_another(fits, location)

    assert max(shares) == 2


@pytest.mark.usefixtures("workers_for_little")
def test_workers_leave_a_share_to_other_processes(iris, location):
    """A process claims no shards in advance while another process runs."""
    fits = _fits(iris, 8)
    results, shares = _train_next_to_another(fits, location, n_jobs=2)

    assert [result.status for result in results] == ["trained"] * 8
    assert 0 < max(shares) <= 4


def test_a_store_in_postgresql_has_everything(iris, location):
    """Results come back to the bit; damage is noticed; the space is freed."""
    fits = [replace(fit, monitor=np.arange(0, 150, 3)) for fit in _fits(iris)]
    first, again = (train(fits, store=location) for _ in range(2))

    for ours, theirs in zip(again, first, strict=True):
        assert ours.is_loaded
        np.testing.assert_array_equal(ours.predictions, theirs.predictions)
        np.testing.assert_array_equal(ours.train_loss, theirs.train_loss)
    with FitStore(location) as store:
        info = store.info()
        assert (info.n_fits, info.n_epochs, info.path) == (4, 12, location)
        assert info.n_bytes > 1000
        assert store.verify() == []
        store._database.execute("UPDATE fits SET digest = ? WHERE n_epochs = ?", [("", 3)])
        assert len(store.verify()) == store.vacuum() == 4
        assert store.info().n_fits == 0


@has_server
def test_a_lost_connection_is_opened_again(server):
    """A restart of the server costs one statement."""
    with FitStore(server) as store:
        store.claims.take(KEYS)
        with pytest.raises(store._database.errors):
            store._database.query("SELECT pg_terminate_backend(pg_backend_pid())")
        store.claims.take({"c"})
        held = store._database.query("SELECT key FROM claims WHERE key <> owner")

    assert sorted(held) == [("a",), ("b",), ("c",)]


@needs_psycopg
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:secret@127.0.0.1:1/fits",
        "postgresql://joe:secr/secret@127.0.0.1:1/fits",
        "postgresql://joe:some@secret@127.0.0.1:1/fits",
        "postgresql://joe:secret@127.0.0.1:no/fits",
        "postgresql://joe@127.0.0.1:1/fits?password=secret&nothing=1",
        "postgres://joe:secret%zz@127.0.0.1:1/fits",
    ],
)
def test_messages_have_no_password(iris, url):
    """The user, the server and the database are named."""
    search = GridSearchCV(MLPClassifier(random_state=0), {"width": [2]}, store=url)

    with pytest.raises(StoreError, match="joe@127.0.0.1") as raised:
        search.fit(*iris)

    assert "secr" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_psycopg_the_error_names_the_extra(monkeypatch):
    """No other part of sk_tune needs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(StoreError, match=r"sk-tune\[postgresql\]"):
        FitStore("postgresql://joe@127.0.0.1/fits")
