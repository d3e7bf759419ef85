# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Parameters of configurations as columns of numbers: values, scales, categories.

What scale suits a parameter is read from its values, so that searches of other packages
are served like sk_tune's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Parameter", "chosen_parameters", "parameters_of", "short_names"]

Floats = npt.NDArray[np.float64]

# A range of values that spans less is legible on a linear axis.
_LEAST_LOG_RATIO = 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameter:
    """One parameter of all configurations.

    Parameters
    ----------
    name : str
        As in the configurations.
    label : str
        The shortest end of the name that tells it from the others.
    values : ndarray of shape (n_rows,)
        Numbers, or positions in `categories`; NaN where the parameter does not exist.
    categories : tuple of str
        Values that are no numbers, as text; empty for numbers.
    is_log : bool
        Whether numbers spread more evenly in their logarithm.
    """

    name: str
    label: str
    values: Floats
    categories: tuple[str, ...] = ()
    is_log: bool = False

    @property
    def is_active(self) -> npt.NDArray[np.bool_]:
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
        """Values from 0 to 1 along the parameter's scale; NaN where it does not exist."""
        return self.scaled(self.values)

    def scaled(self, values: Any) -> Floats:
        """Return where values lie along the parameter's scale.

        Parameters
        ----------
        values : array-like
            Numbers, or positions in `categories`.

        Returns
        -------
        ndarray
            From 0 at the least value seen to 1 at the greatest; 0.5 if there is only one.
        """
        numbers = np.asarray(values, dtype=np.float64)
        ends = self.support[[0, -1]] if len(self.support) else np.zeros(2)
        if self.is_log:
            numbers, ends = np.log(numbers), np.log(ends)
        if ends[0] == ends[1]:
            return np.where(np.isnan(numbers), np.nan, 0.5)
        scaled: Floats = (numbers - ends[0]) / (ends[1] - ends[0])
        return scaled

    def text(self, value: float) -> str:
        """Return a value as it is written on an axis.

        Parameters
        ----------
        value : float
            A number, or a position in `categories`.

        Returns
        -------
        str
            Of three significant digits.
        """
        if self.categories:
            return self.categories[int(value)]
        return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.2g}"


def parameters_of(params: Sequence[Mapping[str, Any]]) -> list[Parameter]:
    """Return the parameters of configurations, those that vary if any does.

    Parameters
    ----------
    params : sequence of dict
        Configurations, which need not have the same parameters.

    Returns
    -------
    list of Parameter
        In the order in which names appear.

    Examples
    --------
    >>> rows = [{"net__width": 8, "net__cell": "gru"}, {"net__width": 64, "net__cell": "a"}]
    >>> [(p.label, p.categories, p.is_log) for p in parameters_of(rows)]
    [('width', (), True), ('cell', ('a', 'gru'), False)]
    """
    names = list(dict.fromkeys(name for row in params for name in row))
    labels = short_names(names)
    columns = [_parameter(name, labels[name], params) for name in names]
    varying = [column for column in columns if column.varies]
    return varying or columns


def chosen_parameters(
    params: Sequence[Mapping[str, Any]], names: Sequence[str] | None
) -> list[Parameter]:
    """Return the parameters that a user asks for by names or labels; all that vary if None.

    Raises ValueError, which names the parameters that there are.
    """
    columns = parameters_of(params)
    if names is None:
        return columns
    known = {c.label: c for c in columns} | {c.name: c for c in columns}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            "The 'parameters' parameter must name hyperparameters that the search varied: "
            f"{[c.name for c in columns]}. Got {list(names)!r} instead."
        )
    return [known[name] for name in names]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return names without the steps and parts before them, where these say nothing.

    Parameters
    ----------
    names : sequence of str
        Of parameters, with parts joined by two underscores.

    Returns
    -------
    dict of str to str
        By name, in the same order.

    Examples
    --------
    >>> short_names(["net__alpha", "a__alpha", "net__width"])
    {'net__alpha': 'net__alpha', 'a__alpha': 'a__alpha', 'net__width': 'width'}
    """
    short = {}
    for name in names:
        parts = name.split("__")
        ends = ["__".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        others = [other for other in names if other != name]
        short[name] = next(
            (end for end in ends if not any(_ends_with(o, end) for o in others)), name
        )
    return short


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith("__" + end)


def _parameter(name: str, label: str, params: Sequence[Mapping[str, Any]]) -> Parameter:
    given = [row[name] for row in params if name in row]
    if all(_is_number(value) for value in given):
        values = np.array([float(row.get(name, np.nan)) for row in params])
        return Parameter(name=name, label=label, values=values, is_log=_suits_log(values))
    categories = _categories(given)
    positions = {text: float(position) for position, text in enumerate(categories)}
    return Parameter(
        name=name,
        label=label,
        values=np.array([
            positions[_text(row[name])] if name in row else np.nan for row in params
        ]),
        categories=tuple(categories),
    )


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return is_real and bool(np.isfinite(float(value)))


def _categories(values: Sequence[Any]) -> list[str]:
    """Return the texts of values, numbers among them first and by their size."""
    numbers = sorted({v for v in values if _is_number(v)}, key=float)
    others = sorted({_text(v) for v in values if not _is_number(v)})
    return [*map(_text, numbers), *others]


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
    return _unevenness(np.log(support)) <= _unevenness(support)


def _unevenness(values: Floats) -> float:
    """Return the greatest distance to evenly spaced values, in parts of the range."""
    even = np.linspace(values[0], values[-1], len(values))
    return (
        float(np.abs(values - even).max() / (values[-1] - values[0]))
        if len(values) > 2
        else 0.0
    )
