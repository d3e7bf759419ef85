# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Many networks as one tensor program.  Torch and numpy only."""

from sk_tune._fleets._kernel import kernel_seconds
from sk_tune._fleets._kernel_library import arithmetic, kernel_status
from sk_tune._fleets._loop import train_fleet
from sk_tune._fleets._plan import Plan, plan
from sk_tune._fleets._predict import NetworkStack, architecture
from sk_tune._fleets._recipe import (
    FleetNetwork,
    NetworkOutcome,
    Recipe,
    SeededCourse,
    StackedLoss,
    loss_by_autograd,
    stacked_loss,
)
from sk_tune._fleets._stacked_optimizers import Settings
from sk_tune._fleets._traced import module_structure
