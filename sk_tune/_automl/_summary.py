# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The summary of a fit in a few sentences."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from sk_tune._automl._chosen import ModelScore
from sk_tune._automl._scoring import Scoring
from sk_tune._text import listed
from sk_tune._types import Array

# A class of which less than this share is found needs another threshold.
_FEW_FOUND = 0.25
PREFER_LINEAR = "Prefer the linear model, which is simpler: set use='linear'."


def format_score(score: float, scale: float = 1.0) -> str:
    """Return a score with three decimals; three significant digits at other scales."""
    if math.isnan(score):
        return "n/a"
    if 1000 <= scale < 1e7:
        # Such as errors of prices.
        return f"{float(f'{score:.3g}'):z,.0f}"
    return f"{score:z.3f}" if 0.05 <= scale < 1000 else f"{score:z.3g}"


def scale_of(scores: Sequence[ModelScore]) -> float:
    """Return the largest absolute score; 1 if there is none."""
    return max((abs(s.score) for s in scores if not math.isnan(s.score)), default=1.0)


def threshold_text(auto: Any) -> str:
    """Return the decision rule of a fitted classifier, its fault, or an empty text."""
    value = getattr(auto, "threshold_", 0.5)
    if value != 0.5:
        label = auto.positive_
        return f"{label!r} is predicted if its probability is at least {value:.3g}."
    is_binary = getattr(auto, "positive_", None) is not None
    if not is_binary or not auto.beats_baseline_ or auto._quality is None:
        return ""
    row = int(np.flatnonzero(auto.classes_ == auto.positive_)[0])
    n, n_found = auto._quality.counts[row].sum(), auto._quality.counts[row, row]
    if n_found >= _FEW_FOUND * n:
        return ""
    return (
        f"Only {n_found:,} of {n:,} held-out rows of class {auto.positive_!r} are found, "
        "because few have a probability of 0.5 or more. To find more of them, at "
        "the cost of false alarms, lower the threshold: threshold='balanced_accuracy'."
    )


def summary(
    scores: Mapping[str, ModelScore],
    scoring: Scoring,
    *,
    n_rows: int,
    labels: Array | None = None,
    n_targets: int = 1,
    is_constant: bool = False,
    members: Sequence[str] = (),
    has_networks: bool = True,
    n_leaks: int = 0,
    n_left_out: int = 0,
    shortage: str = "",
    intervals: str = "",
) -> str:
    """Return a summary: whether the columns help, and which model to use.

    `n_rows` is the number of held-out rows; `labels` are classes, None in regression;
    `is_constant` says whether all held-out targets are equal;
    `members` are the trials of the ensemble; `has_networks` says whether networks are among
    them. Leaks come first. `intervals` is a sentence for the end if the columns help.
    `n_left_out` rows were too many for the time budget. `shortage` is the text of
    ``shortage_text``.
    """
    best, loss = scores["ensemble"], "log loss" if labels is not None else "squared error"
    if n_targets > 1:
        loss += " (each target in units of its standard deviation)"
    if is_constant:
        text = (
            f"The target has the same value in all {n_rows:,} held-out rows, which cannot "
            "show whether the columns help to predict it."
        )
    elif "best" not in scores:
        text = (
            "Only the dummy was trained, which ignores all columns, so it is unknown "
            "whether the columns help to predict the target."
        )
    elif not best.beats_dummy:
        dummy = "the mean" if labels is None else "the class shares"
        text = _of_no_gain(scores, scoring, n_rows, loss, dummy)
    elif best.lead <= 0:
        text = _of_no_lead(scores, scoring, labels, loss)
    else:
        text = _of_models(scores, scoring, members, has_networks=has_networks)
    if best.beats_dummy and intervals:
        text = f"{text} {intervals}"
    if is_contradicted(best):
        scale = scale_of(list(scores.values()))
        held_out, in_folds = (format_score(s, scale) for s in (best.held_out, best.score))
        text = (
            f"On the rows set aside the ensemble scores {held_out}, far below {in_folds} "
            f"in the folds, so do not rely on the score in the folds. {text}"
        )
    text = f"{text} {shortage}".strip()
    if n_left_out:
        text += (
            f" The models use a random sample of the rows: {n_left_out:,} rows were left "
            "out, because the time budget is too short."
        )
    if n_leaks:
        reasons = "a reason" if n_leaks == 1 else f"{n_leaks} reasons"
        warning = f"The leak guard found {reasons} why these scores may be too optimistic."
        return f"{warning} {text}"
    return text


