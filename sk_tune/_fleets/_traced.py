# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The chain of layers of a module, which then needs neither autograd nor ``vmap``.

sk_tune's MLP declares its layers.  Any other module is called with a proxy input that
records operations.  ``torch.fx`` would do the same, but patches ``nn.Module`` itself while
it traces, for all threads.  Facts that follow from a module's structure are cached.
"""

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune._fleets._convolution import geometry_of, is_zero_pad, pool_fits
from sk_tune._fleets._masks import is_torch_dropout, orders_in_memory
from sk_tune._nets import ACTIVATIONS, MLP, SeededDropout, attributes_key
from sk_tune._training import forked_rng

_Made = TypeVar("_Made")
_ACTIVATIONS = (*ACTIVATIONS.values(), nn.Softplus, nn.ReLU6, nn.Softmax, nn.LogSoftmax)
OVER_CLASSES = (nn.Softmax, nn.LogSoftmax)
# Layers by number of spatial axes.
_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class NoChainError(ValueError):
    """A module is not a chain of written-out layers; the message says why."""


class Link(NamedTuple):
    """One layer of a chain: a named layer of the module, or the layer of a function."""

    name: str
    function: nn.Module | None = None
    inside: "tuple[Link, ...]" = ()  # of a residual block

    def layer(self, module: nn.Module) -> nn.Module:
        """Return the layer of the chain's module."""
        return self.function or module.get_submodule(self.name)


class Chain(NamedTuple):
    """The layers of a module; a module that is not a chain is one layer of unknown kind."""

    links: tuple[Link, ...]
    n_images: int = 0  # first layers, which process images
    reason: str = ""  # why the module is not a chain


def chain_of(module: nn.Module, X: Tensor, *, predicts: bool = False) -> Chain:
    """Return the layers of a network, without identities.

    A module of another form, with a frozen parameter, or with a parameter that is used
    twice or not at all, is one layer. With `predicts`, masks do not matter.
    """
    if isinstance(module, MLP):
        # Not cached: the key would take more time than the chain.
        links = [Link("inputs")] if module.inputs is not None else []
        for index, block in enumerate(module.hidden):
            parts = block.named_children()
            names = [n for n, part in parts if type(part) is not nn.Identity]
            inside = tuple(Link(f"hidden.{index}.{name}") for name in names)
            links += [Link(f"hidden.{index}", inside=inside)] if block.residual else inside
        return Chain((*links, Link("output")))
    return cached(_chain_or_reason, module, X, predicts=predicts)


def _chain_or_reason(module: nn.Module, X: Tensor, *, predicts: bool) -> Chain:
    try:
        return _traced(module, X, predicts=predicts)
    except NoChainError as error:
        reason = str(error)
    except Exception:  # noqa: BLE001 - a user's module may raise anything
        reason = "its forward does more than call its layers in sequence"
    return Chain((Link(""),), reason=reason)


def _traced(module: nn.Module, X: Tensor, *, predicts: bool) -> Chain:
    """Return the layers in the order of a module's calls; raise if it is not a chain."""
    if not all(p.requires_grad and p.dtype == X.dtype for p in module.parameters()):
        raise NoChainError("a parameter is frozen, or of another type than the inputs")
    # A copy, to contain side effects of the forward pass.
    tried = copy.deepcopy(module)
    with torch.no_grad(), forked_rng(0, str(X.device)):
        values = _values_far_out(tried, 1)
        links, in_training = _links(tried, is_training=True)
        is_left = _has_values(tried, values)
        values = _values_far_out(tried, -1)
        _, in_evaluation = _links(tried, is_training=False)
        if not (is_left and _has_values(tried, values)):
            raise NoChainError("its forward changes weights, or draws random numbers")
    if in_training != in_evaluation:
        raise NoChainError("its layers differ between training and evaluation")
    # Tracing has changed the layers of the copy, so use the module's own.
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
        order == tuple(range(n))
        for by_dimensions in orders.values()
        for n, order in by_dimensions.items()
    ):
        raise NoChainError("torch draws masks in another order than the numbers of a batch")
    # Without layers for images, samples are flat vectors.
    is_flat = n_images == 0 and isinstance(layers[0][1], nn.Flatten)
    return Chain(tuple(link for link, _ in layers[is_flat:]), n_images)


