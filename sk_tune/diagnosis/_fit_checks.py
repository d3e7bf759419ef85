# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks of a network's curves: its epochs and its fit.

Training is measured in learning rate spent, not in epochs, because a schedule that ends at
0 makes every curve flat at its end.  Each time that it grows by the square root of 2, the
logarithm of the loss falls; the ratio of the last two falls tells how the next ones
shrink.  A power law falls by the same each time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sk_tune.diagnosis._curves import (
    NOTHING,
    Estimate,
    Summary,
    least_by_chance,
    log_ratio,
    smooth,
)
from sk_tune.diagnosis._findings import RULES, Finding, Severity, share
from sk_tune.diagnosis._remedies import (
    FEWEST_EPOCHS,
    Steps,
    described,
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

# Confidence that there is a gain at all; folds often disagree on how large it is.
SURE = 0.9
# A loss that is this small a part of the constant prediction's may still halve, but
# there is next to nothing left to gain, and it is that of a few samples.
_SMALL_LOSS = 0.06
# Further than two doublings a curve cannot be extrapolated by its last one.
_TIMES = 4.0
# Share of the learning rate that is spent before a schedule slows down by half.  What falls
# after that does so because steps are smaller, and would do so at the end of any training.
_STEADY = 0.8


@dataclass(frozen=True, slots=True)
class Trend:
    """The gain that four times the training would bring.

    `gain` is the fall of the held-out loss by two more doublings, as a share of it; `ratio`
    the last fall divided by the one before; `of_learnt` the last fall as a share of all
    that was learnt.
    """

    gain: Estimate
    ratio: float
    of_learnt: float


def trend(summary: Summary) -> Trend:
    """Extrapolate the held-out loss to four times the training; the gain is not below 0."""
    floor = NOTHING * summary.reference
    curves = np.log(np.maximum(smooth(summary.valid), floor))
    # Fewer epochs do not show by what ratio falls shrink; the last one is all there is.
    if summary.n_epochs < 4:
        first = middle = curves[:, max(summary.n_epochs - 2, 0)]
        last = curves[:, -1]
    else:
        end = _STEADY if summary.is_annealed else 1.0
        shares = (0.5 * end, 0.5**0.5 * end, end)
        first, middle, last = (summary.at_share(curves, s) for s in shares)
    falls = middle - last
    before, now = float(np.sort(first - middle).mean()), float(np.sort(falls).mean())
    if before > 0:
        ratio = float(np.clip(now / before, 0.0, 1.0))
    else:
        # A curve that was flat and now falls has only begun.
        ratio = 0.8 if before == 0 else 1.0
    coming = np.maximum(falls, 0.0) * sum(ratio**k for k in range(1, 5))
    gain = summary.estimate(1 - np.exp(-coming), 1.0)
    level = math.exp(float(np.sort(last).mean()))
    learnt = max(summary.reference - level, NOTHING * summary.reference)
    return Trend(gain, ratio, level * math.expm1(max(now, 0.0)) / learnt)


def is_improving(summary: Summary) -> bool:
    """Return whether more epochs are sure to help much: the loss falls, and is not low."""
    coming = trend(summary)
    is_brief = summary.n_epochs < FEWEST_EPOCHS
    # Four times the epochs are worth it if they take the first of these shares off the
    # held-out loss, or if the last fall is the second share of all that was learnt, which
    # is that of a training that has hardly begun. Most long curves that still fall soon
    # turn, and a schedule that ends with a low rate is laid out to arrive.
    worth, much = 0.5, 0.5
    if is_brief:
        worth, much = 0.05, 0.05
    elif summary.is_annealed:
        worth, much = 0.9, math.inf
    is_much = coming.gain.mean > worth or coming.of_learnt > much
    return (
        is_much
        and summary.is_least_late
        and (is_brief or summary.carries_over)
        and coming.gain.at_least(SURE) > 0
        and (is_brief or summary.valid_level > _SMALL_LOSS * summary.reference)
    )


def check_improving(summary: Summary) -> Finding:
    """Look for a held-out loss that would fall further: an issue or a tip if so."""
    rule = RULES["still improving"]
    if not summary.has_valid:
        return rule.not_applicable("There is no held-out loss to extrapolate.")
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
    said = (
        f"{_TIMES:.0f} times the epochs would lower the held-out loss by about "
        f"{share(coming.gain.mean)}"
    )
    is_issue = is_improving(summary)
    is_tip = is_sure and coming.gain.mean > 0.2
    is_tip &= level > _SMALL_LOSS * summary.reference
    if not (is_issue or is_tip):
        return rule.passed(
            f"{said}, which is not worth them."
            if is_sure
            else "The held-out loss no longer falls beyond the folds' noise.",
            evidence,
        )
    # An extrapolation of many epochs is less far off in shares, and they cost more.
    factor = _TIMES if is_issue and summary.n_epochs < FEWEST_EPOCHS else 2.0
    changes = longer_training(summary.params, summary.n_epochs, factor)
    remedy = f"Train for {factor:.0f} times as many epochs."
    if factor < _TIMES:
        remedy = f"Begin with {factor:.0f} times as many epochs, and look again."
    if not is_issue:
        return rule.tip("low", f"{said}.", evidence, remedy, changes)
    return rule.issue("medium", f"{said}.", evidence, remedy, changes)


def check_converged(summary: Summary) -> Finding:
    """Look for epochs in which nothing was learnt any more: a tip if most were so."""
    rule = RULES["converged long ago"]
    if not summary.has_valid or summary.n_epochs < 15:
        return rule.not_applicable("There are too few epochs to spare any.")
    curve = smooth(summary.mean("valid"))
    least = float(curve.min())
    learnt = max(summary.reference - least, 0.0)
    # Above its least by these shares of that, and of what was learnt in all, it has
    # arrived; or by a share of a constant prediction's loss that hardly any score shows.
    near = max(min(0.03 * least, 0.15 * learnt), 0.002 * summary.reference)
    arrived = 1 + int(np.argmax(curve <= least + near))
    wasted = 1 - float(summary.spent[arrived - 1] / summary.spent[-1])
    evidence = {"n_epochs": summary.n_epochs, "arrived": arrived, "wasted": wasted}
    # Share of all learning rate that was spent after that.
    if wasted < 0.55:
        return rule.passed("The epochs were put to use.", evidence)
    return rule.tip(
        "low",
        "The held-out loss stopped improving after "
        f"{arrived} of {summary.n_epochs} epochs.",
        evidence,
        f"Train for about {2 * arrived} epochs, or stop early.",
    )


_ONE_EPOCH = "One epoch shows no trend."
# Folds must agree on the rise.  What it usually varies by between them is taken into
# account, because three of them tell little of that.
_USUAL_SPREAD = 0.1
_CONFIDENCE = 0.9
# Share of a constant prediction's loss that the best of all epochs lies below it by chance.
_LEAST_LEARNT = 0.015


def check_overfitting(summary: Summary) -> Finding:
    """Look for a held-out loss that rises beyond noise while the training loss falls."""
    rule = RULES["overfitting"]
    if not summary.has_valid:
        return rule.not_applicable("There is no held-out loss to compare with.")
    if summary.n_epochs < 2:
        return rule.not_applicable(_ONE_EPOCH)
    best = summary.best_epoch
    steps = in_steps(regularise(summary.params, best + 1, summary.n_epochs))
    remedy = described(steps[0])
    least = float(np.sort(summary.valid_best).mean())
    rises = log_ratio(summary.valid_end, summary.valid_best) - least_by_chance(summary)
    rise = summary.estimate(rises, usual=_USUAL_SPREAD)
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
    # Next to no training loss, while much of the constant prediction's is left on others.
    by_heart = relative_gap > 0.97 and summary.valid_end.mean() > 0.3 * summary.reference
    # Below this share of its least the loss rises on any curve by chance.
    if falls and rise.at_least(_CONFIDENCE) > 0 and relative > 0.05:
        message = (
            f"The held-out loss rose by {share(relative)} after epoch {best + 1}, while "
            "the training loss fell."
        )
        # Above this a network is past its best, and sooner if nothing regularises it.
        limit = 0.06 if is_free(summary.params) else 0.12
        if relative <= limit or summary.keeps_best:
            return rule.tip("low", message, evidence, remedy, *steps)
        severity: Severity = "high" if relative > 0.5 else "medium"
        return rule.issue(severity, message, evidence, remedy, *steps)
    in_vain = _learns_in_vain(summary, float(train[best]))
    if (by_heart or in_vain) and not summary.keeps_best:
        return rule.issue(
            "medium",
            f"The training loss fell to {share(1 - relative_gap)} of the held-out loss, "
            f"which gained nothing after epoch {best + 1}.",
            evidence,
            remedy,
            *steps,
        )
    return rule.passed("The held-out loss does not rise beyond its noise.", evidence)


def _learns_in_vain(summary: Summary, train_at_best: float) -> bool:
    """Return whether the training loss falls much after an early best epoch.

    That is learning by heart, even if the held-out loss hardly rises.
    """
    since = 1 - float(summary.train_end.mean()) / max(train_at_best, 1e-12)
    is_early = summary.best_epoch + 1 < summary.n_epochs / 2
    return is_free(summary.params) and is_early and since > 0.3


def check_underfitting(summary: Summary, larger: Summary | None = None) -> Finding:
    """Look for losses that both stay high.

    An issue if not even the training samples are fitted. `larger` summarises the best
    larger network on the same folds, if one was trained.
    """
    rule = RULES["underfitting"]
    if not summary.has_valid:
        return rule.not_applicable("There is no held-out loss to compare with.")
    if summary.n_epochs < 2:
        return rule.not_applicable(_ONE_EPOCH)
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
        if ahead.at_least(_CONFIDENCE) <= 0:
            return rule.passed("Larger networks of the search do no better.", evidence)
        by = ahead.mean / float(summary.valid_end.mean())
        if by > 0.1:
            reason = (
                f"A larger network of the search has a held-out loss lower by {share(by)}."
            )
    if reason is None and summary.params.get("augmentation"):
        return rule.not_applicable("The training loss is of changed rows (augmentation).")
    reason = reason or _poor_fit(summary, left, relative_gap)
    if reason is None:
        return rule.passed("The training rows are fitted.", evidence)
    remedy = "Take a larger network, or regularise less; or find better features."
    changes = larger_network(summary.params)
    if "ahead" not in evidence and summary.params and not restraints(summary.params):
        # It may as well be all that there is to learn.
        return rule.tip("medium", reason, evidence, remedy, changes)
    return rule.issue("medium", reason, evidence, remedy, changes)


# A gain below this share of the loss is not worth telling.
_WORTH_TELLING = 0.01


def _poor_fit(summary: Summary, left: float, relative_gap: float) -> str | None:
    """Return why a network's curves say that it underfits, or None."""
    held_back = restraints(summary.params)
    # A network that is known to be tiny, or regularised beyond what is usual, is suspected
    # before others are.
    if held_back and left > 0.03 and relative_gap < 0.3:
        return (
            f"{share(left)} of a constant prediction's loss is left on the training rows, "
            f"and the network is held back by {' and '.join(held_back)}."
        )
    learnt = 1 - float(summary.valid_best.mean()) / summary.reference
    # Without regularisation any network that could learn more fits its training samples
    # better than others: a gap as small as this says that it could not.
    is_poor = left > 0.35 and relative_gap < 0.05 and learnt > _LEAST_LEARNT
    if not is_poor or is_improving(summary):
        return None
    coming = trend(summary).gain
    end = "no longer falls"
    if coming.at_least(SURE) > 0 and coming.mean > _WORTH_TELLING:
        end = f"would fall by {share(coming.mean)} only with {_TIMES:.0f} times the epochs"
    return (
        f"{share(left)} of a constant prediction's loss is left even on the training "
        f"rows, and the held-out loss {end}."
    )


def check_baseline(summary: Summary) -> Finding:
    """Look for a network that is no better than a constant prediction: an issue if so."""
    rule = RULES["no better than the baseline"]
    if not summary.has_baseline:
        return rule.not_applicable("The loss of a constant prediction is not known.")
    if not summary.has_valid:
        return rule.not_applicable("There is no held-out loss to compare with.")
    gain = summary.estimate(summary.reference - summary.valid_best, summary.reference)
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
    above = float(summary.train_end.mean()) / summary.reference
    if above > _ABOVE and not restraints(summary.params):
        return _not_there_yet(summary, above, evidence)
    remedy = "Check that the features tell of the target, and that both are prepared."
    if summary.n_epochs < 2:
        message = "After one epoch the held-out loss is not below a constant prediction's."
        return rule.tip("medium", message, evidence, remedy)
    # Without any regularisation a network may overfit before it has learnt anything else.
    if learnt > _LEAST_LEARNT or is_improving(summary) or is_free(summary.params):
        return rule.tip(
            "medium",
            f"The held-out loss is only {share(learnt)} below that of a constant "
            "prediction, which may be chance.",
            evidence,
            remedy,
        )
    # Anything learnt nevertheless is chance, and makes the network worse than the constant.
    steps = regularise(summary.params, summary.best_epoch + 1, summary.n_epochs)
    return rule.issue(
        "high",
        "Even at its best the held-out loss is not below that of a constant prediction.",
        evidence,
        remedy,
        *in_steps(() if restraints(summary.params) else steps),
    )


# Share of a constant prediction's loss above which training has not come down to it.
_ABOVE = 1.05
# Learning rates by the optimizer's typical one, from which on steps may be too long.
RAISED_RATE = 2.0


def _not_there_yet(
    summary: Summary, above: float, evidence: Mapping[str, float]
) -> Finding:
    """Describe a training loss above that of a constant prediction, falling or not."""
    curve = summary.mean("raw_train")
    falls = bool(curve[-1] < 0.98 * curve[len(curve) // 2])
    is_fast = (relative_rate(summary.params) or 0.0) >= RAISED_RATE
    said = f"The training loss is {above:.3g} times that of a constant prediction"
    longer = longer_training(summary.params, summary.n_epochs, _TIMES)
    steps: Steps = (lower_rate(summary.params),)
    if falls and not is_fast:
        steps = (longer, raise_rate(summary.params))
    rule = RULES["no better than the baseline"]
    # That more epochs help is a finding of its own then.
    make = rule.tip if is_improving(summary) else rule.issue
    return make(
        "high",
        f"{said}, and still falls." if falls else f"{said}.",
        evidence,
        "Scale the features, if they are not; then train for longer."
        if falls and not is_fast
        else "Scale the features, if they are not; then lower the learning rate.",
        *in_steps(steps),
    )
