# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The verdict in plain words."""

import math
from collections.abc import Mapping, Sequence

from sk_tune.automl._chosen import Score


def format_score(score: float, scale: float = 1.0) -> str:
    """Return a score with three decimals, or three digits beside scores of unusual size."""
    if math.isnan(score):
        return "n/a"
    return f"{score:.3f}" if 0.05 <= scale < 1000 else f"{score:.3g}"


def scale_of(scores: Sequence[Score]) -> float:
    """Return the size of the largest of some scores; 1 if none is known."""
    return max((abs(s.mean) for s in scores if not math.isnan(s.mean)), default=1.0)


def verdict(scores: Mapping[str, Score], n_leaks: int = 0) -> str:
    """Return in plain words whether the ensemble is worth having; leaks come first."""
    if n_leaks:
        reasons = "a reason" if n_leaks == 1 else f"{n_leaks} reasons"
        return (
            f"The leak guard found {reasons} why these scores may be too good to be true. "
            f"{verdict(scores)}"
        )
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
        helps = best.mean - networks.mean > spread(networks)
        more = ": the other members help." if helps else ", about as much."
        score = format_score(networks.mean, scale)
        sentences.append(f"The networks alone would give {score}{more}")
    return " ".join(filter(None, sentences))


def spread(score: Score) -> float:
    """Return the spread over the folds, 0 where one held-out part does not tell it."""
    return 0.0 if math.isnan(score.std) else score.std


def _against_linear(best: Score, linear: Score | None, scale: float) -> str:
    if linear is None or math.isnan(linear.mean):
        return "The ensemble beats the dummy. There is no linear model to compare with."
    gap = best.mean - linear.mean
    amount = format_score(abs(gap), scale)
    margin = f"the spread over the folds, {format_score(best.std, scale)}"
    if gap <= 0:
        lower = f"{amount} lower" if float(amount) else "no higher"
        return (
            f"The ensemble does not beat the linear model: its CV score is {lower}. "
            "Prefer the linear model, which is simpler; it predicts with use='linear'."
        )
    # Rounded numbers are compared, so that no gap of 0.023 is more than a spread of 0.023.
    if gap <= spread(best) or amount == format_score(best.std, scale):
        return (
            f"The ensemble does not clearly beat the linear model: it is ahead by "
            f"{amount}, which is within {margin}. The linear model is "
            "simpler; it predicts with use='linear'."
        )
    text = f"The ensemble beats the linear model by {amount}, more than {margin}."
    if math.isnan(best.std):
        text = (
            f"The ensemble beats the linear model by {amount} on one held-out part, which "
            "does not tell how much scores vary."
        )
    if best.held_out <= linear.held_out:
        text += " But on the rows set aside it does not, so take that with caution."
    return text


def _against_one(best: Score, alone: Score, scale: float) -> str:
    """Say if the best model alone beats the ensemble, on samples that chose neither."""
    one, all_, where = alone.held_out, best.held_out, "on the rows set aside"
    if math.isnan(one) or math.isnan(all_):
        one, all_, where = alone.mean, best.mean, "in the folds"
        if math.isnan(alone.std):
            where = "on the held-out part"
    mine, theirs = format_score(one, scale), format_score(all_, scale)
    if not one > all_ or mine == theirs:
        return ""
    return (
        f"The best model alone has a higher score than the ensemble {where}, {mine} "
        f"against {theirs}. Consider it, which is simpler; it predicts with use='best'."
    )
