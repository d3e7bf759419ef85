# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The report page of an AutoML fit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sk_tune._automl._chosen import LARGER
from sk_tune._automl._leaderboard import FRONT
from sk_tune._automl._summary import (
    PREFER_LINEAR,
    format_score,
    is_contradicted,
    should_use_linear,
    threshold_text,
)
from sk_tune._diagnosis import Finding
from sk_tune._report import (
    SCORES_ARE_MEANS,
    Cell,
    Page,
    PageColumn,
    PageTable,
    Reproduction,
    ScoreLine,
    data_description,
    expected_line,
    fit_code,
    n_parameters,
    next_step,
    number_cells,
    package_versions,
    parameters_text,
    value_text,
)
from sk_tune._scores import metric_label
from sk_tune._text import counted, seconds_text

_WHAT = {
    "dummy": "ignores all columns",
    "linear": "best linear model, chosen for each fold on the other folds",
    "boosting": "best boosting model, chosen for each fold on the other folds",
    "best": "best single model, chosen for each fold on the other folds",
    "networks": "ensemble of networks only",
    "ensemble": "ensemble of all models; models worse than the dummy are dropped",
}
_KINDS = {"dummy": "dummy", "linear": "linear model", "boosting": "boosting model"}
# Number of parameters above which they are folded.
_MOST_PARAMS = 3


def auto_page(
    auto: Any,
    *,
    title: str = "",
    usage: str = "",
    X: Any = None,
    y: Any = None,
    extra: Sequence[Finding] = (),
) -> Page:
    """Return the page of a fitted AutoClassifier or AutoRegressor.

    `title` and `usage` replace the class name and the code for predictions; `X` and `y`
    are the data of the fit, for their fingerprint; `extra` are findings of a user's checks.
    """
    metric = metric_label(auto.scoring_)
    lines = [
        ScoreLine(name, s.score, s.score - s.std, s.score + s.std, _WHAT[name], s.held_out)
        for name, s in auto.model_scores_.items()
    ]
    expected = expected_line(auto.expected_score_)
    lines.append(expected._replace(what=f"{expected.what} of the ensemble"))
    code = ["predictions = auto.predict(X_new)"]
    if hasattr(auto, "predict_proba"):
        code.append("probabilities = auto.predict_proba(X_new)")
    took = seconds_text(auto.seconds_)
    kind, folds, weights = model_texts(auto)
    return Page(
        title=title or type(auto).__name__,
        subtitle=f"{counted(auto.n_trials_, 'configuration')} in {took}",
        metric=metric,
        metric_reason=auto.scoring_reason_,
        model=(kind, folds),
        parts=("Members and their weights", weights) if len(weights) > 1 else ("", {}),
        next_step=next_step((), [*filter(None, [auto_step(auto)]), *extra]),
        summary=auto.summary_,
        notes=[
            SCORES_ARE_MEANS,
            *filter(None, (text(auto) for text in _NOTES)),
            *failure_texts(auto),
        ],
        scores=lines,
        quality=auto._quality,
        usage=usage or "\n".join(code),
        columns=auto.kinds_,
        effects=auto._effects,
        searches=[
            replace(part, key=f"search-{k}-", title=name, metric=metric)
            for k, (name, part) in enumerate(auto._searches.items())
        ],
        changes=[str(change) for change in auto.changes_],
        models=_models(auto.leaderboard_, metric),
        checks=[*(f for f in auto.findings_ if not f.subject), *extra],
        reproduction=Reproduction(
            versions=package_versions(),
            seeds={"random_state": value_text(auto.random_state)},
            cv=value_text(auto.cv),
            data={
                name: data_description(values)
                for name, values in {"X": X, "y": y}.items()
                if values is not None
            },
            code=fit_code(auto, "auto", auto._fit_arguments),
        ),
    )


def failure_texts(auto: Any) -> list[str]:
    """Return a sentence for each failed model or refit."""
    outcomes = dict.fromkeys(auto._labels.values(), "failed in a later round")
    return [
        f"{name} {outcomes.get(name, 'was not trained')}: {why}"
        for name, why in auto.failures_.items()
    ]


