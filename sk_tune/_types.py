# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Types of arrays, and of the arguments that scikit-learn's interface has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Array = NDArray[Any]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Positions, as numpy returns them.
Ints = NDArray[np.intp]
Seed = int | RandomState | None
# Samples: an array, a table, or a dict of arrays for networks with several inputs.
Features = ArrayLike | sparse.sparray | sparse.spmatrix | Mapping[str, ArrayLike]
Scoring = str | Callable[..., Any] | Sequence[str] | Mapping[str, Any] | None


class Splitter(Protocol):
    """A cross-validation splitter of scikit-learn."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterable[Any]:
        """Yield training and test positions."""

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""


# Iterables yield positions of training and test samples.
Folds = int | Splitter | Iterable[tuple[Any, Any]] | None