def _check_served(layers: list[nn.Module], X: Tensor) -> int:
    """Return the number of a chain's layers for images: up to a flatten.

    Raises NoChainError unless all layers are written out: layers for samples, with a
    flatten at the start at most; or layers for images, a flatten, and layers for samples.
    """
    n_dims = X.ndim - 2
    flattens = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten)]
    if n_dims < 0 or (len(flattens) != (n_dims > 0) and flattens != [0]):
        raise NoChainError("it does not flatten samples once")
    start = flattens[0] if flattens else 0
    images, tail = layers[:start], layers[start + len(flattens) :]
    if not (images or tail):
        raise NoChainError("it has no layers")
    if images and X.device.type != "cpu":
        raise NoChainError("layers of images are written out for the CPU only")
    behind = [k for pad, k in pairwise([*images, nn.Flatten()]) if is_zero_pad(pad)]
    if not all(type(k) is _CONVS.get(n_dims) for k in behind):
        raise NoChainError("zero padding does not precede a convolution")
    is_known = [_is_of_images(k, n_dims) for k in images] + [*map(_is_of_samples, tail)]
    if not all(is_known):
        kind = type([*images, *tail][is_known.index(False)]).__name__
        raise NoChainError(f"{kind} is not written out for inputs of such a shape")
    return start


def _is_known(layer: Any) -> bool:
    """Return whether a layer's exact class and options have a written-out layer."""
    if type(layer) is nn.Flatten:
        return bool(layer.start_dim == 1 and layer.end_dim == -1)
    is_of_images = any(_is_of_images(layer, n_dims) for n_dims in _CONVS)
    return type(layer) is nn.Identity or _is_of_samples(layer) or is_of_images


def _is_of_samples(layer: Any) -> bool:
    """Return whether a layer is written out for inputs (B, D)."""
    kind = type(layer)
    if kind in OVER_CLASSES:
        return layer.dim in {-1, 1}
    if kind is nn.LayerNorm:
        return len(layer.normalized_shape) == 1 and None not in {layer.weight, layer.bias}
    return kind is nn.Linear or _is_norm(layer, nn.BatchNorm1d) or _is_by_number(layer)


def _is_of_images(layer: Any, n_dims: int) -> bool:
    """Return whether a layer is written out for inputs (B, C, ...)."""
    if type(layer) is _CONVS.get(n_dims):
        return geometry_of(layer) is not None
    is_plain = pool_fits(layer, n_dims) or is_zero_pad(layer, n_dims)
    return is_plain or _is_norm(layer, NORMS.get(n_dims)) or _is_by_number(layer)


def _is_norm(layer: Any, kind: type[nn.Module] | None) -> bool:
    if type(layer) is not kind:
        return False
    return bool(layer.affine and layer.track_running_stats) and layer.momentum is not None


def _is_by_number(layer: Any) -> bool:
    """Return whether a layer acts on each number of its input alike."""
    kind = type(layer)
    if kind in {nn.ReLU, SeededDropout} or is_torch_dropout(layer):
        return True
    is_activation = kind in _ACTIVATIONS and kind not in OVER_CLASSES
    return is_activation and not getattr(layer, "inplace", False)


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Flatten:
    """Return the layer of ``torch.flatten``, which has another default."""
    return nn.Flatten(start_dim, end_dim)


# Layers that a forward pass may call as a function or as a tensor's method.
_FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    **dict.fromkeys((torch.relu, F.relu, "relu"), nn.ReLU),
    **dict.fromkeys((torch.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((torch.sigmoid, "sigmoid"), nn.Sigmoid),
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), nn.Softmax),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, "log_softmax"), nn.LogSoftmax),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
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
# Arguments that torch's functions pass on without effect.
_WITHOUT_MEANING = {"inplace", "_stacklevel"}
# Weights beyond any sensible bound.
_FAR = 1e4


class _NumberOfSamples:
    """Proxy for the number of samples, on which no decision may depend."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise NoChainError("it reads the number of samples")

    def __bool__(self) -> bool:
        raise NoChainError("it reads the number of samples")


def _values_far_out(module: nn.Module, sign: int) -> list[Tensor]:
    """Set a copy's weights to far values of alternating signs; return all values."""
    for parameter in module.parameters():
        signs = torch.arange(parameter.numel(), device=parameter.device) % 2 * -2 + 1
        parameter.copy_((sign * _FAR * signs).view(parameter.shape))
    return [t.clone() for t in _values(module)]


