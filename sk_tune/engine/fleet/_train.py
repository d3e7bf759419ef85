# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Epoch by epoch through a fleet: rows enter, train side by side, and leave when they end.

A tile is the rows that train at the moment.  Rows that ended leave it at the end of their
epoch, so that they cost nothing; waiting rows take their place.  A row whose numbers become
infinite stays until its epoch ends, as a lone network does, and touches no other.

Notation: K rows of the tile, k neighbours of them, S steps of an epoch, C outputs.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_tune.engine.fleet._active_batch import Active, Tile
from sk_tune.engine.fleet._compiled_epoch import CompiledEpoch, EpochResult
from sk_tune.engine.fleet._epoch_batches import RowBatch, epoch_batches, evaluate, runs
from sk_tune.engine.fleet._recipe import Outcome, Recipe, Row
from sk_tune.training import (
    EpochTimer,
    TensorSet,
    TrainingState,
    check_time,
    weights_message,
)

__all__ = ["train_fleet"]

# Of an epoch, at one time: what scores need beside the outputs stays small.
_SAMPLES_PER_SCORE = 2**17
# What takes longer to keep is kept less often, in proportion: at the five seconds of a
# store, it costs a twentieth of the time at most.
_SECONDS_TO_KEEP = 0.25

# Called after each epoch of a tile with its number of rows.
Progress = Callable[[int], None]
# Called with where the rows of a tile stand.
Kept = Callable[[list[tuple[int, TrainingState]]], object]


@torch.no_grad()
def train_fleet(
    rows: Iterable[Row],
    recipe: Recipe,
    n_rows: int,
    progress: Progress | None = None,
    *,
    keep: Kept | None = None,
    seconds_between: float = math.inf,
    n_threads: int = 1,
) -> Iterator[tuple[int, Outcome]]:
    """Train networks of one recipe, some at a time.

    Yield positions and outcomes as they end. `networks` are taken from as places become
    free, so they may be made late; `n_active` train at a time. `progress` is called with
    the number of networks that finished an epoch, some four times a second where compiled
    code trains them, in `n_threads` threads. `keep` is called now and then, at most every
    `seconds_between`, with positions and states of networks that have not ended.
    """
    waiting = enumerate(rows)
    tile = Tile(recipe, n_threads)
    kept, pause = time.perf_counter(), seconds_between
    timer = EpochTimer()
    while True:
        tile.add(list(islice(waiting, n_rows - len(tile))))
        if not len(tile):
            return
        done = [i for i, active in enumerate(tile.rows) if active.ended]
        if done:
            # Early stopping had ended them before they came.
            yield from _finish(tile, done, [None] * len(tile))
            tile.remove(done)
            continue
        start = time.perf_counter()
        n_epochs = int(min(tile.epochs_at_once(seconds_between), timer.most_at_once))
        outputs = _train_epochs(tile, n_epochs)
        seconds = (time.perf_counter() - start) / len(tile) / n_epochs
        if progress is not None:
            progress(len(tile) * n_epochs)
        for active in tile.rows:
            active.end_epoch(seconds)
        _keep_best(tile)
        tile.keep_checkpoints()
        if any(not active.ended for active in tile.rows) and timer.is_late(n_epochs):
            for active in tile.rows:
                active.is_cut = not active.ended
                active.last_epoch = min(active.last_epoch, active.epoch)
        ended = [i for i, active in enumerate(tile.rows) if active.ended]
        if ended:
            yield from _finish(tile, ended, outputs)
            tile.remove(ended)
        if keep is not None and len(tile) and time.perf_counter() - kept > pause:
            start = time.perf_counter()
            keep(tile.snapshots())
            kept = time.perf_counter()
            pause = seconds_between * max(1.0, (kept - start) / _SECONDS_TO_KEEP)


def _train_epochs(tile: Tile, n_epochs: int) -> list[Tensor | None]:
    """Train every row for some epochs; return the outputs on monitor samples.

    Losses and scores are noted; the last epoch is left to be ended.
    """
    if tile.compiled is not None and tile.compiled.judges:
        looked_at = _train_and_judge(tile, tile.compiled, n_epochs)
    else:
        _train_epoch(tile)
        looked_at = [None] * len(tile)
    return _score_epoch(tile, looked_at)


