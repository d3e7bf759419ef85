# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An ONNX graph that is written operator by operator.

Identical operators on identical inputs become one node, so models share common
preprocessing.
"""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sk_tune._files import replaced_file

# Operator versions: as in torch's exporter, and with 64-bit thresholds of trees.
OPSET, _TREES_OPSET, _IR_VERSION = 18, 3, 9
# Operators that onnxruntime computes in 32 bits only.
_SINGLE = {"AveragePool", "Conv", "Erf", "GRU", "InstanceNormalization", "LSTM", "RNN"}


def _operator(kind: str, dtype: Any = None) -> Callable[..., Any]:
    """Return a method for an operator; other arguments become constants of its dtype."""

    def method(self: "Value", *others: Any) -> Any:
        operands = [
            x if isinstance(x, Value) else np.asarray(x, self.dtype) for x in others
        ]
        return self.graph.op(kind, self, *operands, dtype=dtype)

    return method


class Value:
    """A tensor of a graph, with numpy's arithmetic."""

    def __init__(self, graph: "Graph", name: str, dtype: Any) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    __add__, __sub__ = _operator("Add"), _operator("Sub")
    __mul__, __truediv__ = _operator("Mul"), _operator("Div")
    __matmul__, __and__ = _operator("MatMul"), _operator("And")
    __lt__, __gt__ = _operator("Less", bool), _operator("Greater", bool)
    __ge__, is_nan = _operator("GreaterOrEqual", bool), _operator("IsNaN", bool)
    maximum, clip = _operator("Max"), _operator("Clip")

    def __rsub__(self, other: Any) -> Any:
        return self.graph.constant(np.asarray(other, self.dtype)) - self

    def where(self, yes: Any, no: Any) -> Any:
        """Return `yes` where this value is true, else `no`; one may be a constant."""
        dtype = (yes if isinstance(yes, Value) else no).dtype
        yes, no = (x if isinstance(x, Value) else np.asarray(x, dtype) for x in (yes, no))
        return self.graph.op("Where", self, yes, no, dtype=dtype)

    def cast(self, dtype: Any) -> Any:
        """Return the value in another type."""
        if self.dtype == np.dtype(dtype):
            return self
        to = self.graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.graph.op("Cast", self, dtype=dtype, to=int(to))

    def reshape(self, *shape: int) -> Any:
        """Return the value in another shape; 0 keeps an axis, and -1 takes the rest."""
        return self.graph.op("Reshape", self, np.array(shape))

    def expand(self, axis: int) -> Any:
        """Return the value with a new axis of length 1."""
        return self.graph.op("Unsqueeze", self, np.array([axis]))

    def take(self, places: Any, axis: int) -> Any:
        """Return the entries at constant places of an axis; one number removes the axis."""
        return self.graph.op("Gather", self, np.asarray(places, np.int64), axis=axis)

    def transpose(self, *axes: int) -> Any:
        """Return the value with its axes in another order."""
        return self.graph.op("Transpose", self, perm=list(axes))


class Graph:
    """A graph with the input X, (n_samples, *shape)."""

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        check_packages("onnx")
        import onnx

        self.onnx: Any = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._names: dict[Any, str] = {}
        self._shape = shape
        self.X = Value(self, "X", dtype)

    def constant(self, values: Any) -> Value:
        """Return numbers as a value of the graph; equal constants are stored once."""
        array = np.asarray(values, order="C")
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._names:
            name = self._names[key] = f"c{len(self._constants)}"
            self._constants.append(self.onnx.numpy_helper.from_array(array, name))
        return Value(self, self._names[key], array.dtype)

    def op(
        self,
        kind: str,
        *inputs: Any,
        dtype: Any = None,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """Return the output of an operator, by default of the type of its first input."""
        operands = [self.constant(x) if isinstance(x, np.ndarray) else x for x in inputs]
        result = computed = np.dtype(operands[0].dtype if dtype is None else dtype)
        if kind in _SINGLE and result == np.float64:
            computed = np.dtype(np.float32)
            operands = [x.cast(computed) if x.dtype == result else x for x in operands]
        names = [x.name for x in operands]
        node = self.onnx.helper.make_node(kind, names, [], domain=domain, **attributes)
        key = node.SerializeToString()
        if key not in self._names:
            name = self._names[key] = f"v{len(self._nodes)}"
            node.output.append(name)
            self._nodes.append(node)
        return Value(self, self._names[key], computed).cast(result)

    def concat(self, values: Sequence[Value], axis: int) -> Any:
        """Return the concatenation of values of one type."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def mark(self) -> Any:
        """Return the current state of the graph, for ``reset``."""
        return len(self._nodes), len(self._constants), dict(self._names)

    def reset(self, mark: Any) -> None:
        """Drop everything added since a mark."""
        n_nodes, n_constants, self._names = mark
        del self._nodes[n_nodes:], self._constants[n_constants:]

    def insert(self, model: Any, x: Value) -> Value:
        """Return the output of another model for its only input, `x`."""
        from onnx import compose, inliner

        model = inliner.inline_local_functions(model)
        inner = compose.add_prefix(model, f"m{len(self._nodes)}_").graph
        rename = self.onnx.helper.make_node("Identity", [x.name], [inner.input[0].name])
        self._nodes += [rename, *inner.node]
        self._constants += inner.initializer
        return Value(self, inner.output[0].name, x.dtype)

    def write(self, path: str | os.PathLike[str], output: Value, name: str) -> None:
        """Write the model with one output, (n_samples, n_columns), named `name`."""
        helper = self.onnx.helper
        start, end = (
            helper.make_tensor_value_info(
                title, helper.np_dtype_to_tensor_dtype(value.dtype), ("n_samples", *shape)
            )
            for title, value, shape in (("X", self.X, self._shape), (name, output, [None]))
        )
        nodes = [*self._nodes, helper.make_node("Identity", [output.name], [name])]
        operators = {"": OPSET, "ai.onnx.ml": _TREES_OPSET}
        model = helper.make_model(
            helper.make_graph(nodes, "sk_tune", [start], [end], self._constants),
            opset_imports=[helper.make_opsetid(*item) for item in operators.items()],
            ir_version=_IR_VERSION,
            producer_name="sk_tune",
        )
        with replaced_file(Path(path)) as temporary:
            self.onnx.save_model(model, str(temporary))


def check_packages(*names: str) -> None:
    """Raise ImportError if a package for ONNX is missing."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Exporting to ONNX needs {' and '.join(missing)}. Install with: pip install "
            "'sk-tune[export]'"
        )
