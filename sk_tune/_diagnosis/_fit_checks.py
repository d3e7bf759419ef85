# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks of learning curves: number of epochs, over- and underfitting.

Training is measured by the cumulative learning rate instead of epochs, because a schedule
that ends at 0 flattens every curve.  The logarithm of the loss falls each time this measure
grows by a factor of sqrt(2).  The ratio of the last two falls extrapolates further falls;
for a power law, all falls are equal.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sk_tune._diagnosis._curves import (
    NOTHING,
    Estimate,
    Summary,
    least_by_chance,
    log_ratio,
    smooth,
    target_variances,
)
from sk_tune._diagnosis._findings import RULES, Finding, Severity, share
from sk_tune._diagnosis._remedies import (
    FEWEST_EPOCHS,
    Steps,
    described,
    has_early_stopping,
    in_steps,
    is_free,
    larger_network,
    longer_training,
    lower_rate,
    raise_rate,
    regularise,
    relative_rate,
    restraints,
)
from sk_tune._types import Floats

# Confidence that the gain is positive; folds often disagree on its size.
SURE = 0.9
# Share of the constant prediction's loss below which a further fall has little value and
# depends on a few samples.
_SMALL_LOSS = 0.06
# Share of the held-out loss that four times the time must save, beyond brief trainings.
_WORTH_TIME = 0.2
# Smaller relative gains are not mentioned.
_WORTH_TELLING = 0.01
# The last doubling of a curve extrapolates it by two doublings at most.
_TIMES = 4.0
# Share of the cumulative learning rate before a schedule has halved the rate.  Later falls
# come from smaller steps, and would occur at the end of any training.
_STEADY = 0.8
# With fewer epochs the ratio of falls is unknown; only the last fall is available.
_FEWEST_FOR_RATIO = 4


@dataclass(frozen=True, slots=True)
class Trend:
    """The extrapolated gain of four times the training."""

    gain: Estimate  # relative fall of the held-out loss over two more doublings
    ratio: float  # last fall divided by the previous fall
    of_learnt: float  # last fall as a share of the total fall


def trend(summary: Summary) -> Trend:
    """Extrapolate the held-out loss to four times the training; gains are at least 0."""
    floor = NOTHING * summary.reference
    curves = np.log(np.maximum(smooth(summary.valid), floor))
    if summary.n_epochs < _FEWEST_FOR_RATIO:
        first = middle = curves[:, max(summary.n_epochs - 2, 0)]
        last = curves[:, -1]
    else:
        end = _STEADY if summary.is_annealed else 1.0
        shares = (0.5 * end, 0.5**0.5 * end, end)
        first, middle, last = (summary.at_share(curves, s) for s in shares)
    falls = middle - last
    if summary.is_annealed and summary.n_epochs >= FEWEST_EPOCHS:
        # Smaller steps lower the loss further, so the fall in this phase limits the trend.
        after = last - curves[:, -1]
        falls = np.minimum(falls, after * math.log(0.5) / (2 * math.log(_STEADY)))
    earlier, recent = float(np.sort(first - middle).mean()), float(np.sort(falls).mean())
    if earlier > 0:
        ratio = float(np.clip(recent / earlier, 0.0, 1.0))
    else:
        # A flat curve that starts to fall has just begun.
        ratio = 0.8 if earlier == 0 else 1.0
    coming = np.maximum(falls, 0.0) * sum(ratio**k for k in range(1, 5))
    gain = summary.estimate(1 - np.exp(-coming), 1.0)
    level = math.exp(float(np.sort(last).mean()))
    learnt = max(summary.reference - level, NOTHING * summary.reference)
    return Trend(gain, ratio, level * math.expm1(max(recent, 0.0)) / learnt)


