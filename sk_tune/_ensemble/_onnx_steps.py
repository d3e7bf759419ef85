# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The steps in front of a model as ONNX operators.

Notation: n samples, c columns, Q quantiles.  All numbers have 64 bits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import MissingIndicator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    TargetEncoder,
)

from sk_tune._ensemble._member_inputs import scaler_numbers
from sk_tune._ensemble._onnx_trees import Nodes
from sk_tune._onnx_graph import Graph
from sk_tune._prepare import (
    MISSING,
    CategoryCodes,
    SmoothClipScaler,
    TablePreparer,
    circles,
    pair_crosses,
)

# Returns the output of a fitted step.
Rule = Callable[[Graph, Any, Any], Any]
# Columns of a table by name: the "kind" of each and, of categories, the "values" that some
# member knows.
TableColumns = Mapping[str, Mapping[str, Any]]

_RULES: dict[Any, Rule] = {
    None: lambda graph, x, step: x,
    VarianceThreshold: lambda graph, x, step: x.take(np.flatnonzero(step.get_support()), 1),
}

# Text that no table holds, for unknown categories.
_UNKNOWN = "\0unknown"
_BOUND = 3.0  # The bound of SmoothClipScaler.
_HUGE = 1e100
# QuantileTransformer treats values this near to an end of a column as the end.
_NEAR = 1e-7
# TablePreparer rounds the places of dates to nine digits.
_ROUNDED = 1e9
_MS_PER_DAY = 24 * 60 * 60 * 1000
# Days of a mean year, and from 0001-01-01 to 1970-01-01.
_DAYS_OF_YEAR, _TO_1970 = 365.2425, 719162

# The normal distribution's quantiles, highest power first: algorithm AS 241 (M. Wichura,
# Applied Statistics 37, 1988) near the middle and in the tails; 16 digits up to 1e-11.
_MIDDLE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
     4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940,
     2.05319162663775882187, 1.0),
)  # fmt: skip


def step_rule(kind: Any) -> Callable[[Rule], Rule]:
    """Register the rule of a transformer, or of a function of ``FunctionTransformer``."""

    def registered(rule: Rule) -> Rule:
        _RULES[kind] = rule
        return rule

    return registered


def add_steps(
    graph: Graph, x: Any, steps: Sequence[Any], columns: TableColumns | None, member: str
) -> Any:
    """Return the output of fitted steps in front of a model; TypeError without a rule."""
    for step in steps:
        if isinstance(step, TablePreparer) and columns is not None:
            x = _table(graph, x, step, columns, member)
        else:
            x = _step(graph, x, step, member)
    return x


def _step(graph: Graph, x: Any, step: Any, member: str) -> Any:
    if isinstance(step, Pipeline):
        for inner in step:
            x = _step(graph, x, inner, member)
        return x
    if step is None or isinstance(step, str):
        return x
    is_function = type(step) is FunctionTransformer and not step.kw_args
    rule = _RULES.get(step.func if is_function else type(step))
    if rule is None and scaler_numbers(step) is not None:
        rule = _scaled
    if rule is None or getattr(step, "output_distribution", "normal") != "normal":
        raise TypeError(
            "Only TablePreparer and scikit-learn's scalers, SimpleImputer and PCA can be "
            f"exported in front of a model. Got {member} with a {type(step).__name__}. "
            "Keep the model with joblib.dump."
        )
    return rule(graph, x.cast(np.float64), step)


def _scaled(graph: Graph, x: Any, step: Any) -> Any:
    numbers: Any = scaler_numbers(step)
    if numbers.fill is not None:
        return x.is_nan().where(numbers.fill, x)
    # In scikit-learn's order, because trees and quantiles depend on the last bit.
    if np.any(numbers.center):
        x = x - numbers.center
    for factor, kind in ((numbers.divisor, "Div"), (numbers.scale, "Mul")):
        if np.any(np.not_equal(factor, 1)):
            x = graph.op(kind, x, np.asarray(factor, dtype=np.float64))
    if np.any(numbers.shift):
        x = x + numbers.shift
    return x if numbers.clip is None else x.clip(*numbers.clip)


