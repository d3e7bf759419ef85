# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether a network learns too much, too little, or what there is to learn."""

import math

import numpy as np

from sk_tune.diagnosis._budget import is_improving
from sk_tune.diagnosis._check import CHECKS, share
from sk_tune.diagnosis._records import Finding, Severity
from sk_tune.diagnosis._remedies import is_free, larger_network, regularise, restraints
from sk_tune.diagnosis._summary import Summary, least_by_chance, log_ratio, smooth

__all__ = ["check_baseline", "check_overfitting", "check_underfitting"]

# Rise of the held-out loss above its least, as a share of that: below the first it is what
# any curve does by chance, above the second the network is clearly past its best; above
# the third it is, too, if nothing regularises it.
RISE_FOR_A_TIP = 0.05
RISE_FOR_AN_ISSUE = 0.12
RISE_IF_FREE = 0.06
RISE_FOR_HIGH = 0.5
# Folds must agree on the rise.  What it usually varies by between them is taken into
# account, because three of them tell little of that.
USUAL_SPREAD = 0.1
CONFIDENCE = 0.9
# Without regularisation any network that could learn more does fit its training rows
# better than others: a gap as small as this says that it could not.
SMALL_GAP = 0.05
# What is learnt by heart has next to no training loss, but much of the constant
# prediction's loss on held-out rows.
BY_HEART = 0.97
# Without regularisation, a training loss that loses this share after the best epoch is
# learning by heart, even if the held-out loss hardly rises.
FALLS_IN_VAIN = 0.3
MUCH_LEFT = 0.3
# Share of the constant prediction's loss that is left when a fit is a poor one.
POOR = 0.35
# Share of a constant prediction's loss that the best of all epochs lies below it by chance.
LEAST_LEARNT = 0.015
# A network that is known to be tiny, or regularised beyond what is usual, is suspected
# of underfitting before others are.
POOR_IF_HELD_BACK = 0.03
SMALL_GAP_IF_HELD_BACK = 0.3
# A larger network that takes this share off the held-out loss shows what is missing.
AHEAD = 0.1


def check_overfitting(summary: Summary) -> Finding:
    """Look for a held-out loss that rises while the training loss falls.

    An issue if the rise exceeds the noise of the folds.
    """
    check = CHECKS["overfitting"]
    if not summary.has_valid:
        return check.not_applicable("There is no held-out loss to compare with.")
    best = summary.best_epoch
    least = float(np.sort(summary.valid_best).mean())
    rises = log_ratio(summary.valid_end, summary.valid_best) - least_by_chance(summary)
    rise = summary.estimate(rises, usual=USUAL_SPREAD)
    gap = summary.estimate(summary.valid_end - summary.train_end, least)
    # Folds differ in the level of their loss more than in how it moves.
    relative = math.expm1(rise.mean)
    relative_gap = gap.mean / max(gap.mean + float(summary.train_end.mean()), 1e-12)
    train = smooth(summary.mean("train"))
    falls = bool(train[-1] < train[min(best, len(train) - 1)]) and gap.mean > 0
    evidence = {
        "best_epoch": best + 1,
        "rise": relative,
        "rise_error": (1 + relative) * rise.error,
        "gap": gap.mean,
        "gap_error": gap.error,
        "relative_gap": relative_gap,
    }
    is_sure = rise.at_least(CONFIDENCE) > 0
    by_heart = relative_gap > BY_HEART and summary.valid_end.mean() > (
        MUCH_LEFT * summary.reference
    )
    if falls and is_sure and relative > RISE_FOR_A_TIP:
        message = (
            f"The held-out loss rose by {share(relative)} after epoch {best + 1}, while "
            "the training loss fell."
        )
        remedy = "Regularise more, or stop near the best epoch."
        changes = regularise(summary.params, best + 1)
        limit = RISE_IF_FREE if is_free(summary.params) else RISE_FOR_AN_ISSUE
        if relative <= limit or summary.keeps_best:
            return check.tip("low", message, evidence, remedy, changes)
        severity: Severity = "high" if relative > RISE_FOR_HIGH else "medium"
        return check.issue(severity, message, evidence, remedy, changes)
    since = 1 - float(summary.train_end.mean()) / max(float(train[best]), 1e-12)
    is_early = best + 1 < summary.n_epochs / 2
    in_vain = is_free(summary.params) and is_early and since > FALLS_IN_VAIN
    if (by_heart or in_vain) and not summary.keeps_best:
        return check.issue(
            "medium",
            f"The training loss fell to {share(1 - relative_gap)} of the held-out loss, "
            f"which gained nothing after epoch {best + 1}.",
            evidence,
            "Regularise more.",
            regularise(summary.params, best + 1),
        )
    return check.passed("The held-out loss does not rise beyond its noise.", evidence)


