# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Other people's searches and ensembles in a ``with fleet():`` block, against n_jobs=2.

    env -u OMP_NUM_THREADS python benchmarks/backend.py [CASE ...] [--runs 3] [--quick]

Each call runs unchanged with ``n_jobs=2`` (loky), with plain skorch nets and with sk_tune's
estimators, and again in a block with two workers.  Digits, 64-64 network with dropout,
batch 64, 20 epochs, float32, a StandardScaler in front, without refits.  Sides take turns,
medians; a first round with small calls, which starts the workers, does not count.  Also
printed: the share of recording and replaying in the block's time, and its part beyond the
caller's own work (splitting, scaling, cloning and scoring, which the call does without a
block, too), measured in one process as the time of the tasks minus the time of their
``fit``.

With --quick the side without the block runs a part of the fits (an eighth of the
candidates, a fifth of the members), and its time is extrapolated; the block runs all fits.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
import torch
from measure import describe_machine, medians, record
from plain_net import Net
from sklearn.datasets import load_digits
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skopt import BayesSearchCV
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import MLPClassifier, fleet
from sk_tune._backend import CollectingBackend

X, Y = load_digits(return_X_y=True)
X, Y = X.astype(np.float32), Y.astype(np.int64)


def skorch_net(n_epochs: int) -> Any:
    """Return a plain skorch net."""
    return NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        batch_size=64,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def own_net(n_epochs: int) -> Any:
    """Return the same network of sk_tune."""
    return MLPClassifier(
        hidden_layer_sizes=(64, 64),
        members=1,
        dropout=0.1,
        max_epochs=n_epochs,
        random_state=0,
    )


@dataclass(frozen=True)
class Case:
    """A call, as a function of its divisor of fits, and the largest divisor."""

    name: str
    run: Callable[[int], Any]
    n_parts: int = 1


def cases(net: Any) -> list[Case]:
    """Return the calls; a run with n does an n-th of the fits."""
    pipe = make_pipeline(StandardScaler(), net)
    is_sk_tune = isinstance(net, MLPClassifier)
    rate, dropout = ("learning_rate", "dropout") if is_sk_tune else ("lr", "module__p")
    step = pipe.steps[-1][0]
    rates, drops = f"{step}__{rate}", f"{step}__{dropout}"
    space = {rates: (3e-4, 1e-2, "log-uniform"), drops: (0.0, 0.5)}
    members = [(f"net{i}", pipe) for i in range(3)]

    def grid(n: int) -> Any:
        # Fewer rates, which all cost the same.
        values = {rates: list(np.logspace(-3.5, -2, 8 // n)), drops: [0.0, 0.2, 0.4]}
        return GridSearchCV(pipe, values, cv=5, n_jobs=2, refit=False).fit(X, Y)

    def bagging(n: int) -> Any:
        bag = BaggingClassifier(pipe, n_estimators=50 // n, n_jobs=2, random_state=0)
        return bag.fit(X, Y)

    def bayes(n: int) -> Any:
        return BayesSearchCV(
            pipe,
            space,
            n_iter=24 // n,
            n_points=8,
            cv=5,
            n_jobs=2,
            refit=False,
            random_state=0,
        ).fit(X, Y)

    return [
        Case("GridSearchCV (24 x 5)", grid, 8),
        Case(
            "cross_val_score (cv=10)",
            lambda _: cross_val_score(pipe, X, Y, cv=10, n_jobs=2),
        ),
        Case("BaggingClassifier (50)", bagging, 5),
        Case(
            "learning_curve (5 x 5)", lambda _: learning_curve(pipe, X, Y, cv=5, n_jobs=2)
        ),
        Case(
            "StackingClassifier (3)",
            lambda _: StackingClassifier(members, n_jobs=2).fit(X, Y),
        ),
        Case("BayesSearchCV (24 x 5, n_points=8)", bayes, 3),
    ]


class OwnWork(CollectingBackend):
    """Runs tasks in this process, and counts their seconds."""

    seconds = 0.0

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        for jobs in self.collected():
            start = time.perf_counter()
            for job in jobs:
                job.run()
            if not self.nesting_level:
                OwnWork.seconds += time.perf_counter() - start
        yield

    def get_nested_backend(self) -> tuple[CollectingBackend, None]:
        return OwnWork((self.nesting_level or 0) + 1), None


def own_seconds(small: Case) -> float:
    """Return the seconds of all tasks of a call without the training of networks."""
    fitting = 0.0

    def timed(fit: Any) -> Any:
        def timed_fit(net: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal fitting
            start = time.perf_counter()
            try:
                return fit(net, *args, **kwargs)
            finally:
                fitting += time.perf_counter() - start

        return timed_fit

    OwnWork.seconds = 0.0
    with (
        patch.object(NeuralNetClassifier, "fit", timed(NeuralNetClassifier.fit)),
        patch.object(MLPClassifier, "fit", timed(MLPClassifier.fit)),
        joblib.parallel_config(OwnWork()),
    ):
        small.run(1)
    return OwnWork.seconds - fitting


def main() -> None:
    """Print a line for each call and kind of net."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="first letters of the calls' names")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="extrapolate one side")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(describe_machine())
    for kind, make in (("skorch", skorch_net), ("sk_tune", own_net)):
        for case, small in zip(cases(make(options.epochs)), cases(make(1)), strict=True):
            if not options.cases or case.name.startswith(tuple(options.cases)):
                measure(kind, case, small, options)


def measure(kind: str, case: Case, small: Case, options: Any) -> None:
    """Run a call with and without a block, in turn."""
    n_parts = case.n_parts if options.quick else 1
    reports = []

    def inside() -> None:
        with fleet(n_jobs=2) as report:
            case.run(1)
        reports.append(report)

    small.run(small.n_parts)
    with fleet(n_jobs=2):
        small.run(small.n_parts)
    sides = {"outside": lambda: case.run(n_parts), "inside": inside}
    times = medians(sides, options.runs, warm_up=False)
    times["outside"] *= n_parts
    seconds = [
        (r.seconds_recording + r.seconds_replaying, r.seconds_training) for r in reports
    ]
    share = np.median([beside / (beside + training) for beside, training in seconds])
    caller_seconds = own_seconds(small)
    beyond = np.median([
        (beside - caller_seconds) / (beside + training) for beside, training in seconds
    ])
    each = np.median([beside for beside, _ in seconds]) / reports[0].n_adopted
    record("backend", case.name, nets=kind, seconds=times, share=share, beyond=beyond)
    rows = f"{reports[0].n_in_fleets} of {reports[0].n_requested} in fleets"
    print(
        f"{kind:8}{case.name:36} n_jobs=2 {times['outside']:6.2f} s   block "
        f"{times['inside']:6.2f} s   ratio {times['outside'] / times['inside']:5.2f}   "
        f"record + replay {share:.0%}, {beyond:.0%} beyond the call's own work, "
        f"{1e3 * each:.1f} ms a fit   {rows}",
        flush=True,
    )


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{time.perf_counter() - started:.0f} s in all")
