# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Configurations and scores of an earlier search, for searches that learn."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sk_tune._sampler import Sampler, announce
from sk_tune._search._outcomes import guiding_scores
from sk_tune._search_record import NOT_TRAINED
from sk_tune._space import Candidate, Space
from sk_tune._warnings import warn_user
from sk_tune.exceptions import ParameterWarning, SpaceError


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A candidate that was evaluated before.

    `score` is NaN if it failed. `n_resources` is None after a full training, `resource` is
    None if the resource is unknown.
    """

    params: dict[str, Any]
    score: float
    n_resources: int | None = None
    resource: str | None = None


def _earlier_results(source: Any) -> list[_Earlier]:
    """Return the results of an earlier search, in the order of evaluation.

    The source is a fitted search or its ``cv_results_``, an Optuna study with one
    objective, or pairs of parameters and scores, greater is better. Raises TypeError for
    other objects, ValueError if a search is not fitted, or a study has several objectives.
    """
    if isinstance(source, Mapping) and "params" in source:
        return _of_results(source, True)
    if hasattr(source, "cv_results_"):
        full = getattr(source, "_full_resources", None)
        return _of_results(source.cv_results_, source.refit, full)
    if hasattr(source, "get_params"):
        raise ValueError(
            f"warm_start_from must be a fitted search. This {type(source).__name__} is not "
            "fitted, maybe because it was cloned. Pass its cv_results_ instead."
        )
    if hasattr(source, "trials") and hasattr(source, "directions"):
        return _of_study(source)
    if isinstance(source, Iterable) and not isinstance(source, str | Mapping):
        pairs = list(source)
        if all(isinstance(p, Sequence) and len(p) == 2 for p in pairs):
            return [_Earlier(dict(params), float(score)) for params, score in pairs]
    raise TypeError(
        "warm_start_from must be a fitted search, its cv_results_, a study of Optuna or "
        f"pairs of parameters and a score. Got {type(source).__name__} instead."
    )


def _of_results(
    results: Mapping[str, Any], refit: Any, full: int | None = None
) -> list[_Earlier]:
    """Return the contents of ``cv_results_``; `full` is the largest resource."""
    scores = guiding_scores(results, refit)
    resource = _resource(results)
    granted = results.get("n_resources")
    most = max(granted) if full is None and granted is not None else full
    reasons = results.get("failure_reason", [""] * len(scores))
    earlier = []
    for row, params in enumerate(results["params"]):
        if reasons[row] in NOT_TRAINED:
            # An interrupted candidate without a score says nothing about its parameters.
            continue
        n = None if granted is None or granted[row] == most else int(granted[row])
        parameters = {name: value for name, value in params.items() if name != resource}
        score = float(scores[row])
        earlier.append(_Earlier(parameters, score, n, resource or "n_samples"))
    return earlier


def _resource(results: Mapping[str, Any]) -> str | None:
    """Return the parameter that is the resource of rungs; None without rungs."""
    granted = [int(n) for n in results.get("n_resources", ())]
    names = results["params"][0] if granted else ()
    for name in names:
        if [params.get(name) for params in results["params"]] == granted:
            return str(name)
    return None


def _of_study(study: Any) -> list[_Earlier]:
    if len(study.directions) != 1:
        raise ValueError(
            "warm_start_from must be a study with one objective. "
            f"Got one with {len(study.directions)}."
        )
    sign = -1.0 if study.directions[0].name == "MINIMIZE" else 1.0
    earlier = []
    for trial in study.trials:
        kind, steps = trial.state.name, trial.intermediate_values
        if kind in {"COMPLETE", "FAIL"}:
            value = trial.value if kind == "COMPLETE" else np.nan
            earlier.append(_Earlier(trial.params, sign * value))
        elif kind == "PRUNED" and steps:
            last = max(steps)
            earlier.append(_Earlier(trial.params, sign * steps[last], int(last)))
    return earlier


def tell_earlier(
    source: Any,
    learners: Iterable[tuple[Sampler, Space]],
    max_resources: int | None = None,
    resource: str | None = None,
) -> list[list[Candidate]]:
    """Tell samplers the earlier results inside their spaces, except the best one.

    The best, if any, is returned for each sampler: the search evaluates it first, because
    its score is from other folds. `max_resources` is the largest amount of `resource`;
    larger amounts count as this one. If None, only fully trained candidates count. Scores
    after other resources do not count, except after a full training.
    """
    earlier_results = _earlier_results(source)
    n_used, first = 0, []
    for sampler, space in learners:
        results: list[tuple[Candidate, float, int | None]] = []
        for earlier in earlier_results:
            try:
                (candidate,) = space.decode(space.encode([earlier.params]))
            except SpaceError:
                continue
            if earlier.n_resources is None or max_resources is None:
                counts, granted = earlier.n_resources is None, max_resources
            else:
                names = {n.rpartition("__")[2] for n in (earlier.resource, resource) if n}
                counts, granted = len(names) < 2, min(earlier.n_resources, max_resources)
            if counts:
                results.append((candidate, earlier.score, granted))
        n_used += len(results)
        full = [k for k in results if k[2] == max_resources and np.isfinite(k[1])]
        best = max(full, key=lambda k: k[1], default=None)
        levels: dict[int | None, list[tuple[Candidate, float]]] = {}
        for entry in results:
            if entry is not best:
                levels.setdefault(entry[2], []).append(entry[:2])
        for granted, pairs in levels.items():
            candidates, scores = zip(*pairs, strict=True)
            # A user's sampler need not support resources.
            sampler.tell(candidates, scores, *([] if granted is None else [granted]))
        first.append([] if best is None else [best[0]])
        announce(sampler, first[-1])
    if n_used == 0:
        warn_user(
            f"None of the {len(earlier_results)} results of warm_start_from is in the "
            "space of this search, so it starts without them. Parameters must have the "
            "same names, and values must be within the ranges.",
            ParameterWarning,
        )
    return first
