# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether training is driven too fast, too slowly, or off the road."""

import numpy as np

from sk_tune.diagnosis._budget import trend
from sk_tune.diagnosis._check import CHECKS, share
from sk_tune.diagnosis._records import Finding
from sk_tune.diagnosis._remedies import lower_rate, number, raise_rate, typical_rate
from sk_tune.diagnosis._summary import Summary

__all__ = ["check_diverged", "check_rate_high", "check_rate_low"]

# A training loss at the end this many times the constant prediction's is no network.
EXPLODED = 3.0
# Training losses start near the constant prediction's.  One that gets to this many times
# as much on the way was thrown there by steps that are too long.
SPIKE = 2.0
# Sum of the rises of the training loss as a share of its fall: a training loss that goes up
# and down by so much does not follow its gradient.
JAGGED = 0.25
# A training loss that stays this close to the constant prediction's has learnt nothing.
STUCK = 0.97
# Rates below this share of the optimizer's typical one explain slowness.
LOW_RATE = 0.15
# Rates above this many times the typical one explain a network that is stuck.
HIGH_RATE = 5.0
# Share of the way to the end's loss that lies in the first half of the training: half of it
# for a straight line, nearly all for a curve that arrives.
STRAIGHT = 0.75
# What is left of the constant prediction's loss when slowness is a problem.
LEFT = 0.2


def check_diverged(summary: Summary) -> Finding:
    """Look for losses that are infinite or far beyond where they started.

    Parameters
    ----------
    summary : Summary
        Of one configuration.

    Returns
    -------
    Finding
        An issue if training diverged.
    """
    check = CHECKS["diverged"]
    end = float(np.sort(summary.raw_train[:, -1]).mean())
    evidence = {"train_loss": end, "reference": summary.reference}
    if not summary.is_finite:
        return check.issue(
            "high",
            "A loss became infinite or NaN.",
            evidence,
            "Lower the learning rate, or clip the gradient.",
            lower_rate(summary.params),
        )
    if end > EXPLODED * summary.reference:
        return check.issue(
            "high",
            f"The training loss ends at {end / summary.reference:.3g} times that of a "
            "constant prediction.",
            evidence,
            "Lower the learning rate, or clip the gradient.",
            lower_rate(summary.params),
        )
    return check.passed("All losses are finite and below where they began.", evidence)


def check_rate_high(summary: Summary) -> Finding:
    """Look for a training loss that is thrown about.

    Parameters
    ----------
    summary : Summary
        Of one configuration.

    Returns
    -------
    Finding
        An issue if the learning rate is too high.
    """
    check = CHECKS["learning rate too high"]
    if summary.n_epochs < 2:
        return check.not_applicable("One epoch does not show how the loss moves.")
    curve = summary.mean("raw_train")
    peak = float(curve.max()) / summary.reference
    steps = np.diff(curve)
    rises = float(steps[steps > 0].sum())
    jagged = rises / max(float(np.ptp(curve)), 1e-12 * summary.reference)
    level = float(curve[-1]) / summary.reference
    rate = number(summary.params, "learning_rate")
    is_high = rate is not None and rate > HIGH_RATE * typical_rate(summary.params)
    evidence = {"peak": peak, "jaggedness": jagged, "level": level}
    causes = []
    if peak > SPIKE:
        causes.append(f"it rose to {peak:.3g} times the loss of a constant prediction")
    if jagged > JAGGED and summary.n_epochs >= 5:
        causes.append(f"its rises are {share(jagged)} of its fall")
    if level > STUCK and is_high:
        causes.append("nothing was learnt at a rate that is unusually high")
    if not causes:
        return check.passed("The training loss is driven down steadily.", evidence)
    return check.issue(
        "high" if level > STUCK or peak > SPIKE else "medium",
        f"The training loss does not follow its gradient: {', and '.join(causes)}.",
        evidence,
        "Lower the learning rate.",
        lower_rate(summary.params),
    )


def check_rate_low(summary: Summary) -> Finding:
    """Look for a training loss that creeps.

    Parameters
    ----------
    summary : Summary
        Of one configuration.

    Returns
    -------
    Finding
        An issue if the learning rate is too low.
    """
    check = CHECKS["learning rate too low"]
    if summary.n_epochs < 4:
        return check.not_applicable("There are too few epochs to tell slow from short.")
    train = summary.train
    first, half, end = (
        float(np.sort(values).mean())
        for values in (train[:, 0], summary.at_share(train, 0.5), train[:, -1])
    )
    # The first epoch's mean is a fall already; before it a network is hardly better than
    # a constant.
    start = max(first, summary.reference)
    fall = start - end
    early = (start - half) / fall if fall > 0 else 1.0
    left = end / summary.reference
    rate = number(summary.params, "learning_rate")
    relative = None if rate is None else rate / typical_rate(summary.params)
    evidence = {"early_share": early, "left": left}
    if relative is not None:
        evidence["rate_by_typical"] = relative
    is_falling = fall > 0 and (not summary.has_valid or trend(summary).gain.mean > 0)
    is_slow = early < STRAIGHT if relative is None else relative < LOW_RATE
    if not (is_falling and is_slow and left > LEFT):
        return check.passed("The loss falls as fast as can be expected.", evidence)
    return check.issue(
        "high",
        f"The training loss still is {share(left)} of a constant prediction's, and creeps "
        "down.",
        evidence,
        "Raise the learning rate.",
        raise_rate(summary.params),
    )
