# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The randomized search of the command line, which begins with the default network."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from sk_tune.exceptions import SearchError
from sk_tune.sampler import RandomSampler
from sk_tune.search import RandomizedSearchCV
from sk_tune.space import Candidate

__all__ = ["TableSearchCV", "n_failed"]

# Candidates evaluated together: enough to keep the workers busy to the end of a batch, and
# few enough that news comes every few seconds.
_BATCH = 16
# A candidate may cost this many times the first one; without a bound, one candidate could
# take as long as all others.
_MAX_COST = 4
# Batches without one candidate that succeeds, after which it is the data that fails.
_MAX_FAILED_BATCHES = 3
# The best network, alone in one thread, takes longer than its share of a fleet did, and
# may be one of the most expensive.
_REFIT_COST = 2.0


class TableSearchCV(RandomizedSearchCV):
    """Randomized search that draws candidates until its time is up.

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
    cost : callable
        ``params -> float``, how long a fit takes in arbitrary units.
    on_batch : callable
        ``(n_candidates, best_score) -> None``, called whenever candidates were evaluated.
    time_budget : float
        Seconds until the search is to be done, the refit included.
    progress : callable
        As in ``RandomizedSearchCV``.
    scoring : str
        Name of a scorer.
    n_jobs : int
        Processes.
    cv : splitter
        Folds.
    random_state : int
        Seed of the candidates.
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Mapping[str, Any],
        *,
        first_candidate: Candidate,
        cost: Callable[[Candidate], float],
        on_batch: Callable[[int, float], None],
        time_budget: float,
        progress: Callable[..., object] | None,
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
            time_budget=time_budget,
            progress=progress,
        )
        self.first_candidate = first_candidate
        self.cost = cost
        self.on_batch = on_batch

    def _propose(self, rounds: Any, callback_ctx: Any) -> None:
        for n_batches, batch in enumerate(self._batches(), start=1):
            n_before = rounds.n_candidates
            rounds.evaluate(batch)
            scores = rounds.scores()
            has_failed = bool(np.isnan(scores).all())
            if len(scores) > n_before:
                self.on_batch(len(scores), np.nan if has_failed else np.nanmax(scores))
            if has_failed and (rounds.is_over or n_batches == _MAX_FAILED_BATCHES):
                self._raise_if_nothing_trained()
            if rounds.is_over:
                return

    def _batches(self) -> Iterator[list[Candidate]]:
        # The first alone, because it tells what the others will cost.
        yield [self.first_candidate]
        sampler = RandomSampler(self._space(), self.random_state)
        limit = _MAX_COST * self.cost(self.first_candidate)
        names = list(self.first_candidate)
        batch: list[Candidate] = []
        while True:
            batch += [
                {name: params[name] for name in names}
                for params in sampler.ask(_BATCH)
                if self.cost(params) <= limit
            ]
            if len(batch) >= _BATCH:
                yield batch[:_BATCH]
                batch = batch[_BATCH:]

    def _refit_cost(self) -> float:
        return _REFIT_COST

    def _raise_if_nothing_trained(self) -> None:
        session = self._session
        if session.is_interrupted:
            return
        reasons = [
            outcome.reason
            for folds in session.outcomes
            for outcome in folds
            if outcome.reason
        ]
        # Without one it is the scorer that fails, which the caller sees from the scores.
        if reasons:
            raise SearchError(
                f"At least one network must train without an error. Got errors from all "
                f"{len(session.outcomes)} that were tried; the last one: "
                f"{reasons[-1].strip().splitlines()[-1]}"
            )


def n_failed(search: Any) -> int:
    """Return how many candidates could not be fitted in each fold.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    int
        Rows of its ``cv_results_`` that have a reason.
    """
    return sum(map(bool, search.cv_results_.get("failure_reason", ())))
