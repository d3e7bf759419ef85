# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which networks the kernel trains, and their layers as structs of epoch.c."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sk_tune._fleets._convolution import (
    Convolution,
    Flat,
    ImageNorm,
    Pooling,
    Windows,
    windows_of_convolution,
    windows_of_pool,
)
from sk_tune._fleets._kernel_library import compiled_library, kernel_status
from sk_tune._fleets._layers import (
    BatchNorm,
    Dropout,
    Layer,
    LayerNorm,
    Linear,
    MemberHead,
    MemberLinear,
    Members,
    Residual,
)
from sk_tune._fleets._module_layer import ModuleLayer
from sk_tune._fleets._program import Program
from sk_tune._fleets._recipe import FleetNetwork, Recipe
from sk_tune._nets import RNN, PeriodicEmbedding, PiecewiseLinearEmbedding, TableInputs
from sk_tune._optimizers import OPTIMIZERS
from sk_tune._training import (
    R2OfOutput,
    TensorSet,
    accuracy_by_network,
    accuracy_of_probabilities,
    r2_by_network,
    r2_of_exponentials,
    usual_score,
)

# Index of a name: its number in epoch.c.
KINDS = (
    *("linear", "activation", "dropout", "layer norm", "batch norm", "branch", "join"),
    *("table", "members", "member linear", "narrow"),
    *("steps", "recurrence", "last"),
    *("images", "convolution", "pool", "flatten"),
)
_CELLS = ("GRU", "LSTM", "RNN_TANH", "RNN_RELU")
LINKS = ("identity", "sigmoid", "softmax", "exp")
_LOSSES = (
    *("cross_entropy", "binary_cross_entropy"),
    *("squared_error", "absolute_error", "huber", "pinball", "deviance"),
    "soft_cross_entropy",
)
# Scores that the kernel computes with each loss, next to R2OfOutput for quantiles.
_SCORES = [
    (accuracy_by_network, usual_score),
    (accuracy_by_network, r2_by_network, usual_score),
    *[(r2_by_network, usual_score)] * 4,
    (r2_of_exponentials,),
    (accuracy_of_probabilities,),
]
_FUNCTIONS: list[type[nn.Module]] = [
    *(nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.ELU),
    *(nn.SELU, nn.SiLU, nn.GELU, nn.Mish),
]
# Behaviour of an activation below 0: the slope of a line, or the scale of an exponential.
_NUMBERS: dict[type[nn.Module], Callable[[Any], float]] = {
    nn.LeakyReLU: lambda module: float(module.negative_slope),
    nn.ELU: lambda module: float(module.alpha),
    nn.SELU: lambda module: 1.6732632423543772,
}
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# Above this number of weights in a layer, torch's libraries are faster, because they block
# products for the cache.
_MOST_WEIGHTS, _MOST_WEIGHTS_OF_IMAGES = 2**17, 2**18
# Above this number of forward multiplications per sample, so are their convolutions.
_MOST_PRODUCTS = 2**21
# Up to this number of outputs, sums over the inputs are faster than padded products.
_FEW_OUTPUTS = 2
# Above this number of values of a sample, in all steps or in an image layer, a thread needs
# some hundred MiB for 128 samples. A place has at least 16 padded channels.
_MOST_STATES, _LEAST_PADDED = 2**16, 16
# For smaller values, Adam's divisor of the padding may be 0.
_LEAST_EPS = 1e-20
# Speed on one core: multiplications in a second, seconds that a step adds, and seconds of
# Python for each network and epoch. Estimates are within a factor of 2 for 32 to 256 units
# in float32 (2.7e10 to 5.8e10 products in a second on a Xeon with AVX2 or AVX-512; half in
# float64).
_PRODUCTS_PER_SECOND = 4e10
_SECONDS_PER_STEP, _SECONDS_PER_EPOCH = 3e-6, 1e-4


class KernelParameter(NamedTuple):
    """A parameter as in epoch.c; an absent parameter has no name and is 0."""

    name: str | None
    n_rows: int
    n_columns: int
    n_matrices: int = 1
    is_turned: bool = False
    n_inner: int = 1


