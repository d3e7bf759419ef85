"""A coordinator that is ended alone: by a scheduler of jobs, for want of memory, by hand.

Slow; run with ``pytest -m slow tests/faults``.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sk_tune.engine import FitStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# A search that takes hours.
SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_digits
from sk_tune import GridSearchCV, MLPClassifier
from sk_tune.engine import _train, _underway
_train._LEAST_SECONDS = 0.0
_underway.SECONDS_BETWEEN = 0.2

if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier(width=32, batch_size=64, max_epochs=1_000_000, random_state=0)
    rates = {"learning_rate": [1e-4, 1e-3, 1e-2, 1e-1]}
    GridSearchCV(net, rates, cv=3, n_jobs=2, store=sys.argv[1], refit=False).fit(X, y)
"""


def _until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _n_rows(store):
    if not store.exists():
        return 0
    with closing(sqlite3.connect(store, timeout=60)) as connection:
        (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not n_tables:
            return 0
        return connection.execute("SELECT count(*) FROM fits").fetchone()[0]


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
    """Whether no process of a session computes; those of loky sleep before they end."""
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
    """They would compute for hours beside the run that goes on; the store is whole."""
    script, store = tmp_path / "search.py", tmp_path / "fits.db"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(store)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert _until(lambda: _n_rows(store) > 0)

        os.kill(process.pid, how)
        process.wait()

        assert _until(lambda: _is_idle(process.pid), seconds=60)
        with FitStore(store) as opened:
            assert opened.verify() == []
    finally:
        if _in_session(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
