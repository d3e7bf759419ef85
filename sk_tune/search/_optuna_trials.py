# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Values and ranges of a search in the form that Optuna can store and draw."""

import json
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from sk_tune.search._trials import TrialRecord
from sk_tune.space import Distribution, IntegerRange, Interval, Space, Values

__all__ = ["add_trials", "stored_value"]

# Values of these types are written to a storage as they are.
_STORED = (type(None), bool, int, float, str)
# A list of more numbers is shown as a range.
_MOST_CHOICES = 100
# scipy's names of what is uniform in the logarithm.
_LOGARITHMIC = {"loguniform", "reciprocal"}
_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
_ROW = "row"


def stored_value(value: Any) -> Any:
    """Return a parameter's value as a storage keeps it.

    JSON's scalars, the ``repr`` of others.
    """
    value = value.item() if hasattr(value, "dtype") and not value.ndim else value
    return value if type(value) in _STORED else repr(value)


def add_trials(
    optuna: Any, study: Any, space: Space, records: Sequence[TrialRecord]
) -> None:
    """Add the trials that a study lacks, but those that are running; greater is better."""
    known = {
        (trial.user_attrs.get(_ROW), _text(trial.params))
        for trial in study.get_trials(deepcopy=False)
    }
    distributions = _distributions(optuna, space, records)
    new = []
    for record in records:
        params = {n: stored_value(v) for n, v in record.params.items()}
        shown = {n: v for n, v in params.items() if n in distributions}
        if record.state == "running" or (record.row, _text(shown)) in known:
            continue
        others = {n: v for n, v in params.items() if n not in shown}
        new.append(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[_STATES[record.state]],
                value=record.score if record.state == "complete" else None,
                params=shown,
                distributions={n: distributions[n] for n in shown},
                intermediate_values=record.steps,
                user_attrs={_ROW: record.row, **others, **record.more},
            )
        )
    study.add_trials(new)


def _text(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _distributions(
    optuna: Any, space: Space, records: Sequence[TrialRecord]
) -> dict[str, Any]:
    """Return the distribution of each parameter that Optuna can have one of."""
    found = {}
    for name in space.names:
        dimensions = [c.dimension for c in space.columns if c.name == name]
        seen = [r.params[name] for r in records if name in r.params]
        own = _distribution(optuna.distributions, dimensions, seen)
        if own is not None:
            found[name] = own
    return found


def _distribution(known: Any, dimensions: Sequence[Any], seen: Sequence[Any]) -> Any:
    """Return the distribution of a parameter; None if its values are of all kinds."""
    lists = [d for d in dimensions if isinstance(d, Values)]
    values = [d.at(i) for d in lists for i in range(min(len(d.values), _MOST_CHOICES + 1))]
    if len(lists) == len(dimensions) and len(values) <= _MOST_CHOICES:
        return known.CategoricalDistribution(list(dict.fromkeys(map(stored_value, values))))
    ends = [end for d in dimensions for end in _ends(d)] + list(seen)
    if not ends or not all(_is_number(end) for end in ends):
        return None
    is_log = all(_is_log(d) for d in dimensions) and min(ends) > 0
    if all(isinstance(end, Integral) for end in ends):
        return known.IntDistribution(int(min(ends)), int(max(ends)), log=is_log)
    return known.FloatDistribution(float(min(ends)), float(max(ends)), log=is_log)


def _ends(dimension: Any) -> list[Any]:
    """Return the least and the greatest value that can be told."""
    if isinstance(dimension, Interval | IntegerRange):
        return [dimension.low, dimension.high]
    if isinstance(dimension, Values):
        is_sorted = dimension.n_categories == 0
        ends = (0.0, 1.0) if is_sorted else range(len(dimension.values))
        return [dimension.decode(end) for end in ends]
    return [dimension.decode(code) for code in (0.0, 1.0)] if dimension.has_codes else []


def _is_log(dimension: Any) -> bool:
    if isinstance(dimension, Distribution):
        family = getattr(dimension.frozen, "dist", None)
        return getattr(family, "name", "") in _LOGARITHMIC
    return bool(getattr(dimension, "is_log", False))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
