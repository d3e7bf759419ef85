# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The parts of a training step: seeds, batch order, losses, penalties, schedules.

They depend on torch and numpy only.  Every engine uses them, so that results agree.
"""

from sk_tune._training._batches import (
    RNG_LOCK,
    SparseRows,
    Stream,
    TensorBatches,
    TensorSet,
    batch_order,
    batch_sizes,
    derive_seed,
    forked_rng,
    rows_as_tensor,
    samples_in_block,
    seed_of_state,
    undone_draws,
)
from sk_tune._training._free_memory import LARGE_SAMPLES, available_memory, report_memory
from sk_tune._training._losses_and_optimizers import (
    ELEMENTWISE,
    REGRESSION_LOSSES,
    BinaryCrossEntropy,
    CrossEntropy,
    R2OfOutput,
    SoftCrossEntropy,
    accuracy_by_network,
    accuracy_of_probabilities,
    add_l1_gradient,
    build_optimizer,
    levels_above_half,
    loss_message,
    middle_of,
    r2_by_network,
    r2_of_exponentials,
    usual_score,
    weights_message,
)
from sk_tune._training._one_thread import (
    count_multiplications,
    is_small,
    n_weights,
    one_thread,
    shape_of,
    slowdown,
    takes_one_thread,
)
from sk_tune._training._state import (
    LowestLosses,
    StoppingState,
    TrainingState,
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)
from sk_tune._training._time_limit import (
    EpochTimer,
    LimitedTime,
    TimeIsUpError,
    TimeLimit,
    check_time,
    time_limit,
)
