# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Predictions of fitted networks of one architecture, as one program.

Notation: k networks, n samples, D inputs, H units, C outputs.
"""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sk_tune._fleets._layers import (
    Activation,
    Dropout,
    Layer,
    Linear,
    MemberHead,
    MemberLinear,
    Members,
    Tensors,
)
from sk_tune._fleets._plan import N_TRIED, plan
from sk_tune._fleets._program import Program
from sk_tune._fleets._traced import module_structure
from sk_tune._nets import CNN, MLP, RNN, SeededDropout, mean_of_members
from sk_tune._training import one_thread, takes_one_thread

Made = TypeVar("Made")
Step = Callable[[Tensor], Tensor]

# Bytes of a layer's inputs and outputs, for the networks computed at a time: more would
# leave the cache, less would make products too small to be fast.
# docs/adr/0012-ensembles-in-one-call.md.
_CHUNK_BYTES = 2**23
# Samples of a piece, if the cache cannot hold all networks with them.
_PIECE = 320
# Products of whole blocks of this many samples give a sample the same sums, to the last
# bit, whichever samples surround it.
_BLOCK = 16
# From this number of multiplications on, a product of one network has these sums: torch
# computes smaller products by another loop.
_LEAST_PRODUCT = 400
# Views are prepared for this many shapes.
_MOST_SHAPES = 256


def architecture(module: nn.Module) -> Any:
    """Return a hashable key that networks must share to predict as one stack."""
    layers, tensors = module_structure(module)
    if _is_own(module):
        # sk_tune's networks have no dropout layers where the probability is 0.
        layers = tuple(
            (name, kind, tuple(a for a in attributes if a[0] != "dropout"))
            for name, kind, attributes in layers
            if kind is not SeededDropout
        )
    return type(module), layers, tensors, str(next(module.parameters()).device)


class NetworkStack:
    """Networks of equal :func:`architecture`, with copies of their weights.

    `affine` are ``scale`` and ``shift``, (k, D), float64: each network takes its ``X *
    scale + shift`` of shared samples (n, D), absorbed by the first layer where possible.
    Raises ValueError with the reason if the networks cannot predict together.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        X: Tensor,
        dtype: torch.dtype | None = None,
        *,
        affine: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self._dtype = dtype or X.dtype
        _check_stackable(modules[0], X, self._dtype)
        self._sample_shape = X.shape[1:]
        self._n_networks = len(modules)
        weights = list(modules[0].parameters())
        # Convolutions and recurrences use a weight several times per sample.
        is_mlp = isinstance(modules[0], MLP)
        self._is_plain = X.ndim == 2 and (is_mlp or all(w.ndim <= 2 for w in weights))
        products = [w.shape[-2:].numel() for w in weights if w.ndim > 1]
        smallest = min(products, default=_LEAST_PRODUCT)
        self._block = _BLOCK * -(-_LEAST_PRODUCT // (_BLOCK * max(1, smallest)))
        self._program = _PredictingProgram(modules, X[:2].clone())
        self._is_chain = self._program.is_written_out and X.ndim == 2
        for part in (self._program.parameters, self._program.buffers):
            part.tensors = {n: self._cast(t) for n, t in part.tensors.items()}
        self._program.fold_members()
        self._affine: list[Tensor] | None = None
        if affine is not None:
            affine = affine[0].to(X.device), affine[1].to(X.device)
            if not self._program.fold_affine(*affine):
                self._affine = [self._cast(t) for t in affine]
        self._program.fold_floors()
        # Programs that no thread uses, each with its own memory.
        self._idle = [self._program]
        stacked = self._program.parameters.tensors.values()
        self._n_weights = sum(w.numel() for w in stacked)
        widest = max(max(w.shape[1:2], default=1) for w in stacked)
        # Inputs and outputs of a layer; the memory of other programs is unknown.
        n_numbers = max(widest, X[0].numel()) * (2 if self._is_chain else 1)
        # Samples of one network at a time, or networks of one sample at a time.
        self._most = max(1, _CHUNK_BYTES // (n_numbers * self._dtype.itemsize))

    def map(
        self, X: Tensor, function: Callable[[Tensor], Made], *, shared: bool
    ) -> list[Made]:
        """Return the results of a function of the outputs of all networks, per piece of X.

        X is (n, ...) if `shared`, else (k, n, ...). The function takes unnormalised outputs
        (k, samples, C), which are overwritten afterwards; several threads may call it.
        """
        n_rows = X.shape[0 if shared else 1]
        is_plain = self._is_plain and X.device.type == "cpu"
        is_little = takes_one_thread(n_rows * self._n_weights)
        n_threads = 1
        if self._is_chain and is_plain and not is_little:
            n_threads = torch.get_num_threads()
        pieces = self._pieces(n_rows, n_threads)
        n_threads = min(n_threads, len(pieces))

        def compute(piece: slice) -> Made:
            samples = X[piece] if shared else X[:, piece]
            n_samples = samples.shape[-2]
            if is_plain and n_samples % self._block:
                samples = functional.pad(samples, (0, 0, 0, -n_samples % self._block))
            with torch.no_grad(), self._lent_program() as program:
                outputs = self._outputs(program, samples, shared=shared)
                return function(outputs[:, :n_samples] if is_plain else outputs)

        # Torch's threads would synchronise after every layer of every piece, which is slow
        # on busy cores; these threads each compute their pieces and synchronise once.
        with one_thread(wanted=is_plain and (n_threads > 1 or is_little)):
            if n_threads == 1:
                return list(map(compute, pieces))
            pool = _reused_threads(n_threads, os.getpid())
            futures = [pool.submit(compute, piece) for piece in pieces]
            try:
                return [future.result() for future in futures]
            finally:
                # The next call reuses the memory.
                for future in futures:
                    future.cancel()
                wait(futures)

    @contextmanager
    def _lent_program(self) -> Iterator["_PredictingProgram"]:
        """Lend a program to a thread, a new one if all are in use."""
        try:
            program = self._idle.pop()
        except IndexError:
            program = self._program.twin()
        try:
            yield program
        finally:
            self._idle.append(program)

    def _outputs(self, program: "_PredictingProgram", X: Tensor, *, shared: bool) -> Tensor:
        X = self._cast(X)
        k = self._n_networks
        if self._affine is not None:
            scale, shift = (t.unsqueeze(1) for t in self._affine)
            X = torch.addcmul(shift, X, scale).view(k, len(X), *self._sample_shape)
            shared = False
        evaluate = program.evaluate_shared if shared else program.evaluate
        if not self._is_chain or X.device.type != "cpu":
            return evaluate(X, slice(0, k))
        # Blocks of about equal size, within the limit.
        most = max(1, self._most // X.shape[-2])
        size = -(-k // -(-k // most))
        if size == k:
            return evaluate(X, slice(0, k))
        all_outputs = X
        for start in range(0, k, size):
            block = slice(start, min(start + size, k))
            outputs = evaluate(X if shared else X[block], block)
            if start == 0:
                shape = (k, outputs.shape[2], outputs.shape[1])
                all_outputs = program.memory("outputs", outputs, *shape).mT
            # A copy, because the next block overwrites the program's memory.
            all_outputs[block] = outputs
        return all_outputs

    def _pieces(self, n_rows: int, n_threads: int) -> list[slice]:
        n_blocks = -(-n_rows // self._block)
        n_samples = self._most // self._n_networks
        if self._is_chain:
            # Products of fewer samples would be slow; products of more networks would be
            # too large.
            n_samples = max(n_samples, min(self._most, _PIECE))
        n_pieces = -(-n_blocks // max(1, n_samples // self._block))
        n_pieces = -(-n_pieces // n_threads) * n_threads
        size = -(-n_blocks // n_pieces) * self._block
        return [slice(start, start + size) for start in range(0, n_rows, size)]

    def _cast(self, values: Tensor) -> Tensor:
        # Counters, as in batch normalisation, keep their dtype.
        return values.to(self._dtype) if values.is_floating_point() else values


def _check_stackable(module: nn.Module, X: Tensor, dtype: torch.dtype) -> None:
    """Raise ValueError if networks with such a module cannot be stacked."""
    network_plan = plan(module, X, predicts=True)
    if network_plan.way != "alone" and dtype != X.dtype and not _is_own(module):
        # A user's module may choose its dtype by itself.
        wider = copy.deepcopy(module).to(dtype)
        network_plan = plan(wider, X[:N_TRIED].to(dtype), predicts=True)
    if network_plan.way == "alone":
        raise ValueError(f"The networks cannot run as one, because {network_plan.reason}.")


@cache
def _reused_threads(n_threads: int, _: int) -> ThreadPoolExecutor:
    """Return threads of this process; threads do not survive a fork.

    They are reused, because the first product of a new thread takes as long as several
    pieces. Each computes with one thread: otherwise OpenMP would start more threads than
    cores, which wait by sleeping in all later computations of torch.
    """
    return ThreadPoolExecutor(
        n_threads,
        thread_name_prefix="sk_tune-stack",
        initializer=torch.set_num_threads,
        initargs=(1,),
    )


def _is_own(module: nn.Module) -> bool:
    """Return whether a module is one of sk_tune's, not a user's."""
    return isinstance(module, MLP | CNN | RNN)


class _PredictingProgram(Program):
    """A program of layers that only predict.

    ``fold_members`` and then ``fold_floors`` must be called once.
    """

    def __init__(self, modules: Sequence[nn.Module], X: Tensor) -> None:
        self._store: dict[str, Tensor] = {}
        self._steps: dict[tuple[int, int, int], list[Step]] = {}
        super().__init__(modules, X)
        # A user's module may modify its input in place.
        self._changes_input = not (self.is_written_out or _is_own(self._pattern[0]))

    def twin(self) -> "_PredictingProgram":
        """Return a program with the same weights and separate memory."""
        twin = copy.copy(self)
        twin._parts, twin._store, twin._steps = {}, {}, {}
        twin.layers = twin._build_layers()
        return twin

    def memory(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Return memory for a name and shape, uninitialised."""
        size = prod(shape)
        block = self._store.get(name)
        if block is None or len(block) < size:
            block = self._store[name] = like.new_empty(size)
            # Drop views into the previous, smaller memory.
            self._steps.clear()
        return block[:size].view(shape)

    def evaluate_shared(self, X: Tensor, networks: slice) -> Tensor:
        """Return outputs (k, n, C) for shared inputs (n, ...)."""
        if not isinstance(self.layers[0], _PredictingLinear):
            X = X.expand(networks.stop - networks.start, *X.shape)
            return self.evaluate(X.clone() if self._changes_input else X, networks)
        h = X.flatten(1)
        key = (networks.start, networks.stop, len(h))
        if key in self._steps:
            for step in self._steps[key]:
                h = step(h)
            return h
        tensors = self.parts(networks)
        steps: list[Step] = []
        for layer in self.layers:
            if isinstance(layer, _PredictingLinear):
                step = layer.bound(h, tensors)
            else:
                step = partial(layer.evaluate, tensors=tensors)
            steps.append(step)
            h = step(h)
        if len(self._steps) >= _MOST_SHAPES:
            self._steps.clear()
        self._steps[key] = steps
        return h

    def fold_members(self) -> None:
        """Give each of m members a matrix of its own instead of scaled inputs.

        ``(x * r) W^T * s + b`` is a product with ``s W r``.  Matrices (K, m, H, D) become
        (K, m H, D) in the first layer, which takes the inputs of a network once.
        """
        tensors = self.parameters.tensors
        for layer in self.layers:
            if not isinstance(layer, _PredictingLinear):
                continue
            if layer.scales:
                r, s = (
                    tensors[name].view(len(tensors[name]), self.members, -1)
                    for name in layer.scales
                )
                weight = tensors[layer.weight].unsqueeze(1)
                tensors[layer.weight] = s.unsqueeze(3) * weight * r.unsqueeze(2)
            if layer.first:
                tensors[layer.weight] = tensors[layer.weight].flatten(1, -2)

    def fold_affine(self, scale: Tensor, shift: Tensor) -> bool:
        """Fold input scales and shifts, (K, D), into the first layer, or return False."""
        first = self.layers[0]
        if not isinstance(first, Linear) or first.bias is None:
            return False
        tensors = self.parameters.tensors
        _shift_input(first, shift, tensors)
        weight = tensors[first.weight]
        tensors[first.weight] = (weight * scale.unsqueeze(1)).to(weight.dtype)
        return True

    def fold_floors(self) -> None:
        """Turn biases into floors, once, as layers that only predict need them."""
        tensors = self.parameters.tensors
        for layer in self.layers:
            if isinstance(layer, _PredictingLinear) and layer.bias and layer.following:
                floor = tensors[layer.bias]
                _shift_input(layer.following, floor, tensors)
                tensors[layer.bias] = -floor

    def _build_layers(self) -> list[Layer]:
        layers = [x for x in super()._build_layers() if not isinstance(x, Dropout)]
        kinds = [type(layer) for layer in layers]
        start = kinds.index(Members) if Members in kinds else len(kinds)
        linear: tuple[Any, ...] = (Linear,)
        if all(kind in _OF_MEMBERS for kind in kinds[start:]) and start < len(kinds):
            linear = Linear, MemberLinear, MemberHead
            layers = [*layers[:start], *layers[start + 1 :], _MeanOfMembers(layers[-1])]
        for place, layer in enumerate(layers):
            if type(layer) in linear:
                layers[place] = _PredictingLinear(layer, self.memory, first=place == start)
        for first, second, last in list(zip(layers, layers[1:], layers[2:], strict=False)):
            ends = [x for x in (first, last) if isinstance(x, _PredictingLinear) and x.bias]
            if len(ends) == 2 and isinstance(second, Activation) and second.is_relu:
                ends[0].following = ends[1]
                layers.remove(second)
        return layers


_OF_MEMBERS = (Members, MemberLinear, Activation, MemberHead)


class _MeanOfMembers(Layer):
    """The mean prediction of m members, (k, n, m C) to (k, n, C)."""

    def __init__(self, head: Any) -> None:
        self.members, self.link = head.members, head.link

    def backward(self, dy: Tensor, batch: Any, *, keep: bool) -> Tensor:
        raise NotImplementedError("The layer only predicts.")

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        outputs = x.mT.view(len(x), self.members, -1, x.shape[1])  # (k, m, C, n)
        return mean_of_members(outputs, self.link, dim=1, classes=2).mT


class _PredictingLinear(Linear):
    """A linear map; its ReLU becomes a floor if a layer `following` corrects for that.

    ``relu(x + b) = max(x, -b) + b``, and the next bias absorbs the second b.  The matrices
    of m members are (k, m, H, D), for inputs (k, B, m D), except in the `first` layer.
    """

    def __init__(self, layer: Any, memory: Callable[..., Tensor], *, first: bool) -> None:
        self.weight, self.bias, self.first = layer.weight, layer.bias, first
        self.scales: tuple[str, ...] = getattr(layer, "scales", ())
        self.memory = memory
        self.following: _PredictingLinear | None = None

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Return the output in evaluation mode, with the samples last in memory."""
        return self.bound(x, tensors)(x)

    def bound(self, x: Tensor, tensors: Tensors) -> Step:
        """Return a step from (k, B, D), or (B, D), to (k, B, H), with views prepared."""
        weight, n = tensors[self.weight], x.shape[-2]
        out = self.memory(self.weight, x, len(weight), weight.shape[1:-1].numel(), n)
        multiply, n_networks = torch.bmm, [-1]
        if x.ndim == 2:
            multiply, n_networks = torch.mm, []
        if x.ndim == 2 or weight.ndim == 4:
            weight = weight.flatten(0, 1)
        inputs = [*n_networks, weight.shape[-1], n]
        product = out.view(*weight.shape[:-1], n)
        bias = None if self.bias is None else tensors[self.bias].unsqueeze(2)
        # `baddbmm` would fill the output with the bias and read it again.
        add = torch.add if self.following is None else torch.maximum
        turned = out.mT

        def step(x: Tensor) -> Tensor:
            multiply(weight, x.mT.reshape(inputs), out=product)
            if bias is not None:
                add(out, bias, out=out)
            return turned

        return step


def _shift_input(layer: Linear, shift: Tensor, tensors: Tensors) -> None:
    """Add (K, D) to a layer's inputs by its bias: W (x + s) + b = W x + (W s + b)."""
    weight, bias = tensors[layer.weight], tensors[layer.bias or ""]
    inputs = shift.double().view(*weight.shape[:-2], -1, 1)
    moved = (weight.double() @ inputs).reshape(bias.shape)
    tensors[layer.bias or ""] = (bias + moved).to(bias.dtype)