def auto_step(auto: Any) -> Finding | None:
    """Return the finding with the most urgent remedy; its remedy names the network.

    Leaks come first, then a score that rows set aside contradict, the networks of the model
    that predicts, a model without lead over a baseline, and last the other networks.
    """
    leak = next_step([finding for finding in auto.findings_ if finding.is_of_leaks], ())
    if leak is not None:
        return leak
    if is_contradicted(auto.model_scores_["ensemble"]):
        return Finding(
            name="lower score on the rows set aside",
            code="",
            outcome="issue",
            severity="high",
            message=auto.summary_,
            remedy="Find out how the rows set aside differ, for example in time or source.",
        )
    weights: Counter[str] = Counter()
    for name, weight in auto._used().weights.items():
        weights[auto._labels[name]] += weight
    step = _step_of_networks(auto.findings_, weights)
    if step is not None and weights[step.subject]:
        share = f", weight {100 * weights[step.subject]:.0f} %" if len(weights) > 1 else ""
        return replace(step, remedy=f"{step.subject}{share}: {step.remedy}")
    weak = _step_of_weak_model(auto, [*weights])
    if weak is not None or step is None:
        return weak
    text = (
        f"Nothing urgent: the finding {step.name!r} concerns a network that is not "
        f"used ({step.subject})."
    )
    return replace(step, remedy=text)


def _step_of_networks(
    findings: Sequence[Finding], weights: Mapping[str, float]
) -> Finding | None:
    """Return the step of the most important network: used, with an issue, heavy."""
    steps = (
        next_step((), [f for f in findings if f.subject == subject])
        for subject in dict.fromkeys(f.subject for f in findings if f.subject)
    )
    return min(
        filter(None, steps),
        key=lambda s: (not weights[s.subject], s.outcome != "issue", -weights[s.subject]),
        default=None,
    )


def _step_of_weak_model(auto: Any, members: Sequence[str]) -> Finding | None:
    """Return a step if the model that predicts has no lead over a baseline."""
    weak = partial(Finding, code="", severity="medium", message=auto.summary_)
    if not auto.beats_baseline_:
        return weak(
            name="no better than the baseline",
            outcome="issue",
            remedy="Provide more rows, or more informative columns.",
        )
    if auto.use == "ensemble" and should_use_linear(auto.model_scores_, members):
        return weak(
            name="no better than the linear model", outcome="tip", remedy=PREFER_LINEAR
        )
    return None


def model_texts(auto: Any) -> tuple[str, str, dict[str, str]]:
    """Return the predicting model, its folds, and the weights of its members, as texts."""
    blend = auto._used()
    weights = blend.weights
    size = sum(n_parameters(member.estimator) for member in blend.combination.members)
    families = auto.leaderboard_["family"]
    counts = Counter(_KINDS.get(families[name], "network") for name in weights)
    kinds = [f"a {kind}" if n == 1 else f"{n} {kind}s" for kind, n in counts.most_common()]
    text = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    text = f"ensemble of {text}" if len(weights) > 1 else text.removeprefix("a ")
    if size:
        text += f", {parameters_text(size)}"
    each = "Each member" if len(weights) > 1 else "It"
    n_refits, n_folds = len(blend.refitted), max(map(blend.names.count, weights))
    rows = "all rows of the sample" if auto._n_left_out else "all rows"
    folds = f"{each} was fitted on {rows}." if n_refits else ""
    has_folds = auto.leaderboard_["cv_std"].notna().any()
    if n_refits < len(weights) and (has_folds or n_refits):
        # In time order, only the last fold's model predicts.
        model = f"the model of its {'last fold' if has_folds else 'only split'}."
        if n_folds > 1:
            model = f"the average of its {n_folds} fold models."
        folds = f"{each} is {model}"
        if n_refits:
            some = "One member was" if n_refits == 1 else f"{n_refits} members were"
            each = "the other" if n_refits + 1 == len(weights) else "each of the others"
            folds = f"{some} fitted on {rows}; {each} is {model}"
    ordered = {name: f"{100 * weight:.0f} %" for name, weight in weights.most_common()}
    return f"{text[0].upper()}{text[1:]}", folds, ordered


