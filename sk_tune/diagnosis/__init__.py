# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether networks over- or underfit, what else is wrong, and what to do about it."""

from sk_tune.diagnosis._apply import Applied, AppliedChange, apply
from sk_tune.diagnosis._diagnose import diagnose
from sk_tune.diagnosis._leak_copies import group_copies
from sk_tune.diagnosis._leaks import find_leaks
from sk_tune.diagnosis._records import Change, Curves, Finding
from sk_tune.diagnosis._samples import SampleCurve
from sk_tune.diagnosis._sources import curves_of, curves_of_estimator
from sk_tune.diagnosis._verdict import verdict
from sk_tune.diagnosis._without import try_without_fold

__all__ = [
    "Applied",
    "AppliedChange",
    "Change",
    "Curves",
    "Finding",
    "SampleCurve",
    "apply",
    "curves_of",
    "curves_of_estimator",
    "diagnose",
    "find_leaks",
    "group_copies",
    "try_without_fold",
    "verdict",
]
