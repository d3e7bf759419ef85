# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""joblib backends that train the networks of any code as fleets."""

from sk_tune._backend._fleet import AskingNets, CollectingBackend, FleetBackend, Job, fleet
from sk_tune._backend._session import FleetReport, Recorder

__all__ = [
    "AskingNets",
    "CollectingBackend",
    "FleetBackend",
    "FleetReport",
    "Job",
    "Recorder",
    "fleet",
]
