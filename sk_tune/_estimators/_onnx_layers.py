# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks as ONNX operators, written layer by layer from their weights.

Normalisation is folded into the weights of the previous layer, and each member of an MLP
gets its own matrices: onnxruntime runs a chain of two-dimensional products twice as fast as
products with an axis of members.  Torch's exporter writes modules without a rule.

Notation: m members, B samples of a batch, T steps, N columns, D inputs, H units, C outputs.
"""

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch import Tensor, nn

from sk_tune._nets import (
    CNN,
    MLP,
    RNN,
    CategoryEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    SeededDropout,
    TableInputs,
)
from sk_tune._onnx_graph import OPSET, Graph, check_packages
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SavingWarning


def add_network(graph: Graph, x: Any, estimator: Any) -> Any:
    """Return the predictions of a fitted network, (B, C), for prepared samples."""
    x = x.cast(estimator.net_.options.dtype).reshape(-1, *estimator.input_shape_)
    module, mark = estimator.net_.module_, graph.mark()
    try:
        outputs = _layer(graph, x, module)
    except _UnknownModuleError as error:
        graph.reset(mark)
        check_packages("onnxscript")
        warn_user(
            f"The fast export supports only common layers. Got {error}, so torch.onnx "
            f"exports the whole {type(module).__name__}, which may take minutes.",
            SavingWarning,
        )
        outputs = graph.insert(_exported(module, x.dtype, estimator.input_shape_), x)
    if estimator._is_multilabel:
        return graph.op("Sigmoid", outputs)
    if is_classifier(estimator):
        return graph.op("Softmax", outputs, axis=1)
    if estimator._link == "exp":
        outputs = graph.op("Exp", outputs)
    outputs = _sorted(graph, outputs, len(estimator.quantiles_))
    outputs = outputs.cast(estimator._dtype_of_targets())
    return outputs * estimator.target_scale_ + estimator.target_mean_


def _sorted(graph: Graph, x: Any, n: int) -> Any:
    """Return n columns in ascending order, (B, n); others unchanged if n is 0."""
    columns = [x.take([j], axis=1) for j in range(n)]
    for last in range(n - 1, 0, -1):
        for j in range(last):
            pair = columns[j : j + 2]
            columns[j : j + 2] = [graph.op(kind, *pair) for kind in ("Min", "Max")]
    return graph.concat(columns, axis=1) if columns else x


class _UnknownModuleError(Exception):
    """A module without a rule; the text names it."""


def _exported(module: nn.Module, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Return a module as an ONNX model by torch's exporter."""
    if any(getattr(part, "divisor_override", None) for part in module.modules()):
        raise TypeError(
            f"To become an ONNX model, a {type(module).__name__} must not use "
            "'divisor_override', which torch.onnx ignores. Got it in a pooling layer: "
            "scale its output instead."
        )
    log = logging.getLogger("torch.onnx")
    level, was_training = log.level, module.training
    device = next(module.parameters(), torch.empty(0)).device
    # Two samples, because torch would treat a batch size of 1 as constant.
    example = torch.zeros(2, *shape, dtype=getattr(torch, str(dtype)))
    # The exporter warns about code in torch, and logs missing packages.
    with warnings.catch_warnings(action="ignore"):
        try:
            log.setLevel(logging.ERROR)
            program: Any = torch.onnx.export(
                module.eval().cpu(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("n_samples")},),
            )
        finally:
            log.setLevel(level)
            module.to(device).train(was_training)
    model = program.model_proto
    if model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value"):
        raise TypeError(
            f"To become an ONNX model, a {type(module).__name__} must take any number of "
            "samples. Got a forward that turns the number into a constant, for example by "
            "len(x) or int(x.shape[0]). Use x.shape[0] or x.reshape(-1, ...)."
        )
    return model


# Submodules that the rules of networks and blocks handle.
_CHILDREN = {
    "CNN": {"activation", "blocks", "dense", "dropout", "output"},
    "MLP": {"hidden", "inputs", "output"},
    "RNN": {"layers", "output", "tokens"},
    "TableInputs": {"categories", "numbers"},
    "_ConvBlock": {"activation", "conv", "dropout", "norm", "pad", "pool", "shortcut"},
    "_HiddenLayer": {"activation", "dropout", "linear", "norm"},
    "_RecurrentLayer": {"dropout", "norm", "recurrence"},
}


