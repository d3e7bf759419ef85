# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The networks in training, with their tensors and records."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sk_tune._augment import RowAugmenter
from sk_tune._fleets._compiled_epoch import CompiledEpoch
from sk_tune._fleets._epoch_batches import Result, evaluate, on_device
from sk_tune._fleets._kernel import kernel_layers, reason_against_kernel
from sk_tune._fleets._module_layer import ModuleLayer
from sk_tune._fleets._program import Program
from sk_tune._fleets._recipe import FleetNetwork, Recipe
from sk_tune._fleets._stacked_optimizers import StackedOptimizer, StackedTensors
from sk_tune._training import (
    LowestLosses,
    TensorSet,
    TrainingState,
    batch_sizes,
    loss_message,
)

# Approximate seconds of one kernel call, unless an epoch takes longer: during a call no
# progress is reported and no state is stored.
_SECONDS_AT_ONCE = 0.25


class ActiveNetwork:
    """A network in training: history, counters, and `index`, its position in the input."""

    def __init__(self, index: int, network: FleetNetwork) -> None:
        self.index = index
        self.network = network
        self.history = [dict(record) for record in network.state.history]
        self.n_steps = network.state.n_steps
        # Number of finished epochs.
        self.epoch = len(self.history)
        self.last_epoch = self.epoch + network.n_epochs
        self.message, self.seconds = "", 0.0
        self.improved = self.is_cut = False
        self.has_best = network.state.best_weights is not None
        self.rates: Sequence[float] = ()
        self.batch_losses = torch.empty(0)
        self.valid_outputs: Tensor | None = None
        self.checkpoints: list[TrainingState] = []
        self._lowest = LowestLosses(self.history)
        self._record: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        """Whether the training of the network is over."""
        is_done = self.epoch >= self.last_epoch or self.network.course.stopped
        return bool(self.message) or is_done

    @property
    def uses_best(self) -> bool:
        """Whether the best instead of the last weights are the result."""
        return self.network.course.uses_best and self.has_best

    @property
    def n_epochs_ahead(self) -> int:
        """Epochs until the next decision or checkpoint."""
        if self.network.valid is not None or not self.network.course.is_foreseen:
            return 1
        upcoming = (epoch for epoch in self.network.checkpoints if epoch > self.epoch)
        return min(next(upcoming, self.last_epoch), self.last_epoch) - self.epoch

    def note(self, prefix: str, loss: float, score: float) -> None:
        """Record an epoch's loss and score; fail if a loss of the course is infinite."""
        if not self._record:
            self._record = {"batches": [], "epoch": self.epoch + 1}
        if not math.isfinite(loss) and prefix != "monitor" and not self.message:
            rate = self.network.learning_rate
            self.message = loss_message(prefix, loss, self.epoch + 1, rate)
        name = prefix + "_loss"
        is_best = self._lowest.is_lowest(name, loss)
        self._record |= {name: loss, name + "_best": is_best, prefix + "_score": score}

    def end_epoch(self, seconds: float) -> None:
        """Close the record of an epoch; `seconds` is the network's share of the time."""
        self.seconds += seconds
        self.n_steps += len(self.rates)
        record = self._record | {"lr": self.rates[-1], "dur": seconds}
        self._record = {}
        self.improved = False
        if not self.message:
            self.history.append(record)
            self.epoch += 1
            self.improved = self.network.course.improved(
                record, self.batch_losses, self.valid_outputs
            )
            self.has_best = self.has_best or self.improved

    def state(self, weights: Any, best: Any, moments: Any) -> TrainingState:
        """Return the training state, given the last and the best weights."""
        course, uses_best = self.network.course, self.uses_best
        return TrainingState(
            seed=self.network.state.seed,
            weights=best if uses_best else weights,
            moments=moments,
            last_weights=weights if uses_best else None,
            best_weights=best if uses_best else None,
            n_steps=self.n_steps,
            first_epoch=course.first_epoch,
            stopping=course.stopping,
            history=tuple(self.history),
            course=course.memory(),
        )