def _train_and_judge(
    tile: Tile, compiled: CompiledEpoch, n_epochs: int
) -> list[Tensor | None]:
    """Train epochs by compiled code that knows losses and scores, too; note these."""
    start = time.perf_counter()
    sets, sizes = [active.row.train for active in tile.rows], tile.batch_sizes
    epochs = [range(a.epoch, a.epoch + n_epochs) for a in tile.rows]
    orders = [
        torch.cat([a.row.course.order(epoch, len(s)) for epoch in own])
        for a, s, own in zip(tile.rows, sets, epochs, strict=True)
    ]
    tile.begin_epoch([len(s) for s in sizes])
    rates = [
        [a.rates, *(a.row.course.rates(epoch, len(s)) for epoch in own[1:])]
        for a, s, own in zip(tile.rows, sizes, epochs, strict=True)
    ]
    found = compiled.train_and_judge(
        _places(sets, orders),
        sizes,
        [list(chain.from_iterable(own)) for own in rates],
        n_epochs,
    )
    seconds = (time.perf_counter() - start) / len(tile) / n_epochs
    for position, active in enumerate(tile.rows):
        looks = compiled.looks(position)
        # Only courses that foresee nothing ask for them.
        active.batch_losses = found.batch_losses[: len(sizes[position]), position]
        for epoch, own_rates in enumerate(rates[position]):
            if epoch:
                active.end_epoch(seconds)
            active.rates = own_rates
            active.note("train", *found.train.of(epoch, position))
            if looks:
                active.note("monitor", *found.monitor.of(epoch, position))
    return found.monitor_outputs


def _places(sets: Sequence[TensorSet], orders: Sequence[Tensor]) -> list[Tensor]:
    """Return where the samples lie that rows take in some order."""
    return [
        order if s.index is None else s.index[order]
        for s, order in zip(sets, orders, strict=True)
    ]


def _train_epoch(tile: Tile) -> None:
    """Train every row of the tile for one epoch and note its loss and score."""
    sets, sizes = [active.row.train for active in tile.rows], tile.batch_sizes
    orders = [
        a.row.course.order(a.epoch, len(a.row.train)).to(a.row.train.X.device)
        for a in tile.rows
    ]
    tile.begin_epoch([len(s) for s in sizes])
    places = _places(sets, orders)
    record = _EpochRecord(sets, places, sizes)
    if tile.compiled is not None:
        rates = [active.rates for active in tile.rows]
        record.take(tile.compiled.train(places, sizes, rates))
    else:
        for batch in epoch_batches(sets, orders, sizes, tile.memory):
            check_time()
            loss, outputs = _train_step(tile, batch)
            record.add(batch, loss, outputs)
    for active, mean, score in zip(
        tile.rows, *record.results(tile.recipe.score), strict=True
    ):
        active.note("train", mean, score)
    for active, losses in zip(tile.rows, record.batch_losses(), strict=True):
        active.batch_losses = losses


def _train_step(tile: Tile, batch: RowBatch) -> tuple[Tensor, Tensor]:
    """Update the rows of a batch; return their losses and outputs."""
    rows = batch.rows
    X, y, weight = batch.X, batch.y, batch.weight
    if tile.augmenter is not None:
        X, y, weight = tile.augmenter.augmented(X, y, weight, rows, batch.step)
    outputs = tile.program.forward(X, rows, batch.step)
    share = None
    if weight is not None:
        share = weight / weight.sum(dim=1, keepdim=True)
    smoothing = None if tile.smoothing is None else tile.smoothing[rows]
    # Mixed samples have targets for each of their parts.
    n_parts = y.shape[1] // outputs.shape[1]
    repeated = outputs
    if n_parts > 1:
        repeated = outputs.repeat(1, n_parts, *(1,) * (outputs.ndim - 2))
    loss = tile.recipe.loss
    by_member = loss.of_members if tile.program.members > 1 else loss.with_gradient
    losses, gradient = by_member(repeated, y, share, smoothing)
    if n_parts > 1:
        parts = gradient.reshape(len(gradient), n_parts, *outputs.shape[1:])
        gradient = parts.sum(dim=1)
    tile.update(rows, batch.step, tile.program.backward(gradient))
    return losses, tile.program.combined(outputs)


