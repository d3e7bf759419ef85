# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What one training step consists of: seeds, batch order, losses, penalties, schedules.

Torch and numpy only.  Every engine trains with these parts, so that all of them agree.
"""

from sk_tune.training._batches import TensorBatches, TensorSet
from sk_tune.training._early_stopping import StoppingState
from sk_tune.training._learning_rate import LR_SCHEDULES, learning_rate_factor
from sk_tune.training._losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from sk_tune.training._optimizers import OPTIMIZERS, add_l1_gradient, build_optimizer
from sk_tune.training._scores import accuracy, r2
from sk_tune.training._seeds import Stream, derive_seed, forked_rng

__all__ = [
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "SquaredError",
    "StoppingState",
    "Stream",
    "TensorBatches",
    "TensorSet",
    "accuracy",
    "add_l1_gradient",
    "build_optimizer",
    "derive_seed",
    "forked_rng",
    "learning_rate_factor",
    "r2",
]