class ActiveBatch:
    """Networks that train side by side; the kernel distributes them over `n_threads`."""

    def __init__(self, recipe: Recipe, n_threads: int = 1) -> None:
        self.recipe = recipe
        self.n_threads = n_threads
        self.networks: list[ActiveNetwork] = []
        # Batch sizes of an epoch, for each network.
        self.batch_sizes: list[list[int]] = []
        self.program: Program
        self.optimizer = StackedOptimizer(recipe.optimizer, nesterov=recipe.nesterov)
        self.smoothing: Tensor | None = None
        self.augmenter: RowAugmenter | None = None
        self._best: StackedTensors | None = None
        self._l1: Tensor | None = None
        self._clip: Tensor | None = None

    def __len__(self) -> int:
        return len(self.networks)

    @property
    def ended(self) -> list[int]:
        """Positions of the networks that have finished training."""
        return [i for i, active in enumerate(self.networks) if active.ended]

    def add(self, entries: Sequence[tuple[int, FleetNetwork]]) -> None:
        """Add networks with their indices, and sort all networks as batches need them."""
        if not entries:
            return
        networks = [network for _, network in entries]
        modules = [network.module for network in networks]
        seeds = [network.dropout_seed for network in networks]
        program = Program(modules, networks[0].train.X, seeds)
        states = [network.state.moments for network in networks]
        positions = [i for i, p in enumerate(modules[0].parameters()) if p.requires_grad]
        settings = [network.settings for network in networks]
        self.optimizer.extend(program.parameters, settings, states, positions)
        best = _best_weights(program, networks)
        if self.networks:
            if self._best is not None or best is not None:
                self._best = self._best or self.program.weights().copy()
                self._best.extend(best or program.weights().copy())
            self.program.extend(program)
        else:
            self.program, self._best = program, best
        self.networks += [ActiveNetwork(index, network) for index, network in entries]
        # The networks with most samples come first; on a device, networks of one fold are
        # neighbours, because each gather there launches a kernel.
        sets = [active.network.train for active in self.networks]
        folds = {id(s.X): i for i, s in enumerate(sets) if on_device(s.X)}
        keys = [(-len(s), folds.get(id(s.X), 0)) for s in sets]
        order = sorted(range(len(self)), key=keys.__getitem__)
        if order == list(range(len(order))):
            self._collect_numbers()
        else:
            self._select(order)

    def remove(self, positions: Sequence[int]) -> None:
        """Remove networks and free their memory."""
        removed = set(positions)
        self._select([i for i in range(len(self)) if i not in removed])

    @cached_property
    def compiled(self) -> CompiledEpoch | None:
        """The kernel's program for the networks; None if torch trains them."""
        networks, program = [a.network for a in self.networks], self.program
        try:
            layers = kernel_layers(program, networks[0].train.X)
        except ValueError:
            return None
        if reason_against_kernel(layers, self.recipe, networks):
            return None
        return CompiledEpoch(
            layers, program, self.optimizer, networks, self.recipe, self.n_threads
        )

    def epochs_at_once(self, seconds: float) -> int:
        """Return the number of epochs, about `seconds` long, before the next decision."""
        compiled = self.compiled
        if compiled is None:
            return 1
        monitors = [active.network.monitor for active in self.networks]
        # Monitors that the kernel cannot score are scored after each epoch.
        monitored = zip(monitors, compiled.n_monitored, strict=True)
        if any(monitor is not None and not n for monitor, n in monitored):
            return 1
        most = compiled.epochs_in(min(seconds, _SECONDS_AT_ONCE), self.batch_sizes)
        return min(most, *(active.n_epochs_ahead for active in self.networks))

    def begin_epoch(self, rates: Sequence[Sequence[float]]) -> None:
        """Prepare an epoch's steps, given each network's learning rates."""
        self.optimizer.begin_epoch(rates)
        generators = [
            a.network.course.generator(a.epoch) if self.recipe.draws_globally else None
            for a in self.networks
        ]
        steps, n_most = [a.n_steps for a in self.networks], max(map(len, rates))
        self.program.begin_epoch(steps, n_most, generators)
        if self.augmenter is not None:
            self.augmenter.begin_epoch(steps, n_most)

    def update(self, networks: slice, step: int, gradients: Sequence[Tensor]) -> None:
        """Take one step of the optimizer; gradients, (k, ...), are overwritten."""
        n_parameters = len(self.program.parameters.tensors)
        parameters = list(self.program.parts(networks).values())[:n_parameters]
        if self._l1 is not None:
            for p, g in zip(parameters, gradients, strict=True):
                if p.ndim > 2:
                    g.addcmul_(p.sign(), self._l1[networks].view(-1, *(1,) * (p.ndim - 1)))
        if self._clip is not None:
            _clip(gradients, self._clip[networks])
        self.optimizer.step(networks, parameters, gradients, step)

    def end_epoch(self, seconds: float) -> None:
        """Close the records of an epoch, and store best weights and checkpoints."""
        for active in self.networks:
            active.end_epoch(seconds)
        better = [i for i, active in enumerate(self.networks) if active.improved]
        if self._best is not None and better:
            self._best.write(self._index(better), self.program.weights())
        stored = [
            position
            for position, active in enumerate(self.networks)
            if active.epoch in active.network.checkpoints and not active.ended
        ]
        if stored:
            for position, state in zip(stored, self.states(stored), strict=True):
                self.networks[position].checkpoints.append(state)

    def evaluate(self, sets: Sequence[TensorSet | None]) -> Iterator[tuple[int, Result]]:
        """Yield position and evaluation of each network that has samples."""
        predict = None if self.compiled is None else self.compiled.predict
        loss, score = self.recipe.loss.mean, self.recipe.score
        return evaluate(self.program.evaluate, sets, loss, score, predict)

    def restore_best(self, positions: Sequence[int]) -> None:
        """Make the best weights of networks their current weights."""
        if self._best is not None:
            self.program.weights().write(self._index(positions), self._best)

    def first_infinite(self, positions: Sequence[int]) -> list[str | None]:
        """Return the name of each network's first non-finite parameter, or None."""
        names: list[str | None] = [None] * len(positions)
        index = self._index(positions)
        for name, tensor in reversed(self.program.parameters.tensors.items()):
            finite = torch.isfinite(tensor.index_select(0, index))
            finite = finite.reshape(len(index), -1).all(dim=1)
            for place in (~finite).nonzero().flatten().tolist():
                names[place] = name
        return names

    def states(self, positions: Sequence[int]) -> list[TrainingState]:
        """Return the states of networks, for checkpoints and results."""
        # The networks share these names: dropout layers hold no weights.
        names = list(self.networks[0].network.module.state_dict())
        weights = self.program.weights().networks(positions, names)
        best = weights if self._best is None else self._best.networks(positions, names)
        moments = self.optimizer.states(positions)
        return [
            self.networks[position].state(*parts)
            for position, *parts in zip(positions, weights, best, moments, strict=True)
        ]

    def _index(self, positions: Sequence[int]) -> Tensor:
        device = next(iter(self.program.parameters.tensors.values())).device
        return torch.tensor(list(positions), dtype=torch.int64, device=device)

    def _select(self, positions: Sequence[int]) -> None:
        index = self._index(positions)
        self.program.select(index)
        self.optimizer.select(index)
        if self._best is not None:
            self._best.select(index)
        self.networks = [self.networks[i] for i in positions]
        self._collect_numbers()

    def _collect_numbers(self) -> None:
        networks = [active.network for active in self.networks]
        vars(self).pop("compiled", None)
        size, joins = self.recipe.batch_size, self.recipe.joins_last_sample
        self.batch_sizes = [
            batch_sizes(n, n if size == -1 else size, shuffled=joins)
            for n in (len(network.train) for network in networks)
        ]
        self.smoothing = self._column([n.label_smoothing for n in networks], 0.0)
        self._l1 = self._column([n.l1 for n in networks], 0.0)
        clips = [math.inf if n.gradient_clip is None else n.gradient_clip for n in networks]
        self._clip = self._column(clips, math.inf)
        self.augmenter = None
        if networks and networks[0].augmentation:
            self.augmenter = RowAugmenter(
                [network.augmentation for network in networks],
                [network.augmentation_seed for network in networks],
                self.recipe.layout,
                networks[0].train.X.device,
                self.recipe.codes,
            )
        if networks and on_device(networks[0].train.X):
            # Layers check all samples once instead of each batch.
            sets = [s for n in networks for s in (n.train, n.valid, n.monitor)]
            inputs = {id(s.X): s.X for s in sets if s is not None}
            for layer in self.program.layers:
                if isinstance(layer, ModuleLayer):
                    layer.look_ahead(list(inputs.values()))

    def _column(self, values: list[float], neutral: float) -> Tensor | None:
        if {neutral}.issuperset(values):
            return None
        like = next(iter(self.program.parameters.tensors.values()))
        return torch.tensor(values, dtype=like.dtype, device=like.device)


def _best_weights(
    program: Program, networks: Sequence[FleetNetwork]
) -> StackedTensors | None:
    """Return the best weights so far; current weights for networks without any."""
    if not any(network.course.uses_best for network in networks):
        return None
    best = program.weights().copy()
    for position, network in enumerate(networks):
        for name, array in (network.state.best_weights or {}).items():
            best.tensors[name][position].copy_(torch.as_tensor(array.copy()))
    return best


def _clip(gradients: Sequence[Tensor], limits: Tensor) -> None:
    """Scale each network's gradients down to its limit, as clip_grad_norm_ in torch."""
    norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients]).norm(dim=0)
    factors = (limits / (norms + 1e-6)).clamp(max=1.0)
    factors = torch.where(limits.isinf(), torch.ones_like(factors), factors)
    for g in gradients:
        g.mul_(factors.view(-1, *(1,) * (g.ndim - 1)))
