# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which layers a module is a chain of, so that it needs neither autograd nor ``vmap``.

sk_tune's MLP says so itself.  Any other module is called with a stand-in for the input that
notes what is done to it.  ``torch.fx`` would do the same, but changes ``nn.Module`` itself
while it does, for all threads.
"""

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune.fleets._convolution import geometry_of, is_zero_pad, pool_fits
from sk_tune.fleets._masks import is_torch_dropout, orders_in_memory
from sk_tune.nets import ACTIVATIONS, MLP, SeededDropout
from sk_tune.training import forked_rng

_ACTIVATIONS = (*ACTIVATIONS.values(), nn.Softplus, nn.ReLU6, nn.Softmax, nn.LogSoftmax)
OVER_CLASSES = (nn.Softmax, nn.LogSoftmax)
# Layers by the number of their spatial sizes.
_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class NoChainError(ValueError):
    """A module is no chain of layers that are written out; says why."""


class Link(NamedTuple):
    """One layer of a chain: that of a name in the module, or what a function stands for.

    `inside` are the layers of a block whose input is added to its output.
    """

    name: str
    function: nn.Module | None = None
    inside: "tuple[Link, ...]" = ()

    def layer(self, module: nn.Module) -> nn.Module:
        """Return the layer of a module that the chain is of."""
        return self.function or module.get_submodule(self.name)


class Chain(NamedTuple):
    """The layers of a module, the first `n_images` of which are of images.

    A module that is no chain is one layer of unknown kind; `reason` says why.
    """

    links: tuple[Link, ...]
    n_images: int = 0
    reason: str = ""


def chain_of(module: nn.Module, X: Tensor, *, predicts: bool = False) -> Chain:
    """Return the layers of a network, without those that do nothing.

    One layer for a module of another form, with a frozen parameter, or with a parameter
    that is used twice or not at all. `predicts` says that the network is not to be trained,
    so that no mask is drawn. The module is not changed.
    """
    if isinstance(module, MLP):
        links = [Link("inputs")] if module.inputs is not None else []
        for index, block in enumerate(module.hidden):
            parts = block.named_children()
            names = [n for n, part in parts if type(part) is not nn.Identity]
            inside = tuple(Link(f"hidden.{index}.{name}") for name in names)
            links += [Link(f"hidden.{index}", inside=inside)] if block.residual else inside
        return Chain((*links, Link("output")))
    try:
        return _traced(module, X, predicts=predicts)
    except NoChainError as error:
        reason = str(error)
    except Exception:  # noqa: BLE001 - whatever a user's module raises
        reason = "its forward does more than call one layer after the other"
    return Chain((Link(""),), reason=reason)


def _traced(module: nn.Module, X: Tensor, *, predicts: bool) -> Chain:
    """Return the layers that a call of a module goes through; raise if it is no chain."""
    if not all(p.requires_grad and p.dtype == X.dtype for p in module.parameters()):
        raise NoChainError("a parameter is frozen, or of another type than the inputs")
    # A copy: what the forward does beside the arithmetic stays there.
    tried = copy.deepcopy(module)
    with torch.no_grad(), forked_rng(0, str(X.device)):
        before = _values_far_out(tried, 1)
        links, in_training = _links(tried, is_training=True)
        is_left = _has_values(tried, before)
        before = _values_far_out(tried, -1)
        _, in_evaluation = _links(tried, is_training=False)
        if not (is_left and _has_values(tried, before)):
            raise NoChainError("its forward changes weights, or draws random numbers")
    if in_training != in_evaluation:
        raise NoChainError("its layers differ between training and evaluation")
    # Tracing has changed the layers of the copy, so those of the module are taken.
    layers = [(link, link.layer(module)) for link in links]
    unknown = next((type(k).__name__ for _, k in layers if not _is_known(k)), None)
    if unknown is not None:
        raise NoChainError(f"{unknown} is not written out")
    layers = [(link, k) for link, k in layers if not isinstance(k, nn.Identity)]
    used = [f"{link.name}.{n}" for link, k in layers for n, _ in k.named_parameters()]
    if sorted(used) != sorted(n for n, _ in module.named_parameters()):
        raise NoChainError("a parameter is used twice, or not at all")
    n_images = _check_served([k for _, k in layers], X)
    has_masks = any(is_torch_dropout(k) for _, k in layers[:n_images])
    orders = orders_in_memory(module, X) if has_masks and not predicts else {}
    if orders is None or not all(
        order == tuple(range(n)) for own in orders.values() for n, order in own.items()
    ):
        raise NoChainError("torch draws masks in another order than the numbers of a batch")
    # Samples come as lines of numbers where no layer is of images.
    is_flat = n_images == 0 and isinstance(layers[0][1], nn.Flatten)
    return Chain(tuple(link for link, _ in layers[is_flat:]), n_images)


def _check_served(layers: list[nn.Module], X: Tensor) -> int:
    """Return how many layers of a chain are of images: those in front of a flatten.

    Raises NoChainError unless there are written-out layers for the chain: layers of
    samples, without a flatten but in front; or of images, a flatten, and those of samples.
    """
    n_dims = X.ndim - 2
    flattens = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten)]
    if n_dims < 0 or (len(flattens) != (n_dims > 0) and flattens != [0]):
        raise NoChainError("it does not flatten samples once")
    start = flattens[0] if flattens else 0
    images, rest = layers[:start], layers[start + len(flattens) :]
    if not (images or rest):
        raise NoChainError("it has no layers")
    if images and X.device.type != "cpu":
        raise NoChainError("layers of images are written out for the CPU only")
    behind = [k for before, k in pairwise([*images, nn.Flatten()]) if is_zero_pad(before)]
    if not all(type(k) is _CONVS.get(n_dims) for k in behind):
        raise NoChainError("zeros are put around something else than convolutions' inputs")
    known = [_is_of_images(k, n_dims) for k in images] + [_is_of_samples(k) for k in rest]
    if not all(known):
        kind = type([*images, *rest][known.index(False)]).__name__
        raise NoChainError(f"{kind} is not written out for inputs of such a shape")
    return start


def _is_known(layer: Any) -> bool:
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
    is_plain = pool_fits(layer, n_dims) or is_zero_pad(layer, n_dims)
    return is_plain or _is_norm(layer, NORMS.get(n_dims)) or _is_by_number(layer)


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
        getattr(namespace, f"{function}_pool{n}d"): getattr(nn, f"{layer}Pool{n}d")
        for namespace, function, layer in (
            (torch, "max", "Max"),
            (F, "max", "Max"),
            (F, "avg", "Avg"),
            (F, "adaptive_avg", "AdaptiveAvg"),
        )
        for n in (1, 2, 3)
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
        raise NoChainError("it asks how many samples there are")

    def __bool__(self) -> bool:
        raise NoChainError("it asks how many samples there are")


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
            raise NoChainError("it asks how many units there are")
        return _NumberOfSamples()

    def view(self, first: object, units: int) -> "_Path":
        if not isinstance(first, _NumberOfSamples) or units != -1:
            raise NoChainError("a result has another form than samples by units")
        return self.after(Link("", nn.Flatten()))

    reshape = view

    def call(self, function: Any, *args: Any, **options: Any) -> "_Path":
        """Return what a function makes of the result."""
        if function not in _FUNCTIONS:
            name = getattr(function, "__name__", function)
            raise NoChainError(f"{name} is not written out")
        options = {n: v for n, v in options.items() if n not in _WITHOUT_MEANING}
        if options.pop("dtype", None) is not None:
            raise NoChainError("a function computes in another precision")
        return self.after(Link("", _FUNCTIONS[function](*args, **options)))

    def after(self, link: Link) -> "_Path":
        """Return what a layer makes of the result, which only the last one may be."""
        self.check()
        if not torch.is_grad_enabled():
            raise NoChainError("it computes a part without derivatives")
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise NoChainError("it computes a part in another precision")
        self.links.append(link)
        return _Path(self.links)

    def check(self) -> None:
        """Raise if something else was done after this result."""
        if self._n_links != len(self.links):
            raise NoChainError("a result goes to something else than the next layer")


def _links(module: nn.Module, *, is_training: bool) -> tuple[list[Link], list[Any]]:
    """Return a chain's layers, and what both modes must have in common; or NoChainError."""
    module.train(is_training)
    for name, layer in module.named_modules():
        if _is_known(layer):
            layer.forward = partial(_Path.after, link=Link(name))
    links: list[Link] = []
    with torch.enable_grad():
        last = module(_Path(links))
    if type(last) is not _Path:
        raise NoChainError("it returns something else than its last result")
    last.check()
    layers = [link.layer(module) for link in links]
    return links, [
        (link.name, repr(layer), not link.name or layer.training == is_training)
        for link, layer in zip(links, layers, strict=True)
    ]