def check_underfitting(summary: Summary, larger: Summary | None = None) -> Finding:
    """Look for losses that both stay high.

    An issue if not even the training samples are fitted. `larger` summarises the best
    larger network on the same folds, if one was trained.
    """
    check = CHECKS["underfitting"]
    if not summary.has_valid:
        return check.not_applicable("There is no held-out loss to compare with.")
    level = summary.estimate(summary.train_end, summary.reference)
    left = level.mean / summary.reference
    gap = summary.estimate(summary.valid_end - summary.train_end, level.mean)
    relative_gap = gap.mean / max(float(summary.valid_end.mean()), 1e-12)
    evidence = {
        "train_loss": level.mean,
        "train_loss_error": level.error,
        "left": left,
        "gap": gap.mean,
        "gap_error": gap.error,
        "relative_gap": relative_gap,
    }
    reason = None
    if larger is not None and larger.valid_end.shape == summary.valid_end.shape:
        ahead = summary.estimate(summary.valid_end - larger.valid_end, level.mean)
        evidence |= {"ahead": ahead.mean, "ahead_error": ahead.error}
        if ahead.at_least(CONFIDENCE) <= 0:
            return check.passed("Larger networks of the search do no better.", evidence)
        by = ahead.mean / float(summary.valid_end.mean())
        if by > AHEAD:
            reason = (
                f"A larger network of the search has a held-out loss lower by {share(by)}."
            )
    if reason is None and summary.params.get("augmentation"):
        return check.not_applicable("The training loss is of changed rows (augmentation).")
    reason = reason or _poor_fit(summary, left, relative_gap)
    if reason is None:
        return check.passed("The training rows are fitted.", evidence)
    remedy = "Take a larger network, or regularise less; or find better features."
    changes = larger_network(summary.params)
    if "ahead" not in evidence and summary.params and not restraints(summary.params):
        # It may as well be all that there is to learn.
        return check.tip("medium", reason, evidence, remedy, changes)
    return check.issue("medium", reason, evidence, remedy, changes)


def _poor_fit(summary: Summary, left: float, relative_gap: float) -> str | None:
    """Return why a network's own curves say that it underfits, or None."""
    held_back = restraints(summary.params)
    if held_back and left > POOR_IF_HELD_BACK and relative_gap < SMALL_GAP_IF_HELD_BACK:
        return (
            f"{share(left)} of a constant prediction's loss is left on the training rows, "
            f"and the network is held back by {' and '.join(held_back)}."
        )
    learnt = 1 - float(summary.valid_best.mean()) / summary.reference
    is_poor = left > POOR and relative_gap < SMALL_GAP and learnt > LEAST_LEARNT
    if not is_poor or is_improving(summary):
        return None
    return (
        f"{share(left)} of a constant prediction's loss is left even on the training "
        "rows, and it no longer falls."
    )


def check_baseline(summary: Summary) -> Finding:
    """Look for a network that is no better than a constant prediction.

    An issue if its best held-out loss is not below the constant prediction's.
    """
    check = CHECKS["no better than the baseline"]
    if not summary.has_baseline:
        return check.not_applicable("The loss of a constant prediction is not known.")
    if not summary.has_valid:
        return check.not_applicable("There is no held-out loss to compare with.")
    gain = summary.estimate(summary.reference - summary.valid_best, summary.reference)
    evidence = {
        "baseline_loss": summary.reference,
        "valid_loss": summary.reference - gain.mean,
        "gain": gain.mean,
        "gain_error": gain.error,
    }
    learnt = gain.mean / summary.reference
    if learnt > LEAST_LEARNT and gain.at_least(CONFIDENCE) > 0:
        return check.passed(
            f"The held-out loss is {share(learnt)} below that of a constant prediction.",
            evidence,
        )
    remedy = "Check that the features tell of the target, and that both are prepared."
    # Without any regularisation a network may overfit before it has learnt anything else.
    if learnt > LEAST_LEARNT or is_improving(summary) or is_free(summary.params):
        return check.tip(
            "medium",
            f"The held-out loss is only {share(learnt)} below that of a constant "
            "prediction, which may be chance.",
            evidence,
            remedy,
        )
    # What is learnt nevertheless is chance, and makes the network worse than the constant.
    changes = regularise(summary.params, summary.best_epoch + 1)
    return check.issue(
        "high",
        "Even at its best the held-out loss is not below that of a constant prediction.",
        evidence,
        f"{remedy} Until then a network that is regularised more does less harm.",
        () if restraints(summary.params) else changes,
    )