def _has_values(module: nn.Module, before: list[Tensor]) -> bool:
    """Return whether a forward pass changed no values and drew no random numbers."""
    after = _values(module)
    return len(before) == len(after) and all(map(torch.equal, before, after))


def _values(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers(), torch.get_rng_state()]


class _Path:
    """Proxy for an intermediate result; all paths share their `links`."""

    def __init__(self, links: list[Link]) -> None:
        self.links = links
        self._n_links = len(links)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> "_Path":
        first, *remainder = args
        return first.call(func, *remainder, **(kwargs or {}))  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise AttributeError(name)
        return partial(self.call, name)

    def size(self, dim: int) -> _NumberOfSamples:
        if dim != 0:
            raise NoChainError("it reads the number of units")
        return _NumberOfSamples()

    def view(self, first: object, units: int) -> "_Path":
        if not isinstance(first, _NumberOfSamples) or units != -1:
            raise NoChainError("an intermediate result is not samples by units")
        return self.after(Link("", nn.Flatten()))

    reshape = view

    def call(self, function: Any, *args: Any, **options: Any) -> "_Path":
        """Return the result of a function of this result."""
        if function not in _FUNCTIONS:
            name = getattr(function, "__name__", function)
            raise NoChainError(f"{name} is not written out")
        options = {n: v for n, v in options.items() if n not in _WITHOUT_MEANING}
        if options.pop("dtype", None) is not None:
            raise NoChainError("a function computes in another precision")
        return self.after(Link("", _FUNCTIONS[function](*args, **options)))

    def after(self, link: Link) -> "_Path":
        """Return the result of a layer on this result, which must be the latest."""
        self.check()
        if not torch.is_grad_enabled():
            raise NoChainError("it computes a part without derivatives")
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise NoChainError("it computes a part in another precision")
        self.links.append(link)
        return _Path(self.links)

    def check(self) -> None:
        """Raise if operations followed this result."""
        if self._n_links != len(self.links):
            raise NoChainError("a result is used outside of the next layer")


def _links(module: nn.Module, *, is_training: bool) -> tuple[list[Link], list[Any]]:
    """Return a chain's layers, and the properties that both modes must share."""
    module.train(is_training)
    for name, layer in module.named_modules():
        if _is_known(layer):
            layer.forward = partial(_Path.after, link=Link(name))
    links: list[Link] = []
    with torch.enable_grad():
        last = module(_Path(links))
    if type(last) is not _Path:
        raise NoChainError("its output is not its last result")
    last.check()
    layers = [link.layer(module) for link in links]
    return links, [
        (link.name, repr(layer), not link.name or layer.training == is_training)
        for link, layer in zip(links, layers, strict=True)
    ]


# Most structures in the cache.
_MOST_CACHED = 256
_CACHE: dict[Any, Any] = {}


def cached(
    make: Callable[..., _Made],
    module: nn.Module,
    X: Tensor,
    *,
    predicts: bool,
    content: bytes = b"",
) -> _Made:
    """Return ``make(module, X, predicts=...)``, computed once for each structure."""
    like = (X.shape[1:], X.dtype, str(X.device), content)
    key = (make, type(module), module_structure(module), like, predicts)
    if key not in _CACHE:
        if len(_CACHE) >= _MOST_CACHED:
            _CACHE.clear()
        _CACHE[key] = make(module, X, predicts=predicts)
    return _CACHE[key]  # type: ignore[no-any-return]


def module_structure(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for networks that differ only in weights and dropout."""
    layer_ids = frozenset(map(id, module.modules()))
    layers = []
    for name, layer in module.named_modules():
        attributes: tuple[Any, ...] = ()
        # Replacements of layers in a fleet hold the state of the current batch.
        if not type(layer).__module__.startswith("sk_tune._fleets."):
            is_dropout = isinstance(layer, SeededDropout) or is_torch_dropout(layer)
            varies = frozenset({"p", "seed", "step"} if is_dropout else ())
            attributes = attributes_key(layer, layer_ids, varies)
        layers.append((name, type(layer), attributes))
    tensors = tuple(
        (name, tuple(t.shape), t.stride(), t.dtype, t.requires_grad)
        for part in (module.named_parameters(), module.named_buffers())
        for name, t in part
    )
    return tuple(layers), tensors
