# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Results of a search as columns of numbers, and values as text, for pictures and pages.

The values of a parameter decide its scale, so that searches of other packages work like
sk_tune's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from sk_tune._scores import metric_label
from sk_tune._search_record import deciding_metric, granted_resource
from sk_tune._text import is_number
from sk_tune._types import Bools, Floats, Integers

# A range of values that spans less is legible on a linear axis.
_LEAST_LOG_RATIO = 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameter:
    """A parameter of all configurations; `values` are (n_rows,)."""

    name: str
    label: str  # the shortest unique end of the name
    values: Floats  # numbers, or positions in `categories`; NaN if missing
    categories: tuple[str, ...] = ()
    is_log: bool = False  # logarithms spread more evenly

    @property
    def is_active(self) -> Bools:
        """Whether a configuration has the parameter; shape (n_rows,)."""
        return ~np.isnan(self.values)

    @property
    def support(self) -> Floats:
        """Distinct values, sorted."""
        return np.unique(self.values[self.is_active])

    @property
    def varies(self) -> bool:
        """Whether it is not the same in all configurations."""
        return len(self.support) > 1 or not (self.is_active.all() or len(self.support) == 0)

    @property
    def codes(self) -> Floats:
        """Values on a scale from 0 (the least in the search) to 1; NaN if absent."""
        numbers = np.log(self.values) if self.is_log else self.values
        if len(self.support) < 2:
            return np.where(np.isnan(numbers), np.nan, 0.5)
        low, high = np.nanmin(numbers), np.nanmax(numbers)
        codes: Floats = (numbers - low) / (high - low)
        return codes

    def text(self, value: float) -> str:
        """Return a value, or a category's position, as it is written on an axis."""
        if self.categories:
            return self.categories[int(value)]
        return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.2g}"


def parameters_of(params: Sequence[Mapping[str, Any]]) -> list[Parameter]:
    """Return the parameters of configurations, without constant parameters if any varies.

    >>> rows = [{"net__width": 8, "net__cell": "gru"}, {"net__width": 64, "net__cell": "a"}]
    >>> [(p.label, p.categories, p.is_log) for p in parameters_of(rows)]
    [('width', (), True), ('cell', ('a', 'gru'), False)]
    """
    names = list(dict.fromkeys(name for row in params for name in row))
    labels = short_names(names)
    columns = [_parameter(name, labels[name], params) for name in names]
    varying = [column for column in columns if column.varies]
    return varying or columns


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return names, by name, without redundant steps and parts in front.

    >>> short_names(["net__alpha", "a__alpha", "net__width"])
    {'net__alpha': 'net__alpha', 'a__alpha': 'a__alpha', 'net__width': 'width'}
    """
    short = {}
    for name in names:
        parts = name.split("__")
        ends = ["__".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        rivals = [other for other in names if other != name]
        short[name] = next(
            (e for e in ends if not any(f"__{o}".endswith(f"__{e}") for o in rivals)), name
        )
    return short


def _parameter(name: str, label: str, params: Sequence[Mapping[str, Any]]) -> Parameter:
    values_of_rows = [row[name] for row in params if name in row]
    if all(_is_number(value) for value in values_of_rows):
        values = np.array([float(row.get(name, np.nan)) for row in params])
        return Parameter(name=name, label=label, values=values, is_log=_suits_log(values))
    # Numbers come first, by their size.
    numbers = sorted({v for v in values_of_rows if _is_number(v)}, key=float)
    texts = sorted({_text(v) for v in values_of_rows if not _is_number(v)})
    categories = [*map(_text, numbers), *texts]
    positions = {text: float(position) for position, text in enumerate(categories)}
    values = np.array([
        positions[_text(row[name])] if name in row else np.nan for row in params
    ])
    return Parameter(name=name, label=label, values=values, categories=tuple(categories))


def _is_number(value: Any) -> bool:
    return is_number(value) and bool(np.isfinite(float(value)))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, type) or callable(value):
        return str(getattr(value, "__name__", value))
    return str(value.item() if isinstance(value, np.generic) else value)


def _suits_log(values: Floats) -> bool:
    """Return whether values fill their range more evenly in the logarithm."""
    support = np.unique(values[~np.isnan(values)])
    if len(support) < 2 or support[0] <= 0 or support[-1] < _LEAST_LOG_RATIO * support[0]:
        return False
    # The greatest distances to evenly spaced values, in parts of the range.
    logarithmic, linear = (
        np.abs((v - v[0]) / (v[-1] - v[0]) - np.linspace(0, 1, len(v))).max()
        for v in (np.log(support), support)
    )
    return bool(len(support) == 2 or logarithmic <= linear)


_MEAN = "mean_test_"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trials:
    """Results of a search: arrays of shape (n_rows,), in the order of ``cv_results_``."""

    params: list[dict[str, Any]]  # without the `resource` of rungs
    scores: Floats  # means over the folds, greater is better, NaN for failures
    spreads: Floats  # standard deviations over the folds
    configurations: Integers  # equal for the rows of a configuration
    brackets: Integers  # 0 without rungs
    n_resources: Integers  # 0 without rungs
    resource: str | None
    best: int | None  # row of the best candidate
    score_name: str

    @property
    def is_last(self) -> Bools:
        """Whether no later row is of the same configuration; shape (n_rows,)."""
        is_earlier = pd.Series(self.configurations).duplicated(keep="last")
        return ~is_earlier.to_numpy(dtype=np.bool_)

    @property
    def preferred(self) -> int | None:
        """Row of the best candidate, or of the greatest score; None without a score."""
        if self.best is not None or np.isnan(self.scores).all():
            return self.best
        return int(np.nanargmax(self.scores))

    @property
    def score_label(self) -> str:
        return f"{self.score_name[:1].upper()}{self.score_name[1:]} (mean over folds)"

    def running_best(self) -> Floats:
        """Return the best score so far with equal resources, (n_rows,), NaN without."""
        best, most, value = np.full(len(self.scores), np.nan), 0, np.nan
        for row, (score, n) in enumerate(zip(self.scores, self.n_resources, strict=True)):
            if np.isfinite(score) and n >= most:
                value = score if n > most else np.fmax(value, score)
                most = int(n)
            best[row] = value
        return best


def trials_of(search: Any, metric: str | None = None) -> Trials:
    """Return the results of a fitted search by a metric, or by the deciding metric."""
    check_is_fitted(search, "cv_results_")
    results = search.cv_results_
    name = metric_name(search, metric)
    n_rows = len(results["params"])
    resource = granted_resource(search) if "n_resources" in results else None
    params = [
        {key: value for key, value in row.items() if key != resource}
        for row in results["params"]
    ]
    configurations = getattr(search, "candidates_", None)
    if configurations is None:
        configurations = _configurations(params, results, n_rows)
    n_resources = _column(results, "n_resources", n_rows)
    scores = np.array(results[_MEAN + name], dtype=np.float64)
    best = int(search.best_index_) if hasattr(search, "best_index_") else None
    if metric is not None and name != metric_name(search):
        # The best score with the most resources.
        is_scored, best = np.isfinite(scores), None
        if is_scored.any():
            is_scored &= n_resources == n_resources[is_scored].max()
            best = int(np.where(is_scored, scores, -np.inf).argmax())
    return Trials(
        params=params,
        scores=scores,
        spreads=np.array(results[f"std_test_{name}"], dtype=np.float64),
        configurations=configurations,
        brackets=_column(results, "bracket", n_rows),
        n_resources=n_resources,
        resource=resource,
        best=best,
        score_name=_score_name(search, name),
    )


def metric_name(search: Any, metric: str | None = None) -> str:
    """Return the metric in the names of columns; the deciding metric for None."""
    if metric is None:
        return deciding_metric(search)
    names = [n.removeprefix(_MEAN) for n in search.cv_results_ if n.startswith(_MEAN)]
    if metric not in names:
        raise ValueError(
            f"The 'metric' parameter must be one of {names}, as in the search. "
            f"Got {metric!r} instead."
        )
    return metric


def curve_table(search: Any) -> pd.DataFrame:
    """Return a search's learning curves by epochs, without rows if it has none."""
    curves: pd.DataFrame | None = getattr(search, "learning_curves_", None)
    if curves is None:
        columns = ("result_row", "fold", "epoch", "train_loss", "valid_loss", "valid_score")
        return pd.DataFrame({name: np.empty(0) for name in columns})
    return curves


