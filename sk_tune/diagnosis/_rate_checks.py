# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks of the learning rate: losses that run away, jump or creep."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sk_tune.diagnosis._curves import Summary, log_ratio
from sk_tune.diagnosis._findings import RULES, Finding, share
from sk_tune.diagnosis._fit_checks import RAISED_RATE, SURE, trend
from sk_tune.diagnosis._remedies import (
    clipped,
    in_steps,
    is_free,
    lower_rate,
    raise_rate,
    relative_rate,
    restraints,
)

# Rates by the optimizer's typical one.  From the first on, a network that overfits from its
# first epochs on does so because of its steps; from the second on, one that learns nothing
# is stuck; below the third a training that has hardly begun is explained.
_HIGH_RATE, _TINY_RATE = 7.0, 0.05


def check_diverged(summary: Summary) -> Finding:
    """Look for losses that are infinite or rose far above the first: an issue if so."""
    first, end = (float(np.sort(summary.raw_train[:, i]).mean()) for i in (0, -1))
    evidence = {"train_loss": end, "first": first, "reference": summary.reference}
    if not summary.is_finite:
        return diverged("A loss became infinite or NaN.", evidence, summary.params)
    if end <= max(1.2 * first, 3 * summary.reference):
        return RULES["diverged"].passed(
            "All losses are finite, and the training loss did not rise far.", evidence
        )
    return diverged(
        f"The training loss rose to {end / first:.3g} times that of the first epoch.",
        evidence,
        summary.params,
    )


def diverged(
    message: str, evidence: Mapping[str, float], params: Mapping[str, Any]
) -> Finding:
    remedy = "Lower the learning rate, or clip the gradient."
    steps = in_steps((lower_rate(params), clipped(params)))
    return RULES["diverged"].issue("high", message, evidence, remedy, *steps)


def check_rate_high(summary: Summary) -> Finding:
    """Look for a training loss that jumps: an issue if the learning rate is too high."""
    rule = RULES["learning rate too high"]
    if summary.n_epochs < 2:
        return rule.not_applicable("One epoch does not show how the loss moves.")
    curve = summary.mean("raw_train")
    steps = np.diff(curve)
    rises = float(steps[steps > 0].sum())
    evidence = {
        "peak": float(curve.max()) / summary.reference,
        "jaggedness": rises / max(float(np.ptp(curve)), 1e-12 * summary.reference),
        "rises_by_epoch": rises / summary.reference / summary.n_epochs,
        "level": float(curve[-1]) / summary.reference,
    }
    relative = relative_rate(summary.params)
    if relative is not None:
        evidence["rate_by_typical"] = relative
    causes = [*_jumps(summary, evidence), *_too_much(summary, relative, evidence)]
    if not causes:
        return rule.passed("The training loss is driven down steadily.", evidence)
    return rule.issue(
        "high",
        f"The learning rate is too high: {', and '.join(causes)}.",
        evidence,
        "Lower the learning rate.",
        *in_steps((lower_rate(summary.params), clipped(summary.params))),
    )


def _jumps(summary: Summary, evidence: Mapping[str, float]) -> Iterator[str]:
    """Yield what the training loss shows."""
    # Networks that are held back have high and jagged losses at usual rates, too.
    suspect = _HIGH_RATE if restraints(summary.params) else RAISED_RATE
    is_raised = evidence.get("rate_by_typical", suspect) >= suspect
    # Losses start near the constant prediction's: one that gets far above it was thrown
    # there by steps that are too long.  At a usual rate it must get higher.
    # Without a raised rate or a rise it may have started there.
    rose = is_raised or float(np.argmax(summary.mean("raw_train"))) > 0
    if evidence["peak"] > (2 if is_raised else 5) and rose:
        yield (
            f"the training loss reached {evidence['peak']:.3g} times that of a constant "
            "prediction"
        )
    # A loss goes up and down a little by the chance of its batches.  It does not follow its
    # gradient if the sum of its rises is so much of its fall, and of the constant
    # prediction's loss in each epoch.
    is_jagged = evidence["jaggedness"] > 0.25 and evidence["rises_by_epoch"] > 0.02
    if is_raised and is_jagged and summary.n_epochs >= 5:
        part = share(evidence["jaggedness"])
        yield f"the rises of the training loss are {part} of its fall"


