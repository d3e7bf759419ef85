# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Limits of memory: the number of networks in training and of checkpoints."""

import ctypes
import math
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

import torch

from sk_tune._estimators import Fit
from sk_tune._fleets import FleetNetwork, Plan, Recipe, kernel_seconds
from sk_tune._nets import MLP, independent_copy
from sk_tune._training import LARGE_SAMPLES, TrainingState, forked_rng, one_thread

# Share of the free memory at the start that all workers together may take.
SHARE_OF_MEMORY = 0.5
# Measured on a CPU (docs/adr/0005): all networks share the calls of a step, until their
# activations together exceed a few MiB; calls under vmap cost more.
_ACTIVE_BYTES = 4 * 2**20
_LEAST_NETWORKS_CPU, _MOST_NETWORKS_CPU = 4, 64
# A step of a convolutional network has more arithmetic per call.
_ACTIVE_BYTES_IMAGES = 12 * 2**20
_LEAST_NETWORKS_IMAGES = 2
_NETWORKS_VMAP = 32
# An order is copied three times before an epoch.
_BYTES_PER_PLACE = 4 * 8
_C_LIBRARY = ctypes.CDLL(None) if os.name == "posix" else None
MOST_NETWORKS_CUDA = 4096
# Within a factor of 2, on a core of 2020: seconds for the calls of a step of a network of a
# fleet, and multiplications per second.
_SECONDS_PER_STEP = 3e-5
# Gain of vmap per step; seconds that skorch's loop adds to a step alone.
_GAIN_OF_VMAP = 2
_SECONDS_PER_STEP_ALONE = 1e-3
_PRODUCTS_PER_SECOND = 2e10
# Input and output of each layer, and again for the derivatives.
_COPIES_OF_ACTIVATIONS = 4
# Weights, gradients, two moments, and the best weights.
_COPIES_OF_WEIGHTS = 5
_N_GATES: dict[type, int] = {torch.nn.GRU: 3, torch.nn.LSTM: 4}