def _layer(graph: Graph, x: Any, module: nn.Module) -> Any:
    """Return the output of a module; raises _UnknownModuleError if it has no rule."""
    if type(module) not in _RULES:
        raise _UnknownModuleError(f"a {type(module).__name__}")
    _check_plain(module)
    return _RULES[type(module)](graph, x, module)


def _check_plain(module: nn.Module) -> None:
    """Raise _UnknownModuleError if a module differs from its class, e.g. by hooks."""
    name = type(module).__name__
    children = {child for child, _ in module.named_children()}
    is_changed = bool(module._forward_hooks or module._forward_pre_hooks)
    is_changed |= "forward" in vars(module) or "parametrizations" in children
    if is_changed or (name in _CHILDREN and not children <= _CHILDREN[name]):
        raise _UnknownModuleError(f"a {name} with changes")


def _numbers(tensor: Tensor | None, default: Any = 0.0) -> Any:
    """Return a weight as float64, the type in which weights are combined."""
    return default if tensor is None else tensor.detach().cpu().double().numpy()


def _scale_and_shift(norm: Any, n: int) -> tuple[Any, Any]:
    """Return the affine map of n channels that batch normalisation is in evaluation."""
    if norm is None:
        return np.ones(n), np.zeros(n)
    _check_plain(norm)
    if norm.running_mean is None:
        raise _UnknownModuleError(f"a {type(norm).__name__} without running statistics")
    scale = _numbers(norm.weight, 1.0) * (_numbers(norm.running_var) + norm.eps) ** -0.5
    return scale, _numbers(norm.bias) - _numbers(norm.running_mean) * scale


def _gemm(graph: Graph, x: Any, weight: Any, bias: Any) -> Any:
    """Return ``x @ weight + bias``; the weight is (D, H), an array or a graph value."""
    weight = weight.astype(x.dtype) if isinstance(weight, np.ndarray) else weight
    return graph.op("Gemm", x, weight, bias.astype(x.dtype))


def _linear(graph: Graph, x: Any, layer: Any, norm: Any = None) -> Any:
    """Return a linear layer of (B, D), with the batch normalisation after it, if any."""
    _check_plain(layer)
    scale, shift = _scale_and_shift(norm, layer.out_features)
    bias = _numbers(layer.bias) * scale + shift
    return _gemm(graph, x, _numbers(layer.weight).T * scale, bias)


def _convolution(
    graph: Graph, x: Any, layer: Any, norm: Any = None, pad: Any = None
) -> Any:
    """Return a convolution with optional padding before and normalisation after it."""
    _check_plain(layer)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise _UnknownModuleError(f"a {type(layer).__name__} with padding by name")
    n_dims = layer.weight.ndim - 2
    pads = [*layer.padding, *layer.padding]
    if pad is not None:
        # Padding is symmetric and equal on all axes.
        pads = [pad.padding[0]] * n_dims + [pad.padding[1]] * n_dims
    scale, shift = _scale_and_shift(norm, layer.out_channels)
    weight = _numbers(layer.weight) * scale.reshape(-1, *[1] * (n_dims + 1))
    bias = _numbers(layer.bias) * scale + shift
    return graph.op(
        "Conv",
        x,
        *(values.astype(x.dtype) for values in (weight, bias)),
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        dilations=list(layer.dilation),
        group=layer.groups,
        pads=pads,
    )


def _pool(graph: Graph, x: Any, layer: Any) -> Any:
    name = type(layer).__name__
    is_dilated = np.any(np.not_equal(getattr(layer, "dilation", 1), 1))
    if layer.ceil_mode or np.any(layer.padding) or is_dilated:
        raise _UnknownModuleError(f"a {name} with padding or dilation")
    window, stride = (
        np.broadcast_to(size, int(name[-2])).tolist()
        for size in (layer.kernel_size, layer.stride)
    )
    kind = "MaxPool" if "Max" in name else "AveragePool"
    pooled = graph.op(kind, x, kernel_shape=window, strides=stride)
    divisor = getattr(layer, "divisor_override", None)
    return pooled if divisor is None else pooled * (math.prod(window) / divisor)


