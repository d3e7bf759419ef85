# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Epochs of small networks by the kernel.

With torch, a step of such a network is some ten short calls for each layer, which cost more
than the arithmetic if few networks share them.  The kernel trains networks for whole epochs
in one call, on the tensors of the fleet, so that everything between two calls is the same
with and without it.  It also computes losses and scores, and trains several epochs in one
call if no decision lies between them: a small fleet then does not wait for Python.

Notation: K networks of the fleet, E epochs, S steps of an epoch, n samples of a network, C
outputs.
"""

import ctypes
import time
from collections.abc import Sequence
from itertools import zip_longest
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sk_tune._fleets._epoch_batches import map_sets
from sk_tune._fleets._kernel import (
    KINDS,
    LINKS,
    KernelLayer,
    KernelTable,
    is_plain_input,
    is_plain_set,
    kernel_seconds,
    n_lines,
    n_products,
    number_of_loss,
)
from sk_tune._fleets._kernel_library import STRUCTS, compiled_library
from sk_tune._fleets._program import Program
from sk_tune._fleets._recipe import FleetNetwork, Recipe
from sk_tune._fleets._stacked_optimizers import StackedOptimizer
from sk_tune._nets import dropout_positions
from sk_tune._training import TensorSet, accuracy_by_network, check_time

# Samples predicted at a time; CHUNK in epoch.c.
_CHUNK = 128
# Errors by their number in epoch.c, from 1.
_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (MemoryError, "There is not enough memory for an epoch."),
    (IndexError, "A target is not one of the {} classes."),
    (IndexError, "A sample is outside the data."),
    (ValueError, "Batch normalisation needs more than one sample."),
    (ValueError, "The kernel lacks the loss, the optimizer or a layer."),
)
# Sums of an epoch: losses and weights, weights of hits, squared errors of each output.
_LOSSES, _WEIGHTS, _HITS, _SQUARES = range(4)
# Seconds of one kernel call; Ctrl-C is handled between calls.
_SECONDS_PER_CALL = 0.5
# Most bytes of the sample orders, batch sizes and learning rates of one call, and their
# bytes for one sample and for one step.
_MOST_BYTES, _BYTES_PER_SAMPLE, _BYTES_PER_STEP = 32 * 2**20, 16, 64

# Loss and score of each network after each epoch, (K, E, 2).
_LossesAndScores = Sequence[Sequence[Sequence[float]]]


class EpochResults(NamedTuple):
    """Losses, scores and outputs of trained epochs."""

    batch_losses: Tensor  # (E S, K), of a network's epochs in sequence, then 0
    train: _LossesAndScores
    monitor: _LossesAndScores  # meaningless without `monitor_outputs`
    monitor_outputs: list[Tensor | None]  # (n, C) after the last epoch


class CompiledEpoch:
    """Trains epochs by the kernel; parameters and moments change in place."""

    def __init__(
        self,
        layers: Sequence[KernelLayer],
        program: Program,
        optimizer: StackedOptimizer,
        networks: Sequence[FleetNetwork],
        recipe: Recipe,
        n_threads: int,
    ) -> None:
        self._library: Any = compiled_library()
        self._n_threads = n_threads
        self._program = program
        self._optimizer = optimizer
        self._like = next(iter(program.parameters.tensors.values()))
        self._layers, self._n_outputs = layers, layers[-1].n_out
        # Members share matrices, but each has its own products.
        self._n_products = program.members * sum(map(n_products, layers))
        # Units of a sample in the widest dropout layer.
        n_dropped = (n_lines(x) * x.n_out for x in layers if x.kind == "dropout")
        self._n_dropped = program.members * max(n_dropped, default=0)
        self._loss = number_of_loss(recipe)
        by_class = recipe.loss.name in {"cross_entropy", "soft_cross_entropy"}
        self._has_hits = by_class or recipe.score is accuracy_by_network
        self._options = np.array(recipe.loss.options)
        # Position of the only output that is scored, if not all are.
        self._scored = getattr(recipe.score, "output", slice(None))
        self._networks = np.zeros(len(networks), STRUCTS["Network"])
        # Keeps alive the memory that epoch.c reads by address.
        self._alive: list[Any] = []
        self._shared = self._shared_settings(layers)
        self._fill_settings(networks)
        self._fill_parts(layers)
        # Monitor samples in a form that epoch.c can read.
        monitors = map_sets(self._monitor_of, [network.monitor for network in networks])
        names = [f"monitor_{name}" for name in ("X", "y", "weight", "order")]
        names += ["n_monitor_data", "n_monitored"]
        for name, column in zip(names, zip(*monitors, strict=True), strict=True):
            self._networks[name] = column
        # Monitor samples that the kernel scores, for each network.
        self.n_monitored: list[int] = self._networks["n_monitored"].tolist()
        sets = [getattr(n, part) for part in ("train", "monitor") for n in networks]
        variances = map_sets(self._variance_of, sets)
        self._variances = variances[: len(networks)], variances[len(networks) :]

    def epochs_in(self, seconds: float, sizes: Sequence[list[int]]) -> int:
        """Return how often an epoch, at least 1, fits into `seconds` and little memory."""
        n_samples, n_steps = sum(map(sum, sizes)), sum(map(len, sizes))
        # The busiest thread, with this share of the networks, determines the time.
        share = -(-len(sizes) // self._n_threads) / len(sizes)
        epoch = share * self._seconds_of(n_samples, n_steps, sum(self.n_monitored))
        epoch += kernel_seconds(0, 0, len(sizes))
        n_bytes = n_samples * _BYTES_PER_SAMPLE + n_steps * _BYTES_PER_STEP
        return max(1, int(min(seconds / epoch, _MOST_BYTES / n_bytes)))

    def _seconds_of(self, n_samples: int, n_steps: int, n_monitored: float) -> float:
        """Estimate the seconds of training steps and of scoring monitor samples."""
        products = self._n_products * (3 * n_samples + n_monitored)
        return kernel_seconds(products, n_steps)

    def train_epochs(
        self,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        rates: Sequence[Sequence[float]],
        n_epochs: int,
    ) -> EpochResults:
        """Train `n_epochs` and compute losses and scores.

        `places`, int64 of shape (E n,), are the sample indices of each network in the order
        of its epochs. Raises IndexError for an invalid class or sample, ValueError if a
        batch is too small to be normalised, and MemoryError.
        """
        k, networks = len(places), self._networks
        sums = np.zeros((k, n_epochs, 2, _SQUARES + self._n_outputs))
        networks["sums"] = _addresses(sums)
        outputs = self._outputs(networks, self.n_monitored)
        networks["n_per_epoch"] = [len(batch_sizes) for batch_sizes in sizes]
        networks["n_before"] = 0
        losses = self._like.new_zeros(n_epochs * max(map(len, sizes)), k)
        padded_rates, dropout = _padded(rates, np.float64), self._dropout()
        networks["rates"] = _addresses(padded_rates)
        networks["losses"] = losses.data_ptr() + losses.element_size() * np.arange(k)
        networks["n_steps"] = self._optimizer.n_steps
        networks["loss_stride"] = k
        batches = [batch_sizes * n_epochs for batch_sizes in sizes]
        self._run(networks, places, batches, predicts=False)
        del dropout
        train, monitor = (
            self._losses_and_scores(sums[:, :, part], self._variances[part])
            for part in (0, 1)
        )
        pairs = zip(outputs, self.n_monitored, strict=True)
        monitor_outputs = [y[:n] if n else None for y, n in pairs]
        return EpochResults(losses, train, monitor, monitor_outputs)

    def _losses_and_scores(self, sums: Any, variances: Sequence[Any]) -> _LossesAndScores:
        """Return losses and scores from sums of epoch.c, (K, E, ...); NaN if empty."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums / sums[:, :, _WEIGHTS, None]
            if self._has_hits:
                scores = means[:, :, _HITS]
            else:
                # The coefficient of determination, as in r2_by_network.
                errors, variance = means[:, :, _SQUARES:], np.stack(variances)[:, None]
                ratio = 1 - errors / variance
                scores = np.where(variance > 0, ratio, errors == 0)[..., self._scored]
                scores = scores.reshape(*scores.shape[:2], -1).mean(axis=2)
        # Rounded to the precision of a score that torch computes.
        rounded = scores.astype(str(self._like.dtype).removeprefix("torch."))
        pairs: _LossesAndScores = np.stack([means[:, :, _LOSSES], rounded], axis=2).tolist()
        return pairs

    def _variance_of(self, s: TensorSet | None) -> Any:
        if self._has_hits or s is None or s.y is None:
            return np.zeros(self._n_outputs)
        targets, weight = (None if t is None else t.numpy() for t in s.taken_targets())
        # The variance of a constant is exactly 0, despite the rounding of its mean.
        values = np.asarray(targets, dtype=np.float64).reshape(len(s), -1)  # type: ignore[arg-type]
        shifted = values - values[:1]
        mean = np.average(shifted, axis=0, weights=weight)
        return np.average((shifted - mean) ** 2, axis=0, weights=weight)

    def predict(self, sets: Sequence[TensorSet], networks: slice) -> Tensor | None:
        """Return outputs (k, n, C) for sets of equal length; None for unreadable inputs."""
        if not all(is_plain_input(s.X, self._like.dtype, self._layers) for s in sets):
            return None
        n = len(sets[0])
        identity = torch.arange(n)
        places = [identity if s.index is None else s.index for s in sets]
        sizes = [[min(_CHUNK, n - start) for start in range(0, n, _CHUNK)]] * len(sets)
        settings = self._networks[networks].copy()
        settings["X"] = [s.X.data_ptr() for s in sets]
        settings["n_samples"] = [len(s.X) for s in sets]
        outputs = self._outputs(settings, [n])
        self._run(settings, places, sizes, predicts=True)
        return outputs

    def _outputs(self, networks: Any, n_samples: Sequence[int]) -> Tensor:
        """Allocate the outputs of networks, and pass the networks their addresses."""
        outputs = self._like.new_empty(len(networks), max(n_samples), self._n_outputs)
        networks["outputs"] = _places(outputs)
        return outputs

    def _run(
        self,
        networks: Any,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        *,
        predicts: bool,
    ) -> None:
        """Process all batches in calls short enough for Ctrl-C."""
        places = [p.to(torch.int64).contiguous() for p in places]
        batches = _padded(sizes, np.int64)
        n_batches = np.array([len(batch_sizes) for batch_sizes in sizes])
        networks["order"] = [p.data_ptr() for p in places]
        networks["batches"] = _addresses(batches)
        longest = 0 if predicts else int(networks["n_monitored"].max(initial=0))
        n_per_epoch = max(1, int(networks["n_per_epoch"].min()))
        most, shared = int(batches.max()), self._shared
        seconds = self._seconds_of(most, 1, longest / n_per_epoch)
        seconds *= -(-len(networks) // self._n_threads)
        start, at_once = 0, max(1, int(_SECONDS_PER_CALL / seconds))
        size = self._like.element_size()
        shared["most_samples"] = max(most, min(longest, _CHUNK))
        n_dropped = 0 if predicts or not shared["has_dropout"][0] else self._n_dropped
        positions = dropout_positions(most * n_dropped, self._like.device)
        while start < batches.shape[1]:
            check_time()
            networks["n_batches"] = np.clip(n_batches - start, 0, at_once)
            began = time.perf_counter()
            failed = self._library.sk_tune_run(
                ctypes.c_void_p(shared.ctypes.data),
                ctypes.c_void_p(networks.ctypes.data),
                ctypes.c_int64(len(networks)),
                ctypes.c_void_p(positions.data_ptr()),
                ctypes.c_int64(predicts),
                ctypes.c_int64(self._like.dtype == torch.float64),
                ctypes.c_int64(self._n_threads),
            )
            if failed:
                error, text = _ERRORS[failed - 1]
                raise error(text.format(self._n_outputs))
            took = time.perf_counter() - began
            n_done = batches[:, start : start + at_once].sum(axis=1)
            start += at_once
            # The next call starts behind the finished batches.
            n_samples, n_bytes = n_done.astype(np.uint64), np.uint64(8 * at_once)
            networks["order"] += 8 * n_samples
            networks["batches"] += n_bytes
            networks["rates"] += n_bytes
            stride = networks["loss_stride"].astype(np.uint64)
            networks["losses"] += stride * np.uint64(at_once * size)
            if predicts:
                networks["outputs"] += n_samples * np.uint64(self._n_outputs * size)
            for name in ("n_steps", "first_step", "n_before"):
                networks[name] += at_once
            if took > _SECONDS_PER_CALL:
                at_once = max(1, int(at_once * _SECONDS_PER_CALL / took))

    def _dropout(self) -> list[Tensor]:
        """Fill in the settings of dropout masks; return the tensors to keep alive."""
        dropout = self._program.dropout
        self._shared["has_dropout"] = dropout.active
        if not dropout.active:
            return []
        self._networks["first_step"] = dropout.first_steps
        numbers = []
        for name in ("keys", "thresholds", "scales"):
            numbers.append(getattr(dropout, name).T.contiguous())
            self._networks[name] = _places(numbers[-1])
        return numbers

    def _fill_settings(self, networks: Sequence[FleetNetwork]) -> None:
        sets = [network.train for network in networks]
        self._alive += sets
        clips = [network.gradient_clip for network in networks]
        settings = self._optimizer.settings
        columns: dict[str, Any] = {
            "X": [s.X.data_ptr() for s in sets],
            "n_samples": [len(s.X) for s in sets],
            "y": [_address(s.y) for s in sets],
            "weight": [self._weight_of(s) for s in sets],
            "decay": [s.weight_decay for s in settings],
            "smoothing": [network.label_smoothing for network in networks],
            "l1": [network.l1 for network in networks],
            "clip": [np.inf if clip is None else clip for clip in clips],
        }
        for name in ("momentum", "beta_2", "eps"):
            columns[name] = [getattr(s, name) for s in settings]
        for name, values in columns.items():
            self._networks[name] = values
        self._shared["has_penalty"] = any(columns["l1"])
        self._shared["has_clip"] = np.isfinite(columns["clip"]).any()

    def _weight_of(self, s: TensorSet) -> int:
        """Return the address of the sample weights, 0 for none."""
        if s.sample_weight is None:
            return 0
        weight = s.sample_weight.to(self._like.dtype).contiguous()
        self._alive.append(weight)
        return weight.data_ptr()

    def _monitor_of(self, s: TensorSet | None) -> tuple[int, ...]:
        """Return the addresses and sizes of a monitor; all 0 if epoch.c cannot score it."""
        none = (0,) * 6
        form = (self._like.dtype, self._loss, self._layers)
        if s is None or not len(s) or not is_plain_set(s, *form):
            return none
        # A negative target is a class that is absent in training.
        if self._loss == 0 and int(s.y.min()) < 0:  # type: ignore[union-attr]
            return none
        order = torch.arange(len(s)) if s.index is None else s.index.long().contiguous()
        self._alive += [s, order]
        weight = self._weight_of(s)
        return _address(s.X), _address(s.y), weight, _address(order), len(s.X), len(order)

    def _shared_settings(self, layers: Sequence[KernelLayer]) -> Any:
        """Return epoch.c's Fleet, without the fields that depend on the networks."""
        shared = np.zeros(1, STRUCTS["Fleet"])
        lines = np.zeros(len(layers), STRUCTS["Layer"])
        layer_parameters = [parameter for layer in layers for parameter in layer.parameters]
        parameters = np.zeros(len(layer_parameters), STRUCTS["Parameter"])
        n_parameters = n_buffers = 0
        for line, layer in zip(lines, layers, strict=True):
            windows = layer.windows
            line["kind"] = KINDS.index(layer.kind)
            line["parameter"], line["buffer"] = n_parameters, n_buffers
            line["n_places"] = prod(windows.sizes)
            sizes = ("n_in", "n_out", "n_members", "n_lines", "n_before")
            for name in (*sizes, "option", "number", "momentum"):
                line[name] = getattr(layer, name)
            line["n_run"], line["n_around"] = windows.n_run, windows.n_around
            if windows.cells is not None:
                line["n_cells"] = windows.cells.shape[1]
            for name in ("cells", "inner", "counts"):
                array = getattr(windows, name)
                line[name] = 0 if array is None else array.ctypes.data
            n_parameters += len(layer.parameters)
            n_buffers += len(layer.buffers)
        tensors = self._program.parameters.tensors
        for line, parameter in zip(parameters, layer_parameters, strict=True):
            for name in ("n_matrices", "n_rows", "n_columns", "is_turned", "n_inner"):
                line[name] = getattr(parameter, name)
            # L1 penalties exclude biases.
            shape = tensors[parameter.name].shape if parameter.name else ()
            line["is_penalised"] = len(shape) > 2
        columns = np.array(layers[0].table.columns, np.int64)
        self._alive += [lines, parameters, columns, layers]
        shared["layers"], shared["parameters"] = lines.ctypes.data, parameters.ctypes.data
        shared["columns"] = columns.ctypes.data
        for name in KernelTable._fields[1:]:
            shared[name] = getattr(layers[0].table, name)
        shared["n_members"] = self._program.members
        shared["link"] = LINKS.index(self._program.link)
        shared["n_layers"], shared["n_parameters"] = len(lines), len(parameters)
        shared["loss"], shared["loss_options"] = self._loss, self._options.ctypes.data
        shared["optimizer"] = self._optimizer.rule.kernel_number
        shared["nesterov"] = self._optimizer.nesterov
        shared["first"] = next(i for i, layer in enumerate(layers) if layer.parameters)
        return shared

    def _fill_parts(self, layers: Sequence[KernelLayer]) -> None:
        """Set the addresses of the parameters, moments and buffers of each network."""
        groups = [self._program.parameters, *self._optimizer.moments.values()]
        names = [parameter.name for layer in layers for parameter in layer.parameters]
        # An absent second moment has the address 0.
        parts = np.zeros((len(self._networks), len(names), 3), np.uint64)
        for part, tensors in enumerate(groups):
            for number, name in enumerate(names):
                if name is not None:
                    parts[:, number, part] = _places(tensors.tensors[name])
        names = [name for layer in layers for name in layer.buffers]
        buffers = np.zeros((len(self._networks), len(names)), np.uint64)
        for number, name in enumerate(names):
            if name is not None:
                buffers[:, number] = _places(self._program.buffers.tensors[name])
        self._alive += [parts, buffers]
        self._networks["parts"] = _addresses(parts)
        self._networks["buffers"] = _addresses(buffers)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _places(tensor: Tensor) -> Any:
    """Return the address of each network's part of a tensor."""
    return tensor.data_ptr() + tensor[0].nbytes * np.arange(len(tensor))


def _padded(lists: Sequence[Sequence[float]], dtype: Any) -> Any:
    """Return lists as the lines of an array; shorter lists are padded with 0."""
    return np.array([*zip_longest(*lists, fillvalue=0)], dtype).T.copy()


def _addresses(array: Any) -> Any:
    """Return the addresses of the lines of an array."""
    return array.ctypes.data + array.strides[0] * np.arange(len(array))
