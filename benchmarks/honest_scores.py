# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scores that a search reports on coin-toss labels, and on predictable labels.

    python benchmarks/honest_scores.py [--runs 20]

A search of 40 random candidates on 200 samples with 10 normal features, five folds.  The
first kind of data has random labels: each network's accuracy on new samples is 0.5.  In the
second kind the label is the sign of the first feature plus noise, and 20,000 new samples
give the true score of the best network.  Printed are means over data sets with their
standard errors, and how often the interval of the expected score contains the true score.
"""

import argparse
import math

import numpy as np
from measure import describe_machine
from scipy.stats import loguniform, uniform

from sk_tune import MLPClassifier, RandomizedSearchCV

N_SAMPLES, N_NEW = 200, 20_000
SPACE = {
    "learning_rate": loguniform(1e-4, 1e-1),
    "width": [4, 8, 16, 32, 64],
    "n_layers": [1, 2, 3],
    "dropout": uniform(0, 0.5),
}


def data(kind, seed):
    """Return samples of a data set, then new ones of the same kind."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_SAMPLES + N_NEW, 10))
    signal = X[:, 0] if kind == "signal" else 0.0
    y = (signal + rng.normal(size=len(X)) > 0).astype(int)
    return X[:N_SAMPLES], y[:N_SAMPLES], X[N_SAMPLES:], y[N_SAMPLES:]


def run(kind, seed):
    """Return the best score, the expected one, the true one, and whether it is covered."""
    X, y, X_new, y_new = data(kind, seed)
    net = MLPClassifier(max_epochs=10, random_state=seed)
    search = RandomizedSearchCV(net, SPACE, n_iter=40, cv=5, random_state=seed).fit(X, y)
    corrected, truth = search.expected_score_, search.score(X_new, y_new)
    is_covered = corrected.low <= truth <= corrected.high
    return search.best_score_, corrected.score, truth, is_covered


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="data sets of each kind")
    n = parser.parse_args().runs
    print(describe_machine())
    print(f"{n} data sets; best score, expected score, on new samples, share covered")
    for kind in ("coin", "signal"):
        runs = np.array([run(kind, seed) for seed in range(n)], dtype=float)
        errors = runs.std(axis=0, ddof=1) / math.sqrt(n)
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(runs.mean(0), errors, strict=True)]
        print(f"{kind:>8}: {'   '.join(cells[:3])}   {runs[:, 3].mean():.0%}", flush=True)


if __name__ == "__main__":
    main()
