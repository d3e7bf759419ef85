# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Diagnosis of networks, searches and data: findings, verdicts and remedies."""

from sk_tune._diagnosis._apply import (
    Applied,
    AppliedChange,
    apply_remedies,
    changed_parameters,
    with_scaler,
)
from sk_tune._diagnosis._curves import (
    best_candidate,
    configured,
    curves_of,
    curves_of_estimator,
    is_search,
    is_trained,
)
from sk_tune._diagnosis._diagnose import extra_findings, findings_of, fold_scores
from sk_tune._diagnosis._findings import (
    PUT_IN_FRONT,
    Change,
    Curves,
    Finding,
    Findings,
    share,
    skore_checks,
    to_act_on,
    verdict,
    with_good_fit,
    without_doubled_epochs,
)
from sk_tune._diagnosis._fold_checks import SampleCurve, check_classes
from sk_tune._diagnosis._leak_copies import group_copies
from sk_tune._diagnosis._leaks import find_leaks
from sk_tune._diagnosis._probes import (
    Probe,
    check_half,
    decisive,
    effects,
    measured,
    remedies,
    variations,
)
from sk_tune._diagnosis._scale_checks import check_scale
