# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether networks over- or underfit, what else is wrong, and what to do about it."""

from sk_tune.diagnosis._records import Change, Curves, Finding

__all__ = ["Change", "Curves", "Finding"]
