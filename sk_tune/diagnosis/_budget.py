# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether the epochs were too few, or more than needed.

Training is measured in learning rate spent, not in epochs, because a schedule that ends at
0 makes every curve flat at its end.  Each time that it grows by the square root of 2, the
logarithm of the loss falls; the ratio of the last two falls tells how the next ones
shrink.  A power law falls by the same each time.
"""

import math
from dataclasses import dataclass

import numpy as np

from sk_tune.diagnosis._check import CHECKS, share
from sk_tune.diagnosis._records import Finding
from sk_tune.diagnosis._remedies import longer_training
from sk_tune.diagnosis._summary import Estimate, Summary, smooth

__all__ = ["Trend", "check_converged", "check_improving", "is_improving", "trend"]

# Four times the epochs are worth a tip if they take the first of these shares off the
# held-out loss.  They are the remedy from the second on, if the training had fewer epochs
# than such networks usually need; if it had more it takes the third, because most curves
# that still fall then soon turn.
WORTH_A_TIP = 0.2
WORTH_AN_ISSUE = 0.05
WORTH_AN_ISSUE_IF_LONG = 0.5
BRIEF = 10
# A schedule that ends with a low rate is laid out to arrive at the end of its epochs,
# however steeply the loss falls before that; only this share says that it did not.
WORTH_AN_ISSUE_IF_ANNEALED = 0.9
# A last fall of this share of all that was learnt is that of a training which has hardly
# begun, even if it is a small share of the loss.
MUCH_OF_LEARNT = 0.05
MUCH_OF_LEARNT_IF_LONG = 0.5
# A loss that still falls is least in the last part of the epochs.
LATE = 0.8
# Confidence that there is a gain at all; folds often disagree on how large it is.
SURE = 0.9
# A loss that is this small a part of the constant prediction's may still halve, but
# there is next to nothing left to gain, and it is that of a few rows.
SMALL_LOSS = 0.06
# Fewer epochs do not show by what ratio falls shrink; the last one is all there is.
FEWEST_EPOCHS = 4
# How falls go on where the ratio of the last two is not known.
UNKNOWN_RATIO = 0.8
# The held-out loss has arrived once it is above its least by these shares of that, and of
# what was learnt in all; or by this share of a constant prediction's loss, which hardly
# any score shows.
ARRIVED = 0.03
ARRIVED_OF_LEARNT = 0.15
ARRIVED_OF_REFERENCE = 0.002
# Training after that is a waste if this share of all learning rate was spent in it.
WASTED = 0.55
FEWEST_EPOCHS_TO_WASTE = 15
# Further than two doublings a curve cannot be extrapolated by its last one.
_TIMES = 4.0
# Share of the learning rate that is spent before a schedule slows down by half.  What falls
# after that does so because steps are smaller, and would do so at the end of any training.
_STEADY = 0.8
# As a share of the reference; a logarithm needs a loss above 0.
_LEAST_LOSS = 1e-9


@dataclass(frozen=True, slots=True)
class Trend:
    """What four times the training would bring.

    `gain` is the fall of the held-out loss by two more doublings, as a share of it; `ratio`
    the last fall divided by the one before; `of_learnt` the last fall as a share of all
    that was learnt.
    """

    gain: Estimate
    ratio: float
    of_learnt: float


def trend(summary: Summary) -> Trend:
    """Extrapolate the held-out loss to four times the training.

    The mean gain is at least 0.
    """
    floor = _LEAST_LOSS * summary.reference
    curves = np.log(np.maximum(smooth(summary.valid), floor))
    if summary.n_epochs < FEWEST_EPOCHS:
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
        ratio = UNKNOWN_RATIO if before == 0 else 1.0
    coming = np.maximum(falls, 0.0) * sum(ratio**k for k in range(1, 5))
    gain = summary.estimate(1 - np.exp(-coming), 1.0)
    level = math.exp(float(np.sort(last).mean()))
    learnt = max(summary.reference - level, _LEAST_LOSS * summary.reference)
    return Trend(gain, ratio, level * math.expm1(max(now, 0.0)) / learnt)


def is_improving(summary: Summary) -> bool:
    """Return whether more epochs are sure to help much.

    The held-out loss falls, and is not low.
    """
    coming = trend(summary)
    level = float(np.sort(summary.valid_end).mean())
    is_brief = summary.n_epochs < BRIEF
    if is_brief:
        worth, much = WORTH_AN_ISSUE, MUCH_OF_LEARNT
    elif summary.is_annealed:
        worth, much = WORTH_AN_ISSUE_IF_ANNEALED, math.inf
    else:
        worth, much = WORTH_AN_ISSUE_IF_LONG, MUCH_OF_LEARNT_IF_LONG
    is_much = coming.gain.mean > worth or coming.of_learnt > much
    is_late = summary.best_epoch + 1 >= LATE * summary.n_epochs
    return (
        is_much
        and is_late
        and (is_brief or summary.carries_over)
        and coming.gain.at_least(SURE) > 0
        and (is_brief or level > SMALL_LOSS * summary.reference)
    )


def check_improving(summary: Summary) -> Finding:
    """Look for a held-out loss that would fall further: an issue or a tip if so."""
    check = CHECKS["still improving"]
    if not summary.has_valid:
        return check.not_applicable("There is no held-out loss to extrapolate.")
    coming = trend(summary)
    level = float(np.sort(summary.valid_end).mean())
    evidence = {
        "n_epochs": summary.n_epochs,
        "valid_loss": level,
        "gain": coming.gain.mean,
        "gain_error": coming.gain.error,
    }
    if summary.n_epochs < 2:
        return check.tip(
            "medium",
            "One epoch shows no trend.",
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
    is_tip = is_sure and coming.gain.mean > WORTH_A_TIP
    is_tip &= level > SMALL_LOSS * summary.reference
    if not (is_issue or is_tip):
        return check.passed(
            f"{said}, which is not worth them."
            if is_sure
            else "The held-out loss no longer falls beyond the folds' noise.",
            evidence,
        )
    # What is extrapolated from many epochs is less far off in shares, and costs more.
    factor = _TIMES if is_issue and summary.n_epochs < BRIEF else 2.0
    changes = longer_training(summary.params, summary.n_epochs, factor)
    remedy = f"Train for {factor:.0f} times as many epochs."
    if factor < _TIMES:
        remedy = f"Begin with {factor:.0f} times as many epochs, and look again."
    if not is_issue:
        return check.tip("low", f"{said}.", evidence, remedy, changes)
    return check.issue("medium", f"{said}.", evidence, remedy, changes)


def check_converged(summary: Summary) -> Finding:
    """Look for epochs in which nothing was learnt any more.

    A tip if most were of no use.
    """
    check = CHECKS["converged long ago"]
    if not summary.has_valid or summary.n_epochs < FEWEST_EPOCHS_TO_WASTE:
        return check.not_applicable("There are too few epochs to spare any.")
    curve = smooth(summary.mean("valid"))
    least = float(curve.min())
    learnt = max(summary.reference - least, 0.0)
    near = min(ARRIVED * least, ARRIVED_OF_LEARNT * learnt)
    near = max(near, ARRIVED_OF_REFERENCE * summary.reference)
    arrived = 1 + int(np.argmax(curve <= least + near))
    wasted = 1 - float(summary.spent[arrived - 1] / summary.spent[-1])
    evidence = {"n_epochs": summary.n_epochs, "arrived": arrived, "wasted": wasted}
    if wasted < WASTED:
        return check.passed("The epochs were put to use.", evidence)
    return check.tip(
        "low",
        f"The held-out loss had arrived after {arrived} of {summary.n_epochs} epochs.",
        evidence,
        f"Train for about {2 * arrived} epochs, or stop early.",
    )