def front_text(auto: Any) -> str:
    """Return score, time and size of the rows of the Pareto front, if there are several."""
    # Models first: an ensemble of one model equals this model.
    front = auto.pareto_front_
    front = front.iloc[np.argsort(front["family"] == "ensemble", kind="stable")]
    front = front.drop_duplicates(FRONT).sort_values("predict_ms", kind="stable")
    if len(front) < 2:
        return ""
    scale, rows = front["cv_score"].abs().max(), front[FRONT].itertuples()
    texts = [
        f"{name}: {format_score(score, scale)}, {_two_digits(ms)} ms, "
        f"{_two_digits(size)} MB"
        for name, score, ms, size in rows
    ]
    return f"Best trade-offs of score, time for 10,000 rows and size: {'; '.join(texts)}."


def _two_digits(value: float) -> str:
    """Return a number with two significant digits, never as a power of ten.

    >>> _two_digits(543.2), _two_digits(0.0213)
    ('540', '0.021')
    """
    return f"{float(f'{value:.2g}'):,g}"


def larger_text(auto: Any) -> str:
    """Return what the limit on the prediction time costs, if it lowers the score."""
    board = auto.leaderboard_
    if LARGER not in board.index:
        return ""
    (score, ms), (more, longer) = (
        board.loc[name, ["cv_score", "predict_ms"]] for name in ("ensemble", LARGER)
    )
    small, large = (format_score(value, abs(score)) for value in (score, more))
    if small == large or more < score:
        return ""
    return (
        "The ensemble was kept small: predicting 10,000 rows takes about "
        f"{_two_digits(ms)} ms. A larger ensemble would take {_two_digits(longer)} ms and "
        f"score {large} instead of {small}."
    )


def selection_text(auto: Any) -> str:
    """Return why a single model may score higher than the ensemble, if one does."""
    board, scores = auto.leaderboard_, auto.model_scores_
    of_models = board.loc[board["family"] != "ensemble", "cv_score"]
    if "best" not in scores:
        return ""
    numbers = of_models.max(), scores["ensemble"].score, scores["best"].score
    top, of_ensemble, of_best = (format_score(x, abs(numbers[0])) for x in numbers)
    if numbers[0] <= max(numbers[1:]) or top in {of_ensemble, of_best}:
        return ""
    return (
        f"Among the {len(of_models)} models, {of_models.idxmax()} has the highest score, "
        f"{top}, which is too optimistic because it was chosen by this score. If the best "
        f"model is chosen for each fold on the other folds, the score is {of_best}. The "
        f"ensemble, chosen in the same way, has {of_ensemble}."
    )


def _importance_text(auto: Any) -> str:
    """Return why the columns of a table have no importance, or an empty text."""
    return "" if auto.kinds_ is None else str(auto.column_importance_reason_)


_NOTES = (threshold_text, front_text, larger_text, selection_text, _importance_text)


def _models(board: pd.DataFrame, metric: str) -> PageTable:
    numbers = [
        (metric, "cv_score", 4, "mean over the folds"),
        ("std", "cv_std", 2, "standard deviation over the folds"),
        ("seconds", "seconds", 2, "fits of all folds"),
        ("ms", "predict_ms", 2, "prediction of 10,000 rows"),
        ("MB", "megabytes", 2, "size of the pickled models"),
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
        cell = Cell(text=", ".join(texts), is_long=True)
        # Folded to keep the table short.
        if len(texts) > _MOST_PARAMS:
            cell = Cell(text=f"{len(texts)} parameters", details="\n".join(texts))
        row = [Cell(text=str(rank), key=str(rank)), Cell(text=name), *of_model, cell]
        rows.append(("best" if is_member else "", row))
    return PageTable(columns=columns, rows=rows)