class _EpochRecord:
    """Losses and outputs of the epoch so far."""

    def __init__(
        self,
        sets: Sequence[TensorSet],
        places: Sequence[Tensor],
        batches: Sequence[list[int]],
    ) -> None:
        # Places are where samples lie, in the order of the epoch.
        self._sets, self._places, self._batches = sets, places, batches
        self._sizes = [len(s) for s in sets]
        self._n_steps = max(map(len, batches))
        # As they come: put into tables once, because a step of few rows is made of short
        # calls.
        self._steps: list[tuple[int, slice, Tensor, float | Tensor]] = []
        self._passed = [0] * len(sets)
        self._parts: list[Tensor | None] = [None, None]
        self._found: tuple[Tensor, Tensor] | None = None

    def take(self, result: EpochResult) -> None:
        """Note all batches at once."""
        weight = None
        if any(s.sample_weight is not None for s in self._sets):
            weight = self._sets[0].X.new_ones(len(self._sets), max(self._sizes))
            for own, s, places in zip(weight, self._sets, self._places, strict=True):
                if s.sample_weight is not None:
                    own[: len(places)] = s.sample_weight[places]
        self._parts = [result.outputs, weight]
        self._found = result.losses.double(), self._totals(weight)

    def _totals(self, weight: Tensor | None) -> Tensor:
        """Return the weights of batches, of shape (S, K), of which all are known."""
        if weight is None and all(sizes == self._batches[0] for sizes in self._batches):
            own = torch.tensor(self._batches[0], dtype=torch.float64)
            return own.unsqueeze(1).expand(-1, len(self._sets))
        totals = torch.zeros(len(self._sets), self._n_steps, dtype=torch.float64)
        for position, sizes in enumerate(self._batches):
            own = torch.tensor(sizes, dtype=torch.float64)
            if weight is not None:
                own_weight = weight[position, : sum(sizes)]
                parts = own_weight.split(sizes)  # type: ignore[no-untyped-call]
                own = torch.stack([part.sum() for part in parts]).double()
            totals[position, : len(sizes)] = own
        return totals.T

    def add(self, batch: RowBatch, losses: Tensor, outputs: Tensor) -> None:
        rows, n = batch.rows, outputs.shape[1]
        total = float(n) if batch.weight is None else batch.weight.sum(dim=1)
        self._steps.append((batch.step, rows, losses, total))
        start = self._passed[rows.start]
        for position, values in enumerate((outputs, batch.weight)):
            if values is not None:
                part = self._parts[position]
                if part is None:
                    shape = (len(self._sizes), max(self._sizes), *values.shape[2:])
                    part = self._parts[position] = values.new_empty(shape)
                if len(values) < len(part):
                    part = part[rows]
                part.narrow(1, start, n).copy_(values)
        for position in range(rows.start, rows.stop):
            self._passed[position] += n

    def batch_losses(self) -> list[Tensor]:
        """Return the losses of the batches of each row."""
        losses, totals = self._tables()
        columns = losses.T.unbind()
        if bool((totals > 0).all()):
            return list(columns)
        return [own[total > 0] for own, total in zip(columns, totals.T, strict=True)]

    def results(
        self, score: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    ) -> tuple[list[float], list[float]]:
        """Return the loss and the score of each row over the whole epoch."""
        batch_losses, totals = self._tables()
        losses = ((batch_losses * totals).sum(dim=0) / totals.sum(dim=0)).tolist()
        scores: list[float] = []
        for rows in runs(self._sizes):
            n = self._sizes[rows.start]
            # Some rows at a time: the targets in their order are made for scores only.
            size = max(1, _SAMPLES_PER_SCORE // n)
            for start in range(rows.start, rows.stop, size):
                own = slice(start, min(start + size, rows.stop))
                outputs, weight = (None if p is None else p[own, :n] for p in self._parts)
                y = self._targets(own)
                scores += score(outputs, y, weight).tolist()  # type: ignore[arg-type]
        return losses, scores

    def _tables(self) -> tuple[Tensor, Tensor]:
        """Return losses and weights of all batches, of shape (S, K); 0 where is none."""
        if self._found is not None:
            return self._found
        shape = (self._n_steps, len(self._sizes))
        like = self._sets[0].X
        if all(len(losses) == shape[1] for _, _, losses, _ in self._steps):
            losses = torch.stack([own for _, _, own, _ in self._steps]).double()
            of_rows = [own for _, _, _, own in self._steps if isinstance(own, Tensor)]
            if of_rows:
                return losses, torch.stack(of_rows).double()
            totals = [own for _, _, _, own in self._steps]
            weights = like.new_tensor(totals, dtype=torch.float64)
            return losses, weights.unsqueeze(1).expand(shape)
        losses, weights = like.new_zeros(2, *shape, dtype=torch.float64)
        for step, rows, own, total in self._steps:
            losses[step, rows] = own
            weights[step, rows] = total
        return losses, weights

    def _targets(self, rows: slice) -> Tensor:
        """Return the targets of some rows in the order of the epoch."""
        found = []
        for s, places in zip(self._sets[rows], self._places[rows], strict=True):
            assert s.y is not None  # noqa: S101 - rows to train on have targets
            found.append(s.y[places])
        return torch.stack(found)


def _score_epoch(tile: Tile, known: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Score rows on validation and monitor samples; return the outputs on the latter.

    Rows of which these are known have been scored on them.
    """
    judged = _judged(tile)
    for position, result in evaluate(
        tile.program.evaluate, [a.row.valid for a in tile.rows], *judged
    ):
        tile.rows[position].note("valid", result.loss, result.score)
        tile.rows[position].valid_outputs = result.outputs
    outputs = list(known)
    monitors = [
        a.row.monitor if own is None else None
        for a, own in zip(tile.rows, known, strict=True)
    ]
    for position, result in evaluate(tile.program.evaluate, monitors, *judged):
        tile.rows[position].note("monitor", result.loss, result.score)
        outputs[position] = result.outputs
    return outputs


def _judged(tile: Tile) -> tuple[Any, Any, Any]:
    """Return how rows are judged: loss, score, and what computes outputs if not torch."""
    predict = None if tile.compiled is None else tile.compiled.predict
    return tile.recipe.loss.mean, tile.recipe.score, predict


def _keep_best(tile: Tile) -> None:
    """Copy the weights of the rows for which this epoch is the best so far."""
    best = [i for i, active in enumerate(tile.rows) if active.improved]
    if best:
        tile.keep_best(best)


def _finish(
    tile: Tile, ended: Sequence[int], outputs: Sequence[Tensor | None]
) -> Iterator[tuple[int, Outcome]]:
    """Yield the outcomes of rows that ended."""
    finite = tile.first_infinite(ended)
    for position, name in zip(ended, finite, strict=True):
        active = tile.rows[position]
        if name is not None and not active.message:
            rate = active.row.learning_rate
            active.message = weights_message(name, active.epoch, rate)
    restored = [i for i in ended if tile.rows[i].uses_best and not tile.rows[i].message]
    last = {i: tile.weights_of(i) for i in restored}
    final = list(outputs)
    if restored:
        tile.restore_best(restored)
        sets = [a.row.monitor if i in last else None for i, a in enumerate(tile.rows)]
        for i, result in evaluate(tile.program.evaluate, sets, *_judged(tile)):
            final[i] = result.outputs
    for position in ended:
        active = tile.rows[position]
        yield active.index, _outcome(tile, position, last.get(position), final[position])


def _outcome(tile: Tile, position: int, last: object, outputs: Tensor | None) -> Outcome:
    active: Active = tile.rows[position]
    failed = bool(active.message)
    course = {} if failed else active.row.course.memory()
    return Outcome(
        state=replace(tile.state_of(position, last), course=course),
        # A view would keep the outputs of the whole tile.
        outputs=None if outputs is None or failed else np.array(outputs.cpu().numpy()),
        message=active.message,
        seconds=active.seconds,
        is_cut=active.is_cut,
        checkpoints=tuple(active.checkpoints),
    )
