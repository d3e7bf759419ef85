# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fitted networks of one architecture as one program, for predictions.

Notation: k networks, n samples, D inputs, C outputs.
"""

import copy
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sk_tune._fleets import N_TRIED, Program, module_structure, plan, stacked_program
from sk_tune._nets import CNN, MLP, RNN, SeededDropout
from sk_tune._training import one_thread, takes_one_thread

Made = TypeVar("Made")

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


def architecture(module: nn.Module) -> Any:
    """Return a hashable key that networks must share to be stacked.

    It has types, shapes and attributes of all layers, and the device. Dropout does not
    count, because it does nothing in predictions.
    """
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

    Some of the samples `X` are tried. `affine` are ``scale`` and ``shift`` of shape (k, D)
    in float64: each network then takes its ``X * scale + shift`` of shared samples (n, D).
    The weights of the first layer absorb them where possible. Raises ValueError with the
    reason if the networks cannot run as one.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        X: Tensor,
        dtype: torch.dtype | None = None,
        *,
        affine: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        network_plan = plan(modules[0], X, predicts=True)
        if (
            network_plan.way != "alone"
            and dtype not in {None, X.dtype}
            and not _is_own(modules[0])
        ):
            # A user's module may choose its dtype by itself.
            wider = copy.deepcopy(modules[0]).to(dtype)
            network_plan = plan(wider, X[:N_TRIED].to(dtype), predicts=True)
        if network_plan.way == "alone":
            raise ValueError(
                f"The networks cannot run as one, because {network_plan.reason}."
            )
        self._modules = modules
        self._example = X[:2].clone()
        weights = list(modules[0].parameters())
        # Convolutions and recurrences use a weight several times per sample.
        self._is_plain = X.ndim == 2 and all(w.ndim <= 2 for w in weights)
        self._n_weights = len(modules) * sum(w.numel() for w in weights)
        smallest = min((w.numel() for w in weights if w.ndim == 2), default=_LEAST_PRODUCT)
        self._block = _BLOCK * -(-_LEAST_PRODUCT // (_BLOCK * max(1, smallest)))
        self._dtype = dtype or X.dtype
        self._program = self._new_program()
        self._is_chain = self._program.is_written_out and X.ndim == 2
        for part in (self._program.parameters, self._program.buffers):
            part.tensors = {n: self._cast(t) for n, t in part.tensors.items()}
        self._affine: list[Tensor] | None = None
        if affine is not None:
            affine = affine[0].to(X.device), affine[1].to(X.device)
            if not self._program.fold_affine(*affine):
                self._affine = [self._cast(t) for t in affine]
        self._program.fold_floors()
        self._twins: list[Program] = []
        widest = max(max(p.shape[:1], default=1) for p in modules[0].parameters())
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
        program = self._program
        is_plain = self._is_plain and X.device.type == "cpu"
        n_threads = 1
        if self._is_chain and is_plain and not self._is_little(n_rows):
            n_threads = torch.get_num_threads()
        pieces = self._pieces(n_rows, n_threads)
        n_threads = min(n_threads, len(pieces))

        def compute(copy: Program, piece: slice) -> Made:
            samples = X[piece] if shared else X[:, piece]
            n_samples = samples.shape[-2]
            if is_plain and n_samples % self._block:
                samples = functional.pad(samples, (0, 0, 0, -n_samples % self._block))
            with torch.no_grad():
                outputs = self._outputs(copy, samples, shared=shared)
                return function(outputs[:, :n_samples] if is_plain else outputs)

        # Torch's threads would synchronise after every layer of every piece, which is slow
        # on busy cores; these threads each compute their pieces and synchronise once.
        with one_thread(wanted=is_plain and (n_threads > 1 or self._is_little(n_rows))):
            if n_threads == 1:
                return [compute(program, piece) for piece in pieces]
            idle = self._idle_programs(n_threads)

            def in_thread(piece: slice) -> Made:
                idle_program = idle.get()
                try:
                    return compute(idle_program, piece)
                finally:
                    idle.put(idle_program)

            pool = _reused_threads(n_threads, os.getpid())
            futures = [pool.submit(in_thread, piece) for piece in pieces]
            try:
                return [future.result() for future in futures]
            finally:
                # The next call reuses the memory.
                for future in futures:
                    future.cancel()
                wait(futures)

    def _outputs(self, program: Program, X: Tensor, *, shared: bool) -> Tensor:
        X = self._cast(X)
        k = len(self._modules)
        if self._affine is not None:
            scale, shift = (t.unsqueeze(1) for t in self._affine)
            X = torch.addcmul(shift, X, scale).view(k, len(X), *self._example.shape[1:])
            shared = False
        if not self._is_chain or X.device.type != "cpu":
            return self._evaluated(program, X, slice(0, k), shared=shared)
        # About equal, and none above the limit.
        most = max(1, self._most // X.shape[-2])
        size = -(-k // -(-k // most))
        blocks = [slice(start, min(start + size, k)) for start in range(0, k, size)]
        if len(blocks) == 1:
            return self._evaluated(program, X, blocks[0], shared=shared)
        all_outputs = X
        for block in blocks:
            inputs = X if shared else X[block]
            outputs = self._evaluated(program, inputs, block, shared=shared)
            if block.start == 0:
                all_outputs = program.memory(
                    "outputs", outputs, k, outputs.shape[2], outputs.shape[1]
                ).mT
            # A copy, because the next block overwrites the program's memory.
            all_outputs[block] = outputs
        return all_outputs

    def _evaluated(
        self, program: Program, X: Tensor, networks: slice, *, shared: bool
    ) -> Tensor:
        """Return the outputs of some networks, in memory that the program reuses."""
        if not shared:
            return program.evaluate(X, networks)
        if program.is_written_out or _is_own(self._modules[0]):
            return program.evaluate_shared(X, networks)
        # A user's module may modify its input in place.
        repeated = X.expand(networks.stop - networks.start, *X.shape).clone()
        return program.evaluate(repeated, networks)

    def _pieces(self, n_rows: int, n_threads: int) -> list[slice]:
        n_blocks = -(-n_rows // self._block)
        n_samples = self._most // len(self._modules)
        if self._is_chain:
            # Products of fewer samples would be slow; products of more networks would be
            # too large.
            n_samples = max(n_samples, min(self._most, _PIECE))
        n_pieces = -(-n_blocks // max(1, n_samples // self._block))
        n_pieces = -(-n_pieces // n_threads) * n_threads
        size = -(-n_blocks // n_pieces) * self._block
        return [slice(start, start + size) for start in range(0, n_rows, size)]

    def _is_little(self, n_rows: int) -> bool:
        return takes_one_thread(n_rows * self._n_weights)

    def _new_program(self) -> Program:
        program = stacked_program(self._modules, self._example)
        program.only_predict()
        return program

    def _idle_programs(self, n_threads: int) -> "SimpleQueue[Program]":
        """Return programs with the same weights, each with separate memory."""
        while len(self._twins) < n_threads - 1:
            twin = self._new_program()
            twin.parameters, twin.buffers = self._program.parameters, self._program.buffers
            self._twins.append(twin)
        idle: SimpleQueue[Program] = SimpleQueue()
        for program in [self._program, *self._twins[: n_threads - 1]]:
            idle.put(program)
        return idle

    def _cast(self, values: Tensor) -> Tensor:
        # Counters, as in batch normalisation, keep their dtype.
        return values.to(self._dtype) if values.is_floating_point() else values


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
