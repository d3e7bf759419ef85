# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What one call found, as what is on its page."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any

import pandas as pd

from sk_tune._text import seconds_text
from sk_tune.automl._verdict import Score, format_score, scale_of
from sk_tune.report import (
    Cell,
    Page,
    PageColumn,
    PageTable,
    Reproduction,
    ScoreLine,
    SearchPart,
    fit_code,
    number_cells,
    package_versions,
    value_text,
)

__all__ = ["auto_page"]

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
    """Return the page of a fitted AutoClassifier or AutoRegressor.

    Without a `title` that is the name of the estimator, without `usage` what it says.
    """
    own = auto.corrected_score_
    metric = "accuracy" if hasattr(auto, "classes_") else "r2"
    metric = metric if auto.scoring is None else str(auto.scoring)
    lines = [_score_line(score) for score in auto.scores_.values()]
    lines.append(
        ScoreLine(
            "to expect",
            own.score,
            own.low,
            own.high,
            f"of the ensemble on new data, {own.confidence:.0%} interval",
        )
    )
    n = auto.n_trials_
    took = seconds_text(auto.seconds_)
    return Page(
        title=title or type(auto).__name__,
        subtitle=f"{n} configuration{'s' if n != 1 else ''} in {took}",
        metric=metric,
        headline=_headline(auto, metric),
        verdict=auto.verdict_,
        notes=[
            _OF_SCORES,
            *(f"{name} was not trained: {why}" for name, why in auto.failures_.items()),
        ],
        scores=lines,
        quality=auto._quality,
        usage=usage or _usage(auto),
        columns=auto.columns_,
        searches=[*_searches(auto)],
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


def _score_line(score: Score) -> ScoreLine:
    ends = score.mean - score.std, score.mean + score.std
    return ScoreLine(score.name, score.mean, *ends, _WHAT[score.name], score.held_out)


def _headline(auto: Any, metric: str) -> str:
    """Name the best model there is by its score in the folds, and what predicts."""
    if not auto.beats_baseline_:
        return ""
    scores = {name: score for name, score in auto.scores_.items() if name != "dummy"}
    ensemble, scale = scores["ensemble"], scale_of([*scores.values()])
    best = _best(scores)
    predicting = scores.get("best model" if auto.use == "best" else auto.use, ensemble)
    name, own = (_name(score, auto.leaderboard_) for score in (best, predicting))
    text = f"{name}, with {metric} {format_score(best.mean, scale)}"
    if name == own:
        return f"The best model is {text}."
    own = "the ensemble" if predicting is ensemble else own
    return (
        f"The best model in the folds is {text}; {own}, which predicts, has "
        f"{format_score(predicting.mean, scale)}."
    )


def _name(score: Score, board: pd.DataFrame) -> str:
    """Return what a score is of: one model, or several with their weights."""
    if score.name == "networks":
        return "the average of the networks alone"
    if score.name == "ensemble":
        members = board[board["weight"] > 0].sort_values("weight", ascending=False)
        names = [f"{name} ({weight:.0%})" for name, weight in members["weight"].items()]
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
    least = highest.mean
    if ensemble.std == ensemble.std:
        least -= _NO_DIFFERENCE * ensemble.std
    if linear is not None and linear.mean >= max(least, ensemble.mean):
        return linear
    return ensemble if ensemble.mean >= least else highest


def _usage(auto: Any) -> str:
    lines = ["predictions = auto.predict(X_new)"]
    if hasattr(auto, "predict_proba"):
        lines.append("probabilities = auto.predict_proba(X_new)")
    return "\n".join(lines)


def _searches(auto: Any) -> Iterator[SearchPart]:
    """Yield what the best search of each kind of network tried, by its name."""
    for k, (name, part) in enumerate(auto._searches.items()):
        yield replace(part, key=f"search-{k}-", title=name)


def _models(board: pd.DataFrame, metric: str) -> PageTable:
    rows = [{"model": name, **own} for name, own in board.to_dict("index").items()]
    numbers = [
        (metric, "cv_score", 4, "mean over the folds"),
        ("std", "cv_std", 2, "standard deviation over the folds"),
        ("seconds", "seconds", 2, "of the fits of all folds"),
        ("weight", "weight", 2, "in the ensemble"),
    ]
    cells = [number_cells(rows, itemgetter(key), digits) for _, key, digits, _ in numbers]
    columns = [
        PageColumn(name="rank", is_number=True, hint="by the mean score"),
        PageColumn(name="model", is_number=False),
    ]
    columns += [
        PageColumn(name=name, is_number=True, hint=hint) for name, _, _, hint in numbers
    ]
    columns.append(PageColumn(name="parameters", is_number=False))
    return PageTable(
        columns=columns,
        rows=[
            (
                "best" if row["in_ensemble"] else "",
                [
                    Cell(text=str(rank), key=str(rank)),
                    Cell(text=row["model"]),
                    *(cell(row) for cell in cells),
                    _params_cell(row["params"]),
                ],
            )
            for rank, row in enumerate(rows, start=1)
        ],
    )


def _params_cell(params: Mapping[str, Any]) -> Cell:
    """Return parameters as text; many are folded, or their rows would fill the page."""
    texts = [f"{name}={value_text(value)}" for name, value in params.items()]
    if len(texts) <= _MOST_PARAMS:
        return Cell(text=", ".join(texts), is_long=True)
    return Cell(text=f"{len(texts)} parameters", details="\n".join(texts))
