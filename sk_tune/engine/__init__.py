# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Many fits in, trained networks out."""

from sk_tune.engine._checkpoints import checkpoint_before
from sk_tune.engine._installed import is_installed
from sk_tune.engine._memory import expected_memory
from sk_tune.engine._names_in_code import (
    attribute_names,
    bound_names,
    imported_names,
    read_names,
)
from sk_tune.engine._progress import Progress, callback_progress
from sk_tune.engine._records import Fit, Trained
from sk_tune.engine._signature import signature
from sk_tune.engine._skorch_adoption import adopt_skorch
from sk_tune.engine._skorch_draws import count_words, draw_as_fit, skip_words
from sk_tune.engine._skorch_rows import cutting_iterator
from sk_tune.engine._skorch_support import reason_against_net
from sk_tune.engine._stack import NetworkStack, architecture
from sk_tune.engine._store import FitStore, StoreInfo
from sk_tune.engine._stream import FitStream
from sk_tune.engine._train import fitted_estimator, train
from sk_tune.engine._workers import (
    have_to_start,
    outside_blocks,
    start_meanwhile,
    start_workers,
)
from sk_tune.training import TimeLimit

__all__ = [
    "Fit",
    "FitStore",
    "FitStream",
    "NetworkStack",
    "Progress",
    "StoreInfo",
    "TimeLimit",
    "Trained",
    "adopt_skorch",
    "architecture",
    "attribute_names",
    "bound_names",
    "callback_progress",
    "checkpoint_before",
    "count_words",
    "cutting_iterator",
    "draw_as_fit",
    "expected_memory",
    "fitted_estimator",
    "have_to_start",
    "imported_names",
    "is_installed",
    "outside_blocks",
    "read_names",
    "reason_against_net",
    "signature",
    "skip_words",
    "start_meanwhile",
    "start_workers",
    "train",
]
