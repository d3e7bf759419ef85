# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks of the learning rate: losses that diverge, jump or hardly fall."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sk_tune._diagnosis._curves import Summary, log_ratio
from sk_tune._diagnosis._findings import RULES, Finding, share
from sk_tune._diagnosis._fit_checks import RAISED_RATE, SURE, trend
from sk_tune._diagnosis._remedies import (
    clipped,
    in_steps,
    is_free,
    lower_rate,
    raise_rate,
    relative_rate,
    restraints,
)

# Multiples of the optimizer's typical rate.  Above the first, large steps explain that a
# network does not learn; below the second, the low rate explains a slow start.
_HIGH_RATE, _TINY_RATE = 7.0, 0.05
# From this ratio on, slow networks are as often healthy as at too low a rate.
_LOW_RATE = 0.1


def check_diverged(summary: Summary) -> Finding:
    """Check for losses that are not finite or rose far above the first: an issue if so."""
    first, end = (float(np.sort(summary.raw_train[:, i]).mean()) for i in (0, -1))
    evidence = {"train_loss": end, "first": first, "reference": summary.train_reference}
    if not summary.is_finite:
        return diverged("A loss became infinite or NaN.", evidence, summary.params)
    if end <= max(1.2 * first, 3 * summary.train_reference):
        return RULES["diverged"].passed(
            "All losses are finite, and the training loss did not rise far.", evidence
        )
    return diverged(
        f"The training loss rose from {first:.3g} to {end:.3g}.",
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
    """Check whether the training loss jumps: an issue if the learning rate is too high."""
    rule = RULES["learning rate too high"]
    if summary.n_epochs < 2:
        return rule.not_applicable("One epoch shows no trend.")
    curve = summary.mean("raw_train")
    steps = np.diff(curve)
    rises, reference = float(steps[steps > 0].sum()), summary.train_reference
    evidence = {
        "peak": float(curve.max()) / reference,
        "jaggedness": rises / max(float(np.ptp(curve)), 1e-12 * reference),
        "rises_by_epoch": rises / reference / summary.n_epochs,
        "level": float(curve[-1]) / reference,
    }
    relative = relative_rate(summary.params)
    if relative is not None:
        evidence["rate_by_typical"] = relative
    causes = [*_jumps(summary, evidence), *_too_much(summary, relative, evidence)]
    if not causes:
        return rule.passed(
            "The training loss shows no sign of steps that are too large.", evidence
        )
    return rule.issue(
        "high",
        f"The learning rate seems too high: {', and '.join(causes)}.",
        evidence,
        "Lower the learning rate.",
        *in_steps((lower_rate(summary.params), clipped(summary.params))),
    )


def _jumps(summary: Summary, evidence: Mapping[str, float]) -> Iterator[str]:
    """Yield signs of too large steps in the training loss."""
    # Restricted networks have high and jagged losses at usual rates, too.
    suspect = _HIGH_RATE if restraints(summary.params) else RAISED_RATE
    is_raised = evidence.get("rate_by_typical", suspect) >= suspect
    # Losses start near a constant prediction's, so too large steps explain a loss far above
    # it. At a usual rate the limit is higher, and the loss must also have risen, because it
    # may have started there.
    rose = is_raised or float(np.argmax(summary.mean("raw_train"))) > 0
    if evidence["peak"] > (2 if is_raised else 5) and rose:
        yield (
            f"the training loss reached {evidence['peak']:.3g} times the "
            f"{summary.train_reference_name}"
        )
    # Losses vary a little with their random batches. Larger rises, as a share of the fall
    # and, per epoch, of the constant prediction's loss, show steps that do not follow the
    # gradient.
    is_jagged = evidence["jaggedness"] > 0.25 and evidence["rises_by_epoch"] > 0.02
    if is_raised and is_jagged and summary.n_epochs >= 5:
        part = share(evidence["jaggedness"])
        yield f"increases of the training loss add up to {part} of its range"


def _too_much(
    summary: Summary, relative: float | None, evidence: Mapping[str, float]
) -> Iterator[str]:
    """Yield signs that the rate, which is known to be high, explains."""
    if relative is None or relative < RAISED_RATE:
        return
    pace = f"at {relative:.3g} times the usual rate"
    if not summary.has_valid:
        if relative >= _HIGH_RATE and evidence["level"] > 1:
            yield f"the network does not learn {pace}"
        return
    best = float(summary.valid_best.mean()) / summary.reference
    rise = float(np.median(log_ratio(summary.valid_end, summary.valid_best)))
    turns_early = (
        not is_free(summary.params)
        and rise > math.log1p(0.08)
        and summary.best_epoch < 4
        and summary.n_epochs >= 10
    )
    # Some networks, mostly small, tolerate an extreme rate; then the training loss must
    # also be unsteady, or have risen.
    is_rough = evidence["jaggedness"] > 0.15 or evidence["peak"] > 1.3
    if best > 0.985:
        # Without a learnable pattern, held-out losses rise at any rate.
        if relative >= _HIGH_RATE:
            yield f"the network does not learn {pace}"
    elif turns_early:
        yield f"the held-out loss rises from epoch {summary.best_epoch + 2} on, {pace}"
    elif best > 0.1 and relative >= (12 if is_rough else 50):
        yield (
            f"the held-out loss is still {share(best)} of the {summary.reference_name} "
            f"{pace}"
        )


def check_rate_low(summary: Summary) -> Finding:
    """Check whether the loss hardly falls: an issue, or a tip near the typical rate."""
    rule = RULES["learning rate too low"]
    if summary.n_epochs < 4:
        return rule.not_applicable("This check needs 4 epochs.")
    relative = relative_rate(summary.params)
    train = summary.train
    first, half, end = (
        float(np.sort(values).mean())
        for values in (train[:, 0], summary.at_share(train, 0.5), train[:, -1])
    )
    # The mean over the first epoch already includes a fall; an untrained network is hardly
    # better than a constant.
    start = max(first, summary.train_reference)
    # Share of the fall in the first half of the training.
    early = (start - half) / (start - end) if start > end else 1.0
    remaining = float(summary.train_end.mean()) / summary.train_reference
    evidence = {"early_share": early, "left": remaining}
    if relative is None:
        # A straight line has half of its fall in the first half of the training, a
        # converging curve nearly all of it; slow training matters only if much loss
        # remains.
        is_slow = early < 0.75 and remaining > 0.2 and _still_falls(summary)
    else:
        evidence["rate_by_typical"] = relative
        # The limit is lower for short trainings; small networks need about 30 epochs.
        is_low = relative < min(0.25, summary.n_epochs / 30)
        is_low &= relative < _TINY_RATE or not restraints(summary.params)
        is_slow = is_low and _still_falls(summary, relative)
        is_slow |= relative < _TINY_RATE and remaining > 0.9
    if not is_slow:
        return rule.passed("No sign of a learning rate that is too low.", evidence)
    message = (
        f"The training loss is still {share(remaining)} of the "
        f"{summary.train_reference_name}, and falls slowly."
    )
    remedy, changes = "Raise the learning rate.", raise_rate(summary.params)
    if relative is not None and relative >= _LOW_RATE:
        return rule.tip("medium", message, evidence, remedy, changes)
    return rule.issue("high", message, evidence, remedy, changes)


def _still_falls(summary: Summary, relative: float = 0.0) -> bool:
    """Return whether training and held-out losses fall until the end."""
    if not summary.has_valid:
        return bool(np.diff(summary.mean("train"))[-1] < 0)
    coming = trend(summary)
    # The last part of the training has a large share of the total fall, or four times a
    # short training would lower the loss.
    is_much = is_steep = coming.of_learnt > 0.18
    is_much |= coming.gain.mean > 0.08 and summary.n_epochs < 60
    if relative >= _TINY_RATE:
        # Most networks converge at a rate that is low but not tiny. Evidence to the
        # contrary is a fall in a straight line, or a small loss that kept falling.
        remaining = float(summary.train_end.mean()) / summary.train_reference
        is_much &= (is_steep and coming.ratio >= 0.95) or remaining < 0.25
    falls = is_much and coming.gain.at_least(SURE) > 0
    return summary.is_least_late and falls and summary.carries_over
