# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which layers of a chain there are written-out layers for, and in which order.

Notation: B rows of a batch, D units, C channels.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from sk_tune.engine.fleet._convolution import geometry_of, row_pool_fits
from sk_tune.engine.fleet._torch_dropout import is_torch_dropout
from sk_tune.nets import ACTIVATIONS, SeededDropout

__all__ = ["NORMS", "OVER_CLASSES", "Link", "is_known", "n_images", "served_chain"]

_ACTIVATIONS = (*ACTIVATIONS.values(), nn.Softplus, nn.ReLU6, nn.Softmax, nn.LogSoftmax)
OVER_CLASSES = (nn.Softmax, nn.LogSoftmax)
# By the number of spatial sizes.
_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Link(NamedTuple):
    """One layer of a chain, and its name in the module.

    The name is empty for a function.
    """

    name: str
    module: nn.Module


def served_chain(chain: list[Link], X: Tensor) -> list[Link] | None:
    """Return a chain of known layers if there are written-out layers for it, else None.

    It may consist of layers of samples, without a flatten in front; or layers of images, a
    flatten, and layers of samples.
    """
    n_dims = X.ndim - 2
    flattens = [i for i, k in enumerate(chain) if isinstance(k.module, nn.Flatten)]
    if len(flattens) > 1 or not (n_dims == 0 or flattens):
        return None
    start = flattens[0] if n_dims and flattens else 0
    images, rest = chain[:start], chain[start:]
    if flattens == [start]:
        del rest[0]
    if not all(_is_of_rows(k.module) for k in rest):
        return None
    if not images:
        return rest or None
    if X.device.type != "cpu" or not all(_is_of_images(k.module, n_dims) for k in images):
        return None
    return [*images, chain[start], *rest]


def n_images(chain: list[Link]) -> int:
    """Return how many layers are of images: those before the flatten, 0 without one."""
    return sum(i for i, k in enumerate(chain) if isinstance(k.module, nn.Flatten))


def is_known(layer: Any) -> bool:
    """Return whether a layer's exact class and options have a written-out layer."""
    if type(layer) is nn.Flatten:
        return bool(layer.start_dim == 1 and layer.end_dim == -1)
    is_of_images = any(_is_of_images(layer, n_dims) for n_dims in _CONVS)
    return type(layer) is nn.Identity or _is_of_rows(layer) or is_of_images


def _is_of_rows(layer: Any) -> bool:
    """Return whether there is a written-out layer of inputs (B, D)."""
    kind = type(layer)
    if kind in OVER_CLASSES:
        return layer.dim in {-1, 1}
    if kind is nn.LayerNorm:
        return len(layer.normalized_shape) == 1 and None not in {layer.weight, layer.bias}
    return kind is nn.Linear or _is_norm(layer, nn.BatchNorm1d) or _is_by_number(layer)


def _is_of_images(layer: Any, n_dims: int) -> bool:
    """Return whether there is a written-out layer of inputs (B, C, ...)."""
    if type(layer) is _CONVS.get(n_dims):
        return geometry_of(layer) is not None
    is_pool = row_pool_fits(layer, n_dims)
    return is_pool or _is_norm(layer, NORMS.get(n_dims)) or _is_by_number(layer)


def _is_norm(layer: Any, kind: type[nn.Module] | None) -> bool:
    if type(layer) is not kind:
        return False
    return bool(layer.affine and layer.track_running_stats) and layer.momentum is not None


def _is_by_number(layer: Any) -> bool:
    """Return whether a layer does the same to each number of its input."""
    kind = type(layer)
    if kind in {nn.ReLU, SeededDropout} or is_torch_dropout(layer):
        return True
    is_activation = kind in _ACTIVATIONS and kind not in OVER_CLASSES
    return is_activation and not getattr(layer, "inplace", False)
