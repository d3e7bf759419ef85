# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The forecast of a search's memory, from a few samples and before any training.

Notation: N samples in k folds, of which m have their own samples in memory at a time.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from sk_tune._compat import FoldTask, num_samples
from sk_tune._engine import NoFleetError, expected_memory
from sk_tune._estimators import (
    NetworkEstimator,
    learns_columns,
    n_bytes,
    shares_samples,
    take_rows,
)
from sk_tune._sampler import RandomSampler
from sk_tune._search._fold_fits import FitMaker, network_of
from sk_tune._search._search_parameters import space_of
from sk_tune._text import error_text
from sk_tune._training import LARGE_SAMPLES
from sk_tune._types import Array
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SkTuneWarning, SpaceError

# Number of samples that show the sizes of transformed samples and of a network.
_N_SAMPLES = 1000
# For each sample: an encoded target and two positions, of 8 bytes each.
_BYTES_OF_PLACES = 24
# Probabilities of two classes.
_BYTES_PREDICTED = 8
# Limit for the predictions of all candidates, assumed to be float32.
MOST_BYTES_OF_PREDICTIONS = 2**27


def takes_folds_in_turn(search: Any, X: Any) -> bool:
    """Return whether folds train in turn, because each has its own copy of a large X."""
    network = network_of(search.estimator)
    has_copies = network is not None and network is not search.estimator
    return has_copies and search.time_budget is None and n_bytes(X) >= LARGE_SAMPLES


REMEDY = (
    "use fewer rows or folds, or a network without transformers on an array or memory map "
    "of its dtype."
)


def _task_on(search: Any, X: Any, y: Any, rows: Array, n_folds: int) -> FoldTask:
    """Return a fold of a candidate of a search on some rows."""
    n_train = max(1, len(rows) - len(rows) // n_folds)
    try:
        candidate = RandomSampler(space_of(search), 0).ask(1)[0]
    except SpaceError:
        candidate = {}
    return FoldTask(
        estimator=search.estimator,
        X=take_rows(X, rows),
        y=take_rows(y, rows),
        train=np.arange(n_train),
        test=np.arange(n_train, len(rows)),
        parameters=candidate,
        fit_params={},
        candidate=0,
        fold=0,
    )


def expected_peak(search: Any, X: Any, y: Any, plan: Any, *, n_workers: int) -> int | None:
    """Return the expected peak of a search's memory on top of X, in bytes.

    None without a network, with a network that only skorch can train, and, with a warning,
    if the forecast fails. `plan` is the SearchPlan.
    """
    n, n_folds = int(num_samples(X)), int(plan.n_folds)
    n_fits = max(int(r.n_fits) for r in plan.rounds)
    rows = np.random.default_rng(0).permutation(n)[:_N_SAMPLES]
    n_train = n - n // n_folds
    fit = FitMaker().make(_task_on(search, X, y, rows, n_folds), 0).fit
    if fit is None:
        # The search itself reports the reason.
        return None
    try:
        networks, per_sample = expected_memory(
            fit, n_samples=n, n_train=n_train, n_fits=n_fits, n_workers=n_workers
        )
    except NoFleetError:
        return None
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        warn_user(
            f"The memory of the search is unknown, because its forecast from {len(rows)} "
            f"rows failed: {error_text(error)}.",
            SkTuneWarning,
        )
        return None
    size, encoded = n_bytes(X), n * per_sample
    m = 1 if takes_folds_in_turn(search, X) else n_folds
    places = n_workers * m * n * _BYTES_OF_PLACES
    if network_of(search.estimator) is not search.estimator:
        # For each fold: its samples, the transformed samples, and both parts joined.
        return round(networks + m * (size + encoded + n_workers * encoded) + places)
    is_other = encoded != size
    on_all = replace(fit, X=X, rows=np.arange(n_train))
    is_net = not isinstance(fit.estimator, NetworkEstimator)
    if is_net or not shares_samples(fit.estimator, on_all):
        each = encoded + size * (is_other or is_net)
        return round(networks + n_workers * m * each + places)
    copied = n_train / n * size * learns_columns(fit.estimator)
    data = n_workers * encoded * is_other + places
    predictions = min(MOST_BYTES_OF_PREDICTIONS, _BYTES_PREDICTED * n * n_fits / n_folds)
    return round(data + networks + max(n_workers * copied, predictions))