def _batch_norm(graph: Graph, x: Any, layer: Any) -> Any:
    scale, shift = _scale_and_shift(layer, layer.num_features)
    numbers = (scale, shift, 0 * scale, np.ones_like(scale))
    constants = (values.astype(x.dtype) for values in numbers)
    return graph.op("BatchNormalization", x, *constants, epsilon=0.0)


def _layer_norm(graph: Graph, x: Any, layer: Any) -> Any:
    shape = tuple(layer.normalized_shape)
    affine = (_numbers(layer.weight, np.ones(shape)), _numbers(layer.bias, np.zeros(shape)))
    numbers = (values.astype(x.dtype) for values in affine)
    return graph.op("LayerNormalization", x, *numbers, axis=-len(shape), epsilon=layer.eps)


def _group_norm(graph: Graph, x: Any, layer: Any) -> Any:
    ones = np.ones(layer.num_groups, x.dtype)
    h = x.reshape(0, layer.num_groups, -1)
    h = graph.op("InstanceNormalization", h, ones, 0 * ones, epsilon=layer.eps)
    h = h.reshape(0, layer.num_channels, -1)
    if layer.affine:
        h = h * _numbers(layer.weight)[:, None] + _numbers(layer.bias)[:, None]
    return graph.op("Reshape", h, graph.op("Shape", x, dtype=np.int64))


def _gelu(graph: Graph, x: Any, layer: Any) -> Any:
    if layer.approximate != "none":
        raise _UnknownModuleError("a GELU that is approximate")
    return x * (graph.op("Erf", x / math.sqrt(2)) + 1) * 0.5


def _mish(graph: Graph, x: Any, layer: Any) -> Any:
    # x tanh(softplus(x)) without softplus, which is slow in onnxruntime.
    t = graph.op("Sigmoid", x * -1)
    return x * (graph.op("Reciprocal", t * t + 1) * 2 - 1)


def _sequential(graph: Graph, x: Any, module: Any) -> Any:
    for layer in module:
        x = _layer(graph, x, layer)
    return x


def _flatten(graph: Graph, x: Any, layer: Any) -> Any:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise _UnknownModuleError("a Flatten of some axes")
    return graph.op("Flatten", x)


def _periodic(graph: Graph, x: Any, layer: Any) -> Any:
    angles = x.expand(2) * (2 * math.pi * _numbers(layer.frequencies))
    waves = graph.concat([graph.op("Cos", angles), graph.op("Sin", angles)], axis=2)
    return graph.op("Relu", _by_column(waves, layer) + _numbers(layer.bias))


def _piecewise_linear(graph: Graph, x: Any, layer: Any) -> Any:
    x = x.expand(2)
    passed = ((x - _numbers(layer.start)) * _numbers(layer.slope)).clip(0, 1)
    lines = (x * _numbers(layer.scale)).reshape(0, layer.n_outputs)
    return lines + _by_column(passed, layer) + _numbers(layer.bias)


def _by_column(x: Any, layer: Any) -> Any:
    """Return each column's values, (B, N, P), times its matrix, concatenated."""
    product = x.transpose(1, 0, 2) @ _numbers(layer.weight)
    return product.transpose(1, 0, 2).reshape(0, layer.n_outputs)


def _categories(graph: Graph, x: Any, layer: Any) -> Any:
    return _vectors(graph, x, layer).reshape(0, layer.n_outputs)


def _vectors(graph: Graph, x: Any, layer: Any) -> Any:
    """Return the vectors, (..., C, E), of codes, (..., C)."""
    _check_plain(layer)
    counts, offsets = layer.n_codes.cpu().numpy(), layer.offsets.cpu().numpy()
    # Unknown codes have the vector of code 0.
    vectors = graph.constant(_numbers(layer.weight[layer.known]).astype(x.dtype))
    is_code = (x > -1) & (x < counts)
    places = is_code.where(x, 0).cast(np.int64) + offsets
    return graph.op("Gather", vectors, places, axis=0)


def _table_inputs(graph: Graph, x: Any, module: Any) -> Any:
    parts = []
    if module.numbers is not None:
        parts.append(_layer(graph, x.take(module.embedded, axis=1), module.numbers))
    if module.plain:
        parts.append(x.take(module.plain, axis=1))
    if module.categories is not None:
        codes = x.take(module.categorical, axis=1)
        parts.append(_layer(graph, codes, module.categories))
    return graph.concat(parts, axis=1)


