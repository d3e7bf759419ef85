# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Epochs of small chains of linear layers, ReLU and seeded dropout by compiled code.

A step of such a network is some ten short calls of torch's for each layer, which cost more
than the arithmetic where few networks share them.  The compiled code takes a network
through whole epochs in one call, on the tensors that the rest of the fleet works on, so
that everything between two calls is the same with it and without it.  Of classifiers it
takes several epochs at once, where nothing is decided between them: then a fleet of few
networks does not wait for Python either.

Notation: K networks of the fleet, E epochs, S steps of one, n samples of a network, C
outputs.
"""

import ctypes
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sk_tune.fleets._kernel import (
    MOST_LAYERS,
    OPTIMIZERS,
    Step,
    compiled_library,
    holds_classes,
    is_plain_input,
    number_of_loss,
    steps_of,
    why_not,
)
from sk_tune.fleets._program import Program
from sk_tune.fleets._recipe import FleetNetwork, Recipe
from sk_tune.fleets._stacked_optimizers import StackedOptimizer
from sk_tune.nets import dropout_positions
from sk_tune.training import TensorSet, accuracy_by_network, check_time

__all__ = ["CompiledEpoch", "EpochResult", "compiled_epoch"]

# Samples to predict at a time; as in epoch.c.
_CHUNK = 128
_FAILED_TARGET, _FAILED_PLACE, _N_NUMBERS = 2, 3, 5
# Seconds of one kernel call; Ctrl-C is handled between calls.
_SECONDS_PER_CALL = 0.5
# Rough costs of a call: multiplications in a second on one core, seconds that each step
# adds, and seconds that Python spends on each network and epoch.
_PRODUCTS_PER_SECOND = 3e10
_SECONDS_PER_STEP, _SECONDS_PER_EPOCH = 1e-5, 1e-4
# Most bytes of the sample orders, batch sizes and learning rates of one call, and the bytes
# of these for one sample and for one step.
_MOST_BYTES, _BYTES_PER_SAMPLE, _BYTES_PER_STEP = 32 * 2**20, 16, 64

# These fields are those of the struct in epoch.c.
_PLAN = np.dtype([
    *((n, "i8") for n in ("n_layers", "loss", "optimizer", "nesterov", "most_samples")),
    ("sizes", "i8", MOST_LAYERS + 1),
    *((name, "i8", MOST_LAYERS) for name in ("has_bias", "has_relu", "dropout")),
    *((name, "i8") for name in ("has_penalty", "has_clip")),
])
_NETWORK = np.dtype([
    *((name, "u8") for name in ("X", "y", "weight", "order", "batches", "rates")),
    *((name, "u8") for name in ("keys", "thresholds", "scales")),
    *((name, "u8") for name in ("losses", "outputs", "numbers")),
    *((f"monitor_{name}", "u8") for name in ("X", "y", "order", "outputs")),
    *((name, "i8") for name in ("n_samples", "n_batches", "n_steps", "first_step")),
    *((name, "i8") for name in ("loss_stride", "n_per_epoch", "n_before")),
    *((name, "i8") for name in ("n_monitor_data", "n_monitored")),
    *((name, "f8") for name in ("momentum", "beta_2", "eps", "decay")),
    *((name, "f8") for name in ("smoothing", "l1", "clip")),
    ("parts", "u8", MOST_LAYERS * 6),
])


class Judgement(NamedTuple):
    """Losses and scores of E epochs of K networks, as lists by epoch and network."""

    losses: list[list[float]]
    scores: list[list[float]]

    def of(self, epoch: int, position: int) -> tuple[float, float]:
        """Return the loss and the score of one network after one of these epochs."""
        return self.losses[epoch][position], self.scores[epoch][position]


class EpochResult(NamedTuple):
    """Losses and outputs of an epoch, whose weights stay with the networks.

    `losses`, (S, K), are those of the batches, 0 where a network has none; `outputs`, (K,
    n, C), are those on the samples in the order of the epoch, n for the longest network.
    """

    losses: Tensor
    outputs: Tensor


class JudgedEpochs(NamedTuple):
    """Losses, scores and outputs of epochs that the kernel judges while it trains.

    `batch_losses`, (E S, K), holds those of a network's epochs one after the other, 0 where
    it has none. `monitor` is 0 for networks of which :meth:`CompiledEpoch.looks` is False,
    `monitor_outputs` None; those of the others, (n, C), are taken after the last epoch.
    """

    batch_losses: Tensor
    train: Judgement
    monitor: Judgement
    monitor_outputs: list[Tensor | None]


def compiled_epoch(
    program: Program,
    optimizer: StackedOptimizer,
    recipe: Recipe,
    networks: Sequence[FleetNetwork],
    n_threads: int = 1,
) -> "CompiledEpoch | None":
    """Return what trains epochs of networks by compiled code; None if torch is to do it."""
    library = compiled_library()
    if library is None or why_not(program, recipe, networks):
        return None
    return CompiledEpoch(library, program, optimizer, networks, recipe, n_threads)


class CompiledEpoch:
    """Trains epochs of networks by compiled code.

    Parameters and moments change in place.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        program: Program,
        optimizer: StackedOptimizer,
        networks: Sequence[FleetNetwork],
        recipe: Recipe,
        n_threads: int,
    ) -> None:
        steps = steps_of(program)
        self._library = library
        self._n_threads = n_threads
        # The share of hits is the score, which thus needs no outputs.
        self.judges = recipe.score is accuracy_by_network and number_of_loss(recipe) == 0
        self._program = program
        self._optimizer = optimizer
        self._parts = [program.parameters, *optimizer.moments.values()]
        self._like = next(iter(program.parameters.tensors.values()))
        self._plan = _plan_of(program, optimizer, steps, number_of_loss(recipe))
        self._n_outputs = int(self._plan["sizes"][0, len(steps)])
        self._n_weights = sum(t[0].numel() for t in program.parameters.tensors.values())
        self._networks = np.zeros(len(networks), _NETWORK)
        self._kept: list[Any] = []
        self._fill_settings(networks)
        self._fill_parts(steps)
        self._fill_monitors([
            network.monitor if self.judges else None for network in networks
        ])

    def looks(self, position: int) -> bool:
        """Return whether a network is judged on monitor samples while it is trained."""
        return bool(self._networks["n_monitored"][position] > 0)

    def epochs_in(self, seconds: float, sizes: Sequence[list[int]]) -> int:
        """Return how many epochs, at least one, take about so long, and little memory."""
        n_samples, n_steps = sum(map(sum, sizes)), sum(map(len, sizes))
        # The busiest thread, which has this share of the networks, decides the time.
        share = -(-len(sizes) // self._n_threads) / len(sizes)
        n_monitored = int(self._networks["n_monitored"].sum())
        epoch = share * self._seconds_of(n_samples, n_steps, n_monitored)
        epoch += len(sizes) * _SECONDS_PER_EPOCH
        n_bytes = n_samples * _BYTES_PER_SAMPLE + n_steps * _BYTES_PER_STEP
        return max(1, int(min(seconds / epoch, _MOST_BYTES / n_bytes)))

    def _seconds_of(self, n_samples: int, n_steps: int, n_monitored: float) -> float:
        """Return about how long steps on some samples take, and to look at others."""
        products = self._n_weights * (3 * n_samples + n_monitored)
        return products / _PRODUCTS_PER_SECOND + n_steps * _SECONDS_PER_STEP

    def train(
        self,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        rates: Sequence[Sequence[float]],
    ) -> EpochResult:
        """Train an epoch.

        `places`, int64 of shape (n,), says where the samples of each network lie, in the
        order of the epoch; `sizes` are those of its batches, `rates` the learning rates of
        its steps. Raises IndexError if a target is no class or a sample does not exist, and
        MemoryError.
        """
        self._networks["numbers"] = 0
        outputs = self._outputs(self._networks, "outputs", map(len, places))
        return EpochResult(self._train(places, sizes, rates, 1), outputs)

    def train_and_judge(
        self,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        rates: Sequence[Sequence[float]],
        n_epochs: int,
    ) -> JudgedEpochs:
        """Train `n_epochs` as :meth:`train` does one, and find losses and scores."""
        networks = self._networks
        numbers = np.zeros((len(networks), n_epochs, _N_NUMBERS))
        networks["numbers"] = _addresses(numbers)
        networks["outputs"] = 0
        n_looked = networks["n_monitored"].tolist()
        outputs = self._outputs(networks, "monitor_outputs", n_looked)
        losses = self._train(places, sizes, rates, n_epochs)
        looked = [
            values[:n] if n else None for values, n in zip(outputs, n_looked, strict=True)
        ]
        return JudgedEpochs(losses, *self._judgements(numbers), looked)

    def _train(
        self,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        rates: Sequence[Sequence[float]],
        n_epochs: int,
    ) -> Tensor:
        """Train epochs; return the losses of the batches."""
        k, networks = len(places), self._networks
        networks["n_per_epoch"] = [len(batch_sizes) for batch_sizes in sizes]
        networks["n_before"] = 0
        n_steps = n_epochs * networks["n_per_epoch"]
        losses = self._like.new_zeros(int(n_steps.max()), k)
        own_rates = _padded(rates, np.float64)
        dropout = self._dropout()
        networks["rates"] = _addresses(own_rates)
        networks["losses"] = losses.data_ptr() + losses.element_size() * np.arange(k)
        networks["n_steps"] = self._optimizer.n_steps
        networks["loss_stride"] = k
        self._run(
            networks,
            places,
            [batch_sizes * n_epochs for batch_sizes in sizes],
            predicts=False,
        )
        del dropout
        self._optimizer.n_steps = [
            before + n
            for before, n in zip(self._optimizer.n_steps, n_steps.tolist(), strict=True)
        ]
        return losses

    def _judgements(self, numbers: Any) -> tuple[Judgement, Judgement]:
        """Return what numbers of epoch.c, (K, E, 5), say of training and monitor."""
        losses, weights, hits, monitor_loss, monitor_share = numbers.T
        dtype = np.float64 if self._like.dtype == torch.float64 else np.float32
        found = ((losses / weights, hits / weights), (monitor_loss, monitor_share))
        # Rounded as a score of many samples at once.
        train, monitor = (
            Judgement(loss.tolist(), share.astype(dtype).tolist()) for loss, share in found
        )
        return train, monitor

    def predict(self, sets: Sequence[TensorSet], networks: slice) -> Tensor | None:
        """Return outputs (k, n, C) for equally many samples.

        None if their form is another.
        """
        n_features = int(self._plan["sizes"][0, 0])
        if not all(is_plain_input(s.X, self._like.dtype, n_features) for s in sets):
            return None
        n = len(sets[0])
        whole = torch.arange(n)
        places = [whole if s.index is None else s.index for s in sets]
        sizes = [[min(_CHUNK, n - start) for start in range(0, n, _CHUNK)]] * len(sets)
        settings = self._networks[networks].copy()
        settings["X"] = [s.X.data_ptr() for s in sets]
        settings["n_samples"] = [len(s.X) for s in sets]
        outputs = self._outputs(settings, "outputs", [n])
        self._run(settings, places, sizes, predicts=True)
        return outputs

    def _outputs(self, networks: Any, name: str, n_samples: Iterable[int]) -> Tensor:
        """Return memory for the outputs of some networks, the address of which they get."""
        k = len(networks)
        outputs = self._like.new_empty(k, max(n_samples), self._n_outputs)
        networks[name] = outputs.data_ptr() + outputs[0].nbytes * np.arange(k)
        return outputs

    def _run(
        self,
        networks: Any,
        places: Sequence[Tensor],
        sizes: Sequence[list[int]],
        *,
        predicts: bool,
    ) -> None:
        """Have all batches done, in as many calls as leave room for Ctrl-C."""
        places = [p.to(torch.int64).contiguous() for p in places]
        batches = _padded(sizes, np.int64)
        n_batches = np.array([len(batch_sizes) for batch_sizes in sizes])
        networks["order"] = [p.data_ptr() for p in places]
        networks["batches"] = _addresses(batches)
        longest = 0 if predicts else int(networks["n_monitored"].max(initial=0))
        n_per_epoch = max(1, int(networks["n_per_epoch"].min()))
        seconds = self._seconds_of(int(batches.max()), 1, longest / n_per_epoch)
        seconds *= -(-len(networks) // self._n_threads)
        start, at_once = 0, max(1, int(_SECONDS_PER_CALL / seconds))
        while start < batches.shape[1]:
            check_time()
            networks["n_batches"] = np.clip(n_batches - start, 0, at_once)
            began = time.perf_counter()
            self._call(
                networks, int(batches.max()), min(longest, _CHUNK), predicts=predicts
            )
            took = time.perf_counter() - began
            n_done = batches[:, start : start + at_once].sum(axis=1)
            start += at_once
            if start < batches.shape[1]:
                self._move_on(networks, at_once, n_done.astype(np.uint64))
            if took > _SECONDS_PER_CALL:
                at_once = max(1, int(at_once * _SECONDS_PER_CALL / took))

    def _move_on(self, networks: Any, n_batches: int, n_samples: Any) -> None:
        """Let networks begin behind what is done."""
        size = self._like.element_size()
        networks["order"] += 8 * n_samples
        networks["batches"] += np.uint64(8 * n_batches)
        networks["rates"] += np.uint64(8 * n_batches)
        networks["losses"] += networks["loss_stride"].astype(np.uint64) * np.uint64(
            n_batches * size
        )
        has_outputs = (networks["outputs"] > 0).astype(np.uint64)
        networks["outputs"] += has_outputs * n_samples * np.uint64(self._n_outputs * size)
        for name in ("n_steps", "first_step", "n_before"):
            networks[name] += n_batches

    def _call(
        self, networks: Any, most_samples: int, most_looked_at: int, *, predicts: bool
    ) -> None:
        plan = self._plan
        plan["most_samples"] = max(most_samples, most_looked_at)
        dropped = plan["sizes"][0, 1:][plan["dropout"][0] >= 0]
        most = 0 if predicts else most_samples * int(dropped.max(initial=0))
        positions = dropout_positions(most, self._like.device)
        failed = self._library.sk_tune_run(
            ctypes.c_void_p(plan.ctypes.data),
            ctypes.c_void_p(networks.ctypes.data),
            ctypes.c_int64(len(networks)),
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
            # Networks that drop something may join, but then all is made anew.
            self._plan["dropout"] = -1
            return []
        first_steps, *numbers = dropout.first_numbers()
        at = np.arange(len(self._networks))
        self._networks["first_step"] = first_steps
        for name, tensor in zip(("keys", "thresholds", "scales"), numbers, strict=True):
            self._networks[name] = tensor.data_ptr() + tensor[0].nbytes * at
        return numbers

    def _fill_settings(self, networks: Sequence[FleetNetwork]) -> None:
        sets = [network.train for network in networks]
        self._kept = [*sets]
        columns = self._networks
        columns["X"] = [s.X.data_ptr() for s in sets]
        columns["n_samples"] = [len(s.X) for s in sets]
        columns["y"] = [_address(s.y) for s in sets]
        weights = [
            None if w is None else w.to(self._like.dtype).contiguous()
            for w in (s.sample_weight for s in sets)
        ]
        self._kept += weights
        columns["weight"] = [_address(weight) for weight in weights]
        settings = self._optimizer.settings
        columns["momentum"] = [s.momentum for s in settings]
        columns["beta_2"] = [s.beta_2 for s in settings]
        columns["eps"] = [s.eps for s in settings]
        columns["decay"] = [s.weight_decay for s in settings]
        columns["smoothing"] = [network.label_smoothing for network in networks]
        columns["l1"] = [network.l1 for network in networks]
        clips = [network.gradient_clip for network in networks]
        columns["clip"] = [np.inf if clip is None else clip for clip in clips]
        self._plan["has_penalty"] = np.any(columns["l1"] > 0)
        self._plan["has_clip"] = np.any(np.isfinite(columns["clip"]))

    def _fill_monitors(self, sets: Sequence[TensorSet | None]) -> None:
        """Note which samples to look at after an epoch, where they are plain classes."""
        # Networks share them: found once each.
        found = {id(s): self._places_of(s) for s in {id(s): s for s in sets}.values()}
        columns = zip(*(found[id(s)] for s in sets), strict=True)
        names = ("monitor_X", "monitor_y", "monitor_order", "n_monitor_data", "n_monitored")
        for name, column in zip(names, columns, strict=True):
            self._networks[name] = column

    def _places_of(self, s: TensorSet | None) -> tuple[int, ...]:
        """Return where samples to look at lie, and how many; all 0 if there are none."""
        n_features = int(self._plan["sizes"][0, 0])
        if s is None or not holds_classes(s):
            return (0,) * 5
        if not is_plain_input(s.X, self._like.dtype, n_features):
            return (0,) * 5
        order = torch.arange(len(s)) if s.index is None else s.index.long().contiguous()
        self._kept += [s, order]
        return _address(s.X), _address(s.y), _address(order), len(s.X), len(order)

    def _fill_parts(self, steps: list[Step]) -> None:
        """Note where parameters and moments of each network lie."""
        at = np.arange(len(self._networks))
        for number, step in enumerate(steps):
            for part, tensors in enumerate(self._parts):
                for position, name in enumerate((step.linear.weight, step.linear.bias)):
                    if name is not None:
                        tensor = tensors.tensors[name]
                        column = number * 6 + part * 2 + position
                        place = tensor.data_ptr() + tensor[0].nbytes * at
                        self._networks["parts"][:, column] = place


def _plan_of(
    program: Program, optimizer: StackedOptimizer, steps: list[Step], loss: int
) -> Any:
    plan = np.zeros(1, _PLAN)
    tensors = program.parameters.tensors
    weights = [tensors[step.linear.weight] for step in steps]
    n = len(steps)
    plan["n_layers"], plan["loss"] = n, loss
    plan["optimizer"] = OPTIMIZERS.index(optimizer.kind)
    plan["nesterov"] = optimizer.nesterov
    plan["sizes"][0, : n + 1] = [weights[0].shape[2], *(w.shape[1] for w in weights)]
    plan["has_bias"][0, :n] = [step.linear.bias is not None for step in steps]
    plan["has_relu"][0, :n] = [step.has_relu for step in steps]
    plan["dropout"] = -1
    plan["dropout"][0, :n] = [step.dropout for step in steps]
    return plan


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _padded(lists: Sequence[Sequence[float]], dtype: Any) -> Any:
    """Return lists as lines of one array, with 0 behind the shorter ones."""
    longest = max(map(len, lists))
    array = np.zeros((len(lists), longest), dtype)
    for line, values in zip(array, lists, strict=True):
        line[: len(values)] = values
    return array


def _addresses(array: Any) -> Any:
    """Return the memory addresses of the lines of an array."""
    return array.ctypes.data + array.strides[0] * np.arange(len(array))
