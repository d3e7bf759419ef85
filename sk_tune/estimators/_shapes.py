# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The shape in which a network sees one row."""

from math import prod
from typing import Any

import numpy as np

from sk_tune.estimators._validation import is_whole

__all__ = ["check_input_shape", "reshaped"]


def check_input_shape(estimator: Any, *, least: int, most: int) -> tuple[int, ...] | None:
    """Return the parameter ``input_shape`` as a tuple, or None.

    Raises ValueError unless it holds `least` to `most` integers of at least 1.
    """
    given = estimator.input_shape
    if given is None:
        return None
    shape = np.atleast_1d(np.asarray(given, dtype=object)).tolist()
    whole = all(is_whole(size, 1) for size in shape)
    if not (whole and least <= len(shape) <= most):
        raise ValueError(
            f"The 'input_shape' parameter of {type(estimator).__name__} must hold {least} "
            f"to {most} integers of at least 1. Got {given!r} instead."
        )
    return tuple(int(size) for size in shape)


def reshaped(
    estimator: Any, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[int, ...]:
    """Return `wanted` if samples of `shape` hold as many values.

    Raises ValueError if they do not, or the axes are in another order.
    """
    if prod(shape) != prod(wanted):
        raise ValueError(
            f"X must have {prod(wanted)} values in each row for input_shape="
            f"{estimator.input_shape!r} of {type(estimator).__name__}. Got rows of shape "
            f"{shape}, which hold {prod(shape)}."
        )
    own, others = ([size for size in part if size != 1] for part in (shape, wanted))
    if own != others and sorted(own) == sorted(others):
        raise ValueError(
            f"Rows of X must have their axes in the order of input_shape="
            f"{estimator.input_shape!r} of {type(estimator).__name__}, or be flat. Got "
            f"rows of shape {shape}. Transpose X, for example with numpy.moveaxis."
        )
    return wanted
