# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The answer of a search in a few sentences."""

from collections.abc import Sequence

from sk_tune._text import interval_text
from sk_tune.report._records import Baseline, CandidateRow
from sk_tune.report._values import number_text
from sk_tune.search import CorrectedScore

__all__ = ["answer", "interval"]

_WHAT = {"dummy": "the dummy, which looks at no column", "linear": "the linear baseline"}


def answer(
    best: CandidateRow | None,
    corrected: CorrectedScore | None,
    baselines: Sequence[Baseline],
    *,
    n_candidates: int,
) -> str:
    """Return in plain words what was found and whether it is worth having.

    Parameters
    ----------
    best : CandidateRow or None
        The one that was chosen.
    corrected : CorrectedScore or None
        What it is expected to score on new data.
    baselines : sequence of Baseline
        Scores on the same folds.
    n_candidates : int
        That were tried, those of several rungs counted once.

    Returns
    -------
    str
        A sentence on the score, and one on each baseline that it may not beat, else on
        the better of them.

    Notes
    -----
    A baseline is beaten if its mean score is below the interval of the corrected score,
    or below the mean of the best candidate less its standard deviation over the folds
    where no corrected score is at hand.
    """
    if best is None:
        tried = (
            "The candidate" if n_candidates == 1 else f"None of {n_candidates} candidates"
        )
        verb = "has no score" if n_candidates == 1 else "has a score"
        return f"{tried} {verb}: there is nothing to choose."
    low, high = interval(best, corrected)
    known = [b for b in baselines if b.mean == b.mean]
    # The better one, and what beats it beats the other.
    rival = max(known, key=lambda baseline: baseline.mean, default=None)
    score = best.score if corrected is None else corrected.score
    others = [] if rival is None else [rival.mean]
    expected, least, most, *other = interval_text(score, low, high, *others)
    start = f"The best of {n_candidates} candidates is row {best.row} of cv_results_"
    if n_candidates == 1:
        start = "There is one candidate"
    if corrected is None:
        found = f"{start}, with {expected} ± {number_text(best.std, 2)} over the folds."
    else:
        found = (
            f"{start}. On new data, expect {expected}, between {least} and {most} with "
            f"{corrected.confidence:.0%} confidence."
        )
    if rival is None:
        return found
    # Without a correction the spread over folds says nothing of the choice of the best.
    better = "clearly better" if corrected is not None else "better, beyond that spread,"
    return f"{found} {_against(rival, other[0], low, high, better)}"


def interval(best: CandidateRow, corrected: CorrectedScore | None) -> tuple[float, float]:
    """Return between what the score of the best candidate lies.

    Parameters
    ----------
    best : CandidateRow
        The one that was chosen.
    corrected : CorrectedScore or None
        Its corrected score.

    Returns
    -------
    tuple of float
        Ends of the interval of the corrected score, or mean less and plus the standard
        deviation over the folds.
    """
    if corrected is None:
        return best.score - best.std, best.score + best.std
    return corrected.low, corrected.high


def _against(baseline: Baseline, score: str, low: float, high: float, better: str) -> str:
    what = _WHAT[baseline.name]
    if low > baseline.mean:
        return f"That is {better} than {what}, which scores {score}."
    if high < baseline.mean:
        return f"That is worse than {what}, which scores {score}: prefer that."
    advice = "prefer the simpler one" if baseline.name == "linear" else "nothing was learnt"
    return f"That cannot be told from {what}, which scores {score}: {advice}."
