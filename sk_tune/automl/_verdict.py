# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What was found, in plain words, and the scores that it rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Score", "format_score", "scale_of", "verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How an estimator did; greater is better.

    Parameters
    ----------
    name : {"dummy", "linear", "boosting", "networks", "best model", "ensemble"}
        What was scored.
    mean, std : float
        Mean and standard deviation of the score over the folds; NaN if it cannot be taken,
        the deviation also if there is one held-out part instead of folds.
    held_out : float
        Score on rows that were set aside; NaN without any.
    lead : float, default=nan
        Low end of the 95 % interval of how far it is ahead of the dummy on the same rows;
        infinite without a dummy, NaN where it was not asked for.
    """

    name: str
    mean: float
    std: float
    held_out: float
    lead: float = math.nan

    @property
    def beats_dummy(self) -> bool:
        """Whether it is clearly ahead of the dummy: what verdict and attributes go by."""
        return self.lead > 0


def format_score(score: float, scale: float = 1.0) -> str:
    """Return a score in few digits.

    Parameters
    ----------
    score : float
        Any score.
    scale : float, default=1.0
        Size of the scores that it stands beside.

    Returns
    -------
    str
        Three decimals beside scores of usual size, else three significant digits.
    """
    if math.isnan(score):
        return "n/a"
    return f"{score:.3f}" if 0.05 <= scale < 1000 else f"{score:.3g}"


def scale_of(scores: Sequence[Score]) -> float:
    """Return the size of the largest of some scores.

    Parameters
    ----------
    scores : sequence of Score
        Any.

    Returns
    -------
    float
        1 if none is known.
    """
    return max((abs(s.mean) for s in scores if not math.isnan(s.mean)), default=1.0)


def verdict(scores: Mapping[str, Score], n_leaks: int = 0) -> str:
    """Return in plain words whether the ensemble is worth having.

    Parameters
    ----------
    scores : mapping of str to Score
        By name; "dummy" and "ensemble" at least.
    n_leaks : int, default=0
        Findings of the leak guard of what makes scores too good.

    Returns
    -------
    str
        One to six sentences, and one on leaks in front of them.
    """
    text = _of_scores(scores)
    if not n_leaks:
        return text
    reasons = "a reason" if n_leaks == 1 else f"{n_leaks} reasons"
    return (
        f"The leak guard found {reasons} why these scores may be too good to be true. "
        f"{text}"
    )


def _of_scores(scores: Mapping[str, Score]) -> str:
    best = scores["ensemble"]
    alone, networks = scores.get("best model"), scores.get("networks")
    scale = scale_of(list(scores.values()))
    if alone is None:
        return (
            "No model was trained but the dummy, which looks at no column: whether these "
            "columns help to predict the target is not known."
        )
    if not best.beats_dummy:
        if alone.beats_dummy:
            return (
                "The ensemble does not clearly beat the dummy, which looks at no column. "
                f"The best model alone does: {format_score(alone.mean, scale)} against "
                f"{format_score(best.mean, scale)} of the ensemble. It "
                "predicts with use='best'."
            )
        return (
            "Nothing clearly beats the dummy, which looks at no column: nothing in these "
            "columns that helps to predict the target was found."
        )
    sentences = [_against_linear(best, scores.get("linear"), scale)]
    sentences.append(_against_one(best, alone, scale))
    if networks is None:
        sentences.append("No network was trained.")
    else:
        sentences.append(_of_networks(best, networks, scale))
    return " ".join(filter(None, sentences))


def _spread(score: Score) -> float:
    """Return the spread over the folds, 0 where one held-out part does not tell it."""
    return 0.0 if math.isnan(score.std) else score.std


def _against_linear(best: Score, linear: Score | None, scale: float) -> str:
    if linear is None or math.isnan(linear.mean):
        return "The ensemble beats the dummy. There is no linear model to compare with."
    gap = best.mean - linear.mean
    amount = format_score(abs(gap), scale)
    spread = f"the spread over the folds, {format_score(best.std, scale)}"
    if gap <= 0:
        lower = f"{amount} lower" if float(amount) else "no higher"
        return (
            f"The ensemble does not beat the linear model: its CV score is {lower}. "
            "Prefer the linear model, which is simpler; it predicts with use='linear'."
        )
    # As they are read, so that no gap of 0.023 is more than a spread of 0.023.
    if gap <= _spread(best) or amount == format_score(best.std, scale):
        return (
            f"The ensemble does not clearly beat the linear model: it is ahead by "
            f"{amount}, which is within {spread}. The linear model is "
            "simpler; it predicts with use='linear'."
        )
    text = f"The ensemble beats the linear model by {amount}, more than {spread}."
    if math.isnan(best.std):
        text = (
            f"The ensemble beats the linear model by {amount} on one held-out part, which "
            "does not tell how much scores vary."
        )
    if best.held_out <= linear.held_out:
        text += " But on the rows set aside it does not, so take that with caution."
    return text


def _against_one(best: Score, alone: Score, scale: float) -> str:
    """Say if the best model alone is better than the ensemble, on rows that chose none."""
    own, others, where = alone.held_out, best.held_out, "on the rows set aside"
    if math.isnan(own) or math.isnan(others):
        own, others, where = alone.mean, best.mean, "in the folds"
        if math.isnan(alone.std):
            where = "on the held-out part"
    mine, theirs = format_score(own, scale), format_score(others, scale)
    if not own > others or mine == theirs:
        return ""
    return (
        f"The best model alone has a higher score than the ensemble {where}, {mine} "
        f"against {theirs}. Consider it, which is simpler; it predicts with use='best'."
    )


def _of_networks(best: Score, networks: Score, scale: float) -> str:
    gap = best.mean - networks.mean
    own = format_score(networks.mean, scale)
    if gap > _spread(networks):
        return f"The networks alone would give {own}: the other members help."
    return f"The networks alone would give {own}, about as much."
