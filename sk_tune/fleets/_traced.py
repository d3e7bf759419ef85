# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks of a user's whose ``forward`` turns out to be a plain chain of layers.

The module is called with a stand-in for the input that notes what is done to it.  A chain
needs neither autograd nor ``vmap``; any other module is left to those.  ``torch.fx`` would
do the same, but changes ``nn.Module`` itself while it does, for all threads.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune.fleets._chain import ChainProgram
from sk_tune.fleets._convolution import geometry_of, pool_fits
from sk_tune.fleets._image_layers import Convolution, Flat, ImageNorm, Pooling
from sk_tune.fleets._layers import (
    Activation,
    Batch,
    BatchNorm,
    Dropout,
    Layer,
    LayerNorm,
    Linear,
    chained,
)
from sk_tune.fleets._masks import (
    SeededMasks,
    StackedDropout,
    draw_masks,
    is_torch_dropout,
    orders_in_memory,
)
from sk_tune.nets import ACTIVATIONS, SeededDropout
from sk_tune.training import forked_rng

__all__ = ["TracedProgram", "traced_chain"]

_ACTIVATIONS = (*ACTIVATIONS.values(), nn.Softplus, nn.ReLU6, nn.Softmax, nn.LogSoftmax)
OVER_CLASSES = (nn.Softmax, nn.LogSoftmax)
# Layers by the number of their spatial sizes.
_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Link(NamedTuple):
    """One layer of a chain, and its name in the module; empty for a function."""

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
    if not all(_is_of_samples(k.module) for k in rest):
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
    return type(layer) is nn.Identity or _is_of_samples(layer) or is_of_images


def _is_of_samples(layer: Any) -> bool:
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
    is_pool = pool_fits(layer, n_dims)
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


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Flatten:
    """Return the layer of a function that has another default."""
    return nn.Flatten(start_dim, end_dim)


# Layers that a forward may call as a function or as a method of a tensor.
_FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    torch.relu: nn.ReLU,
    F.relu: nn.ReLU,
    "relu": nn.ReLU,
    torch.tanh: nn.Tanh,
    "tanh": nn.Tanh,
    torch.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
    F.softmax: nn.Softmax,
    torch.softmax: nn.Softmax,
    "softmax": nn.Softmax,
    F.log_softmax: nn.LogSoftmax,
    torch.log_softmax: nn.LogSoftmax,
    "log_softmax": nn.LogSoftmax,
    torch.flatten: _flatten,
    "flatten": _flatten,
    **{
        function: layer
        for layer, functions in (
            (nn.MaxPool1d, (torch.max_pool1d, F.max_pool1d)),
            (nn.MaxPool2d, (torch.max_pool2d, F.max_pool2d)),
            (nn.MaxPool3d, (torch.max_pool3d, F.max_pool3d)),
            (nn.AvgPool1d, (F.avg_pool1d,)),
            (nn.AvgPool2d, (F.avg_pool2d,)),
            (nn.AvgPool3d, (F.avg_pool3d,)),
            (nn.AdaptiveAvgPool1d, (F.adaptive_avg_pool1d,)),
            (nn.AdaptiveAvgPool2d, (F.adaptive_avg_pool2d,)),
            (nn.AdaptiveAvgPool3d, (F.adaptive_avg_pool3d,)),
        )
        for function in functions
    },
}
# Arguments that torch's functions pass on, and that change nothing.
_WITHOUT_MEANING = {"inplace", "_stacklevel"}
# Weights that no sensible bound leaves alone.
_FAR = 1e4