@step_rule(SmoothClipScaler)
def _smooth_clip(graph: Graph, x: Any, step: Any) -> Any:
    scaled = ((x - step.center_) * step.scale_).clip(-_HUGE, _HUGE)
    part = scaled / _BOUND
    return scaled / graph.op("Sqrt", part * part + 1)


@step_rule(QuantileTransformer)
def _quantiles(graph: Graph, x: Any, step: Any) -> Any:
    """Return places among the training samples as normal quantiles, (n, c).

    The place is linear between two quantiles; at quantiles that recur it is the middle of
    their places.  A tree finds the interval of each number.
    """
    nodes, n_intervals = Nodes(), 0
    lines: list[Any] = []
    for column, quantiles in enumerate(step.quantiles_.T):
        knots, first = np.unique(quantiles, return_index=True)
        last = np.append(first[1:], len(quantiles)) - 1
        start, end = step.references_[first], step.references_[last]
        middle = (start + end) / 2
        # Intervals: below, the first knot, between it and the second, the second, ...
        line = np.zeros((2 * len(knots) + 1, 3))  # Reference, knot, slope.
        line[1::2, 0], line[2::2, 0] = middle, end
        line[1::2, 1] = line[2::2, 1] = knots
        line[2:-1:2, 2] = (start[1:] - end[:-1]) / np.diff(knots)
        # The last number of each interval, without the last interval.
        ends = np.column_stack([np.nextafter(knots, -np.inf), knots]).ravel()
        nodes.add_search(ends, column, n_before=n_intervals)
        lines.append(line)
        n_intervals += len(line)
    interval = nodes.sums(graph, x, len(lines)).cast(np.int64)
    reference, knot, slope = (
        graph.op("Gather", graph.constant(values), interval, axis=0)
        for values in np.concatenate(lines).T
    )
    place = reference + (x - knot) * slope
    place = (x + _NEAR > step.quantiles_[-1]).where(1 - _NEAR, place)
    place = (x - _NEAR < step.quantiles_[0]).where(_NEAR, place)
    normal = _normal_quantile(graph, place.clip(_NEAR, 1 - _NEAR))
    return x.is_nan().where(np.nan, normal)


def _normal_quantile(graph: Graph, p: Any) -> Any:
    centered = p - 0.5
    middle = centered * _ratio(_MIDDLE, 0.180625 - centered * centered)
    logarithm = graph.op("Log", graph.op("Min", p, 1 - p)) * -1
    tail = _ratio(_TAIL, graph.op("Sqrt", logarithm) - 1.6)
    signed = tail * graph.op("Sign", centered)
    return (graph.op("Abs", centered) > 0.425).where(signed, middle)


def _ratio(polynomials: Any, x: Any) -> Any:
    above, below = (x * factors[0] + factors[1] for factors in polynomials)
    for of_above, of_below in zip(*(factors[2:] for factors in polynomials), strict=True):
        above, below = above * x + of_above, below * x + of_below
    return above / below


@step_rule(PCA)
def _components(graph: Graph, x: Any, step: PCA) -> Any:
    factors = step.components_.T
    if step.whiten:
        factors = factors / np.sqrt(step.explained_variance_)
    return graph.op("MatMul", x - step.mean_, factors)


@step_rule(circles)
def _circles(graph: Graph, x: Any, step: Any) -> Any:
    """Return places of dates in the year, the week and the day, as TablePreparer does."""

    def floor(value: Any) -> Any:
        return graph.op("Floor", value)

    def new_year(year: Any) -> Any:
        """Return the days from 1970 to the first day of a year, Gregorian."""
        past = year - 1
        leap_days = floor(past / 4) - floor(past / 100) + floor(past / 400)
        return past * 365 + leap_days - _TO_1970

    days = graph.op("Round", x * _MS_PER_DAY) / _MS_PER_DAY
    day = floor(days)
    # Computed by the mean length of a year, the year may be off by one.
    year = floor(day / _DAYS_OF_YEAR) + 1970
    year = year - (day < new_year(year)).cast(np.float64)
    year = year + (day < new_year(year + 1)).where(0, graph.constant(np.float64(1)))
    start = new_year(year)
    of_year = (days - start) / (new_year(year + 1) - start)
    of_week = (days + 3 - floor((days + 3) / 7) * 7) / 7
    # The shape of all places is (n, dates, circles, 2).
    shares = [s.expand(2) for s in (of_year, of_week, days - day)]
    turns = graph.op("Unsqueeze", graph.concat(shares, axis=2), np.array([3]))
    angles = turns * (2 * np.pi)
    places = graph.concat([graph.op("Sin", angles), graph.op("Cos", angles)], axis=3)
    return graph.op("Flatten", graph.op("Round", places * _ROUNDED) / _ROUNDED)


