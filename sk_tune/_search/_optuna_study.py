# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Export of a search to an Optuna study, for Optuna's plots and dashboard."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from sk_tune._sampler import import_optuna
from sk_tune._search._outcomes import candidate_fingerprint, guiding_scores, scores_by_curve
from sk_tune._search._search_parameters import space_of
from sk_tune._search_record import NOT_TRAINED, granted_resource
from sk_tune._space import IntegerRange, Interval, Space, Values
from sk_tune._text import is_number

State = Literal["complete", "pruned", "failed", "running"]

_REASON = "failure_reason"
_METRICS = ("mean_test_", "std_test_", "split", "mean_fit_time", "mean_score_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One configuration at its last result row, without the resource.

    `state` is "complete", "failed", "running" (it may still be promoted) or "pruned": it
    was not promoted, or had no score when the search ended. `score` is NaN if
    there is none; `steps` are scores by epoch or by resource; `more` has scores of the
    folds, times, other metrics, the bracket and the failure reason.
    """

    row: int
    params: dict[str, Any]
    state: State
    score: float
    steps: dict[int, float]
    more: dict[str, Any]


def _trial_records(
    results: Mapping[str, Any],
    *,
    refit: Any = True,
    resource: str | None = None,
    max_resources: int | None = None,
    curves: pd.DataFrame | None = None,
    is_over: bool = True,
    is_asynchronous: bool = False,
) -> list[TrialRecord]:
    """Return a record of each configuration, in the order of their last result rows.

    `refit` names the metric that decides; `max_resources` is the resource of the last rung,
    None for the most in `results`; `curves` are ``learning_curves_`` if these are of the
    score. `is_over` says that the search has ended, `is_asynchronous` that any rung may
    promote candidates until then.
    """
    n_rows = len(results["params"])
    scores = guiding_scores(results, refit)
    granted = results.get("n_resources")
    most = max_resources or (0 if granted is None else max(granted, default=0))
    zeros = np.zeros(n_rows, dtype=int)
    brackets, rungs = (np.asarray(results.get(n, zeros)) for n in ("bracket", "iter"))
    reasons = results.get(_REASON, [""] * n_rows)
    # Each configuration's result rows in each bracket, first rung first; without rungs a
    # repeated configuration counts twice.
    configurations: dict[Any, list[int]] = {}
    for row, params in enumerate(results["params"]):
        rungs_of = (brackets[row], candidate_fingerprint(params, without=resource))
        configurations.setdefault(rungs_of if "iter" in results else row, []).append(row)
    records = []
    for rows in configurations.values():
        row, score, reason = rows[-1], float(scores[rows[-1]]), str(reasons[rows[-1]])
        has_all = granted is None or granted[row] >= most
        newest = rungs[brackets == brackets[row]].max()
        is_asked = not has_all and (is_asynchronous or rungs[row] == newest)
        state: State = "complete" if has_all else "pruned"
        if not np.isfinite(score):
            state = "pruned" if reason in NOT_TRAINED else "failed"
        elif is_asked and not is_over:
            state = "running"
        steps = _epochs(curves, rows)
        if not steps and granted is not None:
            steps = {int(granted[r]): float(scores[r]) for r in rows}
        params = {k: v for k, v in results["params"][row].items() if k != resource}
        more: dict[str, Any] = {}
        for name, column in results.items():
            if name in {"bracket", "n_resources"}:
                more[name] = int(column[row])
            elif name.startswith(_METRICS) and np.isfinite(column[row]):
                more[name] = float(column[row])
        if reason:
            more[_REASON] = reason
        records.append(
            TrialRecord(
                row=row,
                params=params,
                state=state,
                score=score,
                steps={step: s for step, s in steps.items() if np.isfinite(s)},
                more=more,
            )
        )
    return sorted(records, key=lambda record: record.row)


def _epochs(curves: pd.DataFrame | None, rows: Sequence[int]) -> dict[int, float]:
    """Return the mean score of the folds after each epoch."""
    if curves is None or curves.empty:
        return {}
    # Later rungs contain the epochs of earlier rungs.
    last_curves = curves[curves["candidate"] == rows[-1]].dropna(subset=["valid_score"])
    means = last_curves.groupby("epoch")["valid_score"].mean()
    epochs, scores = means.index.to_numpy(dtype=int), means.to_numpy(dtype=float)
    return dict(zip(epochs.tolist(), scores.tolist(), strict=True))


# A storage writes values of these types without conversion.
_STORED = (type(None), bool, int, float, str)
# A longer list of numbers is shown as a range.
_MOST_CHOICES = 100
_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
_ROW = "row"


def stored_value(value: Any) -> Any:
    """Return a value for a storage: a scalar of JSON, or a ``repr``."""
    value = value.item() if hasattr(value, "dtype") and not value.ndim else value
    return value if type(value) in _STORED else repr(value)


def add_trials(
    optuna: Any, study: Any, space: Space, records: Sequence[TrialRecord]
) -> None:
    """Add the finished trials that a study lacks; greater is better."""
    existing = {
        (trial.user_attrs.get(_ROW), _text(trial.params))
        for trial in study.get_trials(deepcopy=False)
    }
    distributions = _distributions(optuna, space, records)
    new = []
    for record in records:
        params = {n: stored_value(v) for n, v in record.params.items()}
        shown = {n: v for n, v in params.items() if n in distributions}
        if record.state == "running" or (record.row, _text(shown)) in existing:
            continue
        hidden_params = {n: v for n, v in params.items() if n not in shown}
        new.append(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[_STATES[record.state]],
                value=record.score if record.state == "complete" else None,
                params=shown,
                distributions={n: distributions[n] for n in shown},
                intermediate_values=record.steps,
                user_attrs={_ROW: record.row, **hidden_params, **record.more},
            )
        )
    study.add_trials(new)


def _text(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _distributions(
    optuna: Any, space: Space, records: Sequence[TrialRecord]
) -> dict[str, Any]:
    """Return the distributions of all parameters that Optuna can represent."""
    kinds, by_name = optuna.distributions, {}
    for name in space.names:
        dimensions = [c.dimension for c in space.columns if c.name == name]
        lists = [d for d in dimensions if isinstance(d, Values)]
        values = [
            d.at(i) for d in lists for i in range(min(len(d.values), _MOST_CHOICES + 1))
        ]
        if len(lists) == len(dimensions) and len(values) <= _MOST_CHOICES:
            choices = list(dict.fromkeys(map(stored_value, values)))
            by_name[name] = kinds.CategoricalDistribution(choices)
            continue
        ends = [end for d in dimensions for end in _ends(d)]
        ends += [r.params[name] for r in records if name in r.params]
        if not ends or not all(map(is_number, ends)):
            # Values of mixed kinds have no distribution.
            continue
        is_log = all(getattr(d, "is_log", False) for d in dimensions) and min(ends) > 0
        if all(isinstance(end, Integral) for end in ends):
            by_name[name] = kinds.IntDistribution(
                int(min(ends)), int(max(ends)), log=is_log
            )
        else:
            low, high = float(min(ends)), float(max(ends))
            by_name[name] = kinds.FloatDistribution(low, high, log=is_log)
    return by_name


def _ends(dimension: Any) -> list[Any]:
    """Return the smallest and the largest value, if there are any."""
    if isinstance(dimension, Interval | IntegerRange):
        return [dimension.low, dimension.high]
    if isinstance(dimension, Values):
        is_sorted = dimension.n_categories == 0
        ends = (0.0, 1.0) if is_sorted else range(len(dimension.values))
        return [dimension.decode(end) for end in ends]
    return [dimension.decode(code) for code in (0.0, 1.0)] if dimension.has_codes else []


def to_optuna(search: Any, storage: Any = None, *, study_name: str | None = None) -> Any:
    """Write a fitted search into an Optuna storage.

    Parameters
    ----------
    search : estimator
        Fitted search of sk_tune, scikit-learn or scikit-optimize.
    storage : str or optuna storage, default=None
        Such as "sqlite:///study.db"; in memory if None.
    study_name : str, default=None
        Name of the study; Optuna chooses one if None.  An existing study gets the trials
        that it lacks.

    Returns
    -------
    optuna.study.Study
        Study with one trial per configuration.  Its value is the mean test score, greater
        is better.  Intermediate values are scores of epochs, if accuracy or R^2 decides,
        else of rungs.  Trials that were not promoted are pruned; failed trials have the
        reason in ``user_attrs["failure_reason"]``.

    Raises
    ------
    ImportError
        If Optuna is not installed.
    NotFittedError
        If the search is not fitted.

    See Also
    --------
    OptunaExport : Export while a search runs.

    Notes
    -----
    Values of a list other than None, bool, numbers and str are written as their ``repr``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> from sk_tune import to_optuna
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=3, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [1e-3, 1e-2]}, cv=3).fit(X, y)
    >>> study = to_optuna(search)
    >>> study.best_params == search.best_params_
    True
    """
    check_is_fitted(search, "cv_results_")
    optuna = import_optuna("The export")
    study = _study(optuna, storage, study_name)
    curves = getattr(search, "learning_curves_", None)
    _write(
        optuna, study, space_of(search), search, search.cv_results_, curves, is_over=True
    )
    return study


class OptunaExport:
    """Exports a search to an Optuna storage while it runs.

    A callback for ``search.set_callbacks(OptunaExport(...))``.  It writes a configuration
    when its training has ended: after its last rung, or when others were promoted instead.

    Parameters
    ----------
    storage : str or optuna storage
        Such as "sqlite:///study.db", which other processes can read during the search.
    study_name : str
        Name of the study.  An existing study gets the trials that it lacks, so a repeated
        search, as from a store, may keep its name.

    See Also
    --------
    to_optuna : Export of a fitted search.

    Examples
    --------
    >>> import optuna
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import HyperbandSearchCV, MLPClassifier
    >>> from sk_tune import OptunaExport
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=4, random_state=0)
    >>> storage = optuna.storages.InMemoryStorage()
    >>> search = HyperbandSearchCV(
    ...     net, {"learning_rate": loguniform(1e-4, 1e-1)}, factor=2, cv=3, random_state=0
    ... )
    >>> search = search.set_callbacks(OptunaExport(storage, "iris")).fit(X, y)
    >>> study = optuna.load_study(study_name="iris", storage=storage)
    >>> len(study.trials) == len(set(search.search_record_.last_rows))
    True
    """

    def __init__(self, storage: Any, study_name: str) -> None:
        self.storage = storage
        self.study_name = study_name

    def setup(self, estimator: Any, context: Any) -> None:
        """Create or load the study."""
        self._lock = threading.Lock()
        self._n_seen = 0
        self._optuna = import_optuna("The export")
        self._study = _study(self._optuna, self.storage, self.study_name)
        self._space = space_of(estimator)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Write the remaining configurations."""
        self._write(estimator, is_over=True)
        del self._lock, self._n_seen, self._optuna, self._study, self._space

    def on_fit_task_begin(self, estimator: Any, context: Any, **_: Any) -> None:
        """Ignore the beginning of a task."""

    def on_fit_task_end(self, estimator: Any, context: Any, **_: Any) -> bool:
        """Write configurations that ended since the last call, and continue the search."""
        self._write(estimator, is_over=False)
        return False

    def _write(self, search: Any, *, is_over: bool) -> None:
        # Searches of other packages have results only at their end.
        results, curves = getattr(search, "cv_results_", {}), None
        if hasattr(search, "results_so_far"):
            results, curves = search.results_so_far()
        with self._lock:
            n_rows = len(results.get("params", ()))
            if n_rows > (0 if is_over else self._n_seen):
                self._n_seen = n_rows
                study = (self._optuna, self._study, self._space)
                _write(*study, search, results, curves, is_over=is_over)


def _write(
    optuna: Any,
    study: Any,
    space: Space,
    search: Any,
    results: Mapping[str, Any],
    curves: pd.DataFrame | None,
    *,
    is_over: bool,
) -> None:
    records = _trial_records(
        results,
        refit=search.refit,
        resource=granted_resource(search),
        # A finished search may have granted less than its maximum.
        max_resources=None if is_over else getattr(search, "max_resources_", None),
        curves=curves if scores_by_curve(search.scoring) else None,
        is_over=is_over,
        is_asynchronous=getattr(search, "asynchronous", False),
    )
    add_trials(optuna, study, space, records)


def _study(optuna: Any, storage: Any, study_name: str | None) -> Any:
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        load_if_exists=study_name is not None,
    )
    if study.direction != optuna.study.StudyDirection.MAXIMIZE:
        raise ValueError(
            f"The study {study_name!r} must maximize, as searches do. Got one that "
            "minimizes. Give another study_name."
        )
    return study