class _NumberOfSamples:
    """Stands for the number of samples, which no decision may depend on."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("The module asks how many samples there are.")

    def __bool__(self) -> bool:
        raise TypeError("The module asks how many samples there are.")


def traced_chain(
    module: nn.Module, X: Tensor, *, predicts: bool = False
) -> list[Link] | None:
    """Return the layers of a network that is a chain, without those that do nothing.

    None for a module of another form, with a frozen parameter, or with a parameter that is
    used twice or not at all. `predicts` says that the network is not to be trained, so that
    no mask is drawn. The module is not changed.
    """
    if not all(p.requires_grad and p.dtype == X.dtype for p in module.parameters()):
        return None
    try:
        # A copy: what the forward does beside the arithmetic stays there.
        tried = copy.deepcopy(module)
        with torch.no_grad(), forked_rng(0, str(X.device)):
            before = _values_far_out(tried, 1)
            chain, in_training = _traced(tried, is_training=True)
            is_left = _has_values(tried, before)
            before = _values_far_out(tried, -1)
            _, in_evaluation = _traced(tried, is_training=False)
            if not (is_left and _has_values(tried, before)):
                return None
    except Exception:  # noqa: BLE001 - whatever a user's module raises
        return None
    if in_training != in_evaluation or not all(is_known(k.module) for k in chain):
        return None
    # Tracing has changed the layers of the copy, so those of the module are taken.
    chain = [
        Link(name, module.get_submodule(name) if name else layer)
        for name, layer in chain
        if not isinstance(layer, nn.Identity)
    ]
    used = [f"{k.name}.{n}" for k in chain for n, _ in k.module.named_parameters()]
    if sorted(used) != sorted(n for n, _ in module.named_parameters()):
        return None
    served = served_chain(chain, X)
    images = [] if served is None else served[: n_images(served)]
    has_masks = not predicts and any(is_torch_dropout(k.module) for k in images)
    return None if has_masks and not _draws_in_line(module, X) else served


def _draws_in_line(module: nn.Module, X: Tensor) -> bool:
    """Return whether torch draws masks in the order of the numbers of a batch."""
    orders = orders_in_memory(module, X)
    if orders is None:
        return False
    return all(
        layer_orders[n] == tuple(range(n))
        for layer_orders in orders.values()
        for n in layer_orders
    )


def _values_far_out(module: nn.Module, sign: int) -> list[Tensor]:
    """Give a copied module weights that anything which constrains weights would change.

    Signs alternate from one parameter to the next, beginning with `sign`. Returns copies of
    all parameters and buffers, and the state of torch's generator.
    """
    for parameter in module.parameters():
        signs = torch.arange(parameter.numel(), device=parameter.device) % 2 * -2 + 1
        parameter.copy_((sign * _FAR * signs).view(parameter.shape))
    return [*(t.clone() for t in _tensors(module)), torch.get_rng_state()]


def _has_values(module: nn.Module, before: list[Tensor]) -> bool:
    """Return whether a forward has left all values, and drawn nothing."""
    after = [*_tensors(module), torch.get_rng_state()]
    return len(before) == len(after) and all(map(torch.equal, before, after))


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _traced(module: nn.Module, *, is_training: bool) -> tuple[list[Link], list[Any]]:
    """Return the layers of a forward, and what both modes must have in common."""
    links = _links(module.train(is_training))
    return links, [
        (k.name, repr(k.module), not k.name or k.module.training == is_training)
        for k in links
    ]


class _Path:
    """Stands for what the forward has made of its input; all paths share their `links`."""

    def __init__(self, links: list[Link]) -> None:
        self.links = links
        self._n_links = len(links)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> "_Path":
        first, *rest = args
        return first.call(func, *rest, **(kwargs or {}))  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise AttributeError(name)
        return partial(self.call, name)

    def size(self, dim: int) -> _NumberOfSamples:
        if dim != 0:
            raise ValueError("The module asks how many units there are.")
        return _NumberOfSamples()

    def view(self, first: object, units: int) -> "_Path":
        if not isinstance(first, _NumberOfSamples) or units != -1:
            raise ValueError("The result has another form than samples by units.")
        return self.after(Link("", nn.Flatten()))

    reshape = view

    def call(self, function: Any, *args: Any, **options: Any) -> "_Path":
        """Return what a function makes of the result."""
        options = {n: v for n, v in options.items() if n not in _WITHOUT_MEANING}
        if options.pop("dtype", None) is not None:
            raise ValueError("A function computes in another precision.")
        return self.after(Link("", _FUNCTIONS[function](*args, **options)))

    def after(self, link: Link) -> "_Path":
        """Return what a layer makes of the result, which only the last one may be."""
        self.check()
        self.links.append(link)
        return _Path(self.links)

    def check(self) -> None:
        """Raise if something else was done after this result."""
        if self._n_links != len(self.links):
            raise ValueError("A result goes to something else than the next layer.")


def _links(module: nn.Module) -> list[Link]:
    """Return what is done to the input, one after the other; raise if it is no chain."""
    for name, layer in module.named_modules():
        if is_known(layer):
            layer.forward = partial(_note, Link(name, layer))
    links: list[Link] = []
    last = module(_Path(links))
    if type(last) is not _Path:
        raise TypeError("The module returns something else than its last result.")
    last.check()
    return links


def _note(link: Link, path: _Path) -> _Path:
    return path.after(link)


class TracedProgram(ChainProgram):
    """K networks of one architecture, dropout aside, that are a chain of layers."""

    def __init__(
        self, modules: Sequence[nn.Module], dropout: StackedDropout, chain: list[Link]
    ) -> None:
        super().__init__(modules, dropout)
        places = [k.name for k in chain if is_torch_dropout(k.module)]
        self.probabilities = [
            [float(module.get_submodule(name).p) for name in places]  # type: ignore[arg-type]
            for module in modules
        ]
        self._generators: Sequence[torch.Generator | None] = ()
        names = [
            [n for n, layer in m.named_modules() if isinstance(layer, SeededDropout)]
            for m in modules
        ]
        # The names have the order of the modules, which need not be that of the calls.
        self.seeded = max(names, key=len)
        self._build(chain)

    def forward(self, X: Tensor, networks: slice, step: int) -> Tensor:
        return super().forward(X if self._n_images else X.flatten(2), networks, step)

    def evaluate(self, X: Tensor, networks: slice) -> Tensor:
        return super().evaluate(X if self._n_images else X.flatten(2), networks)

    def begin_epoch(
        self,
        first_steps: Sequence[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        super().begin_epoch(first_steps, n_steps, generators)
        self._generators = generators

    def select(self, index: Tensor) -> None:
        super().select(index)
        self.probabilities = [self.probabilities[i] for i in index.tolist()]

    def extend(self, other: Any) -> None:
        super().extend(other)
        self.probabilities.extend(other.probabilities)
        if len(other.chain) > len(self.chain):
            # Networks without dropout leave its layers out.
            self.seeded = other.seeded
            self._build(other.chain)

    def _build(self, chain: list[Link]) -> None:
        """Make the layers."""
        self.chain = chain
        self._n_images = n_images(chain)
        linear = [i for i, k in enumerate(chain) if isinstance(k.module, nn.Linear)]
        self._last = linear[-1] if linear else -1
        n_drawn = 0
        layers: list[Layer] = []
        for index, link in enumerate(chain):
            mask: Any = None
            seeded = None
            if is_torch_dropout(link.module):
                mask, n_drawn = partial(self._drawn, n_drawn), n_drawn + 1
            elif isinstance(link.module, SeededDropout):
                seeded = self.seeded.index(link.name)
                mask = partial(self._seeded, seeded, SeededMasks())
            if mask is None:
                layers.append(self._layer(index, link))
            else:
                # A number alone may be the name of another layer, and so of its memory.
                layers.append(Dropout(mask, f"link {index}", self.memory, seeded=seeded))
        self.layers = chained(layers)

    def _layer(self, index: int, link: Link) -> Layer:
        name: str = link.name
        module: Any = link.module
        first = index == 0
        geometry = geometry_of(module)
        if geometry is not None:
            has_bias = module.bias is not None
            return Convolution(name, geometry, bias=has_bias, first=first)
        if pool_fits(module):
            return Pooling(module, first=first)
        if isinstance(module, nn.Flatten):
            return Flat(f"link {index}", self.memory)
        if isinstance(module, nn.Linear):
            return Linear(
                name,
                self.memory,
                bias=module.bias is not None,
                first=first,
                last=index == self._last,
            )
        if index < self._n_images and type(module) in NORMS.values():
            return ImageNorm(name, module.eps, module.momentum)
        if isinstance(module, nn.BatchNorm1d):
            return BatchNorm(name, module.eps, module.momentum or 0.0, self.memory)
        if isinstance(module, nn.LayerNorm):
            return LayerNorm(name, module.eps, self.memory)
        # These work over classes, which here are the last dimension but not the second.
        over_classes = isinstance(module, OVER_CLASSES)
        function = type(module)(dim=-1) if over_classes else module
        return Activation(function, f"link {index}", self.memory)

    def _drawn(self, index: int, x: Tensor, batch: Batch) -> Tensor | None:
        """Return the mask of a layer of torch's."""
        probabilities = [
            layer_probabilities[index]
            for layer_probabilities in self.probabilities[batch.networks]
        ]
        if not any(probabilities):
            return None
        draws = list(zip(self._generators[batch.networks], probabilities, strict=True))
        mask = draw_masks(self.memory(f"mask{index}", x, *x.shape), draws)
        return mask if x.ndim == 3 else torch.empty_like(x).copy_(mask)

    def _seeded(
        self, index: int, masks: SeededMasks, x: Tensor, batch: Batch
    ) -> Tensor | None:
        """Return the mask of a layer of sk_tune's."""
        if not self.dropout.active:
            return None
        numbers = self.dropout.numbers(batch.step, batch.networks)
        return masks.like(x, [layer_numbers[index] for layer_numbers in numbers])