def _mlp(graph: Graph, x: Any, module: Any) -> Any:
    x = x if module.inputs is None else _layer(graph, x, module.inputs)
    m, head = module.members, module.output
    if m == 1:
        return _linear(graph, _hidden_layers(graph, x, module, 0), head)
    _check_plain(head)
    heads = zip(_numbers(head.weight), _numbers(head.bias).reshape(m, -1), strict=True)
    outputs = [
        _gemm(graph, _hidden_layers(graph, x, module, member), weight.T, bias)
        for member, (weight, bias) in enumerate(heads)
    ]
    # The shape is (B, m, C).
    stacked = graph.concat(outputs, axis=1).reshape(0, m, -1)

    def reduced(kind: str, values: Any) -> Any:
        return graph.op(kind, values, np.array([1]), keepdims=0)

    if module.link == "identity":
        return reduced("ReduceMean", stacked)
    if module.link in {"softmax", "exp"}:
        is_log = module.link == "exp"
        logs = stacked if is_log else graph.op("LogSoftmax", stacked, axis=2)
        return reduced("ReduceLogSumExp", logs) - math.log(m)
    # The logarithm of sigmoid(x) is -softplus(-x).
    yes, no = (
        reduced("ReduceLogSumExp", graph.op("Softplus", stacked * -sign) * -1)
        for sign in (1, -1)
    )
    return yes - no


def _hidden_layers(graph: Graph, x: Any, module: Any, member: int) -> Any:
    """Return the last hidden layer of a member, (B, H)."""
    for layer in module.hidden:
        _check_plain(layer)
        is_batch = isinstance(layer.norm, nn.BatchNorm1d)
        norm = layer.norm if is_batch else None
        if module.members == 1:
            h = _linear(graph, x, layer.linear, norm)
        else:
            h = _shared_linear(graph, x, layer.linear, norm, member)
        if layer.norm is not None and not is_batch:
            h = _layer(graph, h, layer.norm)
        h = _layer(graph, h, layer.activation)
        x = x + h if layer.residual else h
    return x


def _shared_linear(graph: Graph, x: Any, layer: Any, norm: Any, member: int) -> Any:
    """Return a member's layer; its scales are folded into the shared matrix."""
    _check_plain(layer)
    r, s, b = (
        _numbers(values).reshape(layer.members, -1)[member]
        for values in (layer.input_scale, layer.output_scale, layer.bias)
    )
    scale, shift = _scale_and_shift(norm, len(s))
    # The file holds the matrix once; runtimes fold constants at loading.
    shared: Any = graph.constant(_numbers(layer.weight).T.astype(x.dtype))
    return _gemm(graph, x, shared * r[:, None] * (s * scale), b * scale + shift)


def _cnn(graph: Graph, x: Any, module: Any) -> Any:
    for block in module.blocks:
        _check_plain(block)
        is_group = isinstance(block.norm, nn.GroupNorm)
        h = _convolution(graph, x, block.conv, None if is_group else block.norm, block.pad)
        if is_group:
            h = _layer(graph, h, block.norm)
        # Pooling before the activation gives the same output.
        h = _layer(graph, h, block.activation)
        if block.shortcut is not None:
            h = h + _layer(graph, x, block.shortcut)
        x = h if block.pool is None else _layer(graph, h, block.pool)
    h = _linear(graph, graph.op("Flatten", x), module.dense)
    return _linear(graph, _layer(graph, h, module.activation), module.output)


# Positions of ONNX's gates among torch's, and attributes of the operator.
_CELLS: dict[type, tuple[tuple[int, ...], dict[str, Any]]] = {
    nn.GRU: ((1, 0, 2), {"linear_before_reset": 1}),
    nn.LSTM: ((0, 3, 1, 2), {}),
    nn.RNN: ((0,), {}),
}


