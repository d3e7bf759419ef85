# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Trials of a search, and the weighted average of their models.

Notation: M trials, N held-out samples, K classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from sk_tune._automl._models import NETWORK_FAMILIES, Model
from sk_tune._automl._problem import Problem
from sk_tune._automl._resources import MOST_FOR_EFFECTS, Clock, few_threads
from sk_tune._automl._threshold import MOST_PROBABLE, Threshold
from sk_tune._conformal import Calibration
from sk_tune._ensemble import Combination, Library, Member, Parts, read_library
from sk_tune._report import ColumnEffects, FoldModel, column_effects
from sk_tune._scores import FoldScores, Metric, scorer_metric
from sk_tune._types import Array, Floats

# Limits for candidates without fitted models: their number, and bytes of predictions.
_MOST_OTHERS, _BYTES_OF_OTHERS = 64, 2**25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """A configuration that was fitted in all folds.

    `name` is `label`, the name of the model, with a number. `score` is the mean over the
    folds, `std` the standard deviation (NaN for a single fold), `seconds` the sum. `models`
    were trained on at most `n_rows` samples each, and are empty if they were dropped.
    `library` has predictions of shape (1, N, ...).
    """

    name: str
    family: str
    params: Mapping[str, Any]
    score: float
    std: float
    fold_scores: Array
    seconds: float
    models: tuple[Any, ...]
    n_rows: int
    label: str
    library: Library

    @property
    def is_network(self) -> bool:
        return self.family in NETWORK_FAMILIES


