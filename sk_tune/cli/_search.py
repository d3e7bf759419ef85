# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's randomized search, ended by a clock instead of a count."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.model_selection import ParameterSampler, RandomizedSearchCV

from sk_tune.exceptions import SearchError

__all__ = ["TimedRandomizedSearchCV"]

Candidate = dict[str, Any]

# The sampler's stream is cut by the clock long before this.
_ENDLESS = 10**9
# Calls that scikit-learn makes around fits, and estimates that were too low.
_SAFETY = 1.2
# A candidate may cost this many times the first one; without a bound, one candidate could
# take as long as all others.
_MAX_COST = 4
# Batches without one fit that succeeds, after which it is the data that fails.
_MAX_FAILED_BATCHES = 3


class TimedRandomizedSearchCV(RandomizedSearchCV):  # type: ignore[misc]
    """Randomized search that draws candidates until a deadline.

    The sequence of candidates depends on `random_state` only; the clock decides how much
    of it is evaluated, always at least the first candidate.  Configurations far more
    expensive than that one are not drawn.

    Parameters
    ----------
    estimator : estimator
        What to tune.
    param_distributions : dict
        As in ``RandomizedSearchCV``.
    first_candidate : dict
        A configuration to evaluate before those that are drawn.
    deadline : float
        When to be done, refit included, by ``time.monotonic``, in seconds.
    cost : callable
        ``params -> float``, how long a fit takes in arbitrary units.
    on_batch : callable
        ``(n_candidates, best_score) -> None``, called whenever candidates were evaluated.
    scoring : str
        Name of a scorer.
    n_jobs : int
        Processes, and candidates in a batch.
    cv : splitter
        Folds.
    random_state : int
        Seed of the candidates.

    Attributes
    ----------
    failed_candidates_ : list of dict
        Configurations of which no fold could be fitted.  They are not in ``cv_results_``.
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any],
        *,
        first_candidate: Candidate,
        deadline: float,
        cost: Callable[[Candidate], float],
        on_batch: Callable[[int, float], None],
        scoring: str,
        n_jobs: int,
        cv: Any,
        random_state: int,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            scoring=scoring,
            n_jobs=n_jobs,
            cv=cv,
            random_state=random_state,
            error_score=np.nan,
        )
        self.first_candidate = first_candidate
        self.deadline = deadline
        self.cost = cost
        self.on_batch = on_batch

    def _run_search(self, evaluate_candidates: Callable[..., Mapping[str, Any]]) -> None:
        self.failed_candidates_: list[Candidate] = []
        results: Mapping[str, Any] = {}
        n_failed_batches = 0
        for batch in self._batches():
            if results and self._expected_end(batch, results) > self.deadline:
                return
            try:
                results = evaluate_candidates(batch)
            except ValueError as error:
                # scikit-learn raises if all fits of one call failed, and keeps none of
                # them; one such batch says nothing of the next.
                if "fits failed" not in str(error):
                    raise
                self.failed_candidates_ += batch
                n_failed_batches += 1
                if not results and n_failed_batches == _MAX_FAILED_BATCHES:
                    raise SearchError(
                        _all_failed(self.failed_candidates_, error)
                    ) from error
                continue
            n_tried = len(results["params"]) + len(self.failed_candidates_)
            self.on_batch(n_tried, _best_score(results))

    def _batches(self) -> Iterator[list[Candidate]]:
        # The first alone, because it tells what the others will cost.
        yield [self.first_candidate]
        sampler = ParameterSampler(
            self.param_distributions, _ENDLESS, random_state=self.random_state
        )
        limit = _MAX_COST * self.cost(self.first_candidate)
        names = list(self.first_candidate)
        candidates = (
            {name: params[name] for name in names}
            for params in sampler
            if self.cost(params) <= limit
        )
        while True:
            yield list(itertools.islice(candidates, effective_n_jobs(self.n_jobs)))

    def _expected_end(self, batch: list[Candidate], results: Mapping[str, Any]) -> float:
        """Return when a further batch and the refit would be done, at rates so far."""
        seconds_per_unit = self._seconds_per_unit(results)
        n_rounds = self.n_splits_ / effective_n_jobs(self.n_jobs)
        folds = n_rounds * sum(map(self.cost, batch)) * seconds_per_unit
        # A refit has the rows of all folds, one more than each fit of the search.
        growth = self.n_splits_ / (self.n_splits_ - 1)
        slowest = max(self.cost(c) for c in (*batch, self._best_params(results)))
        refit = growth * slowest * seconds_per_unit
        return float(time.monotonic() + _SAFETY * (folds + refit))

    def _seconds_per_unit(self, results: Mapping[str, Any]) -> float:
        """Return how long a fit of cost 1 takes, at rates so far."""
        seconds = results["mean_fit_time"] + results["mean_score_time"]
        if len(seconds) > 1:
            return float(seconds[1:].sum() / sum(map(self.cost, results["params"][1:])))
        # Each process imports parts of torch in its first fit, which takes longer than many
        # a fit: an outlier that the deviation tells, and a few times the mean at most.
        seconds = np.maximum(seconds - results["std_fit_time"], seconds / 4)
        return float(seconds[0] / self.cost(results["params"][0]))

    @staticmethod
    def _best_params(results: Mapping[str, Any]) -> Candidate:
        params: Candidate = results["params"][int(results["rank_test_score"].argmin())]
        return params


def _best_score(results: Mapping[str, Any]) -> float:
    scores = results["mean_test_score"]
    return float("nan") if np.isnan(scores).all() else float(np.nanmax(scores))


def _all_failed(candidates: list[Candidate], error: Exception) -> str:
    # The last line of scikit-learn's message is the exception of a fit.
    reason = str(error).strip().splitlines()[-1]
    return (
        f"At least one network must train without an error. Got errors from all "
        f"{len(candidates)} that were tried; the last one: {reason}"
    )
