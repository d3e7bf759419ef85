# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Epochs of a fleet: networks enter, train side by side, and leave when they end.

A fleet consists of the networks in training.  Networks leave it at the end of their last
epoch, and waiting networks take their place.  A network that diverges stays until the end
of its epoch (of all epochs of a kernel call) and affects no other network.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from sk_tune._fleets._active_batch import ActiveBatch
from sk_tune._fleets._compiled_epoch import EpochResults
from sk_tune._fleets._epoch_batches import StackedBatch, epoch_batches, places_of, runs
from sk_tune._fleets._recipe import FleetNetwork, NetworkOutcome, Recipe
from sk_tune._nets import mean_of_members
from sk_tune._training import EpochTimer, TrainingState, check_time, weights_message

# Samples of an epoch scored at a time, which limits the memory of the scores.
_SAMPLES_PER_SCORE = 2**17
# Checkpoints that take longer than this are stored less often, in proportion: with the five
# seconds between a store's checkpoints, they cost at most a twentieth of the time.
_SECONDS_TO_KEEP = 0.25

# Called after each epoch of a fleet with its number of networks.
Progress = Callable[[int], None]
# Called with the states of a fleet's networks, to store them.
Keep = Callable[[list[tuple[int, TrainingState]]], object]


@torch.no_grad()
def train_fleet(
    networks: Iterable[FleetNetwork],
    recipe: Recipe,
    n_active: int,
    progress: Progress | None = None,
    *,
    keep: Keep | None = None,
    seconds_between: float = math.inf,
    n_threads: int = 1,
) -> Iterator[tuple[int, NetworkOutcome]]:
    """Train networks of one recipe, `n_active` at a time; yield outcomes by position.

    `networks` is consumed as places become free. `progress` is called with the number of
    networks that finished an epoch; `keep` with positions and states of unfinished
    networks, at most every `seconds_between`.
    """
    waiting = enumerate(networks)
    fleet = ActiveBatch(recipe, n_threads)
    last_stored, pause = time.perf_counter(), seconds_between
    timer = EpochTimer()
    while True:
        fleet.add(list(islice(waiting, n_active - len(fleet))))
        if not len(fleet):
            return
        outputs: list[Tensor | None] = [None] * len(fleet)
        # Early stopping may have ended resumed networks already.
        if not fleet.ended:
            start = time.perf_counter()
            n_epochs = int(min(fleet.epochs_at_once(seconds_between), timer.most_at_once))
            outputs = _train_epochs(fleet, n_epochs)
            seconds = (time.perf_counter() - start) / len(fleet) / n_epochs
            if progress is not None:
                progress(len(fleet) * n_epochs)
            fleet.end_epoch(seconds)
            if len(fleet.ended) < len(fleet) and timer.is_late(n_epochs):
                for active in fleet.networks:
                    active.is_cut = not active.ended
                    active.last_epoch = min(active.last_epoch, active.epoch)
        if ended := fleet.ended:
            yield from _finish(fleet, ended, outputs)
            fleet.remove(ended)
        if keep is not None and len(fleet) and time.perf_counter() - last_stored > pause:
            start = time.perf_counter()
            indices = [active.index for active in fleet.networks]
            states = fleet.states(range(len(fleet)))
            keep(list(zip(indices, states, strict=True)))
            last_stored = time.perf_counter()
            pause = seconds_between * max(1.0, (last_stored - start) / _SECONDS_TO_KEEP)