def _rnn(graph: Graph, x: Any, module: Any) -> Any:
    """Return the outputs of sequences, (B, T, D); steps of NaN are padding."""
    is_padding = x.take(0, axis=2).is_nan()  # (B, T)
    steps = is_padding.where(0, graph.constant(np.int32(1)))
    lengths = graph.op("ReduceSum", steps, np.array([1]), keepdims=0)
    x = is_padding.expand(2).where(0, x).transpose(1, 0, 2)  # (T, B, D)
    if module.tokens is not None:
        x = _vectors(graph, x + 1, module.tokens).reshape(0, 0, module.tokens.size)
    for layer in module.layers:
        _check_plain(layer)
        h = _recurrence(graph, x, layer.recurrence, lengths)
        if isinstance(layer.norm, nn.BatchNorm1d):
            scale, shift = _scale_and_shift(layer.norm, layer.norm.num_features)
            h = h * scale + shift
        elif layer.norm is not None:
            h = _layer(graph, h, layer.norm)
        x = h + x if layer.residual else h
    last = (lengths.cast(np.int64) - 1).expand(1)
    state = graph.op("GatherND", x.transpose(1, 0, 2), last, batch_dims=1)
    if module.bidirectional:
        # The backward direction ends at the first step.
        units = np.arange(2 * module.hidden_size)
        forward, backward = np.split(units, 2)
        first = x.take(0, axis=0)
        state = graph.concat([state.take(forward, 1), first.take(backward, 1)], axis=1)
    return _linear(graph, state, module.output)


def _recurrence(graph: Graph, x: Any, cell: Any, lengths: Any) -> Any:
    """Return the states of a recurrent layer, (T, B, H) or (T, B, 2 H)."""
    if type(cell) not in _CELLS or cell.num_layers > 1:
        raise _UnknownModuleError(f"a {type(cell).__name__}")
    _check_plain(cell)
    order, options = _CELLS[type(cell)]
    suffixes = ["", "_reverse"] if cell.bidirectional else [""]

    def weights(kind: str) -> Any:
        of_directions = (_numbers(getattr(cell, f"{kind}_l0{end}")) for end in suffixes)
        gates = (np.split(values, len(order)) for values in of_directions)
        return np.stack([np.concatenate([parts[k] for k in order]) for parts in gates])

    if type(cell) is nn.RNN:
        options = {"activations": [cell.nonlinearity.capitalize()] * len(suffixes)}
    biases = np.concatenate([weights("bias_ih"), weights("bias_hh")], axis=1)
    matrices = (weights("weight_ih"), weights("weight_hh"), biases)
    states = graph.op(
        type(cell).__name__,
        x,
        *(values.astype(x.dtype) for values in matrices),
        lengths,
        hidden_size=cell.hidden_size,
        direction="bidirectional" if cell.bidirectional else "forward",
        **options,
    )
    # The shape was (T, directions, B, H).
    return states.transpose(0, 2, 1, 3).reshape(0, 0, len(suffixes) * cell.hidden_size)


_RULES: dict[type, Callable[[Graph, Any, Any], Any]] = {
    CNN: _cnn,
    MLP: _mlp,
    RNN: _rnn,
    TableInputs: _table_inputs,
    PeriodicEmbedding: _periodic,
    PiecewiseLinearEmbedding: _piecewise_linear,
    CategoryEmbedding: _categories,
    nn.Sequential: _sequential,
    # Samples may have several axes.
    nn.Linear: lambda g, x, layer: x @ _numbers(layer.weight).T + _numbers(layer.bias),
    **dict.fromkeys([nn.Conv1d, nn.Conv2d, nn.Conv3d], _convolution),
    **dict.fromkeys([nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d], _pool),
    **dict.fromkeys([nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d], _pool),
    **dict.fromkeys([nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d], _batch_norm),
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Flatten: _flatten,
    **dict.fromkeys([nn.Identity, nn.Dropout, SeededDropout], lambda g, x, layer: x),
    nn.GELU: _gelu,
    nn.SiLU: lambda g, x, layer: x * g.op("Sigmoid", x),
    nn.Mish: _mish,
    nn.ReLU: lambda g, x, layer: g.op("Relu", x),
    nn.Tanh: lambda g, x, layer: g.op("Tanh", x),
    nn.Sigmoid: lambda g, x, layer: g.op("Sigmoid", x),
    nn.SELU: lambda g, x, layer: g.op("Selu", x),
    nn.ELU: lambda g, x, layer: g.op("Elu", x, alpha=float(layer.alpha)),
    nn.LeakyReLU: lambda g, x, layer: g.op("LeakyRelu", x, alpha=layer.negative_slope),
}
