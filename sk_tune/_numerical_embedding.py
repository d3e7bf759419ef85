# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Embeddings of numbers as values: kinds with their sizes, without torch.

A kind has the parameters of its module in ``sk_tune._nets``, which is registered there
under the same name.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from sk_tune._text import did_you_mean

# Limits of an automatic size, and inputs of the network that all columns may have together.
_LEAST_SIZE, _MOST_SIZE, _MOST_INPUTS = 2, 8, 2048
# Limits of an automatic number of bins, which are powers of two, and samples for a bin.
_FEWEST_BINS_TO_CLASSIFY, _FEWEST_BINS, _MOST_BINS, _SAMPLES_FOR_A_BIN = 16, 32, 256, 200

# Kinds by their short forms.
EMBEDDINGS: dict[str, type["NumericalEmbedding"]] = {}


@dataclass(frozen=True)
class NumericalEmbedding:
    """Base of the embeddings of numbers, which are compared and hashed by their values."""

    name: ClassVar[str]

    def __init_subclass__(cls, name: str) -> None:
        cls.name = name
        EMBEDDINGS[name] = cls

    def __sklearn_clone__(self) -> "NumericalEmbedding":
        # The values are immutable.
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Has no effect, because the values are numbers.

        Returns
        -------
        dict
            Names and values.
        """
        return asdict(self)

    def for_table(
        self, n_columns: int, n_samples: int, *, is_classification: bool
    ) -> dict[str, Any]:
        """Return the parameters of the module that embeds `n_columns` columns.

        >>> sizes = [Periodic().for_table(n, 9, is_classification=True) for n in (10, 500)]
        >>> [params["size"] for params in sizes]
        [8, 4]
        """
        params = self.get_params()
        if params["size"] == "auto":
            size = _MOST_INPUTS // max(n_columns, 1)
            params["size"] = min(_MOST_SIZE, max(_LEAST_SIZE, size))
        return params


@dataclass(frozen=True)
class PiecewiseLinear(NumericalEmbedding, name="piecewise_linear"):
    """A piecewise linear function of each number, with knots at quantiles.

    It helps shallow networks fit jumps and bends.  Its knots follow the scale of the
    numbers, but training starts from a linear function, which needs scaled numbers.

    Parameters
    ----------
    n_bins : int or "auto", default="auto"
        Number of bins of each column.  The bins contain about equal numbers of the samples
        of the first fit.  "auto" is the number of these samples divided by 200, rounded
        down to a power of two, at least 16 in classification and 32 in regression, and at
        most 256.
    size : int or "auto", default="auto"
        Length of a number's vector.  "auto" is 8 for up to 256 columns of numbers, then
        2048 divided by their number, and at least 2.

    See Also
    --------
    Periodic : Cosines and sines.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev, A. Babenko. On embeddings for numerical features in
       tabular deep learning. NeurIPS 2022. Section 3.2.

    Examples
    --------
    >>> from sk_tune import MLPRegressor, PiecewiseLinear
    >>> net = MLPRegressor(numerical_embedding=PiecewiseLinear(n_bins=32))
    >>> net.set_params(numerical_embedding__size=4).numerical_embedding
    PiecewiseLinear(n_bins=32, size=4)
    """

    n_bins: int | str = "auto"
    size: int | str = "auto"

    def n_bins_for(self, n_samples: int, *, is_classification: bool) -> int:
        """Return the number of bins of a network whose first fit has `n_samples`.

        >>> sizes = (100, 10_000, 90_000)
        >>> [PiecewiseLinear().n_bins_for(n, is_classification=True) for n in sizes]
        [16, 32, 256]
        """
        if self.n_bins != "auto":
            return int(self.n_bins)
        # A power of two, so that folds of about equal size have equal shapes.
        n_bins = 1 << int(math.log2(max(n_samples // _SAMPLES_FOR_A_BIN, 1)))
        fewest = _FEWEST_BINS_TO_CLASSIFY if is_classification else _FEWEST_BINS
        return min(_MOST_BINS, max(fewest, n_bins))

    def for_table(
        self, n_columns: int, n_samples: int, *, is_classification: bool
    ) -> dict[str, Any]:
        """Return the parameters of the module that embeds `n_columns` columns."""
        task = {"is_classification": is_classification}
        n_bins = self.n_bins_for(n_samples, **task)
        return super().for_table(n_columns, n_samples, **task) | {"n_bins": n_bins}


@dataclass(frozen=True)
class Periodic(NumericalEmbedding, name="periodic"):
    """Cosines and sines of each number, with trained frequencies and a linear layer.

    It requires scaled numbers.

    Parameters
    ----------
    n_frequencies : int, default=16
        Number of frequencies of each column.
    frequency_scale : float, default=0.1
        Initial standard deviation of the frequencies, in periods per unit.  With large
        values, the network fits small differences, but also noise.
    size : int or "auto", default="auto"
        Length of a number's vector.  "auto" is 8 for up to 256 columns of numbers, then
        2048 divided by their number, and at least 2.

    See Also
    --------
    PiecewiseLinear : Faster, and invariant to the scale.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev, A. Babenko. On embeddings for numerical features in
       tabular deep learning. NeurIPS 2022. Section 3.3.

    Examples
    --------
    >>> from sk_tune import MLPRegressor, Periodic
    >>> net = MLPRegressor(numerical_embedding=Periodic(frequency_scale=0.3))
    >>> net.get_params()["numerical_embedding__n_frequencies"]
    16
    """

    n_frequencies: int = 16
    frequency_scale: float = 0.1
    size: int | str = "auto"


def as_embedding(value: NumericalEmbedding | str | None) -> NumericalEmbedding | None:
    """Return an embedding, also for a short form; ValueError for other values."""
    if value is None or isinstance(value, NumericalEmbedding):
        return value
    if value not in EMBEDDINGS:
        raise ValueError(
            f"An embedding must be one of {sorted(EMBEDDINGS)}, an instance of its class, "
            f"or None. Got {value!r} instead."
        )
    return EMBEDDINGS[value]()


def with_params(value: Any, params: dict[str, Any]) -> NumericalEmbedding:
    """Return an embedding with other parameters; ValueError if it lacks one of them."""
    embedding = as_embedding(value)
    names = {} if embedding is None else embedding.get_params()
    unknown = next((name for name in params if name not in names), None)
    if embedding is None or unknown is not None:
        raise ValueError(
            f"Invalid parameter {unknown!r} for "
            f"numerical_embedding={value!r}.{did_you_mean(str(unknown), names)} Its "
            f"parameters: {', '.join(names) or 'none'}."
        )
    return replace(embedding, **params)
