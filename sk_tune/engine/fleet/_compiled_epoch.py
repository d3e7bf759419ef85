# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Epochs of small chains of linear layers, ReLU and seeded dropout by compiled code.

A step of such a network is some ten short calls of torch's for each layer, which cost more
than the arithmetic where few rows share them.  The compiled code takes a row through its
whole epoch in one call, on the tensors that the rest of the fleet works on, so that
everything between two epochs is the same with it and without it.

Notation: K rows of the tile, S steps of an epoch, n samples of a row, C outputs.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sk_tune.engine.fleet._chain import ChainProgram
from sk_tune.engine.fleet._compiled import compiled_library
from sk_tune.engine.fleet._layers import Activation, Dropout, Layer, Linear
from sk_tune.engine.fleet._losses import LOSSES
from sk_tune.engine.fleet._optimizers import RowOptimizer
from sk_tune.engine.fleet._program import Program
from sk_tune.engine.fleet._records import Recipe, Row
from sk_tune.nets import dropout_positions
from sk_tune.training import TensorSet, row_accuracy

__all__ = ["CompiledEpoch", "EpochResult", "compiled_epoch"]

_MOST_LAYERS = 16
# Weights of a layer from which on the products of torch's libraries, which keep parts of
# them in the cache, take less time.
_MOST_WEIGHTS = 2**17
# Samples to predict at a time.
_CHUNK = 128
_LOSSES = (
    "cross_entropy",
    "binary_cross_entropy",
    "squared_error",
    "absolute_error",
    "huber",
)
_OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
_FAILED_TARGET, _FAILED_PLACE = 2, 3
# Below, what Adam divides padding by may be 0.
_LEAST_EPS = 1e-20
# Of a call, during which nobody hears of Ctrl-C, and multiplications in one of a core.
_SECONDS_PER_CALL = 0.5
_PRODUCTS_PER_SECOND = 3e10

# As in _epoch.c.
_PLAN = np.dtype([
    *(
        (name, "i8")
        for name in ("n_layers", "loss", "optimizer", "nesterov", "most_samples")
    ),
    ("sizes", "i8", _MOST_LAYERS + 1),
    *((name, "i8", _MOST_LAYERS) for name in ("has_bias", "has_relu", "dropout")),
    *((name, "i8") for name in ("has_penalty", "has_clip")),
])
_ROW = np.dtype([
    *((name, "u8") for name in ("X", "y", "weight", "order", "batches", "rates")),
    *((name, "u8") for name in ("keys", "thresholds", "scales")),
    *((name, "u8") for name in ("losses", "outputs", "hits")),
    *((name, "i8") for name in ("n_samples", "n_batches", "n_steps", "first_step")),
    ("loss_stride", "i8"),
    *((name, "f8") for name in ("momentum", "beta_2", "eps", "decay")),
    *((name, "f8") for name in ("smoothing", "l1", "clip")),
    ("parts", "u8", _MOST_LAYERS * 6),
])


class _Step(NamedTuple):
    """A linear layer and what is done to its outputs."""

    linear: Linear
    has_relu: bool
    dropout: int


class EpochResult(NamedTuple):
    """What an epoch leaves beside the weights.

    Parameters
    ----------
    losses : Tensor of shape (S, K)
        Of the batches; 0 where a row has none.
    outputs : Tensor of shape (K, n, C) or None
        On the samples in the order of the epoch, of the longest row; None where the score
        is known without.
    hits : Tensor of shape (K,) or None
        Weights of the samples whose class is predicted right, added up; None where the
        score is not their share.
    """

    losses: Tensor
    outputs: Tensor | None
    hits: Tensor | None


def compiled_epoch(
    program: Program,
    optimizer: RowOptimizer,
    recipe: Recipe,
    rows: Sequence[Row],
    n_threads: int = 1,
) -> "CompiledEpoch | None":
    """Return what trains epochs of some rows by compiled code.

    Parameters
    ----------
    program : Program
        The rows as one network.
    optimizer : RowOptimizer
        Of the rows.
    recipe : Recipe
        What they have in common.
    rows : sequence of Row
        All rows of the program, in order.
    n_threads : int, default=1
        Threads that rows are shared by.

    Returns
    -------
    CompiledEpoch or None
        None if compiled code cannot train them, or torch takes less time.
    """
    library = compiled_library()
    if library is None or not is_plain(program, recipe, rows):
        return None
    return CompiledEpoch(library, program, optimizer, rows, recipe, n_threads)


def is_plain(program: Program, recipe: Recipe, rows: Sequence[Row]) -> bool:
    """Return whether compiled code knows how to train rows, and takes less time.

    Parameters
    ----------
    program : Program
        The rows as one network.
    recipe : Recipe
        What they have in common.
    rows : sequence of Row
        All rows of the program, in order.

    Returns
    -------
    bool
        True for small chains of linear layers, ReLU and seeded dropout on the CPU.
    """
    loss, steps = _number_of(recipe), _steps_of(program)
    return bool(steps) and loss >= 0 and _has_plain_data(program, rows, loss, steps)


