# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How the best candidate compares with the baselines, and the next step from there."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sk_tune._diagnosis import Finding, verdict
from sk_tune._report._quality import Baseline
from sk_tune._report._search_trials import number_text
from sk_tune._scores import ScoreEstimate

RIVALS = {
    "dummy": "the dummy, which ignores all columns",
    "linear": "the linear model",
}


class Scored(Protocol):
    """Mean and standard deviation of a candidate's score over the folds."""

    @property
    def score(self) -> float: ...
    @property
    def std(self) -> float: ...


class Comparison(NamedTuple):
    """Whether the best candidate beats the better baseline, in words; "" if unknown."""

    text: str = ""
    advice: str = ""
    is_worse: bool = False  # clearly behind


def comparison(
    best: Scored | None,
    expected: ScoreEstimate | None,
    baselines: Sequence[Baseline],
    *,
    n_candidates: int,
) -> Comparison:
    """Return whether the best candidate beats the better baseline.

    A baseline is beaten if its mean is below the interval of the expected score; without an
    interval, if it is more than a standard deviation over the folds below the best mean.
    """
    if best is None:
        none = f"None of {n_candidates} candidates" if n_candidates > 1 else "No candidate"
        return Comparison(f"{none} has a score, so none can be chosen.")
    rivals = [b for b in baselines if b.mean == b.mean]
    if not rivals:
        return Comparison()
    # A candidate that beats the better baseline beats both.
    rival = max(rivals, key=lambda baseline: baseline.mean)
    if expected is None or are_two_kinds(best, expected):
        # A pooled score is not comparable with the means over the folds of baselines.
        low, high = best.score - best.std, best.score + best.std
        better = "more than this standard deviation above"
        mean, std = number_text(best.score, 3), number_text(best.std, 2)
        start = f"The mean over the folds, {mean} ± {std},"
    else:
        low, high = expected.low, expected.high
        start, better = "The expected score", "clearly higher than"
    what = f"the score of {RIVALS[rival.name]} ({number_text(rival.mean, 3)})"
    if low > rival.mean:
        return Comparison(f"{start} is {better} {what}.")
    is_worse = high < rival.mean
    relation = "lower than" if is_worse else "not clearly different from"
    text = f"{start} is {relation} {what}."
    if rival.name == "dummy":
        return Comparison(f"{text} The candidates show no gain on new rows.")
    advice = f"Prefer the {'' if is_worse else 'simpler '}linear model."
    return Comparison(text, advice, is_worse)


def are_two_kinds(best: Scored, expected: ScoreEstimate) -> bool:
    """Return whether the mean over folds and the pooled score differ much."""
    return abs(expected.naive_score - best.score) > (expected.high - expected.low) / 2


def next_step(leaks: Sequence[Finding], findings: Sequence[Finding]) -> Finding | None:
    """Return the finding with the most urgent remedy, or None without an urgent remedy."""
    first = [f for f in leaks if f.outcome == "issue"]
    first += [verdict(findings)] if findings else []
    return next((f for f in first if f.outcome in {"issue", "tip"} and f.remedy), None)


def step_of_search(
    findings: Sequence[Finding], against: Comparison, *, is_network: bool
) -> Finding | None:
    """Return the most urgent remedy of the best candidate.

    The linear model comes first if a network is clearly behind it, and last if a network
    is not clearly ahead.
    """
    step = next_step((), findings)
    if not is_network or not against.advice:
        return step
    if step is not None and not against.is_worse:
        return step
    remedy = against.advice
    if step is not None:
        remedy += f" To improve the network: {step.remedy}"
    return Finding(
        name=f"{'worse' if against.is_worse else 'no better'} than the linear model",
        code="",
        outcome="tip",
        severity="medium",
        message=against.text,
        remedy=remedy,
    )