@step_rule(pair_crosses)
def _pair_crosses(graph: Graph, x: Any, step: Any) -> Any:
    places = np.triu_indices(step.n_features_in_, 1)
    first, second = (x.take(place, axis=1) for place in places)
    crosses = graph.concat([first * second, first / second], axis=1)
    return graph.op("IsInf", crosses, dtype=bool).where(np.nan, crosses)


def _table(
    graph: Graph, x: Any, prepare: TablePreparer, columns: TableColumns, member: str
) -> Any:
    """Return the blocks of a TablePreparer side by side; infinity counts as missing."""
    x = graph.op("IsInf", x, dtype=bool).where(np.nan, x)
    places = {name: place for place, name in enumerate(columns)}
    blocks = []
    for block, transformer, names in prepare.columns_.transformers_:
        if block == "remainder":
            continue
        chosen = x.take([places[name] for name in names], axis=1)
        is_pipeline = isinstance(transformer, Pipeline)
        encoder, *after = transformer if is_pipeline else [transformer]
        if isinstance(encoder, OneHotEncoder | CategoryCodes | TargetEncoder):
            levels = [columns[name]["values"] for name in names]
            encoded = _encoded(graph, chosen, encoder, names, levels)
            for step in after:
                encoded = _step(graph, encoded, step, member)
            blocks.append(encoded)
        elif isinstance(transformer, MissingIndicator):
            blocks.append(chosen.is_nan().cast(np.float64))
        else:
            blocks.append(_step(graph, chosen, transformer, member))
    return graph.concat(blocks, axis=1)


def _encoded(
    graph: Graph,
    codes: Any,
    encoder: Any,
    names: Sequence[str],
    levels: Sequence[Sequence[str]],
) -> Any:
    """Return encoded categories, looked up in a table for each column."""
    sizes = np.array([len(values) for values in levels])
    # A missing value is a category, or unknown if no training sample had it.
    missing = np.array([[*values, MISSING].index(MISSING) for values in levels])
    place = ((codes >= 0) & (codes < sizes)).where(codes, sizes)
    place = codes.is_nan().where(missing, place).cast(np.int64)
    tables = _tables_of(encoder, names, levels)
    if all(table.shape[1] == 1 for table in tables):
        offsets = np.cumsum([0, *(len(table) for table in tables[:-1])])
        flat = graph.constant(np.concatenate(tables)[:, 0])
        return graph.op("Gather", flat, place + offsets, axis=0)
    encoded = [
        graph.op("Gather", graph.constant(table), place.take(column, axis=1), axis=0)
        for column, table in enumerate(tables)
    ]
    return graph.concat(encoded, axis=1)


def _tables_of(
    encoder: Any, names: Sequence[str], levels: Sequence[Sequence[str]]
) -> list[Any]:
    """Return the encoded values of each column, with unknown values in the last row.

    An encoder works column by column, and its output has the columns in their order.
    """
    unknown = pd.DataFrame({name: [_UNKNOWN] for name in names}, dtype=object)
    tables = []
    for name, values in zip(names, levels, strict=True):
        rows = pd.concat([unknown] * (len(values) + 1), ignore_index=True)
        rows[name] = [*values, _UNKNOWN]
        tables.append(np.asarray(encoder.transform(rows), dtype=np.float64))
    owner = np.zeros(tables[0].shape[1], dtype=np.int64)
    for number, table in enumerate(tables):
        owner[np.ptp(table, axis=0) > 0] = number
    # A column that never changes belongs to any of its neighbours.
    owner = np.maximum.accumulate(owner)
    return [table[:, owner == number] for number, table in enumerate(tables)]