def _number_of(recipe: Recipe) -> int:
    """Return the number of the loss; -1 for one of others."""
    return next((i for i, n in enumerate(_LOSSES) if recipe.loss is LOSSES[n]), -1)


def _steps_of(program: Program) -> list[_Step]:
    """Return the linear layers of a chain that has little else; none of other programs."""
    if not isinstance(program, ChainProgram) or program.members > 1:
        return []
    steps: list[_Step] = []
    for layer in program.layers:
        if not _join(steps, layer):
            return []
    if not 0 < len(steps) <= _MOST_LAYERS or steps[-1].has_relu or steps[-1].dropout >= 0:
        return []
    tensors = program.parameters.tensors
    largest = max(tensors[step.linear.weight][0].numel() for step in steps)
    return [] if largest > _MOST_WEIGHTS or program.buffers.tensors else steps


def _join(steps: list[_Step], layer: Layer) -> bool:
    """Add a layer of a chain; return whether there is a place for it."""
    if type(layer) is Linear:
        steps.append(_Step(layer, has_relu=False, dropout=-1))
        return True
    if not steps or steps[-1].dropout >= 0:
        return False
    if isinstance(layer, Activation) and layer.is_relu and not steps[-1].has_relu:
        steps[-1] = steps[-1]._replace(has_relu=True)
        return True
    if isinstance(layer, Dropout) and layer.seeded is not None:
        steps[-1] = steps[-1]._replace(dropout=layer.seeded)
        return True
    return False


def _has_plain_data(
    program: Program, rows: Sequence[Row], loss: int, steps: list[_Step]
) -> bool:
    first, last = (
        program.parameters.tensors[step.linear.weight] for step in (steps[0], steps[-1])
    )
    if first.device.type != "cpu" or first.dtype not in {torch.float32, torch.float64}:
        return False
    if rows[0].augmentation or any(row.settings.eps < _LEAST_EPS for row in rows):
        return False
    sets = [row.train for row in rows]
    return all(
        _is_plain(s.X, first.dtype, first.shape[2])
        and _has_plain_targets(s, first.dtype, loss, last.shape[1])
        # Of rows that share the same data, once.
        for s in {(id(s.X), id(s.y), id(s.sample_weight)): s for s in sets}.values()
    )


def _is_plain(X: Tensor, dtype: torch.dtype, n_features: int) -> bool:
    """Return whether inputs lie in memory as compiled code reads them."""
    has_features = X.ndim > 1 and X.shape[1:].numel() == n_features
    return X.dtype == dtype and X.is_contiguous() and has_features


def _has_plain_targets(s: TensorSet, dtype: torch.dtype, loss: int, n_outputs: int) -> bool:
    y, n = s.y, len(s.X)
    if y is None or not y.is_contiguous():
        return False
    if s.sample_weight is not None and s.sample_weight.shape != (n,):
        return False
    if loss == 0:
        return y.dtype == torch.int64 and y.shape == (n,)
    return y.dtype == dtype and y.shape == (n, n_outputs)