def networks_at_a_time(
    network: FleetNetwork, recipe: Recipe, memory_limit: int, network_plan: Plan
) -> int:
    """Return the number of networks to train side by side in `memory_limit` bytes."""
    need = bytes_per_network(network, recipe)
    fitting, device = max(1, memory_limit // need), network.train.X.device
    if device.type == "cuda":
        # Memory cached by torch is free, too.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = int(torch.cuda.mem_get_info(device)[0] + cached)
        on_device = int(SHARE_OF_MEMORY * free) // need
        return max(1, min(MOST_NETWORKS_CUDA, fitting, on_device))
    if network_plan.way == "vmap":
        return int(min(_NETWORKS_VMAP, fitting))
    if network_plan.way == "kernel":
        # The orders of the samples of all networks take a quarter of the memory of X.
        order = _BYTES_PER_PLACE * len(network.train)
        most = max(LARGE_SAMPLES, network.train.X.nbytes) // 4 // max(1, order)
        return int(max(1, min(_MOST_NETWORKS_CPU, fitting, most)))
    active, least = _ACTIVE_BYTES, _LEAST_NETWORKS_CPU
    if any(p.ndim > 2 for p in network.module.parameters()):
        active, least = _ACTIVE_BYTES_IMAGES, _LEAST_NETWORKS_IMAGES
    paying = max(least, active // max(_batch_bytes(network, recipe), 1))
    return int(min(_MOST_NETWORKS_CPU, fitting, paying))


def seconds_per_epoch(network: FleetNetwork, recipe: Recipe, network_plan: Plan) -> float:
    """Return the estimated or measured seconds of an epoch; infinite off the CPU."""
    module, X, n_samples = network.module, network.train.X, len(network.train)
    n_steps = math.ceil(n_samples / _batch_size(network, recipe))
    # One forward product, and two backward: for the weights and for the inputs.
    if network_plan.way == "kernel":
        return kernel_seconds(3 * network_plan.n_products * n_samples, n_steps, 1)
    weights = list(module.parameters())
    is_flat = X.ndim == 2 and all(w.ndim <= 2 for w in weights)
    if X.device.type != "cpu":
        return math.inf
    if network_plan.way == "alone":
        return n_steps * (_measured_step(network, recipe) + _SECONDS_PER_STEP_ALONE)
    is_chain = network_plan.way == "layers" and is_flat
    if not (is_chain or isinstance(module, MLP)):
        return n_steps * _measured_step(network, recipe) / _GAIN_OF_VMAP
    n_uses = module.members if isinstance(module, MLP) else 1
    products = 3 * n_uses * sum(w.numel() for w in weights) * n_samples
    return products / _PRODUCTS_PER_SECOND + n_steps * _SECONDS_PER_STEP


def _measured_step(network: FleetNetwork, recipe: Recipe) -> float:
    """Return the seconds of both passes of a network on a batch; infinity if it fails."""
    shortest = math.inf
    with suppress(Exception), one_thread(), forked_rng(0):
        module = independent_copy(network.module).train()
        batch = network.train[: _batch_size(network, recipe)][0].clone()
        # The first pass may initialise caches.
        for _ in range(3):
            start = time.perf_counter()
            module(batch).sum().backward()
            shortest = min(shortest, time.perf_counter() - start)
    return shortest


def bytes_per_network(network: FleetNetwork, recipe: Recipe) -> int:
    """Return the bytes of a network in training, without shared data."""
    itemsize = network.train.X.element_size()
    n_weights = sum(p.numel() for p in network.module.parameters())
    epoch = len(network.train) * itemsize * (8 + network.train.X[0].numel() // 8)
    return (
        _COPIES_OF_ACTIVATIONS * _batch_bytes(network, recipe)
        + _COPIES_OF_WEIGHTS * n_weights * itemsize
        + epoch
    )


def return_freed_memory(samples: torch.Tensor) -> None:
    """Return freed memory, which glibc keeps between used blocks, if samples are large."""
    trim = getattr(_C_LIBRARY, "malloc_trim", None)
    if trim is not None and samples.nbytes >= LARGE_SAMPLES:
        trim(0)


def _batch_bytes(network: FleetNetwork, recipe: Recipe) -> int:
    """Return the bytes of all activations of a batch."""
    counts: list[int] = []

    def count(module: torch.nn.Module, inputs: object, output: object) -> None:
        if list(module.children()):
            return
        parts = output if isinstance(output, tuple | list) else [output]
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        if isinstance(module, torch.nn.RNNBase) and tensors:
            # Gates, states and their derivatives for all steps and layers.
            n_gates = _N_GATES.get(type(module), 1)
            share = (n_gates + 3) / _COPIES_OF_ACTIVATIONS
            counts.append(int(tensors[0].numel() * module.num_layers * share))
        else:
            counts.append(sum(tensor.numel() for tensor in tensors))

    handles = [m.register_forward_hook(count) for m in network.module.modules()]
    was_training = network.module.training
    try:
        with torch.no_grad():
            # A copy, because the module may modify its input in place.
            network.module.eval()(network.train[:2][0].clone())
    finally:
        network.module.train(was_training)
        for handle in handles:
            handle.remove()
    n_numbers = sum(counts) // 2 + network.train.X[0].numel()
    return _batch_size(network, recipe) * n_numbers * network.train.X.element_size()


def _batch_size(network: FleetNetwork, recipe: Recipe) -> int:
    n_samples = len(network.train)
    return n_samples if recipe.batch_size == -1 else min(recipe.batch_size, n_samples)


# Share of the training memory that the checkpoints of all fits together may take.
_SHARE = 1 / 16
# Weights, best weights of early stopping, and Adam's two moments.
_COPIES = 4
# Cost of a checkpoint and its transfer from a worker, in epochs of a small network.
_COST = 0.3


def bytes_per_fit(fits: Iterable[Fit], memory_limit: float) -> int:
    """Return the bytes that the checkpoints of one fit may take out of `memory_limit`."""
    n_kept = sum(fit.keeps_checkpoints for fit in fits)
    return int(_SHARE * memory_limit / max(1, n_kept))


def epochs_to_keep(network: FleetNetwork, limit: int) -> range:
    """Return the epochs, from 1, that end with a checkpoint; all take `limit` bytes."""
    n_bytes = _COPIES * sum(w.nbytes for w in network.module.state_dict().values())
    return checkpoint_epochs(len(network.state.history), network.n_epochs, n_bytes, limit)


def checkpoint_epochs(n_before: int, n_epochs: int, n_bytes: int, limit: int) -> range:
    """Return evenly spaced epochs for checkpoints after `n_before`, without the last one.

    One checkpoint takes `n_bytes`, all may take `limit`. With a checkpoint after every s of
    n epochs, checkpoints cost c n / s epochs and the way back to an epoch s / 2 epochs; the
    sum is least for s = sqrt(2 c n).

    >>> list(checkpoint_epochs(9, 18, n_bytes=100, limit=1000))
    [12, 15, 18, 21, 24]
    >>> list(checkpoint_epochs(9, 18, n_bytes=100, limit=250))
    [15, 21]
    """
    n_most = limit // max(1, n_bytes)
    if n_most < 1:
        return range(0)
    # There is one interval more than there are checkpoints: the last ends the training.
    spacing = math.ceil(n_epochs / (n_most + 1))
    spacing = max(1, spacing, round(math.sqrt(2 * _COST * n_epochs)))
    return range(n_before + spacing, n_before + n_epochs, spacing)


def checkpoint_before(
    checkpoints: Sequence[TrainingState], n_epochs: int
) -> TrainingState | None:
    """Return a fit's last checkpoint before an epoch, from 1; None if there is none."""
    candidates = [state for state in checkpoints if len(state.history) < n_epochs]
    return max(candidates, key=lambda state: len(state.history), default=None)