class KernelTable(NamedTuple):
    """How the columns of a table become inputs; the fields are documented in epoch.c."""

    columns: tuple[int, ...] = ()
    n_embedded: int = 0
    n_bins: int = 0
    n_frequencies: int = 0
    size: int = 1
    n_plain: int = 0
    n_categories: int = 0
    category_size: int = 0


class KernelLayer(NamedTuple):
    """A layer as in epoch.c, which documents the fields."""

    kind: str
    n_in: int
    n_out: int
    parameters: tuple[KernelParameter, ...] = ()
    buffers: tuple[str | None, ...] = ()
    option: int = 0
    number: float = 0.0
    momentum: float = 0.0
    n_members: int = 1
    n_lines: int = 1
    table: KernelTable = KernelTable()
    # Places of a sample in the input, and the windows of the output's places.
    n_before: int = 1
    windows: Windows = Windows(())


def n_lines(layer: KernelLayer) -> int:
    """Return the number of lines per sample in a layer: its steps, or its places."""
    return layer.n_lines * prod(layer.windows.sizes)


def n_products(layer: KernelLayer) -> int:
    """Return the forward multiplications by parameters, for one sample of one member."""
    sizes = (p.n_matrices * p.n_rows * p.n_columns for p in layer.parameters)
    return n_lines(layer) * sum(sizes)


def kernel_seconds(n_products: float, n_steps: float, n_epochs: int = 0) -> float:
    """Estimate the seconds of one core for multiplications, steps and networks' epochs."""
    seconds = n_steps * _SECONDS_PER_STEP + n_epochs * _SECONDS_PER_EPOCH
    return n_products / _PRODUCTS_PER_SECOND + seconds


def reason_against_kernel(
    layers: Sequence[KernelLayer], recipe: Recipe, networks: Sequence[FleetNetwork]
) -> str:
    """Return why the kernel cannot train networks with such layers, or ""."""
    if compiled_library() is None:
        return f"the kernel in use is {kernel_status()}"
    loss = number_of_loss(recipe)
    if loss < 0 or OPTIMIZERS[recipe.optimizer].kernel_number is None:
        return "the kernel does not support the loss or the optimizer"
    is_of_output = isinstance(recipe.score, R2OfOutput)
    if not is_of_output and recipe.score not in _SCORES[loss]:
        return "the kernel does not support the score"
    like = next(networks[0].module.parameters())
    reads = like.device.type == "cpu" and like.dtype in {torch.float32, torch.float64}
    reads = reads and min(n.settings.eps for n in networks) >= _LEAST_EPS
    # Check data that several networks share once.
    every = [network.train for network in networks]
    sets = {(id(s.X), id(s.y), id(s.sample_weight)): s for s in every}
    reads = reads and all(is_plain_set(s, like.dtype, loss, layers) for s in sets.values())
    if networks[0].augmentation or not reads:
        return "the kernel cannot read or augment the data"
    return ""


def number_of_loss(recipe: Recipe) -> int:
    """Return the number of a loss in epoch.c, -1 if it has none."""
    return _LOSSES.index(recipe.loss.name) if recipe.loss.name else -1


def kernel_layers(program: Program, X: Tensor) -> list[KernelLayer]:
    """Return the layers of a program; ValueError says which part is unsupported."""
    tensors = program.buffers.tensors | program.parameters.tensors
    shape = tuple(X.shape[1:])
    if not any(isinstance(layer, Flat) for layer in program.layers):
        shape = (prod(shape),)
    layers = _chained(program.layers, shape, 0, tensors)
    buffers = {name for layer in layers for name in layer.buffers}
    if not buffers.issuperset(program.buffers.tensors):
        raise ValueError("the network has frozen parameters")
    if not any(layer.parameters for layer in layers):
        raise ValueError("the network has no parameters to train")
    is_of_images = any(layer.kind in {"images", "convolution"} for layer in layers)
    most = _MOST_WEIGHTS_OF_IMAGES if is_of_images else _MOST_WEIGHTS
    matrices = (p for layer in layers for p in layer.parameters if p.is_turned)
    if any(p.n_rows * p.n_columns > most for p in matrices):
        raise ValueError("torch is faster for a weight matrix of this size")
    if is_of_images and sum(map(n_products, layers)) > _MOST_PRODUCTS:
        raise ValueError("torch is faster for convolutions of this size")
    numbers = (n_lines(layer) * max(layer.n_out, _LEAST_PADDED) for layer in layers)
    if is_of_images and max(numbers) > _MOST_STATES:
        raise ValueError("the kernel would need too much memory for the layers' outputs")
    return layers


