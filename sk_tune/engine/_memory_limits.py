# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How many networks fit into memory, and how many checkpoints."""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from sk_tune.estimators import Fit
from sk_tune.fleets import FleetNetwork, Plan, Recipe
from sk_tune.nets import MLP, independent_copy
from sk_tune.training import TrainingState, forked_rng, one_thread

# Share of the memory that is free at the start that all workers together may take.
SHARE_OF_MEMORY = 0.5
# Measured on a CPU (docs/adr/0005): the calls of a step are paid once for all networks,
# until the activations of all networks take more than a few MiB; vmap's calls cost more.
_ACTIVE_BYTES = 4 * 2**20
_LEAST_NETWORKS_CPU, _MOST_NETWORKS_CPU = 4, 64
# A step of a convolutional network has more arithmetic for its calls.
_ACTIVE_BYTES_IMAGES = 12 * 2**20
_LEAST_NETWORKS_IMAGES = 2
_NETWORKS_VMAP = 32
MOST_NETWORKS_CUDA = 4096
# The time of a fleet's network is estimated from these, within a factor of 2: seconds for
# the calls of a step, and multiplications in a second, both on a core of the year 2020.
_SECONDS_PER_STEP = 3e-5
# How many times faster a step is under vmap than alone; seconds that skorch's loop adds to
# a step of a network that trains alone.
_GAIN_OF_VMAP = 2
_SECONDS_PER_STEP_ALONE = 1e-3
_PRODUCTS_PER_SECOND = 2e10
# The same numbers where compiled code trains, and the seconds of an epoch beside it.
_SECONDS_PER_STEP_COMPILED = 1e-5
_PRODUCTS_PER_SECOND_COMPILED = 5e10
_SECONDS_PER_EPOCH_COMPILED = 3e-4
# Activations are held before and after each layer, and once more for the derivatives.
_COPIES_OF_ACTIVATIONS = 4
# Weights, their derivatives, two moments, and the best weights.
_COPIES_OF_WEIGHTS = 5
_N_GATES: dict[type, int] = {torch.nn.GRU: 3, torch.nn.LSTM: 4}
_OF_A_SMALL_MACHINE = 4 * 2**30
# Files in which Linux says how much memory a container may have and has: folder, limit and
# use, in the new form and in the old one.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def networks_at_a_time(
    network: FleetNetwork, recipe: Recipe, memory_limit: int, found: Plan
) -> int:
    """Return how many networks like one, at least 1, are trained side by side.

    `memory_limit` are the bytes that they may take together; `found` says how they train.
    """
    need = bytes_per_network(network, recipe)
    fitting, device = max(1, memory_limit // need), network.train.X.device
    if device.type == "cuda":
        # What torch keeps for later is free, too.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = int(torch.cuda.mem_get_info(device)[0] + kept)
        on_device = int(SHARE_OF_MEMORY * free) // need
        return max(1, min(MOST_NETWORKS_CUDA, fitting, on_device))
    if found.way == "vmap":
        return int(min(_NETWORKS_VMAP, fitting))
    if found.way == "kernel":
        return int(min(_MOST_NETWORKS_CPU, fitting))
    active, least = _ACTIVE_BYTES, _LEAST_NETWORKS_CPU
    if any(p.ndim > 2 for p in network.module.parameters()):
        active, least = _ACTIVE_BYTES_IMAGES, _LEAST_NETWORKS_IMAGES
    paying = max(least, active // max(_batch_bytes(network, recipe), 1))
    return int(min(_MOST_NETWORKS_CPU, fitting, paying))


def seconds_per_epoch(network: FleetNetwork, recipe: Recipe, found: Plan) -> float:
    """Return about how many seconds an epoch takes on a CPU; `found` says how it trains.

    A step of a module that is not a chain is measured. Infinity for other devices.
    """
    module, X, n_samples = network.module, network.train.X, len(network.train)
    n_steps = math.ceil(n_samples / _batch_size(network, recipe))
    # Forward, and backward by the weights and by the inputs.
    if found.way == "kernel":
        seconds = n_steps * _SECONDS_PER_STEP_COMPILED + _SECONDS_PER_EPOCH_COMPILED
        return 3 * found.n_products * n_samples / _PRODUCTS_PER_SECOND_COMPILED + seconds
    weights = list(module.parameters())
    is_chain = found.way == "layers" and X.ndim == 2 and all(w.ndim <= 2 for w in weights)
    if X.device.type != "cpu":
        return math.inf
    if found.way == "alone":
        return n_steps * (_measured_step(network, recipe) + _SECONDS_PER_STEP_ALONE)
    if not (is_chain or isinstance(module, MLP)):
        return n_steps * _measured_step(network, recipe) / _GAIN_OF_VMAP
    n_uses = module.members if isinstance(module, MLP) else 1
    products = 3 * n_uses * sum(w.numel() for w in weights) * n_samples
    return products / _PRODUCTS_PER_SECOND + n_steps * _SECONDS_PER_STEP


def _measured_step(network: FleetNetwork, recipe: Recipe) -> float:
    """Return the seconds of a forward and backward pass of one network on a batch.

    Infinity if the module fails, which its training will report.
    """
    shortest = math.inf
    with suppress(Exception), one_thread(), forked_rng(0):
        module = independent_copy(network.module).train()
        batch = network.train[: _batch_size(network, recipe)][0].clone()
        # The first pass may initialise what later ones use.
        for _ in range(3):
            start = time.perf_counter()
            module(batch).sum().backward()
            shortest = min(shortest, time.perf_counter() - start)
    return shortest


def bytes_per_network(network: FleetNetwork, recipe: Recipe) -> int:
    """Return the bytes of a network while it trains, without the data that are shared."""
    itemsize = network.train.X.element_size()
    n_weights = sum(p.numel() for p in network.module.parameters())
    epoch = len(network.train) * itemsize * (8 + network.train.X[0].numel() // 8)
    return (
        _COPIES_OF_ACTIVATIONS * _batch_bytes(network, recipe)
        + _COPIES_OF_WEIGHTS * n_weights * itemsize
        + epoch
    )


def available_memory() -> int:
    """Return the free bytes of this machine's memory, what only caches files included."""
    known = [_left_in_group()]
    with suppress(OSError, ValueError, LookupError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = {name: rest.split() for name, _, rest in (k.partition(":") for k in lines)}
        known.append(int(fields["MemAvailable"][0]) * 1024)
    # Windows and macOS do not say; a small machine is assumed.
    return min((free for free in known if free is not None), default=_OF_A_SMALL_MACHINE)


def _left_in_group() -> int | None:
    """Return what the control group of a container has left; None without a limit."""
    for folder, limit, used in _GROUPS:
        try:
            most = int(Path(folder, limit).read_text(encoding="ascii"))
            now = int(Path(folder, used).read_text(encoding="ascii"))
            stat = Path(folder, "memory.stat").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            # "max" is no number, and no limit.
            continue
        values = dict(zip(stat[::2], stat[1::2], strict=False))
        # Caches of files make room, those that were read twice as well.
        cached = sum(int(values.get(name, 0)) for name in ("inactive_file", "active_file"))
        return max(most - now + cached, 0)
    return None


def _batch_bytes(network: FleetNetwork, recipe: Recipe) -> int:
    """Return the bytes of the numbers that a network computes for a batch."""
    counts: list[int] = []

    def count(module: torch.nn.Module, inputs: object, output: object) -> None:
        if list(module.children()):
            return
        parts = output if isinstance(output, tuple | list) else [output]
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        if isinstance(module, torch.nn.RNNBase) and tensors:
            # Gates, states and their derivatives of all steps and layers.
            n_gates = _N_GATES.get(type(module), 1)
            share = (n_gates + 3) / _COPIES_OF_ACTIVATIONS
            counts.append(int(tensors[0].numel() * module.num_layers * share))
        else:
            counts.append(sum(tensor.numel() for tensor in tensors))

    handles = [m.register_forward_hook(count) for m in network.module.modules()]
    was_training = network.module.training
    try:
        with torch.no_grad():
            # The sample is copied, because a module may work in place on its input.
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


# Share of the memory of training that the checkpoints of all fits together may take.
_SHARE = 1 / 16
# Weights, the best ones of early stopping, and Adam's two means.
_COPIES = 4
# Cost of a checkpoint, with its way from a worker, in epochs of a small network.
_COST = 0.3


def bytes_per_fit(fits: Iterable[Fit], memory_limit: float) -> int:
    """Return the bytes that the checkpoints of one fit may take if training has so many."""
    n_kept = sum(fit.keeps_checkpoints for fit in fits)
    return int(_SHARE * memory_limit / max(1, n_kept))


def epochs_to_keep(network: FleetNetwork, limit: int) -> range:
    """Return the epochs, from 1, after which to keep checkpoints of `limit` bytes."""
    weights = network.module.state_dict().values()
    n_bytes = _COPIES * sum(w.numel() * w.element_size() for w in weights)
    return checkpoint_epochs(len(network.state.history), network.n_epochs, n_bytes, limit)


def checkpoint_epochs(n_before: int, n_epochs: int, n_bytes: int, limit: int) -> range:
    """Return evenly spaced epochs, as many as pay and as there is room for.

    `n_before` epochs were trained before and count; after the last of the `n_epochs` to
    come nothing has to be kept. A checkpoint takes `n_bytes`, all may take `limit`.

    Of n epochs with a checkpoint after each s of them, the checkpoints cost c n / s epochs,
    and the way back to one of the epochs s / 2: least in all where s is sqrt(2 c n).

    >>> list(checkpoint_epochs(9, 18, n_bytes=100, limit=1000))
    [12, 15, 18, 21, 24]
    >>> list(checkpoint_epochs(9, 18, n_bytes=100, limit=250))
    [15, 21]
    """
    n_most = limit // max(1, n_bytes)
    if n_most < 1:
        return range(0)
    # One more stretch than there are epochs to keep, the last of which ends the training.
    spacing = math.ceil(n_epochs / (n_most + 1))
    spacing = max(1, spacing, round(math.sqrt(2 * _COST * n_epochs)))
    return range(n_before + spacing, n_before + n_epochs, spacing)


def checkpoint_before(
    checkpoints: Sequence[TrainingState], n_epochs: int
) -> TrainingState | None:
    """Return a fit's last checkpoint before an epoch, from 1; None if there is none."""
    before = [state for state in checkpoints if len(state.history) < n_epochs]
    return max(before, key=lambda state: len(state.history), default=None)