def shortage_text(
    budget: float | None, trained: Collection[str], late: Mapping[str, float]
) -> str:
    """Return a sentence if the time sufficed for at most one model, with the remedy.

    `trained` are models besides the dummy; `late` are models without time, with the time
    budget that each needs, infinite if unknown.
    """
    if budget is None or len(trained) > 1 or not late:
        return ""
    done = "".join(f"enough for only one model, {name}, and " for name in trained)
    text = (
        f"The time budget of {budget:g} s was {done}too short for "
        f"{listed([*late], len(late))}. Set a longer time_budget"
    )
    name = min(late, key=late.__getitem__)
    if math.isinf(late[name]):
        return f"{text}."
    needed = max(10 * math.ceil(late[name] / 10), 10 * math.ceil(1.5 * budget / 10))
    return f"{text}; {name} needs about {needed} s."


def should_use_linear(scores: Mapping[str, ModelScore], members: Sequence[str]) -> bool:
    """Return whether an ensemble with other members does not beat the linear model."""
    best, linear = scores["ensemble"], scores.get("linear")
    if linear is None or math.isnan(linear.score) or not best.beats_dummy:
        return False
    if len(members) == 1 and members[0].startswith("linear"):
        return False
    return _is_no_higher(best, linear, scale_of(list(scores.values())))


def is_contradicted(score: ModelScore) -> bool:
    """Return whether rows set aside, a twentieth at least, clearly score lower."""
    # The score on a twentieth of the rows varies 4.5 times as much as the score on all.
    return score.held_out < score.score - 3 * 4.5 / 1.96 * (score.score - score.low)


def _both(one: float, other: float) -> str:
    return f"{format_score(one, other)} against {format_score(other, other)}"


def _evidence(score: ModelScore, dummy: ModelScore, loss: str) -> tuple[str, str]:
    """Return the measure by which a model beats the dummy, and both of its values."""
    if score.loss_lead > 0:
        return loss, _both(score.loss, dummy.loss)
    return "ROC AUC", _both(score.auc, 0.5)


def _of_no_gain(
    scores: Mapping[str, ModelScore], scoring: Scoring, n_rows: int, loss: str, dummy: str
) -> str:
    """Summarise an ensemble that does not clearly beat the dummy."""
    best, alone, constant = scores["ensemble"], scores["best"], scores["dummy"]
    if alone.beats_dummy:
        measure, values = _evidence(alone, constant, loss)
        return (
            f"The ensemble does not clearly beat predicting {dummy}. By {measure} the best "
            f"single model does ({values}); set use='best' to predict with it."
        )
    text = (
        f"No model clearly beats predicting {dummy}: on {n_rows:,} rows the {loss} of the "
        f"ensemble is {_both(best.loss, constant.loss)}"
    )
    if not math.isnan(best.auc):
        text += f", its ROC AUC {_both(best.auc, 0.5)}"
    text += ". This number of rows cannot rule out a small effect."
    if best.lead > 0:
        text += (
            f" By {scoring.text} the ensemble is ahead of the dummy, "
            f"{_both(best.score, constant.score)}, but this alone does not show that the "
            "columns help."
        )
    return text


def _of_no_lead(
    scores: Mapping[str, ModelScore], scoring: Scoring, labels: Array | None, loss: str
) -> str:
    """Summarise columns that help although the score is not higher."""
    measure, values = _evidence(scores["ensemble"], scores["dummy"], loss)
    always = remedy = ""
    if labels is not None and scoring.metric.takes_labels:
        names, counts = np.unique(labels, return_counts=True)
        always = f", which always predicts {names.tolist()[counts.argmax()]!r}"
        score = "roc_auc" if len(names) == 2 else "neg_log_loss"
        remedy = f" Score by ROC AUC or log loss: scoring={score!r}."
        if len(names) == 2:
            remedy += " Or move the threshold: threshold='balanced_accuracy'."
    dummy = "predicting the mean" if labels is None else "predicting the class shares"
    return (
        f"By {scoring.text} the ensemble does not clearly beat the dummy{always}. "
        f"By {measure} it clearly beats {dummy} ({values}), so the columns are "
        f"informative.{remedy}"
    )


