"""A kill at half time of a search without rungs, all of whose fits are one or two shards.

Its networks are an estimator of ours, or a plain skorch net.

Slow; run with ``pytest -m slow tests/faults``.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn
from sk_tune import GridSearchCV, MLPClassifier
from sk_tune.engine import _train, _underway
_train._LEAST_SECONDS = 0.0
# Of a search of some seconds; the five seconds of a real one are too many.
_underway.SECONDS_BETWEEN = 0.2

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


def _start(script, kind, store, n_jobs):
    process = subprocess.Popen(
        [sys.executable, str(script), kind, str(store), str(n_jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout.readline() == "begun\n", process.stderr.read()
    return process


def _end(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def _rows(store):
    """Return the epochs of what has ended, and of what has not."""
    with closing(sqlite3.connect(store)) as connection:
        found = connection.execute("SELECT length(key), n_epochs FROM fits").fetchall()
    return [n for size, n in found if size == 64], [n for size, n in found if size != 64]


def _first_write(store):
    """Wait for the first epochs of a run; workers take seconds until they begin."""
    deadline = time.monotonic() + 120
    while not (store.exists() and any(_rows_or_none(store))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return time.monotonic()


def _rows_or_none(store):
    try:
        return _rows(store)
    except sqlite3.OperationalError:
        # The file is there before its tables.
        return [], []


@pytest.mark.parametrize("kind", ["ours", "skorch"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_kill_at_half_time_leaves_about_half(tmp_path, kind, n_jobs):
    """Every fit goes on from where it was seen last, with the same results."""
    script = tmp_path / "search.py"
    script.write_text(SCRIPT)
    process = _start(script, kind, tmp_path / "whole.db", n_jobs)
    start = _first_write(tmp_path / "whole.db")
    expected = _end(process)
    seconds = time.monotonic() - start

    process = _start(script, kind, tmp_path / "half.db", n_jobs)
    start = _first_write(tmp_path / "half.db")
    time.sleep(max(0.0, start + seconds / 2 - time.monotonic()))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ended, underway = _rows(tmp_path / "half.db")
    resumed = _end(_start(script, kind, tmp_path / "half.db", n_jobs))

    n_epochs = sum(ended) + sum(underway)
    assert n_epochs > 0.2 * 48 * 60
    np.testing.assert_allclose(resumed, expected, atol=1e-6)
    ended, underway = _rows(tmp_path / "half.db")
    assert (ended, underway) == ([60] * 48, [])