def is_improving(summary: Summary) -> bool:
    """Return whether more epochs would clearly help: the loss falls and is not yet low."""
    coming = trend(summary)
    is_brief = summary.n_epochs < FEWEST_EPOCHS
    # Four times the epochs are worthwhile if they lower the held-out loss by the first
    # share, or if the last fall exceeds the second share of the total fall, as early in
    # training. Most long curves that still fall turn soon, and annealed schedules are meant
    # to converge.
    worth, much = 0.5, 0.5
    if is_brief:
        worth, much = 0.05, 0.05
    elif summary.is_annealed:
        worth, much = 0.9, math.inf
    is_much = coming.gain.mean > worth or coming.of_learnt > much
    return (
        is_much
        and coming.gain.mean > _WORTH_TELLING
        and summary.is_least_late
        and (is_brief or summary.carries_over)
        and coming.gain.at_least(SURE) > 0
        and (is_brief or summary.valid_level > _SMALL_LOSS * summary.reference)
    )


def check_improving(summary: Summary) -> Finding:
    """Check whether more epochs would lower the held-out loss: an issue or a tip if so."""
    rule = RULES["still improving"]
    if not summary.has_valid:
        return rule.not_applicable("No held-out loss is available.")
    coming = trend(summary)
    level = summary.valid_level
    evidence = {
        "n_epochs": summary.n_epochs,
        "valid_loss": level,
        "gain": coming.gain.mean,
        "gain_error": coming.gain.error,
    }
    if summary.n_epochs < 2:
        return rule.tip(
            "medium",
            _ONE_EPOCH,
            evidence,
            "Train for more epochs.",
            longer_training(summary.params, summary.n_epochs, 2 * _TIMES),
        )
    is_sure = coming.gain.at_least(SURE) > 0
    lowers = f"{_TIMES:.0f} times the epochs would lower the held-out loss by"
    message = f"{lowers} about {share(coming.gain.mean)}"
    is_issue = is_improving(summary)
    is_low = level <= _SMALL_LOSS * summary.reference
    if not is_issue and (not is_sure or is_low or coming.gain.mean <= _WORTH_TIME):
        enough = f"{lowers} only about {share(coming.gain.mean)}"
        if not is_sure:
            enough = "Any further fall of the held-out loss is within the folds' noise"
        elif is_low:
            of_start = f"{share(level / summary.reference)} of the {summary.reference_name}"
            enough = f"{message}, but it is already low: {of_start}"
        return rule.passed(f"{enough}.", evidence)
    # Only brief trainings are extended fourfold: more epochs of long trainings cost more.
    factor = _TIMES if is_issue and summary.n_epochs < FEWEST_EPOCHS else 2.0
    changes = longer_training(summary.params, summary.n_epochs, factor)
    remedy = f"Train for {factor:.0f} times as many epochs."
    if factor < _TIMES:
        remedy = "Try twice as many epochs, then diagnose again."
    if not is_issue:
        message += ", if the trend continued"
        return rule.tip("low", f"{message}.", evidence, remedy, changes)
    return rule.issue("medium", f"{message}.", evidence, remedy, changes)


def check_converged(summary: Summary) -> Finding:
    """Check for a long end of training without progress: a tip if so."""
    rule = RULES["converged long ago"]
    if not summary.has_valid or summary.n_epochs < 15:
        return rule.not_applicable("This check needs a held-out loss and 15 epochs.")
    if has_early_stopping(summary.params):
        return rule.not_applicable("Early stopping ends the training.")
    curve = smooth(summary.mean("valid"))
    least = float(curve.min())
    learnt = max(summary.reference - least, 0.0)
    # Within this distance of its minimum, the loss counts as converged: shares of the
    # minimum and of the total fall, or a share of the constant prediction's loss too small
    # to change scores.
    tolerance = max(min(0.03 * least, 0.15 * learnt), 0.002 * summary.reference)
    arrived = 1 + int(np.argmax(curve <= least + tolerance))
    wasted = 1 - float(summary.spent[arrived - 1] / summary.spent[-1])
    evidence = {"n_epochs": summary.n_epochs, "arrived": arrived, "wasted": wasted}
    # Share of the cumulative learning rate after convergence.
    if wasted < 0.55:
        return rule.passed(
            "The held-out loss improved during most of the training.", evidence
        )
    return rule.tip(
        "low",
        "The held-out loss stopped improving after "
        f"{arrived} of {summary.n_epochs} epochs.",
        evidence,
        f"Train for about {2 * arrived} epochs, or use early stopping.",
    )