def _train_epochs(fleet: ActiveBatch, n_epochs: int) -> list[Tensor | None]:
    """Train `n_epochs`, closing all records but the last; return monitors' outputs."""
    start = time.perf_counter()
    networks = [active.network for active in fleet.networks]
    sets, sizes = [network.train for network in networks], fleet.batch_sizes
    epochs = [range(a.epoch, a.epoch + n_epochs) for a in fleet.networks]
    # Epoch by epoch, because networks with one seed share the order of each epoch.
    by_epoch = [
        [n.course.order(e, n.train) for n, e in zip(networks, epoch, strict=True)]
        for epoch in zip(*epochs, strict=True)
    ]
    places = places_of(sets, list(zip(*by_epoch, strict=True)))
    del by_epoch  # As large as the places.
    rates = [
        [network.course.rates(epoch, len(s)) for epoch in network_epochs]
        for network, s, network_epochs in zip(networks, sizes, epochs, strict=True)
    ]
    fleet.begin_epoch([network_rates[0] for network_rates in rates])
    if fleet.compiled is None:
        results = _train_by_steps(fleet, places)
    else:
        results = fleet.compiled.train_epochs(
            [indices for _, of_run in places for indices in of_run],
            sizes,
            [list(chain.from_iterable(network_rates)) for network_rates in rates],
            n_epochs,
        )
    fleet.optimizer.count_steps([n_epochs * len(s) for s in sizes])
    seconds = (time.perf_counter() - start) / len(fleet) / n_epochs
    for position, active in enumerate(fleet.networks):
        is_scored = results.monitor_outputs[position] is not None
        if not active.network.course.is_foreseen:
            active.batch_losses = results.batch_losses[: len(sizes[position]), position]
        for epoch, epoch_rates in enumerate(rates[position]):
            if epoch:
                active.end_epoch(seconds)
            active.rates = epoch_rates
            active.note("train", *results.train[position][epoch])
            if is_scored:
                active.note("monitor", *results.monitor[position][epoch])
    return _score_epoch(fleet, results.monitor_outputs)


def _train_by_steps(
    fleet: ActiveBatch, places: Sequence[tuple[slice, Tensor]]
) -> EpochResults:
    """Train an epoch by torch, all networks step by step, and score it."""
    sets, sizes = [active.network.train for active in fleet.networks], fleet.batch_sizes
    k, lengths = len(sets), [len(s) for s in sets]
    # Losses and weights of batches, (S, K); outputs, targets and weights, (K, n, ...).
    sums = sets[0].X.new_zeros(2, max(map(len, sizes)), k, dtype=torch.float64)
    samples: list[Tensor | None] = [None, None, None]
    # Steps do not copy data to a device.
    fleet.optimizer.begin_steps()
    fleet.program.dropout.begin_step(0)
    for batch in epoch_batches(sets, places, sizes):
        check_time()
        fleet.program.dropout.begin_step(batch.step)
        losses, outputs = _step(fleet, batch)
        networks, n = batch.networks, outputs.shape[1]
        sums[0, batch.step, networks] = losses
        sums[1, batch.step, networks] = n if batch.weight is None else batch.weight.sum(1)
        for position, values in enumerate((outputs, batch.y, batch.weight)):
            if values is not None:
                buffer = samples[position]
                if buffer is None:
                    shape = (k, max(lengths), *values.shape[2:])
                    buffer = samples[position] = values.new_empty(shape)
                buffer[networks].narrow(1, batch.start, n).copy_(values)
    means = (sums[0] * sums[1]).sum(dim=0) / sums[1].sum(dim=0)
    scores = _scores(fleet, samples)
    train = [[pair] for pair in zip(means.tolist(), scores, strict=True)]
    return EpochResults(sums[0], train, [], [None] * k)


