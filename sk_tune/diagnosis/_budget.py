# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether the epochs were too few, or more than needed.

The gain of another doubling of the training is taken to be that of the last doubling times
the ratio of the last two: exact for a power law, with or without a floor, if gains are
differences, and without one if they are differences of logarithms.  These are used, because
they cannot promise a loss below 0.  Training is measured in learning rate spent, not in
epochs, because a schedule that ends at 0 makes every curve flat at its end.
"""

from dataclasses import dataclass

import numpy as np

from sk_tune.diagnosis._check import CHECKS, share
from sk_tune.diagnosis._records import Finding
from sk_tune.diagnosis._remedies import longer_training
from sk_tune.diagnosis._summary import Estimate, Summary, estimate, smooth

__all__ = ["Trend", "check_converged", "check_improving", "trend"]

# A doubling of the epochs that takes less than this off the held-out loss is hardly worth
# its time; more than the second is a gain that no other single change is likely to beat.
WORTH_A_TIP = 0.05
WORTH_AN_ISSUE = 0.12
# A loss that is this small a part of the constant prediction's may still halve, but
# there is next to nothing left to gain.
SMALL_LOSS = 0.03
# Two points before the last are needed to see a curve bend.
FEWEST_EPOCHS = 4
# How the last doubling's gain goes on where its ratio to the one before is not known.
UNKNOWN_RATIO = 0.5
# The loss counts as arrived once it is within this share of all its fall.
ARRIVED = 0.02
# Epochs after that which are a waste if they are this share of all.
WASTED = 0.6
FEWEST_EPOCHS_TO_WASTE = 10
# More epochs than this at once are not proposed.
_MOST_TIMES = 4.0
# As a share of the reference; a logarithm needs a loss above 0.
_LEAST_LOSS = 1e-9


@dataclass(frozen=True, slots=True)
class Trend:
    """What another doubling of the training would bring.

    Parameters
    ----------
    gain : Estimate
        Fall of the held-out loss, as a share of it.
    ratio : float
        Gain of a doubling by that of the one before.
    """

    gain: Estimate
    ratio: float


def trend(summary: Summary) -> Trend:
    """Extrapolate the held-out loss by another doubling of the training.

    Parameters
    ----------
    summary : Summary
        With a held-out loss.

    Returns
    -------
    Trend
        Of a gain of at least 0 in the mean.
    """
    floor = _LEAST_LOSS * summary.reference
    curves = np.log(np.maximum(smooth(summary.valid), floor))
    quarter, half, end = (summary.at_share(curves, s) for s in (0.25, 0.5, 1.0))
    last = half - end
    before = float(np.sort(quarter - half).mean())
    now = float(np.sort(last).mean())
    if before > 0:
        ratio = float(np.clip(now / before, 0.0, 1.0))
    else:
        # A curve that was flat and now falls has only begun.
        ratio = UNKNOWN_RATIO if before == 0 else 1.0
    gain = estimate(1 - np.exp(-np.maximum(last, 0.0) * ratio), 1.0)
    return Trend(gain, ratio)


def check_improving(summary: Summary) -> Finding:
    """Look for a held-out loss that would fall further.

    Parameters
    ----------
    summary : Summary
        Of one configuration.

    Returns
    -------
    Finding
        An issue or a tip if more epochs would help.
    """
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
            longer_training(summary.params, summary.n_epochs, 2 * _MOST_TIMES),
        )
    is_small = level < SMALL_LOSS * summary.reference
    is_sure = coming.gain.at_least(0.9) > 0
    said = (
        f"Twice the epochs would lower the held-out loss by about {share(coming.gain.mean)}"
    )
    if is_small or not is_sure or coming.gain.mean < WORTH_A_TIP:
        return check.passed(
            f"{said}, which is not worth them."
            if is_sure
            else "The held-out loss no longer falls beyond the folds' noise.",
            evidence,
        )
    factor = _MOST_TIMES if coming.gain.mean > WORTH_AN_ISSUE else 2.0
    changes = longer_training(summary.params, summary.n_epochs, factor)
    remedy = f"Train for {factor:.0f} times as many epochs."
    if coming.gain.mean < WORTH_AN_ISSUE:
        return check.tip("low", f"{said}.", evidence, remedy, changes)
    return check.issue("medium", f"{said}.", evidence, remedy, changes)


def check_converged(summary: Summary) -> Finding:
    """Look for epochs in which nothing was learnt any more.

    Parameters
    ----------
    summary : Summary
        Of one configuration.

    Returns
    -------
    Finding
        A tip if most epochs were of no use.
    """
    check = CHECKS["converged long ago"]
    if not summary.has_valid or summary.n_epochs < FEWEST_EPOCHS_TO_WASTE:
        return check.not_applicable("There are too few epochs to spare any.")
    curve = smooth(summary.mean("valid"))
    least = float(curve.min())
    fall = float(curve[0]) - least
    arrived = 1 + int(np.argmax(curve <= least + ARRIVED * fall))
    wasted = 1 - arrived / summary.n_epochs
    evidence = {"n_epochs": summary.n_epochs, "arrived": arrived, "wasted": wasted}
    if fall <= 0 or wasted < WASTED:
        return check.passed("The epochs were put to use.", evidence)
    return check.tip(
        "low",
        f"The held-out loss had arrived after {arrived} of {summary.n_epochs} epochs.",
        evidence,
        f"Train for about {2 * arrived} epochs, or stop early.",
    )
