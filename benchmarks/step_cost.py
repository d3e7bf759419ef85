# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Cost of one training step and of predicting, against skorch, torch and scikit-learn.

    python benchmarks/step_cost.py [--runs 5]

The same 64-64-64-10 network with AdamW on the same 8192 rows (digits, drawn with
replacement), one thread each, all sides in turn, medians.  skorch runs without its inner
validation split, so that all sides train on the same rows; its defaults are kept otherwise.
scikit-learn has Adam, with the same arithmetic but for the weight decay.
"""

import argparse
import functools
import warnings

import numpy as np
import torch
from measure import describe_machine, medians
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as SklearnMLP
from skorch import NeuralNetClassifier
from threadpoolctl import threadpool_limits
from torch import nn

from sk_tune import MLPClassifier

N_ROWS = 8192
SIZES = (64, 64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for n_in, n_out in zip((64, *SIZES[:-1]), SIZES, strict=True):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(SIZES[-1], 10))

    def forward(self, x):
        return self.layers(x)


def raw_loop(X, y, batch_size, n_epochs):
    """Train as one would by hand, with the batches gathered as ours are."""
    net, loss_of = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, fused=True)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(n_epochs):
        order = torch.randperm(len(X))
        total = 0.0
        for start in range(0, len(X), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = loss_of(net(X[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item()
    return net


def skorch_net(batch_size, n_epochs):
    return NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        batch_size=batch_size,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def ours(batch_size, n_epochs):
    return MLPClassifier(
        hidden_layer_sizes=SIZES,
        batch_size=batch_size,
        max_epochs=n_epochs,
        dropout=0.0,
        normalization=None,
        lr_schedule="constant",
        device="cpu",
    )


def sklearn_mlp(batch_size, n_epochs):
    return SklearnMLP(
        SIZES,
        batch_size=batch_size,
        max_iter=n_epochs,
        learning_rate_init=3e-3,
        tol=0,
        n_iter_no_change=n_epochs,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    n_runs = parser.parse_args().runs
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)

    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).integers(len(X), size=N_ROWS)
    X, y = (X[rows] / 16).astype(np.float32), y[rows].astype(np.int64)

    with threadpool_limits(1):
        print(describe_machine())
        print(f"microseconds a step, median of {n_runs}; in brackets, in units of ours")
        for batch_size in (32, 128, 512):
            n_epochs = 2 if batch_size == 32 else 4
            sides = {
                "sk_tune": lambda b=batch_size, n=n_epochs: ours(b, n).fit(X, y),
                "raw torch": lambda b=batch_size, n=n_epochs: raw_loop(X, y, b, n),
                "skorch": lambda b=batch_size, n=n_epochs: skorch_net(b, n).fit(X, y),
                "scikit-learn": lambda b=batch_size, n=n_epochs: sklearn_mlp(b, n).fit(
                    X, y
                ),
            }
            seconds = medians(sides, n_runs)
            n_steps = n_epochs * -(-N_ROWS // batch_size)
            report(f"batch {batch_size}", seconds, 1e6 / n_steps)
        fitted = {
            "sk_tune": ours(128, 1).fit(X, y),
            "skorch": skorch_net(128, 1).fit(X, y),
            "scikit-learn": sklearn_mlp(128, 1).fit(X, y),
        }
        sides = {
            name: functools.partial(net.predict_proba, X) for name, net in fitted.items()
        }
        print("milliseconds for predict_proba of 8192 rows")
        report("predict", medians(sides, 5 * n_runs), 1e3)


def report(case, seconds, factor):
    cells = [
        f"{name} {value * factor:.1f} ({value / seconds['sk_tune']:.2f})"
        for name, value in seconds.items()
    ]
    print(f"{case:>10}: " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
