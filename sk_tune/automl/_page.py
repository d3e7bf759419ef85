# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The page of a fit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from sk_tune._text import counted, seconds_text
from sk_tune.automl._chosen import Score
from sk_tune.automl._verdict import format_score, scale_of, spread
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
    least = highest.mean - _NO_DIFFERENCE * spread(ensemble)
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