def _chained(
    layers: Sequence[Layer], shape: Sequence[int], start: int, tensors: dict[str, Tensor]
) -> list[KernelLayer]:
    """Return a chain of layers for samples of a `shape` as layers of the kernel."""
    chain: list[KernelLayer] = []
    n_in, sizes = shape[0], tuple(shape[1:])
    if sizes and not isinstance(layers[0], Convolution):
        windows = Windows(sizes)
        chain.append(KernelLayer("images", n_in * prod(sizes), n_in, windows=windows))
    for layer in layers:
        if isinstance(layer, (Convolution, Pooling, Flat)):
            chain.append(_image_layer(layer, n_in, sizes, tensors, first=not chain))
        else:
            parts = _kernel_layers(layer, n_in, start + len(chain), tensors)
            chain += [x._replace(windows=Windows(sizes)) for x in parts]
        n_in, sizes = chain[-1].n_out, chain[-1].windows.sizes
    return chain


def _image_layer(
    layer: Convolution | Pooling | Flat,
    n_in: int,
    sizes: Sequence[int],
    tensors: dict[str, Tensor],
    *,
    first: bool,
) -> KernelLayer:
    """Return an image layer as a layer of the kernel; the first one reads torch's order."""
    n = prod(sizes)
    if isinstance(layer, Flat):
        return KernelLayer("flatten", n_in, n_in * n, n_before=n)
    if isinstance(layer, Pooling):
        windows = windows_of_pool(layer.module, sizes)
        return KernelLayer("pool", n_in, n_in, n_before=n, windows=windows)
    if layer.geometry.groups > 1:
        raise ValueError("the kernel does not support convolutions in groups")
    windows = windows_of_convolution(layer.geometry, sizes)
    _, n_out, n_expected, *_ = tensors[layer.weight].shape
    if n_expected != n_in:
        raise ValueError("the network expects inputs of another size")
    depth = n_in * prod(layer.geometry.kernel)
    parameters = (
        KernelParameter(layer.weight, depth, n_out, is_turned=True, n_inner=n_in),
        KernelParameter(layer.bias, 1, n_out),
    )
    n_in *= n if first else 1
    return KernelLayer("convolution", n_in, n_out, parameters, n_before=n, windows=windows)


def _kernel_layers(
    layer: Layer, n_in: int, start: int, tensors: dict[str, Tensor]
) -> list[KernelLayer]:
    """Return a layer of a chain as layers of the kernel, behind `start` other layers."""
    if isinstance(layer, Residual):
        inner = _chained(layer.layers, (n_in,), start + 1, tensors)
        branch = KernelLayer("branch", n_in, n_in, option=start + 1 + len(inner))
        return [branch, *inner, KernelLayer("join", n_in, n_in, option=start)]
    if isinstance(layer, (Linear, MemberHead, MemberLinear)):
        return _linear(layer, n_in, tensors)
    if isinstance(layer, (LayerNorm, ImageNorm)):
        by_sample = not isinstance(layer, (BatchNorm, ImageNorm))
        return [_norm(layer.name, layer, n_in, by_sample=by_sample)]
    if isinstance(layer, Members):
        return [KernelLayer("members", n_in, n_in, n_members=layer.members)]
    if isinstance(layer, Dropout) and layer.seeded is not None:
        return [KernelLayer("dropout", n_in, n_in, option=layer.seeded)]
    module: Any = getattr(layer, "module", layer)
    kind = type(module)
    # epoch.c lacks GELU's approximation by tanh.
    if kind in _FUNCTIONS and getattr(module, "approximate", "none") == "none":
        number = _NUMBERS[kind](module) if kind in _NUMBERS else 0.0
        option = _FUNCTIONS.index(kind)
        return [KernelLayer("activation", n_in, n_in, option=option, number=number)]
    if isinstance(layer, ModuleLayer) and isinstance(layer.pattern, TableInputs):
        return [_table(layer.pattern, n_in)]
    if isinstance(layer, ModuleLayer) and isinstance(layer.module, RNN):
        return _recurrent(layer.module, n_in, start, layer.seeded)
    raise ValueError(f"the kernel does not support a layer of the network: {kind.__name__}")