def _of_models(
    scores: Mapping[str, ModelScore],
    scoring: Scoring,
    members: Sequence[str],
    *,
    has_networks: bool,
) -> str:
    """Compare the ensemble with the linear model, the best model and the networks."""
    best, linear = scores["ensemble"], scores.get("linear")
    scale = scale_of(list(scores.values()))
    one = members[0] if len(members) == 1 else ""
    if one.startswith("linear"):
        sentences = [
            f"The ensemble consists of the linear model alone ({one}): no other "
            "trained model improves it."
        ]
    else:
        sentences = [f"The ensemble consists of one model, {one}."] if one else []
        sentences.append(_against_linear(best, linear, scale, scoring.text))
    alone = scores["best"]
    # As text, because NaN is not equal to itself.
    is_linear = linear is not None and _values(alone) == _values(linear)
    if not one and not is_linear:
        sentences.append(_against_one(best, alone, scale))
    networks = scores.get("networks")
    if networks is None:
        sentences.append("No network was trained.")
    elif not (one and has_networks):
        helps = best.score - networks.score > spread(networks)
        more = ", lower than the ensemble." if helps else ", about the same."
        if helps and has_networks:
            more = ": the other members help."
        score = format_score(networks.score, scale)
        sentences.append(f"The ensemble of networks alone scores {score}{more}")
    return " ".join(filter(None, sentences))


def spread(score: ModelScore) -> float:
    """Return the standard deviation over the folds; 0 for a single held-out part."""
    return 0.0 if math.isnan(score.std) else score.std


def _values(score: ModelScore) -> str:
    return f"{score.score} {score.held_out}"


def _is_no_higher(one: ModelScore, other: ModelScore, scale: float) -> bool:
    """Return whether a score, as it is displayed, is not higher than another."""
    gap = one.score - other.score
    return gap <= 0 or format_score(gap, scale) == format_score(0.0, scale)


def _against_linear(
    best: ModelScore, linear: ModelScore | None, scale: float, metric: str
) -> str:
    if linear is None or math.isnan(linear.score):
        return "The ensemble beats the dummy. There is no linear model to compare with."
    amount = format_score(abs(best.score - linear.score), scale)
    if _is_no_higher(best, linear, scale):
        is_equal = amount == format_score(0.0, scale)
        lower = "about the same" if is_equal else f"{amount} lower"
        return (
            f"The ensemble does not beat the linear model: its CV score is {lower}. "
            f"{PREFER_LINEAR}"
        )
    if not best.linear_lead > 0:
        return (
            f"The ensemble does not clearly beat the linear model: it is ahead by "
            f"{amount} in {metric}, and the 95 % interval of the difference contains 0. "
            "The linear model is simpler; set use='linear' to predict with it."
        )
    text = (
        f"The ensemble beats the linear model by {amount} in {metric}; the 95 % interval "
        "of the difference is above 0."
    )
    if best.held_out <= linear.held_out:
        text += " On the rows set aside it does not, so the lead is uncertain."
    return text


def _against_one(best: ModelScore, alone: ModelScore, scale: float) -> str:
    """Return a sentence if the best single model scores higher than the ensemble."""
    one, all_, where = alone.held_out, best.held_out, "on the rows set aside"
    if math.isnan(one) or math.isnan(all_):
        one, all_, where = alone.score, best.score, "in the folds"
        if math.isnan(alone.std):
            where = "on the held-out part"
    mine, theirs = format_score(one, scale), format_score(all_, scale)
    if not one > all_ or mine == theirs:
        return ""
    is_clear = abs(one - all_) > spread(best)
    amount = "a higher score than" if is_clear else "about the same score as"
    return (
        f"The best single model has {amount} the ensemble {where} ({mine} against "
        f"{theirs}). It is simpler; set use='best' to predict with it."
    )
