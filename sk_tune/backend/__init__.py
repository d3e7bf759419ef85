# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Everybody else's joblib code, with its networks trained as fleets."""

from sk_tune.backend._fleet import fleet
from sk_tune.backend._session import FleetReport

__all__ = ["FleetReport", "fleet"]