def _scores(fleet: ActiveBatch, samples: Sequence[Tensor | None]) -> list[float]:
    """Return the score of each network from outputs, targets and weights, (K, n, ...)."""
    lengths, scores = [len(a.network.train) for a in fleet.networks], []
    for networks in runs(lengths):
        n = lengths[networks.start]
        # Some networks at a time limit the memory.
        size = max(1, _SAMPLES_PER_SCORE // n)
        for start in range(networks.start, networks.stop, size):
            part = slice(start, min(start + size, networks.stop))
            columns = (None if t is None else t[part, :n] for t in samples)
            scores.append(fleet.recipe.score(*columns))  # type: ignore[arg-type]
    return torch.cat(scores).tolist()  # type: ignore[no-any-return]


def _step(fleet: ActiveBatch, batch: StackedBatch) -> tuple[Tensor, Tensor]:
    """Update the networks of a batch; return their losses and outputs."""
    networks = batch.networks
    X, y, weight = batch.X, batch.y, batch.weight
    if fleet.augmenter is not None:
        X, y, weight = fleet.augmenter.augmented(X, y, weight, networks, batch.step)
    outputs = fleet.program.forward(X, networks)
    share = None if weight is None else weight / weight.sum(dim=1, keepdim=True)
    smoothing = None if fleet.smoothing is None else fleet.smoothing[networks]
    # Mixed samples have the targets of all their parts.
    n_parts = y.shape[1] // outputs.shape[1]
    repeated = outputs
    if n_parts > 1:
        repeated = outputs.repeat(1, n_parts, *(1,) * (outputs.ndim - 2))
    loss, is_ensemble = fleet.recipe.loss, fleet.program.members > 1
    differentiate = loss.of_members if is_ensemble else loss.with_gradient
    losses, gradient = differentiate(repeated, y, share, smoothing)
    if n_parts > 1:
        gradient = gradient.view(len(gradient), n_parts, *outputs.shape[1:]).sum(dim=1)
    fleet.update(networks, batch.step, fleet.program.backward(gradient))
    if is_ensemble:
        outputs = mean_of_members(outputs, fleet.program.link, dim=2)
    return losses, outputs


def _score_epoch(
    fleet: ActiveBatch, monitor_outputs: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Score networks on validation samples, and on monitors without outputs yet."""
    for position, result in fleet.evaluate([a.network.valid for a in fleet.networks]):
        fleet.networks[position].note("valid", result.loss, result.score)
        fleet.networks[position].valid_outputs = result.outputs
    outputs = list(monitor_outputs)
    monitors = [
        a.network.monitor if network_outputs is None else None
        for a, network_outputs in zip(fleet.networks, monitor_outputs, strict=True)
    ]
    for position, result in fleet.evaluate(monitors):
        fleet.networks[position].note("monitor", result.loss, result.score)
        outputs[position] = result.outputs
    return outputs


def _finish(
    fleet: ActiveBatch, ended: Sequence[int], outputs: Sequence[Tensor | None]
) -> Iterator[tuple[int, NetworkOutcome]]:
    infinite = fleet.first_infinite(ended)
    for position, name in zip(ended, infinite, strict=True):
        active = fleet.networks[position]
        if name is not None and not active.message:
            rate = active.network.learning_rate
            active.message = weights_message(name, active.epoch, rate)
    states = fleet.states(ended)
    final = list(outputs)
    networks = fleet.networks
    restored = [i for i in ended if networks[i].uses_best and not networks[i].message]
    if restored:
        fleet.restore_best(restored)
        sets = [
            a.network.monitor if i in restored else None for i, a in enumerate(networks)
        ]
        for i, result in fleet.evaluate(sets):
            final[i] = result.outputs
    predicted = [a.network.predicted if a.ended else None for a in networks]
    of_train = {i: result.outputs for i, result in fleet.evaluate(predicted)}
    for position, state in zip(ended, states, strict=True):
        active = fleet.networks[position]
        # Copies: views would hold the outputs of the whole fleet in memory.
        predictions, train_predictions = (
            None if active.message or part is None else np.array(part.cpu().numpy())
            for part in (final[position], of_train.get(position))
        )
        outcome = NetworkOutcome(
            state=state,
            predictions=predictions,
            train_predictions=train_predictions,
            message=active.message,
            seconds=active.seconds,
            is_cut=active.is_cut,
            checkpoints=tuple(active.checkpoints),
        )
        yield active.index, outcome
