# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Many networks as one tensor program.  Torch and numpy only."""

from sk_tune.fleets._active_batch import (
    build_program,
    is_compiled,
    is_written_out,
    stacked_program,
)
from sk_tune.fleets._chain import ChainProgram, Program
from sk_tune.fleets._kernel import arithmetic, kernel_status
from sk_tune.fleets._loop import train_fleet
from sk_tune.fleets._masks import is_torch_dropout, orders_in_memory
from sk_tune.fleets._module import ModuleProgram
from sk_tune.fleets._recipe import (
    LOSSES,
    FleetNetwork,
    NetworkOutcome,
    Recipe,
    SeededCourse,
    StackedLoss,
    TrainingCourse,
    loss_by_autograd,
)
from sk_tune.fleets._stacked_optimizers import Settings

__all__ = [
    "LOSSES",
    "ChainProgram",
    "FleetNetwork",
    "ModuleProgram",
    "NetworkOutcome",
    "Program",
    "Recipe",
    "SeededCourse",
    "Settings",
    "StackedLoss",
    "TrainingCourse",
    "arithmetic",
    "build_program",
    "is_compiled",
    "is_torch_dropout",
    "is_written_out",
    "kernel_status",
    "loss_by_autograd",
    "orders_in_memory",
    "stacked_program",
    "train_fleet",
]
