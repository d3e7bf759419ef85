# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Weights of a fitted search's candidates, and an unbiased score of their average.

Notation: M candidates, N held-out samples, K classes or outputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from sk_tune._conformal import Calibration, calibrate
from sk_tune._ensemble._parts import fitted_temperature, with_temperature
from sk_tune._ensemble._weights import (
    GreedyOptions,
    Objective,
    greedy_weights,
    make_objective,
)
from sk_tune._estimators import is_multilabel
from sk_tune._scores import ScoreEstimate
from sk_tune._search_record import fold_of_samples, rows_of_most, search_record
from sk_tune._types import Array, Floats

# Number of parts to hold out in turn where the folds do not partition the samples.
_N_PARTS = 5
_CONFIDENCE = 0.95
Method = GreedyOptions | Literal["greedy", "average"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """Candidates to choose from, with their predictions of held-out samples.

    `candidates`, (M,), are result rows of the search, `predictions`, (M, N) or (M, N, K),
    probabilities of a classifier, else targets.  `y`, (N,) or (N, K), holds class numbers,
    0 and 1 of labels, or targets; `classes`, (K,), are the labels, empty for a multilabel
    problem, None for regression.  `part`, (N,), is the fold that holds out a sample, or a
    random part.  `rows`, (N,), are positions in the search's data; None for 0 to N - 1.
    `groups`, (N,), are groups of dependent samples; None if all are independent.
    """

    candidates: Array
    predictions: Array
    y: Array
    part: Array
    classes: Array | None
    rows: Array | None = None
    groups: Array | None = None

    def take(self, rows: Array) -> "Library":
        """Return the library on some samples, given by positions or a mask."""
        return replace(
            self,
            predictions=self.predictions[:, rows],
            y=self.y[rows],
            part=self.part[rows],
            rows=self._positions()[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def where_weights(self, params: Mapping[str, Any]) -> "Library":
        """Return the library without samples of weight 0, which count as absent.

        `params` of ``fit`` have ``sample_weight``, maybe for a step of a pipeline.  Raises
        ValueError if all weights are 0.
        """
        names = {"sample_weight", *(n for n in params if n.endswith("__sample_weight"))}
        rows = self._positions()
        counts = np.ones(len(rows), dtype=bool)
        for weights in (params.get(name) for name in names):
            if weights is not None and np.ndim(weights) == 1:
                counts &= np.asarray(weights)[rows] > 0
        if not counts.any():
            raise ValueError(
                "sample_weight must be positive for at least one held-out sample. Got 0 "
                "for all of them."
            )
        return self if counts.all() else self.take(counts)

    def calibration_of(self, predictions: Array) -> Calibration | None:
        """Return the calibration by predictions of the samples; None for several labels."""
        has_classes = self.classes is not None
        if self.y.ndim == 2 and has_classes:
            return None
        return calibrate(self.y, predictions, self.part, is_classification=has_classes)

    def _positions(self) -> Array:
        return np.arange(len(self.y)) if self.rows is None else self.rows


_INCOMPLETE = (
    "The search must have a candidate with predictions of all held-out samples. It has "
    "none: fits failed, the estimator does not predict, or predictions were not stored "
    "(keep_predictions)."
)


def read_library(
    search: Any, *, is_classification: bool, needs_models: bool, random_state: int
) -> Library:
    """Return the candidates of a fitted search that may be members of an ensemble.

    The highest rung of a candidate counts; `needs_models` excludes candidates without
    stored fold estimators.  `random_state` draws parts if the folds overlap.  Raises
    ValueError without a candidate.
    """
    record = search_record(search)
    if record is None:
        raise ValueError(
            "The 'search' parameter must be a fitted search of sk_tune. "
            f"Got {type(search).__name__} instead."
        )
    eligible = np.array(record.last_rows, dtype=np.intp)
    if needs_models:
        models = getattr(search, "models_", {})
        eligible = eligible[[None not in models.get(row, [None]) for row in eligible]]
        if not models:
            raise ValueError(
                "An ensemble without refit needs the estimators of the folds. Fit the "
                "search with keep_models='all', or use refit=True."
            )
        if not len(eligible):
            raise ValueError(_INCOMPLETE)
    predictions = search.oof_predictions_[eligible].astype(np.float64)
    if not is_classification and predictions.ndim == 3 and predictions.shape[2] == 1:
        predictions = predictions[:, :, 0]
    is_there = np.isfinite(predictions).reshape(*predictions.shape[:2], -1).all(axis=2)
    # If rungs draw samples, use the samples of the last rung: earlier rungs lack some.
    rows = np.flatnonzero(is_there.any(axis=0))
    if record.resource == "n_samples":
        rows = np.flatnonzero(rows_of_most(is_there))
    complete = is_there[:, rows].all(axis=1)
    # A fold without any prediction has no samples here.
    folds = [search.held_out_rows_[row] for row in eligible]
    complete &= [all(held_rows is not None for held_rows in of_one) for of_one in folds]
    if not len(rows) or not complete.any():
        raise ValueError(_INCOMPLETE)
    y, classes = _encoded(np.asarray(record.y), is_classification=is_classification)
    held_out = search.held_out_rows_[int(eligible[complete][0])]
    groups = None if record.groups is None else np.asarray(record.groups)[rows]
    return Library(
        candidates=eligible[complete],
        predictions=predictions[complete][:, rows],
        y=y[rows],
        part=_parts(held_out, len(y), rows, groups, random_state),
        classes=classes,
        rows=rows,
        groups=groups,
    )


def _encoded(y: Array, *, is_classification: bool) -> tuple[Array, Array | None]:
    if not is_classification:
        y = np.asarray(y, dtype=np.float64)
        return (y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y), None
    if is_multilabel(y):
        return y.astype(np.float64), np.empty(0)
    classes, numbers = np.unique(y.ravel(), return_inverse=True)
    return numbers, classes


def _parts(
    held_out: Any, n_rows: int, rows: Array, groups: Array | None, random_state: int
) -> Array:
    """Return the fold that held out each sample, or random parts if folds overlap.

    Random parts consist of whole groups, if there are several.
    """
    part = fold_of_samples(held_out, n_rows)
    n_held = sum(map(len, held_out))
    if n_held == len(rows) and len(np.unique(part[rows])) > 1:
        return part[rows]
    unit = np.arange(len(rows)) if groups is None else pd.factorize(groups)[0]
    if not unit.any():
        unit = np.arange(len(rows))
    shuffled = np.random.default_rng(random_state).permutation(unit.max() + 1)
    return (shuffled % min(_N_PARTS, len(shuffled)))[unit]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateWeights:
    """Weights of candidates, (M,), non-negative with sum 1, and a temperature."""

    weights: Floats
    temperature: float
    is_multilabel: bool = False

    def combine(self, predictions: Array) -> Array:
        """Return the ensemble's prediction, (N,) or (N, K), from the candidates'."""
        average = np.tensordot(self.weights, predictions, axes=1)
        return with_temperature(average, self.temperature, is_multilabel=self.is_multilabel)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Threads cost more than they save for products as small as these.
    with threadpool_limits(limits=1):
        yield


@dataclass(kw_only=True, eq=False)
class Selector:
    """Chooses members from a library.

    Members are chosen by `scoring`, or by log loss or squared error if it is None.  The
    expected score is by `reported`, or by `scoring` if it is None.  `n_best` is the number
    of best candidates that may be members (all if None), `calibrate` says whether a
    temperature is fitted, and `random_state` draws bags.
    """

    library: Library
    method: Method
    scoring: Any
    calibrate: bool
    random_state: int
    n_best: int | None = None
    reported: Any = None

    def __post_init__(self) -> None:
        y, classes = self.library.y, self.library.classes
        shown = self.scoring if self.reported is None else self.reported
        groups = self.library.groups
        unit = None if groups is None else pd.factorize(groups)[0]
        self._objective = make_objective(self.scoring, y, classes)
        self.reported = make_objective(shown, y, classes, unit=unit, is_exact=True)

    @_one_thread()
    def select(self) -> tuple[CandidateWeights, ScoreEstimate, ScoreEstimate, Array]:
        """Return the choice from all samples, expected scores, and predictions.

        The scores are of the ensemble and of the best candidate.  Scores and predictions,
        (N,) or (N, K), of each part come from a choice on all other parts.
        """
        library, choice = self.library, self.choose(self.library)
        crossed = np.empty(library.predictions.shape[1:])
        best = np.empty(library.predictions.shape[1:])
        for part in np.unique(library.part):
            training, outside = library.take(library.part != part), library.part == part
            predictions = library.predictions[:, outside]
            crossed[outside] = self.choose(training).combine(predictions)
            best[outside] = predictions[self._ranked(training)[0]]
        naive = choice.combine(library.predictions)
        naive_best = library.predictions[self._ranked(library)[0]]
        expected = self._estimate(crossed, naive), self._estimate(best, naive_best)
        return choice, *expected, crossed

    @_one_thread()
    def choose(self, library: Library, signs: Array | None = None) -> CandidateWeights:
        """Return weights and temperature chosen on the samples of a library.

        Losses of samples with a sign of -1, (N,), are subtracted.
        """
        ranked = self._ranked(library, signs)[: self.n_best]
        options = self.method
        if options == "average":
            # The k best candidates, with the best k: the start of greedy selection.
            options = GreedyOptions(max_rounds=0, n_start=len(ranked), n_bags=1)
        elif options == "greedy":
            options = GreedyOptions()
        weights = np.zeros(len(library.candidates))
        weights[ranked] = greedy_weights(
            self._objective.statistics(library.predictions[ranked], library.y),
            library.y,
            self._objective,
            options,
            np.random.default_rng(self.random_state),
            signs,
        )
        temperature = 1.0
        if self.calibrate:
            average = np.tensordot(weights, library.predictions, axes=1)
            temperature = fitted_temperature(average, library.y, signs)
        return CandidateWeights(
            weights=weights,
            temperature=temperature,
            is_multilabel=library.classes is not None and len(library.classes) == 0,
        )

    @_one_thread()
    def lighter(
        self,
        library: Library,
        choice: CandidateWeights,
        cost: Callable[[Sequence[int]], float],
        most: float,
        signs: Array | None = None,
    ) -> CandidateWeights:
        """Return a choice among some of its members, with a cost of at most `most`.

        `cost` returns the cost of the candidates at some positions together.  Members with
        the least increase in loss per saved cost leave first.  If each member alone costs
        too much, the choice is among the other candidates, or is the cheapest of all.
        `signs` are as for ``choose``.
        """
        members = np.flatnonzero(choice.weights)
        affordable = [m for m in members.tolist() if cost([m]) <= most]
        if not affordable:
            alone = np.array([cost([k]) for k in range(len(library.candidates))])
            affordable = np.flatnonzero(alone <= max(most, alone.min())).tolist()
            most = max(most, alone.min())
        if affordable != members.tolist():
            choice = self._choose_among(affordable, library, signs)
            members = np.flatnonzero(choice.weights)
        lighter_set, weights = members.tolist(), choice.weights[members]
        # The cost of a candidate without models is known once a similar one is measured.
        while len(lighter_set) > 1 and cost(lighter_set) > most:
            leaving = self._least_useful(library, lighter_set, weights, cost, signs)
            del lighter_set[leaving]
            weights = np.delete(weights, leaving)
            weights /= weights.sum()
        if len(lighter_set) == len(members):
            return choice
        return self._choose_among(lighter_set, library, signs)

    def _least_useful(
        self,
        library: Library,
        members: Sequence[int],
        weights: Floats,
        cost: Callable[[Sequence[int]], float],
        signs: Array | None,
    ) -> int:
        """Return the place of the member with the least increase in loss per saved cost."""
        y = library.y
        statistics = self._objective.statistics(library.predictions[members], y)
        ensemble = np.tensordot(weights, statistics, axes=1)
        scale = weights.reshape(-1, *[1] * ensemble.ndim)
        without = (ensemble - scale * statistics) / (1 - scale)
        losses = self._objective.losses(without, y, signs)
        total = cost(members)
        saved = np.array([
            total - cost([*members[:k], *members[k + 1 :]]) for k in range(len(members))
        ])
        (loss,) = self._objective.losses(ensemble[np.newaxis], y, signs)
        return int(np.argmin((losses - loss) / np.maximum(saved, 1e-9)))

    def _choose_among(
        self, few: Sequence[int] | Array, library: Library, signs: Array | None
    ) -> CandidateWeights:
        """Return a choice among a few candidates; the weights of others are 0."""
        predictions = library.predictions[few]
        some = replace(library, candidates=library.candidates[few], predictions=predictions)
        chosen = self.choose(some, signs)
        weights = np.zeros(len(library.candidates))
        weights[few] = chosen.weights
        return replace(chosen, weights=weights)

    def _ranked(self, library: Library, signs: Array | None = None) -> Array:
        statistics = self._objective.statistics(library.predictions, library.y)
        losses = self._objective.losses(statistics, library.y, signs)
        return np.argsort(losses, kind="stable")

    def _estimate(self, crossed: Array, naive: Array) -> ScoreEstimate:
        """Return the score of predictions by choices on other samples, and on the same."""
        y, objective = self.library.y, self.reported
        statistics = objective.statistics(np.stack([crossed, naive]), y)
        loss, error = objective.estimate(statistics[0], y)
        tail = float(norm.ppf((1 + _CONFIDENCE) / 2)) * error
        return ScoreEstimate(
            score=-loss,
            low=-loss - tail,
            high=-loss + tail,
            confidence=_CONFIDENCE,
            method="cross-fitting",
            naive_score=-objective.estimate(statistics[1], y)[0],
        )


def contribution_table(
    library: Library, weights: Array, objective: Objective
) -> pd.DataFrame:
    """Return a row for each member, by its row of ``cv_results_``, heaviest first.

    Columns: weight; score of the member alone; error_correlation, the weighted mean
    correlation of its errors with the errors of other members (NaN for a single member);
    gain, the score of the ensemble with it minus without it, and gain_error, its standard
    error.  `weights`, (M,), are 0 for candidates that are not members.
    """
    members = np.flatnonzero(weights)
    members = members[np.argsort(-weights[members], kind="stable")]
    weights, predictions, y = weights[members], library.predictions[members], library.y
    statistics = objective.statistics(predictions, y)
    ensemble = np.tensordot(weights, statistics, axes=1)
    gains, correlations = [(np.nan, np.nan)], np.array([np.nan])
    if len(weights) > 1:
        gains = [
            objective.difference((ensemble - weight * member) / (1 - weight), ensemble, y)
            for weight, member in zip(weights, statistics, strict=True)
        ]
        classes = library.classes
        target = y if classes is None or len(classes) == 0 else np.eye(len(classes))[y]
        errors = (predictions - target).reshape(len(predictions), -1)
        with np.errstate(invalid="ignore"):
            # Undefined for a member with constant errors.
            correlations = np.corrcoef(errors)
        np.fill_diagonal(correlations, 0)
        correlations = correlations @ weights / (1 - weights)
    return pd.DataFrame(
        {
            "weight": weights,
            "score": -objective.losses(statistics, y),
            "error_correlation": correlations,
            "gain": [gain for gain, _ in gains],
            "gain_error": [error for _, error in gains],
        },
        index=pd.Index(library.candidates[members], name="result_row"),
    )
