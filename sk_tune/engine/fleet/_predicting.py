# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Linear layers of K networks that only predict, in few passes over the memory.

Samples lie last in memory: products with small weights are fastest that way.  A bias in
front of a ReLU is taken for a floor, since ``relu(x + b) = max(x, -b) + b``, and the bias
behind the next weight makes up for the rest: one pass instead of two.

Notation: k networks; B samples, D inputs and H outputs of a layer.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sk_tune.engine.fleet._layers import Activation, Dropout, Layer, Linear, Tensors

__all__ = ["PredictingLinear", "Step", "fold_floors", "predicting", "shift_input"]

Step = Callable[[Tensor], Tensor]


class PredictingLinear(Linear):
    """A linear map, and the ReLU behind it if its bias is a floor.

    `following` is the layer whose bias makes up for the floor, or None if there is none.
    """

    def __init__(self, linear: Linear) -> None:
        vars(self).update(vars(linear))
        self.following: PredictingLinear | None = None

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Return the output in evaluation mode, with the samples last in memory."""
        return self.bound(x, tensors)(x)

    def bound(self, x: Tensor, tensors: Tensors) -> Step:
        """Return what maps (k, B, D) to (k, B, H), all views of the memory made.

        `x` has the shape of its inputs; (B, D) if all networks share them.
        """
        weight = tensors[self.weight]
        out = self.memory(self.out, x, *weight.shape[:2], x.shape[-2])
        multiply, product = torch.bmm, out
        if x.ndim == 2:
            multiply, weight, product = torch.mm, weight.flatten(0, 1), out.flatten(0, 1)
        bias = None if self.bias is None else tensors[self.bias].unsqueeze(2)
        # `baddbmm` would fill the output with the bias, and read it again.
        add = torch.add if self.following is None else torch.maximum
        turned = out.mT

        def step(x: Tensor) -> Tensor:
            multiply(weight, x.mT, out=product)
            if bias is not None:
                add(out, bias, out=out)
            return turned

        return step


def predicting(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers that only predict, once :func:`fold_floors` has been called.

    They are without dropout, and without ReLUs of which a floor is left.
    """
    found = [
        PredictingLinear(layer) if type(layer) is Linear else layer
        for layer in layers
        if not isinstance(layer, Dropout)
    ]
    for first, second, third in list(zip(found, found[1:], found[2:], strict=False)):
        ends = [x for x in (first, third) if isinstance(x, PredictingLinear) and x.bias]
        if len(ends) == 2 and isinstance(second, Activation) and second.is_relu:
            ends[0].following = ends[1]
            found.remove(second)
    return found


def fold_floors(layers: Sequence[Layer], tensors: Tensors) -> None:
    """Make floors of the biases of what :func:`predicting` returns; biases are replaced."""
    for layer in layers:
        if isinstance(layer, PredictingLinear) and layer.bias and layer.following:
            floor = tensors[layer.bias]
            shift_input(layer.following, floor, tensors)
            tensors[layer.bias] = -floor


def shift_input(layer: Linear, shift: Tensor, tensors: Tensors) -> None:
    """Let a layer add `shift`, (K, D), to its inputs: W (x + s) + b = W x + (W s + b).

    The bias is replaced.
    """
    weight, bias = tensors[layer.weight], tensors[layer.bias or ""]
    moved = (weight.double() @ shift.double().unsqueeze(2)).squeeze(2)
    tensors[layer.bias or ""] = (bias + moved).to(bias.dtype)