def _linear(
    layer: Linear | MemberHead | MemberLinear, n_in: int, tensors: dict[str, Tensor]
) -> list[KernelLayer]:
    """Return a linear layer; its weights are stored by output if it has few outputs."""
    *_, n_out, n_expected = tensors[layer.weight].shape
    if n_expected != n_in:
        raise ValueError("the network expects inputs of another size")
    if isinstance(layer, MemberLinear):
        m, name = layer.members, layer.name
        shapes = {"input_scale": n_in, "output_scale": n_out, "bias": n_out}
        r, s, b = (KernelParameter(f"{name}.{part}", m, n) for part, n in shapes.items())
        matrix = KernelParameter(layer.weight, n_in, n_out, is_turned=True)
        return [KernelLayer("member linear", n_in, n_out, (r, matrix, s, b), n_members=m)]
    m = layer.members if isinstance(layer, MemberHead) else 1
    matrix = KernelParameter(layer.weight, n_in, n_out, m, is_turned=True)
    kind = "linear"
    if n_out <= _FEW_OUTPUTS:
        kind, matrix = "narrow", KernelParameter(layer.weight, n_out, n_in, m)
    parameters = matrix, KernelParameter(layer.bias, m, n_out)
    return [KernelLayer(kind, n_in, n_out, parameters, n_members=m)]


def _norm(name: str, layer: Any, size: int, *, by_sample: bool) -> KernelLayer:
    """Return a normalisation over the units of a sample, or over the samples of a batch."""
    names = (f"{name}.weight", f"{name}.bias")
    parameters = tuple(KernelParameter(name, 1, size) for name in names)
    norm = KernelLayer("layer norm", size, size, parameters, number=layer.eps)
    if by_sample:
        return norm
    buffers = tuple(f"{name}.{part}" for part in _STATISTICS)
    return norm._replace(kind="batch norm", buffers=buffers, momentum=layer.momentum)


def _recurrent(
    network: RNN, n_in: int, start: int, seeded: dict[str, int]
) -> list[KernelLayer]:
    """Return the layers of a one-directional RNN; `seeded` numbers its dropout layers."""
    if network.tokens is not None:
        raise ValueError("the kernel does not embed tokens")
    if network.bidirectional:
        raise ValueError("the kernel does not read sequences backwards")
    recurrences: list[Any] = [layer.recurrence for layer in network.layers]
    size, n_units = recurrences[0].input_size, network.hidden_size
    n_steps = n_in // size
    if n_steps * n_units > _MOST_STATES:
        raise ValueError("the kernel would need too much memory for the gates of all steps")
    layers = [KernelLayer("steps", n_in, size)]
    for index, layer in enumerate(network.layers):
        name, cell = f"layers.{index}", _CELLS.index(recurrences[index].mode)
        n_gates = recurrences[index].weight_hh_l0.shape[0] // n_units
        rows = {"weight_ih": size, "weight_hh": n_units, "bias_ih": 1, "bias_hh": 1}
        parameters = tuple(
            KernelParameter(f"{name}.recurrence.{part}_l0", n, n_units, n_gates, n > 1)
            for part, n in rows.items()
        )
        inner = [KernelLayer("recurrence", size, n_units, parameters, option=cell)]
        if layer.norm is not None:
            by_sample = isinstance(layer.norm, nn.LayerNorm)
            inner.append(_norm(f"{name}.norm", layer.norm, n_units, by_sample=by_sample))
        if layer.residual:
            place = start + len(layers)
            branch = KernelLayer("branch", size, size, option=place + 1 + len(inner))
            inner = [branch, *inner, KernelLayer("join", size, size, option=place)]
        layers += inner
        if layer.dropout is not None:
            number = seeded[f"{name}.dropout"]
            layers.append(KernelLayer("dropout", n_units, n_units, option=number))
        size = n_units
    layers.append(KernelLayer("last", n_units, n_units))
    n_outputs = network.output.out_features
    matrix = KernelParameter("output.weight", n_units, n_outputs, is_turned=True)
    output = matrix, KernelParameter("output.bias", 1, n_outputs)
    return [
        *(layer._replace(n_lines=n_steps) for layer in layers),
        KernelLayer("linear", n_units, n_outputs, output),
    ]


