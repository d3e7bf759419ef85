# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tree-structured Parzen estimators by Optuna, over the same spaces.

Optuna sees codes: an index for a category, a number between 0 and 1 for any other
parameter, so that it draws from scipy's distributions and keeps values of any kind.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sk_tune._sampler._samplers import Learner, fill_failed
from sk_tune._sampler._surrogate import quiet_and_single
from sk_tune._space import AnySpace, Candidate
from sk_tune._types import Floats, Seed

_SEED_END = 2**31 - 1
# Optuna may repeat points; after this number of repeats a random point replaces it.
_MAX_REPEATS = 5


class TPESampler(Learner):
    """Proposes candidates by Optuna's tree-structured Parzen estimator.

    Parameters are modelled jointly; a branch is modelled together with the parameters above
    it.

    Parameters
    ----------
    space : dict, list of dict or Space
        As in :class:`~sk_tune.BayesSearchCV`.  Every distribution needs ``ppf`` and
        ``cdf``.
    random_state : int, RandomState or None, default=None
        Seed of the candidates.
    n_initial_points : int, default=10
        Number of initial candidates, which are random.

    Raises
    ------
    ImportError
        If Optuna, the extra ``tpe``, is not installed.

    See Also
    --------
    BayesSampler : A model of the score.

    Examples
    --------
    >>> from sk_tune.sampler import TPESampler
    >>> sampler = TPESampler({"x": (-2.0, 2.0)}, random_state=0)
    >>> for _ in range(20):
    ...     candidates = sampler.ask(4)
    ...     sampler.tell(candidates, [-((c["x"] - 1) ** 2) for c in candidates])
    >>> abs(sampler.ask(1)[0]["x"] - 1) < 0.5
    True
    """

    def __init__(
        self, space: AnySpace, random_state: Seed = None, *, n_initial_points: int = 10
    ) -> None:
        super().__init__(space, random_state)
        try:
            import optuna
        except ImportError as error:
            raise ImportError(
                "TPESampler needs Optuna. Install it with: pip install 'sk-tune[tpe]'"
            ) from error
        self._optuna: Any = optuna
        with self._quiet():
            self._study = self._optuna.create_study(
                direction="maximize",
                sampler=self._optuna.samplers.TPESampler(
                    n_startup_trials=n_initial_points,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                    seed=int(self._rng.randint(_SEED_END)),
                ),
            )
        distributions = self._optuna.distributions
        self._distributions: list[Any] = [
            distributions.CategoricalDistribution(range(n))
            if (n := column.dimension.n_categories)
            else distributions.FloatDistribution(0.0, 1.0)
            for column in self.space.columns
        ]
        self._trials: dict[bytes, Any] = {}
        self._scores: list[float] = []

    def ask(self, n_points: int) -> list[Candidate]:
        """Return new candidates; fewer, or none, once a finite space is exhausted."""
        rows: list[Floats] = []
        with self._quiet():
            for _ in range(n_points):
                row = self._next_row()
                if row is None:
                    break
                rows.append(row)
        return self.space.decode(np.array(rows)) if rows else []

    def tell(
        self,
        candidates: Sequence[Candidate],
        scores: ArrayLike,
        n_resources: int | None = None,
    ) -> None:
        """Store scores; a failed candidate counts as the worst score so far."""
        codes = self._told(candidates)
        new_scores = np.asarray(scores, dtype=float)
        self._scores += new_scores.tolist()
        filled = fill_failed(np.array(self._scores))
        with self._quiet():
            for index, key in enumerate(self.space.keys(codes)):
                value = None if filled is None else float(filled[index - len(new_scores)])
                trial = self._trials.pop(key, None)
                if trial is not None:
                    self._finish(trial, value)
                elif value is not None:
                    self._study.add_trial(self._finished(codes[index], value))

    def _next_row(self) -> Floats | None:
        for _ in range(_MAX_REPEATS):
            trial = self._study.ask()
            row = self._suggest(trial)
            if self._take(row):
                self._trials[self.space.keys(row[None])[0]] = trial
                return row
            self._finish(trial, None)
        return next(iter(self._random_rows(1)), None)

    def _suggest(self, trial: Any) -> Floats:
        row: Floats = np.zeros((1, len(self.space.columns)))
        for j, column in enumerate(self.space.columns):
            if self.space.active(row)[0, j]:
                n_categories = column.dimension.n_categories
                row[0, j] = (
                    trial.suggest_categorical(_label(j), range(n_categories))
                    if n_categories
                    else trial.suggest_float(_label(j), 0.0, 1.0)
                )
        snapped: Floats = self.space.snap(row)[0]
        return snapped

    def _finish(self, trial: Any, value: float | None) -> None:
        failed = self._optuna.trial.TrialState.FAIL
        self._study.tell(trial, value, state=None if value is not None else failed)

    def _finished(self, row: Floats, value: float) -> Any:
        """Return a trial that was evaluated elsewhere."""
        active = np.flatnonzero(self.space.active(row[None])[0]).tolist()
        params: dict[str, Any] = {}
        for j in active:
            is_category = self.space.columns[j].dimension.n_categories > 0
            params[_label(j)] = int(row[j]) if is_category else float(row[j])
        return self._optuna.trial.create_trial(
            params=params,
            distributions={_label(j): self._distributions[j] for j in active},
            value=value,
        )

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Silence Optuna's log and its warnings about experimental options."""
        logging = self._optuna.logging
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            with quiet_and_single():
                yield
        finally:
            logging.set_verbosity(verbosity)


def _label(column: int) -> str:
    # Two branches may use one name for parameters of different kinds.
    return f"p{column}"
