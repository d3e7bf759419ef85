# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The verdict in plain words, the scores that it rests on, and the page of a fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from sk_tune._text import counted, seconds_text
from sk_tune.automl._chosen import Score
from sk_tune.report import (
    Cell,
    Page,
    PageColumn,
    PageTable,
    Reproduction,
    ScoreLine,
    fit_code,
    number_cells,
    package_versions,
    value_text,
)


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
        helps = best.mean - networks.mean > _spread(networks)
        more = ": the other members help." if helps else ", about as much."
        score = format_score(networks.mean, scale)
        sentences.append(f"The networks alone would give {score}{more}")
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
    # Rounded numbers are compared, so that no gap of 0.023 is more than a spread of 0.023.
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


_WHAT = {
    "dummy": "looks at no column",
    "linear": "the best of its kind",
    "boosting": "the best of its kind",
    "best model": "the best by itself, in each fold the one that is best in the others",
    "networks": "the best average of networks",
    "ensemble": "the best average of all models",
}
_FAMILIES = ("linear", "boosting")
# Part of the spread over the folds that makes no model better than another.
_NO_DIFFERENCE = 0.1
_OF_SCORES = (
    "Scores are means over the folds, from the mean less to the mean plus the standard "
    "deviation over the folds."
)
# Parameters of a model that are not folded.
_MOST_PARAMS = 3


def auto_page(auto: Any, *, title: str, usage: str) -> Page:
    """Return the page of a fitted AutoClassifier or AutoRegressor."""
    expected = auto.corrected_score_
    scoring = auto.scoring or ("accuracy" if hasattr(auto, "classes_") else "r2")
    metric = "R²" if scoring == "r2" else str(scoring)
    lines = [
        ScoreLine(s.name, s.mean, s.mean - s.std, s.mean + s.std, _WHAT[s.name], s.held_out)
        for s in auto.scores_.values()
    ]
    lines.append(
        ScoreLine(
            "to expect",
            expected.score,
            expected.low,
            expected.high,
            f"of the ensemble on new data, {100 * expected.confidence:.0f} % interval",
        )
    )
    code = ["predictions = auto.predict(X_new)"]
    if hasattr(auto, "predict_proba"):
        code.append("probabilities = auto.predict_proba(X_new)")
    took = seconds_text(auto.seconds_)
    return Page(
        title=title or type(auto).__name__,
        subtitle=f"{counted(auto.n_trials_, 'configuration')} in {took}",
        metric=metric,
        headline=_headline(auto, metric),
        verdict=auto.verdict_,
        notes=[
            _OF_SCORES,
            *(f"{name} was not trained: {why}" for name, why in auto.failures_.items()),
        ],
        scores=lines,
        quality=auto._quality,
        usage=usage or "\n".join(code),
        columns=auto.columns_,
        searches=[
            replace(part, key=f"search-{k}-", title=name)
            for k, (name, part) in enumerate(auto._searches.items())
        ],
        changes=[str(change) for change in auto.changes_],
        models=_models(auto.leaderboard_, metric),
        checks=[found for found in auto.findings_ if found.is_of_leaks],
        reproduction=Reproduction(
            versions=package_versions(),
            seeds={"random_state": value_text(auto.random_state)},
            cv=value_text(auto.cv),
            data={},
            code=fit_code(auto, "auto"),
        ),
    )


def _headline(auto: Any, metric: str) -> str:
    """Name the best model there is by its score in the folds, and what predicts."""
    if not auto.beats_baseline_:
        return ""
    scores = {name: score for name, score in auto.scores_.items() if name != "dummy"}
    ensemble, scale = scores["ensemble"], scale_of([*scores.values()])
    best = _best(scores)
    predicting = scores.get("best model" if auto.use == "best" else auto.use, ensemble)
    name, used = (_name(score, auto.leaderboard_) for score in (best, predicting))
    text = f"{name}, with {metric} {format_score(best.mean, scale)}"
    if name == used:
        return f"The best model is {text}."
    used = "the ensemble" if predicting is ensemble else used
    return (
        f"The best model in the folds is {text}; {used}, which predicts, has "
        f"{format_score(predicting.mean, scale)}."
    )


def _name(score: Score, board: pd.DataFrame) -> str:
    """Return what a score is of: one model, or several with their weights."""
    if score.name == "networks":
        return "the average of the networks alone"
    if score.name == "ensemble":
        members = board[board["weight"] > 0].sort_values("weight", ascending=False)
        names = [f"{name} ({100 * own:.0f} %)" for name, own in members["weight"].items()]
        if len(names) > 1:
            return f"the ensemble of {', '.join(names[:-1])} and {names[-1]}"
        return f"{members.index[0]} alone"
    single = board[board["family"] != "ensemble"]
    if score.name in _FAMILIES:
        single = single[single["family"] == score.name]
    return f"{single['cv_score'].idxmax()} alone"


def _best(scores: Mapping[str, Score]) -> Score:
    """Return the highest score; of those as good the linear model's, or the ensemble's."""
    ensemble, linear = scores["ensemble"], scores.get("linear")
    highest = max(scores.values(), key=lambda score: (score.mean, score is ensemble))
    least = highest.mean - _NO_DIFFERENCE * _spread(ensemble)
    if linear is not None and linear.mean >= max(least, ensemble.mean):
        return linear
    return ensemble if ensemble.mean >= least else highest


def _models(board: pd.DataFrame, metric: str) -> PageTable:
    numbers = [
        (metric, "cv_score", 4, "mean over the folds"),
        ("std", "cv_std", 2, "standard deviation over the folds"),
        ("seconds", "seconds", 2, "of the fits of all folds"),
        ("weight", "weight", 2, "in the ensemble"),
    ]
    columns = [
        PageColumn(name="rank", is_number=True, hint="by the mean score"),
        PageColumn(name="model", is_number=False),
        *(PageColumn(name=name, is_number=True, hint=hint) for name, _, _, hint in numbers),
        PageColumn(name="parameters", is_number=False),
    ]
    cells = zip(*(number_cells(board[key], n) for _, key, n, _ in numbers), strict=True)
    models = zip(board.index, board["in_ensemble"], board["params"], cells, strict=True)
    rows = []
    for rank, (name, is_member, params, of_model) in enumerate(models, start=1):
        texts = [f"{key}={value_text(value)}" for key, value in params.items()]
        given = Cell(text=", ".join(texts), is_long=True)
        # Many are folded, or their rows would fill the page.
        if len(texts) > _MOST_PARAMS:
            given = Cell(text=f"{len(texts)} parameters", details="\n".join(texts))
        row = [Cell(text=str(rank), key=str(rank)), Cell(text=name), *of_model, given]
        rows.append(("best" if is_member else "", row))
    return PageTable(columns=columns, rows=rows)
