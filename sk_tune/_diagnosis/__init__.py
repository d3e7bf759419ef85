# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Diagnosis of networks, searches and data: findings, verdicts and remedies."""

from sk_tune._diagnosis._apply import Applied, AppliedChange, apply_remedies
from sk_tune._diagnosis._curves import curves_of, curves_of_estimator
from sk_tune._diagnosis._diagnose import diagnose, extra_findings
from sk_tune._diagnosis._findings import Change, Curves, Finding, share, to_act_on, verdict
from sk_tune._diagnosis._fold_checks import SampleCurve, check_classes
from sk_tune._diagnosis._leak_copies import group_copies
from sk_tune._diagnosis._leaks import find_leaks

__all__ = [
    "Applied",
    "AppliedChange",
    "Change",
    "Curves",
    "Finding",
    "SampleCurve",
    "apply_remedies",
    "check_classes",
    "curves_of",
    "curves_of_estimator",
    "diagnose",
    "extra_findings",
    "find_leaks",
    "group_copies",
    "share",
    "to_act_on",
    "verdict",
]
