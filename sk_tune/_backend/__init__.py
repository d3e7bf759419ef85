# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""joblib backends that train the networks of any code as fleets."""

from sk_tune._backend._fleet import CollectingBackend, FleetBackend, Job, asking_nets, fleet
from sk_tune._backend._session import FleetReport, Recorder