def _column(results: Mapping[str, Any], name: str, n_rows: int) -> Integers:
    return np.array(results.get(name, np.zeros(n_rows)), dtype=np.int64)


def _configurations(
    params: list[dict[str, Any]], results: Mapping[str, Any], n_rows: int
) -> Integers:
    """Return the number of each row's configuration; without rungs all differ."""
    if "n_resources" not in results:
        return np.arange(n_rows)
    brackets = _column(results, "bracket", n_rows)
    # By text, because values need not be hashable.
    pairs = zip(params, brackets, strict=True)
    texts = [f"{bracket} {sorted(row.items())}" for row, bracket in pairs]
    return pd.factorize(np.array(texts, dtype=object))[0].astype(np.int64)


def _score_name(search: Any, metric: str) -> str:
    """Return the label of a metric."""
    name, scoring = metric, getattr(search, "scoring", None)
    if metric == "score":
        name = scoring if isinstance(scoring, str) else "score"
        if scoring is None and is_classifier(search):
            name = "accuracy"
        elif scoring is None and is_regressor(search):
            name = "r2"
    return metric_label(name)


# Characters of a value at most.
_LONGEST = 80
_MISSING = "n/a"
_EXPONENT_FROM = 1e6


def number_text(value: float, digits: int = 4) -> str:
    """Return a number in few significant digits, "n/a" for NaN.

    >>> [number_text(v) for v in (0.98765432, -12.0, float("nan"), 9999.7, 1e-7)]
    ['0.9877', '-12', 'n/a', '10000', '1e-07']
    """
    if math.isnan(value):
        return _MISSING
    text = f"{value:.{digits}g}"
    # Rounding may add a digit, and so an exponent.
    if abs(value) < _EXPONENT_FROM and abs(float(text)) >= 10**digits:
        return f"{round(value):d}"
    return text


def value_text(value: Any) -> str:
    """Return a parameter's value as text, on one line and cut if it is long.

    >>> [value_text(v) for v in (0.00123456, 16, "adam", None, (8, 8), max)]
    ['0.001235', '16', 'adam', 'None', '(8, 8)', 'max']
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | str):
        text = str(value)
    elif isinstance(value, Integral):
        text = str(int(value))  # Also of an enumeration.
    elif isinstance(value, Real):
        text = number_text(float(value))
    elif isinstance(getattr(value, "__name__", None), str):
        text = value.__name__
    else:
        text = repr_text(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def repr_text(value: Any) -> str:
    """Return ``repr`` on one line, also if it raises."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a user's class raises
        text = f"<{type(value).__name__} without repr: {type(error).__name__}>"
    return " ".join(text.split())


def plain(value: Any) -> Any:
    """Return a value as types of JSON.

    >>> plain({"score": float("nan"), "params": {"width": np.int64(8), "f": max}})
    {'score': None, 'params': {'width': 8, 'f': 'max'}}
    """
    if is_dataclass(value) and not isinstance(value, type | BaseEstimator):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value_text(value)
