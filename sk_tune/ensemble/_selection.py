# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a library to weights, and to a score that no choice has flattered."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from sk_tune._text import interval_text
from sk_tune.ensemble._greedy import GreedyOptions, greedy_weights
from sk_tune.ensemble._library import Library
from sk_tune.ensemble._objective import (
    Objective,
    SignedObjective,
    default_objective,
    make_objective,
)
from sk_tune.ensemble._stacker import tuned_stacked_weights
from sk_tune.ensemble._temperature import (
    fitted_temperature,
    with_label_temperature,
    with_temperature,
)

__all__ = ["Choice", "EnsembleScore", "Selection", "Selector"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleScore:
    """What an ensemble is expected to score on new data; greater is better.

    Parameters
    ----------
    score : float
        On rows that had no part in choosing members, weights and temperature, pooled over
        the parts that were held out in turn.
    low, high : float
        Ends of the interval.
    confidence : float
        Share of such intervals that hold the true score, about.
    best_candidate_score : float
        Of the candidate that is best on the other rows, on the same rows in the same way.
    """

    score: float
    low: float
    high: float
    confidence: float
    best_candidate_score: float

    def __str__(self) -> str:
        score, low, high = interval_text(self.score, self.low, self.high)
        return f"{score} [{low}, {high}]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """How candidates are combined.

    Parameters
    ----------
    weights : ndarray of shape (M,)
        Not negative, with sum 1.
    temperature : float
        Of the averaged probabilities; 1 leaves them as they are.
    is_multilabel : bool, default=False
        Whether these are of labels, of which a row may have any number.
    """

    weights: Floats
    temperature: float
    is_multilabel: bool = False

    def combine(self, predictions: Array) -> Array:
        """Return what the ensemble predicts.

        Parameters
        ----------
        predictions : ndarray of shape (M, N) or (M, N, K)
            Of the candidates.

        Returns
        -------
        ndarray of shape (N,) or (N, K)
            Probabilities, or predictions of a regressor.
        """
        average = np.tensordot(self.weights, predictions, axes=1)
        if self.temperature == 1:
            return np.asarray(average)
        scaled = with_label_temperature if self.is_multilabel else with_temperature
        return scaled(average, self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """A choice from all samples, with what it is worth.

    `score` and `predictions`, (N,) or (N, K), come from choices made on other samples.
    """

    choice: Choice
    score: EnsembleScore
    predictions: Array


class Selector:
    """Chooses members.

    Parameters
    ----------
    library : Library
        To choose from.
    method : {"greedy", "stack", "average"}
        How.
    scoring : str, callable or None
        What to choose by; None for log loss or squared error.
    greedy : GreedyOptions
        For the method "greedy".
    n_best : int or None
        Of how many candidates, the best ones on the rows that choose; all if None.
    calibrate : bool
        Whether a temperature is fitted.
    random_state : int
        Source of bags.
    reported : str, callable or None, default=None
        What scores are reported in; that of `scoring` if None.
    """

    def __init__(
        self,
        library: Library,
        *,
        method: Literal["greedy", "stack", "average"],
        scoring: Any,
        greedy: GreedyOptions,
        n_best: int | None,
        calibrate: bool,
        random_state: int,
        reported: Any = None,
    ) -> None:
        self._library = library
        self._method = method
        self._greedy = greedy
        self._n_best = n_best
        self._calibrate = calibrate
        self._random_state = random_state
        y, classes = library.y, library.classes
        self._objective = make_objective(scoring, y, classes)
        shown = scoring if reported is None else reported
        self.reported = make_objective(shown, y, classes, is_exact=True)

    def select(self) -> Selection:
        """Choose from all rows, and score choices from all but a part on that part.

        Returns
        -------
        Selection
            With the honest score.
        """
        # Threads cost more than they save where products are as small as these.
        with threadpool_limits(limits=1):
            return self._select()

    def _select(self) -> Selection:
        library = self._library
        held = np.empty(library.predictions.shape[1:])
        best = np.empty(library.predictions.shape[1:])
        for part in np.unique(library.part):
            inside, outside = library.part != part, library.part == part
            chosen = self.choose(library.take(inside))
            own = library.take(outside)
            held[outside] = chosen.combine(own.predictions)
            best[outside] = own.predictions[self._ranked(library.take(inside))[0]]
        score, error = self._score(held)
        tail = float(norm.ppf((1 + _CONFIDENCE) / 2)) * error
        return Selection(
            choice=self.choose(library),
            score=EnsembleScore(
                score=score,
                low=score - tail,
                high=score + tail,
                confidence=_CONFIDENCE,
                best_candidate_score=self._score(best)[0],
            ),
            predictions=held,
        )

    def choose(self, library: Library, signs: Array | None = None) -> Choice:
        """Return weights and temperature by the rows of a library.

        Parameters
        ----------
        library : Library
            The rows that choose.
        signs : ndarray of shape (N,) or None, default=None
            Of these rows; the loss of those with -1 is taken from that of the others.  Of
            the methods "greedy" and "average" only.

        Returns
        -------
        Choice
            Of all candidates of the library.
        """
        with threadpool_limits(limits=1):
            ranked = self._ranked(library, signs)[: self._n_best]
            weights = np.zeros(len(library.candidates))
            weights[ranked] = self._weights(library, ranked, signs)
        temperature = 1.0
        if self._calibrate:
            average = np.tensordot(weights, library.predictions, axes=1)
            temperature = fitted_temperature(average, library.y, signs)
        return Choice(
            weights=weights,
            temperature=temperature,
            is_multilabel=library.classes is not None and len(library.classes) == 0,
        )

    def _weights(self, library: Library, ranked: Array, signs: Array | None) -> Floats:
        predictions, y = library.predictions[ranked], library.y
        if self._method == "stack":
            loss = default_objective(library.classes)
            return tuned_stacked_weights(
                predictions, y, library.part, loss, self._objective
            )
        statistics = self._objective.statistics(predictions, y)
        objective, y = self._signed(y, signs)
        if self._method == "greedy":
            rng = np.random.default_rng(self._random_state)
            return greedy_weights(statistics, y, objective, self._greedy, rng)
        return _best_average(statistics, y, objective)

    def _ranked(self, library: Library, signs: Array | None = None) -> Array:
        """Return the candidates from the best to the worst."""
        statistics = self._objective.statistics(library.predictions, library.y)
        objective, y = self._signed(library.y, signs)
        return np.argsort(objective.losses(statistics, y), kind="stable")

    def _signed(
        self, y: Array, signs: Array | None
    ) -> tuple[Objective | SignedObjective, Array]:
        """Return what to choose by and the true values as it takes them."""
        if signs is None:
            return self._objective, y
        return SignedObjective(objective=self._objective), np.stack([y, signs], axis=1)

    def _score(self, predictions: Array) -> tuple[float, float]:
        y = self._library.y
        statistics = self.reported.statistics(predictions[None], y)[0]
        loss, error = self.reported.estimate(statistics, y)
        return -loss, error


def _best_average(
    statistics: Array, y: Array, objective: Objective | SignedObjective
) -> Floats:
    """Return equal weights of as many of the first candidates as are best together."""
    total, losses = np.zeros(statistics.shape[1:]), []
    for n, own in enumerate(statistics, start=1):
        total = total + own
        losses.append(objective.losses(total[None] / n, y)[0])
    n = int(np.argmin(losses)) + 1
    weights = np.zeros(len(statistics))
    weights[:n] = 1 / n
    return weights