def _too_much(
    summary: Summary, relative: float | None, evidence: Mapping[str, float]
) -> Iterator[str]:
    """Yield what a rate that is known to be high explains."""
    if relative is None or relative < RAISED_RATE:
        return
    said = f"at {relative:.3g} times the usual one"
    if not summary.has_valid:
        if relative >= _HIGH_RATE and summary.raw_train[:, -1].mean() > summary.reference:
            yield f"nothing is learnt {said}"
        return
    best = float(summary.valid_best.mean()) / summary.reference
    rise = float(np.median(log_ratio(summary.valid_end, summary.valid_best)))
    turns_early = (
        not is_free(summary.params)
        and rise > math.log1p(0.08)
        and summary.best_epoch < 4
        and summary.n_epochs >= 10
    )
    # Some networks, small ones above all, bear a rate that is extreme; then the training
    # loss must also go up and down by a share of its fall, or rise.
    is_rough = evidence["jaggedness"] > 0.15 or evidence["peak"] > 1.3
    if best > 0.985:
        # Where there is nothing to be learnt, held-out losses rise at any rate.
        if relative >= _HIGH_RATE:
            yield f"nothing is learnt {said}"
    elif turns_early:
        yield f"the held-out loss rises from epoch {summary.best_epoch + 2} on {said}"
    elif best > 0.1 and relative >= (12 if is_rough else 50):
        yield f"{share(best)} of a constant prediction's loss is left {said}"


def check_rate_low(summary: Summary) -> Finding:
    """Look for a loss that hardly moves: an issue if the learning rate is too low."""
    rule = RULES["learning rate too low"]
    if summary.n_epochs < 4:
        return rule.not_applicable("There are too few epochs to tell slow from short.")
    relative = relative_rate(summary.params)
    train = summary.train
    first, half, end = (
        float(np.sort(values).mean())
        for values in (train[:, 0], summary.at_share(train, 0.5), train[:, -1])
    )
    # The first epoch's mean is a fall already; before it a network is hardly better than
    # a constant.
    start = max(first, summary.reference)
    # The share of the fall that is in the first half of the training.
    early = (start - half) / (start - end) if start > end else 1.0
    left = float(summary.train_end.mean()) / summary.reference
    evidence = {"early_share": early, "left": left}
    if relative is None:
        # Half of a straight line's fall is in the first half of the training, nearly all of
        # a curve's that arrives; and slowness is a problem if much is left.
        is_slow = early < 0.75 and left > 0.2 and _still_falls(summary)
    else:
        evidence["rate_by_typical"] = relative
        # Rate or epochs, of which small networks need 30: the one further below the usual.
        is_low = relative < min(0.25, summary.n_epochs / 30)
        is_low &= relative < _TINY_RATE or not restraints(summary.params)
        is_slow = is_low and _still_falls(summary, relative)
        is_slow |= relative < _TINY_RATE and left > 0.9
    if not is_slow:
        return rule.passed("The loss falls as fast as can be expected.", evidence)
    return rule.issue(
        "high",
        f"The training loss still is {share(left)} of a constant prediction's, and creeps "
        "down.",
        evidence,
        "Raise the learning rate.",
        raise_rate(summary.params),
    )


def _still_falls(summary: Summary, relative: float = 0.0) -> bool:
    """Return whether training and held-out losses fall until the end."""
    if not summary.has_valid:
        return bool(np.diff(summary.mean("train"))[-1] < 0)
    coming = trend(summary)
    # The last part of the training brought so much of all that was learnt, or four times
    # the training would take so much off a loss, which was not trained for long already.
    is_much = is_steep = coming.of_learnt > 0.18
    is_much |= coming.gain.mean > 0.08 and summary.n_epochs < 60
    if relative >= _TINY_RATE:
        # Most networks arrive with a rate that is low but not tiny.  It must be seen that
        # this one does not: its loss falls as in a straight line, or hardly any is left,
        # which training went on to lower all the time.
        left = float(summary.train_end.mean()) / summary.reference
        is_much &= (is_steep and coming.ratio >= 0.95) or left < 0.25
    falls = is_much and coming.gain.at_least(SURE) > 0
    return summary.is_least_late and falls and summary.carries_over
