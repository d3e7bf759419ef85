"""One candidate that needs more memory than the process may have.

Slow; run with ``pytest -m slow tests/faults``.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = """
import json, os, resource, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import torch
from sklearn.datasets import load_iris
from torch import nn
from sk_tune import GridSearchCV, MLPClassifier, NetClassifier
from sk_tune.engine import _train

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
    _train._LEAST_SECONDS = 0.0
    X, y = load_iris(return_X_y=True)
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
    """It says that memory was short; the others have their scores."""
    script = tmp_path / "search.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), kind, str(n_jobs)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])

    assert np.isfinite(found["scores"]).tolist() == [True, True, False, True]
    assert "memory" in found["reasons"][2]
    assert [bool(reason) for reason in found["reasons"]] == [False, False, True, False]
    assert found["best"] != 2
