# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Many fits in, trained networks out."""

from sk_tune._engine._digest import (
    data_fingerprint,
    is_installed,
    names_in,
    params_fingerprint,
    value_digest,
    value_fingerprint,
)
from sk_tune._engine._dispatch import FitStream
from sk_tune._engine._executors import have_to_start, outside_blocks, start_meanwhile
from sk_tune._engine._fits import Progress, Trained
from sk_tune._engine._memory_limits import checkpoint_before
from sk_tune._engine._signature import signature
from sk_tune._engine._skorch import (
    NoFleetError,
    adopt_skorch,
    count_words,
    cutting_iterator,
    draw_as_fit,
    reason_against_net,
    skip_words,
)
from sk_tune._engine._store import FitStore, StoreInfo
from sk_tune._engine._train import expected_memory, fitted_estimator, train, train_one
from sk_tune._estimators import Fit
from sk_tune._fleets import kernel_status
from sk_tune._training import TimeLimit