def _table(inputs: TableInputs, n_in: int) -> KernelLayer:
    numbers, categories = inputs.numbers, inputs.categories
    n, size, n_bins, n_waves = len(inputs.embedded), 1, 0, 0
    names: list[str | None] = [None] * 3
    buffers: list[str | None] = [None] * 5
    if isinstance(numbers, PiecewiseLinearEmbedding):
        _, n_bins, size = numbers.weight.shape
        names = [f"inputs.numbers.{name}" for name in ("scale", "bias", "weight")]
        buffers[:2] = [f"inputs.numbers.{name}" for name in ("start", "slope")]
    elif isinstance(numbers, PeriodicEmbedding):
        (_, n_waves), size = numbers.frequencies.shape, numbers.weight.shape[2]
        names = [f"inputs.numbers.{name}" for name in ("frequencies", "bias", "weight")]
    elif numbers is not None:
        name = type(numbers).__name__
        raise ValueError(f"the kernel does not support a layer of the network: {name}")
    n_codes, category_size = 0, 0
    if categories is not None:
        n_codes, category_size = categories.weight.shape
        buffers[2:] = [f"inputs.categories.{x}" for x in ("known", "offsets", "n_codes")]
    codes_name = "inputs.categories.weight" if n_codes else None
    parameters = (
        KernelParameter(names[0], n, n_waves or size),
        KernelParameter(names[1], n, size),
        KernelParameter(names[2], n * (n_bins + 2 * n_waves), size),
        KernelParameter(codes_name, n_codes, category_size),
    )
    columns = (*inputs.embedded, *inputs.plain, *inputs.categorical)
    counts = len(inputs.plain), len(inputs.categorical)
    table = KernelTable(columns, n, n_bins, n_waves, size, *counts, category_size)
    return KernelLayer(
        "table", n_in, inputs.n_outputs, parameters, tuple(buffers), table=table
    )


def is_plain_input(X: Tensor, dtype: torch.dtype, layers: Sequence[KernelLayer]) -> bool:
    """Return whether inputs are contiguous, and unpadded if steps are normalised."""
    has_features = X.ndim > 1 and X.shape[1:].numel() == layers[0].n_in
    is_plain = X.dtype == dtype and X.is_contiguous() and has_features
    needs_all = any(x.kind == "batch norm" and x.n_lines > 1 for x in layers)
    return is_plain and not (needs_all and bool(torch.isnan(X).any()))


def is_plain_set(
    s: TensorSet, dtype: torch.dtype, loss: int, layers: Sequence[KernelLayer]
) -> bool:
    """Return whether epoch.c can read the inputs, targets and weights."""
    y, n = s.y, len(s.X)
    if y is None or not y.is_contiguous() or not is_plain_input(s.X, dtype, layers):
        return False
    if s.sample_weight is not None and s.sample_weight.shape != (n,):
        return False
    if loss == 0:
        return y.dtype == torch.int64 and y.shape == (n,)
    return y.dtype == dtype and y.shape == (n, layers[-1].n_out)