def trials_of(search: Any, model: Model, problem: Problem, n_before: int) -> list[Trial]:
    """Return the candidates of a model's search, first those with fitted models.

    The list is empty unless a candidate has fitted models, a score, and predictions of
    every held-out sample. Up to 64 other candidates serve to measure the selection bias,
    fewer if predictions are large. `n_before` is the largest number in the name of an
    earlier trial of the model.
    """
    is_classification = problem.is_classification
    try:
        library = read_library(
            search, needs_models=False, is_classification=is_classification, random_state=0
        )
    except ValueError:
        return []
    results, by_fold = search.cv_results_, _scores_by_fold(search, library)
    scores = by_fold.mean(axis=0)
    scored = np.flatnonzero(~np.isnan(scores)).tolist()
    # Networks that failed or were dropped have no fitted model.
    models = {
        row: tuple(fitted)
        for row, fitted in search.models_.items()
        if all(one is not None for one in fitted)
    }
    of_best = sorted(scored, key=lambda k: -scores[k])
    fitted_first = [k for k in scored if library.candidates[k] in models]
    unfitted = [k for k in of_best if library.candidates[k] not in models]
    most = min(_MOST_OTHERS, _BYTES_OF_OTHERS // library.predictions[0].nbytes)
    trials = []
    for number, k in enumerate([*fitted_first, *unfitted[:most]], start=n_before + 1):
        row = library.candidates[k]
        trials.append(
            Trial(
                name=f"{model.name} {number}",
                family=model.family,
                params=dict(results["params"][row]),
                score=float(scores[k]),
                std=float(by_fold[:, k].std()) if len(by_fold) > 1 else np.nan,
                fold_scores=by_fold[:, k],
                seconds=float(results["mean_fit_time"][row]) * len(by_fold),
                models=models.get(row, ()),
                n_rows=problem.n_train,
                label=model.name,
                # A copy releases the predictions of all candidates.
                library=replace(
                    library,
                    candidates=library.candidates[k : k + 1],
                    predictions=library.predictions[k : k + 1].copy(),
                ),
            )
        )
    return trials if fitted_first else []


def _scores_by_fold(search: Any, library: Library) -> Floats:
    """Return the scores of a library's candidates, (F, C), comparable to an ensemble's."""
    folds = range(search.n_splits_)
    metric = scorer_metric(search.scorer_) if library.classes is None else None
    if metric is not None and set(library.part) == set(folds):
        is_held_out = library.part == np.arange(len(folds))[:, np.newaxis]
        scores = FoldScores(
            metric, library.predictions, library.y, classes=None, folds=is_held_out
        )
        if scores.is_relative:
            return scores.on_all()
    results = search.cv_results_
    return np.array([
        results[f"split{fold}_test_score"][library.candidates] for fold in folds
    ])


def best_of(trials: Sequence[Trial], n: int) -> list[Trial]:
    """Return the `n` trials with the highest scores, the best first."""
    return sorted(trials, key=lambda trial: -trial.score)[:n]


def library_of(trials: Sequence[Trial]) -> Library:
    """Return the library of trials; candidates are their positions."""
    first = trials[0].library
    return Library(
        candidates=np.arange(len(trials)),
        predictions=np.concatenate([trial.library.predictions for trial in trials]),
        y=first.y,
        part=first.part,
        classes=first.classes,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blend:
    """Fitted pipelines and their weights.

    `combination` has one member for each trial in `refitted` (fitted on all rows), and of
    the other trials one for each fold, or for the last fold. Weights sum to 1; `names` are
    the trials of the members. `temperature` scales the averaged probabilities, and
    `threshold` makes labels from them. `calibration` is for intervals or sets of labels.
    """

    combination: Combination
    temperature: float
    names: tuple[str, ...] = ()
    refitted: frozenset[str] = frozenset()
    threshold: Threshold = MOST_PROBABLE
    calibration: Calibration | None = None

    @property
    def classes(self) -> Array | None:
        """Labels; None for regression."""
        return self.combination.classes

    @property
    def parts(self) -> Parts:
        """The average as parts of an ensemble."""
        return Parts(
            members=self.combination.members,
            n_features=None,
            classes=self.classes,
            member_classes=self.classes,
            temperature=self.temperature,
            calibration=self.calibration,
        )

    @property
    def singles(self) -> set[str]:
        """Names of trials that predict by one model."""
        return {name for name, n in Counter(self.names).items() if n == 1}

    @property
    def weights(self) -> Counter[str]:
        """Weights of the trials."""
        weights: Counter[str] = Counter()
        for name, member in zip(self.names, self.combination.members, strict=True):
            weights[name] += member.weight  # type: ignore[assignment]
        return weights

    def of_fold(self, k: int, n_folds: int) -> "Blend":
        """Return the average of the models of one fold; the blend has no refits."""
        members = self.combination.members[k::n_folds]
        weighted = [member._replace(weight=member.weight * n_folds) for member in members]
        combination = Combination(weighted, self.classes)
        return replace(self, combination=combination, calibration=None)

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities in the order of `classes`, or targets, (n, n_targets)."""
        with few_threads(np.size(X)):
            return self.parts.finish(self.combination(X))

    def predict(self, X: Any) -> Array:
        """Return labels, or targets of shape (n,) or (n, n_targets)."""
        averages, classes = self.predict_proba(X), self.classes
        if classes is not None:
            return self.threshold.labels(averages, classes)
        return averages[:, 0] if averages.shape[1] == 1 else averages


def blend_of(
    trials: Sequence[Trial],
    weights: Sequence[float] | Array,
    temperature: float,
    threshold: Threshold = MOST_PROBABLE,
    calibration: Calibration | None = None,
    *,
    classes: Array | None,
    refits: Mapping[str, Any] | None = None,
    last_fold_only: bool = False,
) -> Blend:
    """Return the average of trials with positive weight, by `refits` or models of folds.

    With `last_fold_only`, the models of other folds do not predict.
    """
    refits = refits or {}
    members = []
    for trial, weight in zip(trials, weights, strict=True):
        models = trial.models[-1:] if last_fold_only else trial.models
        if trial.name in refits:
            models = (refits[trial.name],)
        share = float(weight) / len(models)
        members += [(trial.name, Member(model, share)) for model in models if weight > 0]
    return Blend(
        combination=Combination([member for _, member in members], classes),
        temperature=temperature,
        names=tuple(name for name, _ in members),
        refitted=frozenset(refits).intersection(name for name, _ in members),
        threshold=threshold,
        calibration=calibration,
    )


def predictions_score(blend: Blend, metric: Metric, y: Array, predictions: Array) -> float:
    """Return the score of a blend's probabilities or targets; NaN if undefined."""
    if blend.classes is None:
        predictions = predictions.reshape(np.shape(y))
    elif metric.takes_labels:
        predictions = blend.threshold.decided(predictions)
    return metric.of_predictions(y, predictions, blend.classes)


def column_effects_of(
    auto: Any, ensemble: Blend, problem: Problem, metric: Metric, clock: Clock
) -> tuple[ColumnEffects | None, str]:
    """Return the importance of columns to an ensemble, or None and the reason."""
    if problem.kind != "table" or auto.kinds_ is None:
        return None, "The importance of columns needs a table."
    n_folds = len(problem.folds)
    blends = [ensemble.of_fold(k, n_folds) for k in range(n_folds)]
    models = [
        FoldModel(test, blend.predict_proba, partial(predictions_score, blend, metric))
        for blend, (_, test) in zip(blends, problem.folds, strict=True)
    ]
    effects = column_effects(
        problem.X,
        problem.y,
        models,
        columns=auto.kinds_.used,
        classes=ensemble.classes,
        # Without a budget the result must not depend on the clock.
        seconds=clock.left if clock.budget is None else min(clock.left, MOST_FOR_EFFECTS),
        seed=problem.seed,
    )
    return (None, effects) if isinstance(effects, str) else (effects, "")
