# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The loss of epochs that are shuffled by blocks, on rows sorted by their target.

    python benchmarks/blocks.py [--seeds 0 1]

Epochs of 4 GiB or more come in random blocks of 1 MiB, of which 32 at a time are shuffled.
Here 1,000,000 rows have as many blocks as 4 GiB, so blocks are shorter.  "Blocks alone" are
in random order, but not shuffled among each other.
"""

import argparse

import numpy as np
import torch
from measure import describe_machine
from sklearn.metrics import log_loss, root_mean_squared_error

from sk_tune import MLPClassifier, MLPRegressor
from sk_tune._training import _batches

N_ROWS, N_NEW, N_COLUMNS, N_BLOCKS = 1_000_000, 100_000, 20, 4096
NETWORK = {"members": 1, "max_epochs": 4, "batch_size": 256, "early_stopping": False}


def draw():
    """Return sorted rows and their targets, and the same of new rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS + N_NEW, N_COLUMNS), dtype=np.float32)
    y = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3])
    y += 0.5 * rng.standard_normal(len(X))
    order = np.argsort(y[:N_ROWS])
    return X[order], y[order], X[N_ROWS:], y[N_ROWS:]


def main():
    """Print a line for each order and seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    print(describe_machine())
    X, y, X_new, y_new = draw()
    at_once = _batches._BLOCKS_AT_ONCE
    _batches._BYTES_OF_BLOCK = X.nbytes // N_BLOCKS
    orders = {"rows": (2**62, at_once), "blocks": (1, at_once), "blocks alone": (1, 1)}
    for name, (least, n) in orders.items():
        _batches._BYTES_READ_IN_BLOCKS, _batches._BLOCKS_AT_ONCE = least, n
        for seed in seeds:
            classifier = MLPClassifier((64, 64), random_state=seed, **NETWORK)
            regressor = MLPRegressor((64, 64), random_state=seed, **NETWORK)
            proba = classifier.fit(X, y > 0).predict_proba(X_new)
            loss = log_loss(y_new > 0, proba)
            error = root_mean_squared_error(y_new, regressor.fit(X, y).predict(X_new))
            print(
                f"{name:>12}, seed {seed}: log loss {loss:.4f}, RMSE {error:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
