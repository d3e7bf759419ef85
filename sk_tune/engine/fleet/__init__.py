# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Many networks as one tensor program.  Torch and numpy only."""

from sk_tune.engine.fleet._chain import ChainProgram
from sk_tune.engine.fleet._compiled import arithmetic
from sk_tune.engine.fleet._course import Course, SeededCourse
from sk_tune.engine.fleet._losses import LOSSES, RowLoss, loss_by_autograd
from sk_tune.engine.fleet._module import ModuleProgram
from sk_tune.engine.fleet._optimizers import Settings
from sk_tune.engine.fleet._program import Program
from sk_tune.engine.fleet._records import Outcome, Recipe, Row
from sk_tune.engine.fleet._tile import (
    build_program,
    is_compiled,
    is_written_out,
    stacked_program,
)
from sk_tune.engine.fleet._torch_dropout import is_torch_dropout, orders_in_memory
from sk_tune.engine.fleet._train import train_fleet

__all__ = [
    "LOSSES",
    "ChainProgram",
    "Course",
    "ModuleProgram",
    "Outcome",
    "Program",
    "Recipe",
    "Row",
    "RowLoss",
    "SeededCourse",
    "Settings",
    "arithmetic",
    "build_program",
    "is_compiled",
    "is_torch_dropout",
    "is_written_out",
    "loss_by_autograd",
    "orders_in_memory",
    "stacked_program",
    "train_fleet",
]