_ONE_EPOCH = "One epoch shows no trend."
_WEIGHTED = (
    "The training loss has weights of samples or classes, so it cannot be compared with "
    "the held-out loss."
)
# Folds must agree on the rise.  Its usual spread over folds adds to its error, because
# three folds estimate their spread poorly.
_USUAL_SPREAD = 0.1
_CONFIDENCE = 0.9
# Lead over a constant prediction, as a share of its loss, that the best epoch may have by
# chance; and the share of a lead that a small rise of the loss may cost.
_LEAST_LEARNT, _MOST_LOST = 0.015, 0.5


def check_overfitting(summary: Summary) -> Finding:
    """Check whether the held-out loss rises beyond noise while the training loss falls."""
    rule = RULES["overfitting"]
    if not summary.has_valid:
        return rule.not_applicable("No held-out loss is available.")
    if summary.n_epochs < 2:
        return rule.not_applicable(_ONE_EPOCH)
    best = summary.best_epoch
    steps = in_steps(regularise(summary.params, best + 1, summary.n_epochs))
    remedy = described(steps[0])
    least = float(np.sort(summary.valid_best).mean())
    rises = log_ratio(summary.valid_end, summary.valid_best) - least_by_chance(summary)
    rise = summary.estimate(rises, usual=_USUAL_SPREAD)
    gap = summary.estimate(summary.valid_end - summary.train_end, least)
    # Folds differ more in the level of the loss than in its relative change.
    relative = math.expm1(rise.mean)
    relative_gap = gap.mean / max(gap.mean + float(summary.train_end.mean()), 1e-12)
    train = smooth(summary.mean("train"))
    falls = bool(train[-1] < train[min(best, len(train) - 1)])
    lost = _share_lost(summary, rises)
    error = (1 + relative) * rise.error
    evidence = {"best_epoch": best + 1, "rise": relative, "rise_error": error}
    evidence["lost_lead"] = lost
    if not summary.is_weighted:
        falls &= gap.mean > 0
        evidence |= {"gap": gap.mean, "gap_error": gap.error, "relative_gap": relative_gap}
    # Smaller relative rises occur on any curve by chance.
    is_clear = rise.at_least(_CONFIDENCE) > 0 and relative > 0.05
    if falls and (is_clear or lost > _MOST_LOST):
        message = (
            f"The held-out loss rose by {share(relative)} after epoch {best + 1}"
            f"{'' if is_clear else _costs(lost)}, while the training loss fell."
        )
        # A larger rise is an issue; the limit is lower without regularisation.
        limit = 0.06 if is_free(summary.params) else 0.12
        if (relative <= limit and lost <= _MOST_LOST) or summary.keeps_best:
            return rule.tip("low", message, evidence, remedy, *steps)
        severity: Severity = "high" if relative > 0.5 else "medium"
        return rule.issue(severity, message, evidence, remedy, *steps)
    can_memorise = not (summary.keeps_best or summary.is_weighted)
    if can_memorise and _memorises(summary, relative_gap, float(train[best])):
        return rule.issue(
            "medium",
            f"The training loss fell to {share(1 - relative_gap)} of the held-out loss, "
            f"which did not improve after epoch {best + 1}.",
            evidence,
            remedy,
            *steps,
        )
    return rule.passed("The held-out loss does not rise beyond its noise.", evidence)


def _costs(lost: float) -> str:
    """Return what a small rise of the loss costs, in words."""
    part = share(lost) if lost < 1 else "all"
    return f", which cost {part} of its lead over a constant prediction"


def _share_lost(summary: Summary, rises: Floats) -> float:
    """Return the share of the best epoch's lead over a constant that the end has lost.

    0 unless folds agree on the rise and the lead is beyond chance. Where columns say little
    about the target, even a small rise of the loss may cost all that was learnt.
    """
    least = float(np.sort(summary.valid_best).mean())
    lead = summary.reference - least
    agrees = summary.estimate(rises).at_least(_CONFIDENCE) > 0
    if not (agrees and summary.has_baseline and lead > _LEAST_LEARNT * summary.reference):
        return 0.0
    return (float(np.sort(summary.valid_end).mean()) - least) / lead


