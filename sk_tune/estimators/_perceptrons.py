# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Multi-layer perceptrons for tables."""

import functools
import math
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from sk_tune._declaration import parameters
from sk_tune.estimators._network_estimator import NetworkEstimator
from sk_tune.estimators._parameters import ARCHITECTURE, ArchitectureParameters
from sk_tune.estimators._table_networks import TableLayout, TableParameters, table_inputs
from sk_tune.estimators._tasks import NetworkClassifier, NetworkRegressor
from sk_tune.estimators._validation import WholeNumber, is_whole
from sk_tune.nets import MLP, SeededDropout, empty_copy, fresh_copy
from sk_tune.training import BinaryCrossEntropy, CrossEntropy

# How classifiers make predictions of outputs; those of regressors are the outputs.
_LINKS = {CrossEntropy: "softmax", BinaryCrossEntropy: "sigmoid"}
_COPIES = 4  # The weights, their derivatives, and two moments.
_N_PATTERNS = 64  # Networks that are kept to be copied; a search has few architectures.


@parameters
class _MLPEstimator(ArchitectureParameters, TableParameters, NetworkEstimator):
    """The shape of a multi-layer perceptron.

    Parameters
    ----------
    n_layers : int, default=2
        Hidden layers; 0 gives a linear model.
    width : int, default=128
        Units of each hidden layer.
    hidden_layer_sizes : int or sequence of int, default=None
        Units of each hidden layer one by one; if given, `n_layers` and `width` have no
        effect.
    members : int, default=1
        Networks that share the weight matrices and are averaged, each with scales, biases
        and a last layer of its own (TabM).  Each is trained on its own loss; predictions
        are means of probabilities, or of targets.  8 to 32 often predict better than one
        network, and take longer to train, if less than as many networks.
    """

    n_layers: int = 2
    width: int = 128
    hidden_layer_sizes: Any = None
    members: int = 1

    _allow_sparse: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_layers": [WholeNumber(0)],
        "width": [WholeNumber(1)],
        "hidden_layer_sizes": ["array-like", WholeNumber(1), None],
        "members": [WholeNumber(1)],
    }

    def _shape_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def _build_module(self, n_outputs: int) -> nn.Module:
        layout = self._layout()
        # A derived class may have other inputs.
        is_known = type(self).__module__ == __name__
        if is_known and layout is None and self.members == 1:
            # A copy of plain layers is made several times as fast as a network is built.
            pattern = self._pattern(n_outputs, None, torch.get_default_dtype())
            return self._with_dropout(fresh_copy(pattern))
        sizes = self._sizes()
        self._check_bytes((self.input_shape_[0], *sizes, n_outputs))
        return MLP(
            self.input_shape_[0],
            n_outputs,
            hidden_layer_sizes=sizes,
            **self._architecture(),
            inputs=self._build_inputs(),
        )

    def _module_to_fill(self, seed: int, device: str) -> nn.Module:
        if type(self).__module__ != __name__:
            # A derived class may build another network.
            return super()._module_to_fill(seed, device)
        dtype = getattr(torch, self.dtype)
        pattern = self._pattern(self.n_outputs_, self._layout(), dtype)
        return self._with_dropout(empty_copy(pattern, device))

    def _count_multiplications(self, module: nn.Module) -> float:
        return super()._count_multiplications(module) * self.members

    def _pattern(
        self, n_outputs: int, layout: TableLayout | None, dtype: torch.dtype
    ) -> MLP:
        """Return a network to copy, of the same shape."""
        sizes = (self.input_shape_[0], *self._sizes(), n_outputs)
        self._check_bytes(sizes)
        # A search has many probabilities, but only few shapes.
        arguments = {**self._architecture(), "dropout": 0.5 if self.dropout else 0.0}
        return _pattern(sizes, tuple(arguments.items()), layout, dtype)

    def _with_dropout(self, network: nn.Module) -> nn.Module:
        (probability,) = self._arguments("dropout").values()
        for layer in network.modules():
            if isinstance(layer, SeededDropout):
                layer.p = probability
        return network

    def _architecture(self) -> dict[str, Any]:
        link = _LINKS.get(type(self._task_parts()[0]), "identity")
        return {**self._arguments(*ARCHITECTURE, "members"), "link": link}

    def _check_bytes(self, sizes: Sequence[int]) -> None:
        """Refuse a network that this machine cannot train, before it is made."""
        n_weights = sum((n + 1) * m for n, m in pairwise(sizes))
        needed = n_weights * _COPIES * np.dtype(self.dtype).itemsize
        memory = _memory_of_machine()
        if needed > memory:
            raise ValueError(
                f"The layers of {type(self).__name__} must fit into memory. Got sizes "
                f"{tuple(sizes)}, with {n_weights:,} weights, which take "
                f"{needed / 1e9:,.0f} GB with derivatives and moments; this machine has "
                f"{memory / 1e9:,.0f} GB. Make hidden_layer_sizes, or width and n_layers, "
                "smaller."
            )

    def _sizes(self) -> list[int]:
        if self.hidden_layer_sizes is None:
            return [self.width] * self.n_layers
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if not all(is_whole(size, 1) for size in sizes):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must hold "
                f"integers of at least 1. Got {self.hidden_layer_sizes!r} instead."
            )
        return [int(s) for s in sizes]


@functools.cache
def _memory_of_machine() -> float:
    """Return the bytes of this machine's memory; infinity where it does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


@functools.lru_cache(maxsize=_N_PATTERNS)
def _pattern(
    sizes: tuple[int, ...],
    arguments: tuple[tuple[str, Any], ...],
    layout: TableLayout | None,
    dtype: torch.dtype,
) -> MLP:
    n_features, *hidden, n_outputs = sizes
    # The pattern has shapes and layers, and no weights.
    with torch.device("meta"):
        network = MLP(
            n_features,
            n_outputs,
            hidden_layer_sizes=hidden,
            inputs=None if layout is None else table_inputs(layout),
            **dict(arguments),
        )
    return network.to(dtype)


@parameters
class MLPClassifier(_MLPEstimator, NetworkClassifier):
    """Multi-layer perceptron classifier.

    For numbers in columns.  Scale them first, in a pipeline, so that each fold is scaled by
    its own training rows.  Sparse tables are taken as they are, and large ones made dense
    batch by batch.

    {parameters and attributes}

    See Also
    --------
    MLPRegressor : The same network for real-valued targets.
    NetClassifier : Your own torch module as a classifier.
    sklearn.neural_network.MLPClassifier : The one of scikit-learn, without dropout
        and normalisation.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sk_tune import MLPClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> net = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=20, random_state=0))
    >>> bool(cross_val_score(net, X, y, cv=5).mean() > 0.95)
    True
    """


@parameters
class MLPRegressor(_MLPEstimator, NetworkRegressor):
    """Multi-layer perceptron regressor.

    For numbers in columns.  Scale them first, in a pipeline; the target is scaled inside.
    Sparse tables are taken as they are, and large ones made dense batch by batch.

    {parameters and attributes}

    See Also
    --------
    MLPClassifier : The same network for classes.
    NetRegressor : Your own torch module as a regressor.
    sklearn.neural_network.MLPRegressor : The one of scikit-learn, without dropout
        and normalisation.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MLPRegressor(max_epochs=20, random_state=0).fit(X, y)
    >>> net.predict(X[:2]).shape
    (2,)
    """
