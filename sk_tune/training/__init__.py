# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What one training step consists of: seeds, batch order, losses, penalties, schedules.

Torch and numpy only.  Every engine trains with these parts, so that all of them agree.
"""

from sk_tune.training._batches import TensorBatches, TensorSet, batch_order, batch_sizes
from sk_tune.training._divergence import loss_message, weights_message
from sk_tune.training._early_stopping import StoppingState
from sk_tune.training._learning_rate import LR_SCHEDULES, learning_rate_factor
from sk_tune.training._losses import (
    REGRESSION_LOSSES,
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HuberLoss,
    SquaredError,
)
from sk_tune.training._lowest_losses import LowestLosses
from sk_tune.training._optimizers import (
    OPTIMIZERS,
    SECOND_MOMENT_DECAY,
    add_l1_gradient,
    build_optimizer,
)
from sk_tune.training._scores import accuracy, r2, row_accuracy, row_r2
from sk_tune.training._seeds import (
    Stream,
    derive_seed,
    exclusive_rng,
    forked_rng,
    seed_of_state,
)
from sk_tune.training._sparse_rows import SparseRows, rows_as_tensor
from sk_tune.training._state import TrainingState
from sk_tune.training._state_arrays import (
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)
from sk_tune.training._threads import (
    count_multiplications,
    is_small,
    n_weights,
    one_thread,
    processes_per_cpu,
    takes_one_thread,
)
from sk_tune.training._time_limit import (
    EpochTimer,
    LimitedTime,
    TimeIsUpError,
    TimeLimit,
    check_time,
    time_limit,
)

__all__ = [
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "REGRESSION_LOSSES",
    "SECOND_MOMENT_DECAY",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "EpochTimer",
    "HuberLoss",
    "LimitedTime",
    "LowestLosses",
    "SparseRows",
    "SquaredError",
    "StoppingState",
    "Stream",
    "TensorBatches",
    "TensorSet",
    "TimeIsUpError",
    "TimeLimit",
    "TrainingState",
    "accuracy",
    "add_l1_gradient",
    "arrays_of_state",
    "batch_order",
    "batch_sizes",
    "build_optimizer",
    "check_time",
    "count_multiplications",
    "derive_seed",
    "exclusive_rng",
    "forked_rng",
    "is_small",
    "learning_rate_factor",
    "loss_message",
    "n_weights",
    "one_thread",
    "processes_per_cpu",
    "r2",
    "row_accuracy",
    "row_r2",
    "rows_as_tensor",
    "seed_of_state",
    "state_from_arrays",
    "takes_one_thread",
    "time_limit",
    "values_of_state",
    "weights_message",
]