def _memorises(summary: Summary, relative_gap: float, train_at_best: float) -> bool:
    """Return whether the training loss is tiny, or fell much after an early best epoch."""
    # The training loss is tiny; the held-out loss is large compared with a constant
    # prediction, and no longer falls.
    is_large = summary.valid_end.mean() > 0.3 * summary.reference
    if relative_gap > 0.97 and is_large and not summary.is_least_late:
        return True
    since = 1 - float(summary.train_end.mean()) / max(train_at_best, 1e-12)
    is_early = summary.best_epoch + 1 < summary.n_epochs / 2
    return is_free(summary.params) and is_early and since > 0.3


def check_underfitting(summary: Summary, larger: Summary | None = None) -> Finding:
    """Check whether both losses stay high, or the best larger network does better."""
    rule = RULES["underfitting"]
    if not summary.has_valid:
        return rule.not_applicable("No held-out loss is available.")
    if summary.n_epochs < 2 or summary.is_weighted:
        return rule.not_applicable(_ONE_EPOCH if summary.n_epochs < 2 else _WEIGHTED)
    level = summary.estimate(summary.train_end, summary.reference)
    remaining = level.mean / summary.reference
    gap = summary.estimate(summary.valid_end - summary.train_end, level.mean)
    relative_gap = gap.mean / max(float(summary.valid_end.mean()), 1e-12)
    evidence = {
        "train_loss": level.mean,
        "train_loss_error": level.error,
        "left": remaining,
        "gap": gap.mean,
        "gap_error": gap.error,
        "relative_gap": relative_gap,
    }
    reason = None
    if larger is not None and larger.valid_end.shape == summary.valid_end.shape:
        ahead = summary.estimate(summary.valid_end - larger.valid_end, level.mean)
        evidence |= {"ahead": ahead.mean, "ahead_error": ahead.error}
        if ahead.at_least(_CONFIDENCE) <= 0:
            return rule.passed("Larger networks in the search are not better.", evidence)
        by = ahead.mean / float(summary.valid_end.mean())
        if by > 0.1:
            reason = (
                f"A larger network in the search lowers the held-out loss by {share(by)}."
            )
    if reason is None and summary.params.get("augmentation"):
        return rule.not_applicable(
            "The training loss is measured on augmented rows, so it may be too high."
        )
    reason = reason or _poor_fit(summary, remaining, relative_gap)
    if reason is None and summary.n_epochs < _FEWEST_FOR_RATIO:
        return rule.not_applicable("Too few epochs to show what the network can fit.")
    if reason is None:
        return rule.passed("The network fits the training rows.", evidence)
    remedy = "Use a larger network, less regularisation, or better features."
    changes = larger_network(summary.params)
    if "ahead" not in evidence and summary.params and not restraints(summary.params):
        # The remaining loss may also be noise.
        return rule.tip("medium", reason, evidence, remedy, changes)
    return rule.issue("medium", reason, evidence, remedy, changes)


def _poor_fit(summary: Summary, loss: float, relative_gap: float) -> str | None:
    """Return the evidence of underfitting in a network's curves, or None."""
    settings = restraints(summary.params)
    # Tiny or heavily regularised networks are suspected at a lower loss.
    if settings and loss > 0.03 and relative_gap < 0.3:
        return (
            f"The training loss is {share(loss)} of the {summary.reference_name}, and the "
            f"network is restricted by {' and '.join(settings)}."
        )
    learnt = 1 - float(summary.valid_best.mean()) / summary.reference
    # A network with spare capacity and no regularisation fits its training rows better than
    # held-out rows, so a gap this small shows a lack of capacity.
    is_poor = loss > 0.35 and relative_gap < 0.05 and learnt > _LEAST_LEARNT
    if not is_poor or is_improving(summary) or summary.n_epochs < _FEWEST_FOR_RATIO:
        return None
    coming = trend(summary).gain
    end = "no longer falls"
    if coming.at_least(SURE) > 0 and coming.mean > _WORTH_TELLING:
        end = f"would fall by only {share(coming.mean)} with {_TIMES:.0f} times the epochs"
    return (
        f"Even on the training rows, the loss is {share(loss)} of the "
        f"{summary.reference_name}, and the held-out loss {end}."
    )


