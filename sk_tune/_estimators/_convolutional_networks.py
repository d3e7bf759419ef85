# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Convolutional networks for images, signals and volumes."""

from math import prod
from typing import Annotated, Any, ClassVar

from torch import nn

from sk_tune._compat import StrOptions
from sk_tune._declaration import WholeNumber, parameters
from sk_tune._estimators._network_estimator import NetworkEstimator
from sk_tune._estimators._parameters import (
    ARCHITECTURE,
    OTHER_NAMES,
    ArchitectureParameters,
    InputShape,
)
from sk_tune._estimators._tasks import NetworkClassifier, NetworkRegressor
from sk_tune._estimators._validation import requested_shape
from sk_tune._nets import CNN
from sk_tune._training import n_weights
from sk_tune._types import Array
from sk_tune._warnings import warn_user
from sk_tune.exceptions import DataWarning

_SHAPE = ("n_layers", "n_channels", "kernel_size", "pooling", "width")
# Grey, RGB and RGBA images.
_CHANNELS = {1, 3, 4}


@parameters
class _CNNEstimator(ArchitectureParameters, NetworkEstimator):
    """Architecture of a convolutional network.

    X contains images of shape (n_samples, channels, height, width), signals or volumes; set
    `input_shape` if X is flat.

    Parameters
    ----------
    n_layers : int, default=2
        Number of convolution blocks; with `pooling`, each halves the spatial sizes.
    n_channels : int, default=32
        Channels of the first block; each block doubles the number.
    kernel_size : int, default=3
        Side length of the kernels.
    pooling : {"max", "avg"} or None, default="max"
        Pooling over windows of 2 after each block.
    width : int, default=128
        Units of the dense layer before the output.
    input_shape : tuple of int, default=None
        Shape of one sample, to which X is reshaped: (length,) for a signal, (height, width)
        for an image of one channel, (channels, height, width) or (channels, depth, height,
        width).  If None, X has shape (n_samples, channels, ...), and flat X is a signal of
        one channel.

    Notes
    -----
    Two defaults differ from other networks, ``normalization="batch"`` and ``dropout=0.2``,
    because convolutional networks train better with batch normalisation and some dropout.
    """

    n_layers: Annotated[int, WholeNumber(1)] = 2
    n_channels: Annotated[int, WholeNumber(1)] = 32
    kernel_size: Annotated[int, WholeNumber(1)] = 3
    pooling: Annotated[str | None, StrOptions({"max", "avg"}), None] = "max"
    width: Annotated[int, WholeNumber(1)] = 128
    input_shape: InputShape = None
    normalization: str | None = "batch"
    dropout: float = 0.2

    _allow_nd: ClassVar[bool] = True
    _time_is_last: ClassVar[bool] = True
    _other_names: ClassVar[dict[str, str]] = {
        **OTHER_NAMES,
        "hidden_size": "Use 'n_channels', or 'width' of the dense layer.",
        "hidden_layer_sizes": "Use 'n_channels', 'n_layers' and 'width'.",
    }

    def _shape_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        # An input shape of spatial sizes only has one channel.
        requested = requested_shape(
            self, shape, most=4, completed=lambda s: s if len(s) > 2 else (1, *s)
        )
        if requested is not None:
            return requested
        if len(shape) > 4:
            raise ValueError(
                f"X must have 2 to 5 dimensions for {type(self).__name__}. Got "
                f"{1 + len(shape)}."
            )
        return shape if len(shape) > 1 else (1, prod(shape))

    def _check_X(self, X: Any, *, reset: bool) -> Array:
        shaped = super()._check_X(X, reset=reset)
        if reset and self.input_shape is None:
            _ask_for_channels(self, self.input_shape_)
        return shaped

    def _count_multiplications(self, module: nn.Module) -> float:
        work = super()._count_multiplications(module)
        if isinstance(module, CNN):
            sizes: Any = self.input_shape_[1:]
            for block in module.blocks:
                # A kernel is applied at each position.
                work += n_weights(block) * (prod(sizes) - 1)
                sizes = block.sizes
        return work

    def _build_module(self, n_outputs: int) -> nn.Module:
        return CNN(self.input_shape_, n_outputs, **self._arguments(*ARCHITECTURE, *_SHAPE))


def _ask_for_channels(estimator: Any, shape: tuple[int, ...]) -> None:
    """Warn if samples look like images with channels last or without channels."""
    is_large = min(shape[:2]) > max(_CHANNELS)
    is_last = is_large and len(shape) == 3 and shape[-1] in _CHANNELS
    is_absent = is_large and len(shape) == 2 and shape[0] == shape[1]
    if is_last or is_absent:
        advice = "these are images of one channel, use X[:, numpy.newaxis]"
        if is_last:
            advice = (
                "its channels are last, use X.transpose(0, 3, 1, 2); if not, confirm it"
            )
            advice += f" with input_shape={shape}"
        warn_user(
            f"X of shape (n_samples, {', '.join(map(str, shape))}) has {shape[0]} channels "
            f"for {type(estimator).__name__}, which takes (n_samples, n_channels, ...). If "
            f"{advice}.",
            DataWarning,
            about="channels",
        )


@parameters
class CNNClassifier(_CNNEstimator, NetworkClassifier):
    """Convolutional network classifier.

    {description}

    {parameters and attributes}

    See Also
    --------
    CNNRegressor : The same network for real-valued targets.
    NetClassifier : Your own torch module as a classifier.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_tune import CNNClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> net = CNNClassifier(input_shape=(8, 8), max_epochs=2, random_state=0)
    >>> bool(net.fit(X / 16, y).score(X / 16, y) > 0.9)
    True
    """


@parameters
class CNNRegressor(_CNNEstimator, NetworkRegressor):
    """Convolutional network regressor.

    {description}

    {parameters and attributes}

    See Also
    --------
    CNNClassifier : The same network for classes.
    NetRegressor : Your own torch module as a regressor.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_tune import CNNRegressor
    >>> X, y = load_digits(return_X_y=True)
    >>> net = CNNRegressor(input_shape=(8, 8), max_epochs=1, random_state=0)
    >>> net.fit(X / 16, y).predict(X[:3] / 16).shape
    (3,)
    """
