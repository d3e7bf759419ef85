"""Faults at random moments: kills, Ctrl-C, full disks, little memory, flipped bits.

Slow; run with ``pytest -m slow tests/faults``.  SK_TUNE_FAULTS sets how many moments are
tried, 50 by default.
"""

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import postgresql
import pytest

from sk_tune._engine import FitStore

N_MOMENTS = int(os.environ.get("SK_TUNE_FAULTS", "50"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

# A search of about two seconds; prints its results, times apart, when it ends, and adds
# a byte to a file beside its store whenever its progress is told.
SCRIPT = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sk_tune import HyperbandSearchCV, MLPClassifier
from sk_tune._engine import _train
_train._SECONDS_TO_START = 0.0

def main(store, n_jobs, limit):
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier(width=32, batch_size=64, random_state=0)
    search = HyperbandSearchCV(
        make_pipeline(StandardScaler(), net),
        {"mlpclassifier__learning_rate": loguniform(1e-4, 1e-1)},
        max_resources=9, cv=3, random_state=0, store=store, n_jobs=n_jobs,
    )
    events = open(os.devnull if "://" in store else store + ".events", "wb", buffering=0)
    search.set_params(verbose=lambda progress: events.write(b"."))
    print("begun", flush=True)
    if limit:
        import resource
        # The write-ahead log, 32 bytes of header and pages with 24 each, is full at once.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        search.fit(X, y)
    except KeyboardInterrupt:
        print(json.dumps({"interrupted": hasattr(search, "cv_results_")}), flush=True)
        return
    results = {
        name: np.asarray(column).tolist()
        for name, column in search.cv_results_.items()
        if "test_score" in name or name in {"iter", "bracket", "n_resources"}
    }
    results["params"] = [str(params) for params in search.cv_results_["params"]]
    ledger = search.ledger_
    counts = {"trained": ledger.epochs_trained, "loaded": ledger.epochs_loaded}
    print(json.dumps({"results": results, "counts": counts}), flush=True)

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A file, because loky's workers import it."""
    path = tmp_path_factory.mktemp("script") / "search.py"
    path.write_text(SCRIPT)
    return path


def _start(script, store, n_jobs=1, limit=0):
    return _begun(script, store, n_jobs, limit)


def _begun(script, *arguments):
    """Start a script in a session, and wait until its search begins."""
    return _begin(_opened(script, *arguments))


def _opened(script, *arguments):
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _begin(process):
    assert process.stdout.readline() == "begun\n", process.stderr.read()
    return process


def _end(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def _n_events(store):
    """Return the number of progress events of a search."""
    events = Path(f"{store}.events")
    return events.stat().st_size if events.exists() else 0


def _wait_for_events(process, store, n_events):
    """Wait for a number of progress events, however long they take."""
    while _n_events(store) < n_events and process.poll() is None:
        time.sleep(0.001)


@pytest.fixture(scope="module")
def whole(script, tmp_path_factory):
    """Result of an undisturbed search, its seconds, and its progress events."""
    store = tmp_path_factory.mktemp("whole") / "fits.db"
    process = _start(script, store)
    start = time.monotonic()
    return _end(process), time.monotonic() - start, _n_events(store)


@pytest.fixture(scope="module")
def n_events(whole):
    """Number of progress events of an undisturbed search."""
    return whole[2]


def _kill_group(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()


def test_a_kill_of_the_coordinator_loses_nothing_that_was_finished(
    script, whole, n_events, tmp_path
):
    """After a kill at any moment, the next run has the results of an undisturbed run."""
    expected, *_ = whole
    rng, n_resumed = random.Random(0), 0
    for moment in range(N_MOMENTS):
        store = tmp_path / f"{moment}.db"
        process = _start(script, store)
        _wait_for_events(process, store, rng.randrange(n_events))
        time.sleep(rng.uniform(0, 0.05))
        _kill_group(process)

        resumed = _end(_start(script, store))

        assert resumed["results"] == expected["results"]
        n_resumed += resumed["counts"]["loaded"] > 0
        with FitStore(store) as opened:
            assert opened.verify() == []
    # Moments are spread over the whole search, so most of them find something.
    assert n_resumed >= N_MOMENTS // 4


def test_a_kill_of_a_worker_costs_its_shard_once(script, whole, tmp_path):
    """The shard is trained again, with the same results."""
    expected, seconds, _ = whole
    rng, n_killed = random.Random(1), 0
    for moment in range(N_MOMENTS):
        process = _start(script, tmp_path / f"{moment}.db", n_jobs=2)
        time.sleep(rng.uniform(0, 2 * seconds))
        workers = _workers(process.pid)
        if workers:
            n_killed += 1
            os.kill(rng.choice(workers), signal.SIGKILL)

        ended = _end(process)

        scores = np.array(ended["results"]["mean_test_score"])
        np.testing.assert_allclose(
            scores, expected["results"]["mean_test_score"], atol=1e-6
        )
    assert n_killed >= N_MOMENTS // 4


def _workers(pid):
    """Return the processes of loky's workers below a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"popen_loky" in command:
            found.append(int(entry.name))
    return found


def _interrupted(script, folder, events, rng):
    """Press Ctrl-C after one of some events, and before the end; return the store."""
    for attempt in range(20):
        store = folder / f"{attempt}.db"
        process = _start(script, store)
        _wait_for_events(process, store, rng.choice(events))
        # Also in the middle of what is between two events.
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGINT)
        # Between two lines of the script nobody catches it, and Python ends by the signal.
        out, err = process.communicate(timeout=300)
        assert process.returncode in {0, -signal.SIGINT}, err
        if "interrupted" in out:
            return store
        # Towards the end the search may be through before the signal arrives.
        events = range(max(0, events.start - len(events)), events.stop)
    raise AssertionError("Ctrl-C came too late twenty times.")


def test_ctrl_c_leaves_a_whole_store(script, whole, n_events, tmp_path):
    """After Ctrl-C at any moment, the next run has the results of an undisturbed run."""
    expected, *_ = whole
    rng, n_moments = random.Random(2), max(2, N_MOMENTS * 2 // 5)
    for moment in range(n_moments):
        folder = tmp_path / str(moment)
        folder.mkdir()
        # A part of the search for each moment, so that some come early and some late.
        first, last = (n_events * k // n_moments for k in (moment, moment + 1))
        events = range(first, max(last, first + 1))
        store = _interrupted(script, folder, events, rng)
        with FitStore(store) as opened:
            assert opened.verify() == []
            n_fits = opened.info().n_fits

        resumed = _end(_start(script, store))

        assert resumed["results"] == expected["results"]
        assert (resumed["counts"]["loaded"] > 0) == (n_fits > 0)


def test_a_disk_that_fills_up_costs_the_store_and_not_the_search(script, whole, tmp_path):
    """Whenever writing fails, there are results, and the file is intact."""
    expected, *_ = whole
    n_all = len(expected["results"]["params"]) * 3
    rng, n_left = random.Random(3), []
    for moment in range(max(1, N_MOMENTS // 5)):
        store = tmp_path / f"{moment}.db"
        FitStore(store).close()

        ended = _end(_start(script, store, limit=rng.randrange(20_000, 400_000)))

        assert ended["results"] == expected["results"]
        with FitStore(store) as opened:
            assert opened.verify() == []
            n_left.append(opened.info().n_fits)
    assert min(n_left) < n_all


@pytest.fixture(params=["sqlite", "postgresql"])
def locations(request, tmp_path):
    """Return a function that returns the location of an empty store."""
    if request.param == "sqlite":
        numbers = itertools.count()
        yield lambda: tmp_path / f"{next(numbers)}.db"
        return
    if not postgresql.has_server():
        pytest.skip("needs PostgreSQL and psycopg")

    def empty():
        with FitStore(url) as store:
            store._database._connection.execute("DROP SCHEMA sk_tune_1 CASCADE")
        return url

    with postgresql.server() as url:
        yield empty


def _pair(script, store):
    """Start a script twice at the same time."""
    pair = [_opened(script, store, 1, 0) for _ in range(2)]
    return [_begin(process) for process in pair]


def test_two_searches_at_once_share_a_store(script, whole, locations):
    """Both have the results of a single search, and no epoch is trained twice."""
    expected, *_ = whole
    for _ in range(max(1, N_MOMENTS // 10)):
        ended = [_end(process) for process in _pair(script, locations())]

        assert [each["results"] for each in ended] == [expected["results"]] * 2
        counts = [each["counts"] for each in ended]
        assert sum(c["trained"] for c in counts) == expected["counts"]["trained"]


def test_a_process_that_shares_a_store_may_be_killed(script, whole, locations):
    """At any moment; both processes end with the same results."""
    expected, seconds, _ = whole
    rng, n_killed = random.Random(4), 0
    for _ in range(max(2, N_MOMENTS // 5)):
        store = locations()
        pair = _pair(script, store)
        time.sleep(rng.uniform(0, seconds))
        n_killed += pair[0].poll() is None
        _kill_group(pair[0])
        pair[0] = _start(script, store)

        for process in pair:
            assert _end(process)["results"] == expected["results"]
    assert n_killed >= 1


# --- A kill at half time of a search without rungs, whose fits are one or two shards

WITHOUT_RUNGS = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn
from sk_tune import GridSearchCV, MLPClassifier
from sk_tune._engine import _store, _train
_train._SECONDS_TO_START = 0.0
# Of a search of some seconds; the five seconds of a real one are too many.
_store.SECONDS_BETWEEN = 0.2

class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10)
        )

    def forward(self, x):
        return self.layers(x)

def main(kind, store, n_jobs):
    X, y = load_digits(return_X_y=True)
    rates = list(np.logspace(-4, -1, 16))
    if kind == "ours":
        net = MLPClassifier(width=32, batch_size=64, max_epochs=60, random_state=0)
        grid = {"learning_rate": rates}
    else:
        torch.manual_seed(0)
        stop = EarlyStopping(patience=60, load_best=True)
        net = NeuralNetClassifier(
            Module, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam,
            batch_size=64, max_epochs=60, iterator_train__shuffle=True, verbose=0,
            callbacks=[stop, LRScheduler("StepLR", step_size=20)],
        )
        grid = {"lr": rates}
    search = GridSearchCV(net, grid, cv=3, n_jobs=n_jobs, store=store, refit=False)
    print("begun", flush=True)
    search.fit((X / 16).astype(np.float32), y.astype(np.int64))
    print(json.dumps(search.cv_results_["mean_test_score"].tolist()), flush=True)

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


def _epochs(store):
    """Return the epochs of finished and of unfinished fits."""
    with closing(sqlite3.connect(store)) as connection:
        found = connection.execute("SELECT length(key), n_epochs FROM fits").fetchall()
    return [n for size, n in found if size == 64], [n for size, n in found if size != 64]


def _first_write(store):
    """Wait for the first epochs of a run; workers take seconds until they begin."""
    assert _until(lambda: store.exists() and any(_epochs_or_none(store)))
    return time.monotonic()


def _until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _epochs_or_none(store):
    try:
        return _epochs(store)
    except sqlite3.OperationalError:
        # The file is there before its tables.
        return [], []


@pytest.mark.parametrize("kind", ["ours", "skorch"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_kill_at_half_time_leaves_about_half(tmp_path, kind, n_jobs):
    """Every fit continues from its last checkpoint, with the same results."""
    script = tmp_path / "search.py"
    script.write_text(WITHOUT_RUNGS)
    process = _begun(script, kind, tmp_path / "whole.db", n_jobs)
    start = _first_write(tmp_path / "whole.db")
    expected = _end(process)
    seconds = time.monotonic() - start

    process = _begun(script, kind, tmp_path / "half.db", n_jobs)
    start = _first_write(tmp_path / "half.db")
    time.sleep(max(0.0, start + seconds / 2 - time.monotonic()))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ended, underway = _epochs(tmp_path / "half.db")
    resumed = _end(_begun(script, kind, tmp_path / "half.db", n_jobs))

    assert sum(ended) + sum(underway) > 0.2 * 48 * 60
    np.testing.assert_allclose(resumed, expected, atol=1e-6)
    ended, underway = _epochs(tmp_path / "half.db")
    assert (ended, underway) == ([60] * 48, [])


# --- A candidate that needs more memory than the process may have

WITHOUT_MEMORY = """
import json, os, resource, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
from sklearn.datasets import load_iris
from torch import nn
from sk_tune import GridSearchCV, MLPClassifier, NetClassifier
from sk_tune._engine import _train

class Wasteful(nn.Module):
    # Asks for memory when it is called, not when it is made.
    def __init__(self, n_features, n_outputs, gibibytes):
        super().__init__()
        self.output = nn.Linear(n_features, n_outputs)
        self.gibibytes = gibibytes

    def forward(self, x):
        waste = torch.zeros(int(self.gibibytes * 2**30) + 1, dtype=torch.uint8)
        return self.output(x) + 0 * waste[-1]

def main(kind, n_jobs):
    _train._SECONDS_TO_START = 0.0
    X, y = load_iris(return_X_y=True)
    print("begun", flush=True)
    if kind == "large":
        # 40,000 x 40,000 weights are 6.4 GB.
        net = MLPClassifier(max_epochs=3, random_state=0)
        grid = {"width": [4, 8, 40_000, 16]}
    else:
        net = NetClassifier(Wasteful, max_epochs=3, random_state=0)
        grid = {"module__gibibytes": [0, 0.001, 6, 0.002]}
    GridSearchCV(net, {name: values[:1] for name, values in grid.items()}, cv=2).fit(X, y)
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + 3 * 2**30
    if n_jobs == 1:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    else:
        # Workers inherit it, and have the libraries yet to load.
        resource.setrlimit(resource.RLIMIT_AS, (limit + 2**30, limit + 2**30))
    search = GridSearchCV(net, grid, cv=3, n_jobs=n_jobs, refit=True).fit(X, y)
    print(json.dumps({
        "scores": search.cv_results_["mean_test_score"].tolist(),
        "reasons": search.cv_results_["failure_reason"].tolist(),
        "best": int(search.best_index_),
    }))

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
"""


@pytest.mark.parametrize("kind", ["large", "wasteful"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_candidate_that_is_too_large_fails_alone(tmp_path, kind, n_jobs):
    """Its reason is the lack of memory; all other candidates have scores."""
    script = tmp_path / "search.py"
    script.write_text(WITHOUT_MEMORY)

    found = _end(_begun(script, kind, n_jobs))

    assert np.isfinite(found["scores"]).tolist() == [True, True, False, True]
    assert "memory" in found["reasons"][2]
    assert [bool(reason) for reason in found["reasons"]] == [False, False, True, False]
    assert found["best"] != 2


# --- A coordinator that is ended alone: by a scheduler, for want of memory, by hand

# A search that takes hours.
OF_HOURS = """
import sys, warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_digits
from sk_tune import GridSearchCV, MLPClassifier
from sk_tune._engine import _store, _train
_train._SECONDS_TO_START = 0.0
_store.SECONDS_BETWEEN = 0.2

if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier(width=32, batch_size=64, max_epochs=1_000_000, random_state=0)
    rates = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1]}
    print("begun", flush=True)
    GridSearchCV(net, rates, cv=3, n_jobs=2, store=sys.argv[1], refit=False).fit(X, y)
"""


def _in_session(pid, states="RSD"):
    """Return the processes of a session that run, sleep or wait for a disk."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(stat[3]) == pid and stat[0] in states:
                found.append(int(entry.name))
    return found


def _is_idle(pid):
    """Return whether no process of a session computes; loky's sleep before they end."""
    for _ in range(20):
        if _in_session(pid, "RD"):
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name
)
def test_workers_train_nothing_for_a_coordinator_that_has_ended(tmp_path, how):
    """They would compute for hours next to a continued run; the store is intact."""
    script, store = tmp_path / "search.py", tmp_path / "fits.db"
    script.write_text(OF_HOURS)
    process = _begun(script, store)
    try:
        assert _first_write(store)

        os.kill(process.pid, how)
        process.wait()

        assert _until(lambda: _is_idle(process.pid), seconds=60)
        with FitStore(store) as opened:
            assert opened.verify() == []
    finally:
        if _in_session(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.stderr.close()