class CompiledEpoch:
    """Trains epochs of some rows.

    Parameters
    ----------
    library : CDLL
        The compiled code.
    program : Program
        The rows as one network; its parameters are changed in place.
    optimizer : RowOptimizer
        Its moments are changed in place.
    rows : sequence of Row
        Settings of the rows.
    recipe : Recipe
        What the rows have in common.
    n_threads : int
        Threads that rows are shared by.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        program: Program,
        optimizer: RowOptimizer,
        rows: Sequence[Row],
        recipe: Recipe,
        n_threads: int,
    ) -> None:
        steps = _steps_of(program)
        self._library = library
        self._n_threads = n_threads
        # The share of them is the score, which thus needs no outputs.
        self._counts_hits = recipe.score is row_accuracy and _number_of(recipe) == 0
        self._program = program
        self._optimizer = optimizer
        self._parts = [program.parameters, *optimizer.moments.values()]
        self._like = next(iter(program.parameters.tensors.values()))
        self._plan = _plan_of(program, optimizer, steps, _number_of(recipe))
        self._n_outputs = int(self._plan["sizes"][0, len(steps)])
        self._n_weights = sum(t[0].numel() for t in program.parameters.tensors.values())
        self._rows = np.zeros(len(rows), _ROW)
        self._kept: list[Any] = []
        self._fill_settings(rows)
        self._fill_parts(steps)

    def train(
        self,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        rates: Sequence[Sequence[float]],
    ) -> EpochResult:
        """Train an epoch.

        Parameters
        ----------
        places : sequence of Tensor of shape (n,) and type int64
            Where the samples of each row lie, in the order of the epoch.
        sizes : sequence of list of int
            Samples of each batch of each row.
        rates : sequence of sequence of float
            Learning rate of each step of each row.

        Returns
        -------
        EpochResult
            Losses and outputs.

        Raises
        ------
        IndexError
            If a target is no class, or a sample does not exist.
        MemoryError
            If there is none.
        """
        k, rows = len(places), self._rows
        n_steps = [len(own) for own in sizes]
        losses = self._like.new_zeros(max(n_steps), k)
        own_rates = _padded(rates, np.float64)
        numbers = self._dropout()
        rows["rates"] = _addresses(own_rates)
        rows["losses"] = losses.data_ptr() + losses.element_size() * np.arange(k)
        rows["n_steps"] = self._optimizer.n_steps
        rows["loss_stride"] = k
        hits = outputs = None
        if self._counts_hits:
            hits = torch.zeros(k, dtype=torch.float64)
            rows["hits"] = hits.data_ptr() + hits.element_size() * np.arange(k)
            rows["outputs"] = 0
        else:
            outputs = self._outputs(rows, places)
        self._run(rows, places, sizes, predicts=False)
        del numbers
        self._optimizer.n_steps = [
            before + n for before, n in zip(self._optimizer.n_steps, n_steps, strict=True)
        ]
        return EpochResult(losses, outputs, hits)

    def predict(self, sets: Sequence[TensorSet], rows: slice) -> Tensor | None:
        """Return outputs in evaluation mode.

        Parameters
        ----------
        sets : sequence of TensorSet
            Samples of each row, equally many.
        rows : slice
            Which rows, k of them.

        Returns
        -------
        Tensor of shape (k, n, C) or None
            None if the samples are not as those to train on.
        """
        n_features = int(self._plan["sizes"][0, 0])
        if not all(_is_plain(s.X, self._like.dtype, n_features) for s in sets):
            return None
        n = len(sets[0])
        whole = torch.arange(n)
        places = [whole if s.index is None else s.index for s in sets]
        sizes = [[min(_CHUNK, n - start) for start in range(0, n, _CHUNK)]] * len(sets)
        own = self._rows[rows].copy()
        own["X"] = [s.X.data_ptr() for s in sets]
        own["n_samples"] = [len(s.X) for s in sets]
        outputs = self._outputs(own, places)
        self._run(own, places, sizes, predicts=True)
        return outputs

    def _outputs(self, rows: Any, places: Sequence[Tensor]) -> Tensor:
        """Return memory for the outputs of some rows."""
        k = len(rows)
        outputs = self._like.new_empty(k, max(map(len, places)), self._n_outputs)
        rows["outputs"] = outputs.data_ptr() + outputs[0].nbytes * np.arange(k)
        return outputs

    def _run(
        self,
        rows: Any,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        *,
        predicts: bool,
    ) -> None:
        """Have all batches done, in as many calls as leave room for Ctrl-C."""
        places = [p.to(torch.int64).contiguous() for p in places]
        batches = _padded(sizes, np.int64)
        n_batches = np.array([len(own) for own in sizes])
        rows["order"] = [p.data_ptr() for p in places]
        rows["batches"] = _addresses(batches)
        at_once = self._batches_per_call(int(batches.max()), len(rows))
        for start in range(0, batches.shape[1], at_once):
            if start:
                n_done = batches[:, start - at_once : start].sum(axis=1)
                self._move_on(rows, at_once, n_done.astype(np.uint64))
            rows["n_batches"] = np.clip(n_batches - start, 0, at_once)
            self._call(rows, int(batches.max()), predicts=predicts)

    def _batches_per_call(self, n_samples: int, n_rows: int) -> int:
        products = 3 * self._n_weights * n_samples * -(-n_rows // self._n_threads)
        return max(1, int(_SECONDS_PER_CALL * _PRODUCTS_PER_SECOND / products))

    def _move_on(self, rows: Any, n_batches: int, n_samples: Any) -> None:
        """Let rows begin behind what is done."""
        size = self._like.element_size()
        rows["order"] += 8 * n_samples
        rows["batches"] += np.uint64(8 * n_batches)
        rows["rates"] += np.uint64(8 * n_batches)
        rows["losses"] += rows["loss_stride"].astype(np.uint64) * np.uint64(
            n_batches * size
        )
        has_outputs = (rows["outputs"] > 0).astype(np.uint64)
        rows["outputs"] += has_outputs * n_samples * np.uint64(self._n_outputs * size)
        rows["n_steps"] += n_batches
        rows["first_step"] += n_batches

    def _call(self, rows: Any, most_samples: int, *, predicts: bool) -> None:
        plan = self._plan
        plan["most_samples"] = most_samples
        dropped = plan["sizes"][0, 1:][plan["dropout"][0] >= 0]
        most = 0 if predicts else most_samples * int(dropped.max(initial=0))
        positions = dropout_positions(most, self._like.device)
        failed = self._library.sk_tune_run(
            ctypes.c_void_p(plan.ctypes.data),
            ctypes.c_void_p(rows.ctypes.data),
            ctypes.c_int64(len(rows)),
            ctypes.c_void_p(positions.data_ptr()),
            ctypes.c_int64(predicts),
            ctypes.c_int64(self._like.dtype == torch.float64),
            ctypes.c_int64(self._n_threads),
        )
        if failed == _FAILED_TARGET:
            raise IndexError(f"A target is none of the {self._n_outputs} classes.")
        if failed == _FAILED_PLACE:
            raise IndexError("A sample is none of the data.")
        if failed:
            raise MemoryError("There is no memory for an epoch.")

    def _dropout(self) -> list[Tensor]:
        """Fill in what masks are made with; return what has to stay in memory."""
        dropout = self._program.dropout
        if not dropout.active:
            # Rows that drop something may join, but then all is made anew.
            self._plan["dropout"] = -1
            return []
        first_steps, *numbers = dropout.first_numbers()
        at = np.arange(len(self._rows))
        self._rows["first_step"] = first_steps
        for name, tensor in zip(("keys", "thresholds", "scales"), numbers, strict=True):
            self._rows[name] = tensor.data_ptr() + tensor[0].nbytes * at
        return numbers

    def _fill_settings(self, rows: Sequence[Row]) -> None:
        sets = [row.train for row in rows]
        self._kept = [*sets]
        own = self._rows
        own["X"] = [s.X.data_ptr() for s in sets]
        own["n_samples"] = [len(s.X) for s in sets]
        own["y"] = [_address(s.y) for s in sets]
        weights = [_weights_of(s, self._like) for s in sets]
        self._kept += weights
        own["weight"] = [_address(weight) for weight in weights]
        settings = self._optimizer.settings
        own["momentum"] = [s.momentum for s in settings]
        own["beta_2"] = [s.beta_2 for s in settings]
        own["eps"] = [s.eps for s in settings]
        own["decay"] = [s.weight_decay for s in settings]
        own["smoothing"] = [row.label_smoothing for row in rows]
        own["l1"] = [row.l1 for row in rows]
        clips = [row.gradient_clip for row in rows]
        own["clip"] = [np.inf if clip is None else clip for clip in clips]
        self._plan["has_penalty"] = np.any(own["l1"] > 0)
        self._plan["has_clip"] = np.any(np.isfinite(own["clip"]))

    def _fill_parts(self, steps: list[_Step]) -> None:
        """Note where parameters and moments of each row lie."""
        at = np.arange(len(self._rows))
        for number, step in enumerate(steps):
            for part, tensors in enumerate(self._parts):
                for position, name in enumerate((step.linear.weight, step.linear.bias)):
                    if name is not None:
                        tensor = tensors.tensors[name]
                        column = number * 6 + part * 2 + position
                        place = tensor.data_ptr() + tensor[0].nbytes * at
                        self._rows["parts"][:, column] = place


def _plan_of(
    program: Program, optimizer: RowOptimizer, steps: list[_Step], loss: int
) -> Any:
    plan = np.zeros(1, _PLAN)
    tensors = program.parameters.tensors
    weights = [tensors[step.linear.weight] for step in steps]
    n = len(steps)
    plan["n_layers"], plan["loss"] = n, loss
    plan["optimizer"] = _OPTIMIZERS.index(optimizer.kind)
    plan["nesterov"] = optimizer.nesterov
    plan["sizes"][0, : n + 1] = [weights[0].shape[2], *(w.shape[1] for w in weights)]
    plan["has_bias"][0, :n] = [step.linear.bias is not None for step in steps]
    plan["has_relu"][0, :n] = [step.has_relu for step in steps]
    plan["dropout"] = -1
    plan["dropout"][0, :n] = [step.dropout for step in steps]
    return plan


def _weights_of(s: TensorSet, like: Tensor) -> Tensor | None:
    weight = s.sample_weight
    return None if weight is None else weight.to(like.dtype).contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _padded(lists: Sequence[Sequence[float]], dtype: Any) -> Any:
    """Return lists as the rows of an array, 0 behind the shorter ones."""
    longest = max(map(len, lists))
    array = np.zeros((len(lists), longest), dtype)
    for own, values in zip(array, lists, strict=True):
        own[: len(values)] = values
    return array


def _addresses(array: Any) -> Any:
    """Return where the rows of an array lie."""
    return array.ctypes.data + array.strides[0] * np.arange(len(array))