def _gain_over_constant(summary: Summary) -> Estimate:
    """Return how far the held-out loss lies below that of a constant prediction."""
    gain = summary.estimate(summary.reference - summary.valid_best, summary.reference)
    if target_variances(summary) is None:
        return gain
    # Unlike losses, R2 does not depend on the variance of a fold's targets.
    r2 = smooth(summary.score)[:, summary.best_epoch]
    of_r2 = summary.estimate(summary.reference * r2, summary.reference)
    return max(gain, of_r2, key=lambda own: own.at_least(_CONFIDENCE))


def check_baseline(summary: Summary) -> Finding:
    """Check whether the network beats a constant prediction: an issue if not."""
    rule = RULES["no better than the baseline"]
    if not summary.has_baseline:
        return rule.not_applicable("The loss of a constant prediction is unknown.")
    if not summary.has_valid:
        return rule.not_applicable("No held-out loss is available.")
    gain = _gain_over_constant(summary)
    evidence = {
        "baseline_loss": summary.reference,
        "valid_loss": summary.reference - gain.mean,
        "gain": gain.mean,
        "gain_error": gain.error,
    }
    learnt = gain.mean / summary.reference
    if learnt > _LEAST_LEARNT and gain.at_least(_CONFIDENCE) > 0:
        return rule.passed(
            f"The held-out loss is {share(learnt)} below that of a constant prediction.",
            evidence,
        )
    remedy = (
        "Check that the features carry information about the target, and that features "
        "and target are prepared correctly."
    )
    unclear = "the held-out loss is not clearly below that of a constant prediction."
    if summary.n_epochs < 2:
        return rule.tip("medium", f"After one epoch, {unclear}", evidence, remedy)
    above = float(summary.train_end.mean()) / summary.reference
    is_above = above > _ABOVE and not summary.is_weighted
    if is_above and not restraints(summary.params):
        return _not_there_yet(summary, above, evidence)
    # Without regularisation a network may overfit before it learns anything useful.
    if learnt > _LEAST_LEARNT or is_improving(summary) or is_free(summary.params):
        message = "The held-out loss is not below that of a constant prediction."
        if learnt > 0:
            message = (
                f"The held-out loss is {share(learnt)} below that of a constant "
                "prediction, which may be chance."
            )
        return rule.tip("medium", message, evidence, remedy)
    # The network then fits chance patterns, which regularisation reduces.
    steps = regularise(summary.params, summary.best_epoch + 1, summary.n_epochs)
    return rule.issue(
        "high",
        f"Even at its best epoch, {unclear}",
        evidence,
        remedy,
        *in_steps(() if restraints(summary.params) else steps),
    )


# Multiple of a constant prediction's loss above which training has not yet reached it.
_ABOVE = 1.05
# Multiple of the optimizer's typical learning rate above which steps may be too large.
RAISED_RATE = 2.0


def _not_there_yet(
    summary: Summary, above: float, evidence: Mapping[str, float]
) -> Finding:
    """Return the finding of a training loss above a constant prediction's."""
    curve = summary.mean("raw_train")
    falls = bool(curve[-1] < 0.98 * curve[len(curve) // 2])
    is_fast = (relative_rate(summary.params) or 0.0) >= RAISED_RATE
    message = f"The training loss is {above:.3g} times that of a constant prediction"
    longer = longer_training(summary.params, summary.n_epochs, _TIMES)
    steps: Steps = (lower_rate(summary.params),)
    if falls and not is_fast:
        steps = (longer, raise_rate(summary.params))
    rule = RULES["no better than the baseline"]
    # Then "still improving" is the issue.
    make = rule.tip if is_improving(summary) else rule.issue
    return make(
        "high",
        f"{message}, and still falls." if falls else f"{message}.",
        evidence,
        "Scale the features if they are not scaled, then train for longer."
        if falls and not is_fast
        else "Scale the features if they are not scaled, then lower the learning rate.",
        *in_steps(steps),
    )
