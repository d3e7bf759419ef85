# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A search over changes of one network, whose rounds depend on earlier results."""

from collections.abc import Callable, Generator, Sequence
from copy import copy
from typing import Any, ClassVar

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sk_tune._declaration import parameters
from sk_tune._diagnosis import (
    PUT_IN_FRONT,
    AppliedChange,
    Change,
    changed_parameters,
    check_scale,
    with_scaler,
)
from sk_tune._input_scale import input_scale
from sk_tune._nesting import innermost, nested
from sk_tune._search._base_search import BaseSearch
from sk_tune._search._choice import Outcomes
from sk_tune._search._rounds import Rounds
from sk_tune._search_record import deciding_metric, granted_resource, grants_epochs
from sk_tune._space import Candidate

# Generator of the candidates of each round; it receives the search with its results.
Course = Generator[list[Candidate], Any, None]


@parameters
class GuidedSearch(BaseSearch):
    """A search whose `course` chooses the candidates of each round from earlier results.

    `n_planned` is the expected number of candidates.
    """

    course: Callable[[], Course]
    n_planned: int = 1

    # Empty, so that the diagnosis does not propose to extend the space.
    param_grid: ClassVar[dict[str, Any]] = {}

    def add_earlier(self, outcomes: Outcomes) -> None:
        """Include an earlier search on the same folds in the expected score."""
        if _held_out(outcomes) == _held_out(self._outcomes):
            self._earlier_outcomes = outcomes

    def _n_candidates_planned(self) -> int:
        return self.n_planned

    def _propose(self, rounds: Rounds, context: Any) -> None:
        course = self.course()
        candidates = next(course, [])
        while candidates:
            rounds.evaluate(candidates)
            so_far = copy(self)
            so_far._keep_without_refit(rounds)
            # Otherwise a diagnosis would compute the expected score after each round.
            so_far._expected = None
            try:
                candidates = [] if rounds.is_over else course.send(so_far)
            except StopIteration:
                return


def _held_out(outcomes: Outcomes) -> list[Any]:
    """Return the positions of the scored samples of the first candidate, by fold."""
    return [None if fold.held is None else fold.held.rows.tolist() for fold in outcomes[0]]


def candidate_estimator(search: Any, row: int) -> Any:
    """Return the unfitted estimator of a search's candidate, with all of its epochs."""
    params = dict(search.cv_results_["params"][row])
    resource = granted_resource(search)
    if grants_epochs(resource):
        params[resource] = max(params[resource], getattr(search, "max_resources_", 0))
    return clone(search.estimator).set_params(**clone(params, safe=False))


_SHARED = ("scoring", "n_jobs", "error_score", "verbose", "select_epoch")


def shared_options(search: Any) -> dict[str, Any]:
    """Return the options with which a search evaluates candidates on its folds."""
    options = {name: getattr(search, name) for name in _SHARED}
    # A function that chooses among several metrics needs all results.
    refit = deciding_metric(search) if search.multimetric_ else True
    return {**options, "cv": search._checked_cv_orig, "refit": refit}


def with_place_for_scaler(estimator: Any, X: Any, y: Any) -> tuple[Any, str]:
    """Return an estimator with an empty step if it needs a scaler, and the step's name."""
    inputs = X
    for part, _ in nested(estimator):
        if isinstance(part, Pipeline) and len(part) > 1:
            inputs = clone(part[:-1]).fit_transform(inputs, y)
    network = innermost(estimator)
    scale = check_scale(input_scale(inputs, network), network.get_params(deep=False), ())
    if scale.outcome != "issue" or not scale.changes:
        return clone(estimator), ""
    (change,) = scale.changes
    wrapped, scaled = with_scaler(clone(estimator), clone(change.value))
    return wrapped.set_params(**{scaled.step: "passthrough"}), scaled.step


def changes_of(
    estimator: Any, changes: Sequence[Change], scaler_step: str
) -> list[AppliedChange]:
    """Return the changed parameters; a scaler goes into its empty step."""
    scalers = [c for c in changes if c.action == PUT_IN_FRONT and scaler_step]
    in_step = [
        AppliedChange(parameter=scaler_step, before=None, after=c.value, reason=c.reason)
        for c in scalers[:1]
    ]
    in_place = [c for c in changes if c.action != PUT_IN_FRONT]
    return [*in_step, *changed_parameters(estimator, in_place)]


def max_epochs_of(changes: Sequence[AppliedChange], n_epochs: int) -> int:
    """Return the epochs of a network that had `n_epochs` before the changes."""
    changed = (c.after for c in changes if grants_epochs(c.parameter))
    return int(next(changed, n_epochs))
