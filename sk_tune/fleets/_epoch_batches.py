# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The batches of one epoch of many networks, each network in its own order.

Networks whose batches have the same size are stepped together; since networks lie in the
order of their numbers of samples, they are neighbours.  So a last, shorter batch is never
padded, no sample is dropped, and layers that look across a batch see only what is in it.

Notation: K networks of the fleet, n samples of a network, B samples of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from sk_tune.training import TensorSet, batch_sizes, check_time

_Made = TypeVar("_Made")

# Batches gathered at once: few calls, and the copy stays in the cache.
_BLOCK_BYTES = 4 * 2**20


class StackedBatch(NamedTuple):
    """One batch of k neighbouring networks.

    `step` is the number of the batch in the epoch. Shapes: `X` (k, B, ...), `y` (k, B) or
    (k, B, C), `weight` (k, B), or None if no network has weights.
    """

    step: int
    networks: slice
    X: Tensor
    y: Tensor
    weight: Tensor | None


def runs(keys: Sequence[object]) -> list[slice]:
    """Return the stretches of equal keys, in order.

    >>> runs("aab")
    [slice(0, 2, None), slice(2, 3, None)]
    """
    slices, start = [], 0
    for _, run in groupby(keys):
        stop = start + sum(1 for _ in run)
        slices.append(slice(start, stop))
        start = stop
    return slices


def sizes_of_networks(
    n_samples: Sequence[int], batch_size: int, *, joins: bool
) -> list[list[int]]:
    """Return the samples in each batch of an epoch of each network.

    A `batch_size` of -1 takes all samples at once; `joins` lets a lone last sample join the
    batch before it. Networks with equally many samples share a list.

    >>> sizes_of_networks([9, 8], 4, joins=True)
    [[4, 5], [4, 4]]
    """
    by_number = {
        n: batch_sizes(n, n if batch_size == -1 else batch_size, shuffled=joins)
        for n in set(n_samples)
    }
    return [by_number[n] for n in n_samples]


def epoch_batches(
    sets: Sequence[TensorSet],
    orders: Sequence[Tensor],
    sizes: Sequence[list[int]],
    memory: dict[Any, Tensor],
) -> Iterator[StackedBatch]:
    """Yield the batches of an epoch, step by step.

    Networks with the same tensors in `sets` are neighbours; each takes its samples in its
    order, (n,), with the batch sizes of `sizes`. A step in which networks differ in size
    comes in several batches. Batches are gathered in `memory`, which is kept from epoch to
    epoch.
    """
    weighted = any(s.sample_weight is not None for s in sets)
    shared = runs([(id(s.X), id(s.y), id(s.sample_weight), len(s)) for s in sets])
    per_step = len(sets) * max(max(s) for s in sizes) * sets[0].X[0].nbytes
    n_block = max(1, min(32, _BLOCK_BYTES // max(per_step, 1)))
    n_steps = max(map(len, sizes))
    # Positions where each batch begins, and where the last one ends.
    starts = [[0, *accumulate(batch_lengths)] for batch_lengths in sizes]
    for first in range(0, n_steps, n_block):
        stop = first + n_block
        spans = [
            (
                positions[min(first, len(positions) - 1)],
                positions[min(stop, len(positions) - 1)],
            )
            for positions in starts
        ]
        block = _gather_block(sets, orders, spans, shared, memory, weighted=weighted)
        for step in range(first, min(stop, n_steps)):
            keys = [lengths[step] if step < len(lengths) else 0 for lengths in sizes]
            for networks in runs(keys):
                size = keys[networks.start]
                if size:
                    begin = starts[networks.start][step] - spans[networks.start][0]
                    columns = block
                    if networks.stop - networks.start < len(keys):
                        columns = tuple(None if t is None else t[networks] for t in block)  # type: ignore[assignment]
                    part = (
                        None if t is None else t.narrow(1, begin, size) for t in columns
                    )
                    yield StackedBatch(step, networks, *part)  # type: ignore[arg-type]


def gather(sets: Sequence[TensorSet], span: slice) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return m samples each of networks that have equally many.

    X (k, m, ...), y, weights.
    """
    weighted = any(s.sample_weight is not None for s in sets)
    first = sets[0]
    if all(s is first for s in sets):
        # One set for all: looked at, not copied.
        X, target = first[span]
        y, weight = target if isinstance(target, tuple) else (target, None)
        k = len(sets)
        expanded = (None if t is None else t.expand(k, *t.shape) for t in (X, y, weight))
        return tuple(expanded)  # type: ignore[return-value]
    stop = min(span.stop, len(first))
    shared = runs([(id(s.X), id(s.y), id(s.sample_weight), len(s)) for s in sets])
    orders = [None] * len(sets)
    spans = [(span.start, stop)] * len(sets)
    return _gather_block(sets, orders, spans, shared, {}, weighted=weighted)


def _gather_block(
    sets: Sequence[TensorSet],
    orders: Sequence[Tensor | None],
    spans: Sequence[tuple[int, int]],
    shared: Sequence[slice],
    memory: dict[Any, Tensor],
    *,
    weighted: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return samples span[0]:span[1] of each order; the tensors fit the longest."""
    k, length = len(sets), max(stop - start for start, stop in spans)
    first = sets[0]
    X = _memory(memory, "X", first.X, k, length)
    y = _memory(memory, "y", first.y, k, length)
    weight = first.X.new_ones(k, length) if weighted else None
    for networks in shared:
        first_set, (start, stop) = sets[networks.start], spans[networks.start]
        if start == stop:
            continue
        index = _indices(sets[networks], orders[networks], start, stop)
        part = slice(0, stop - start)
        _take(first_set.X, index, X[networks, part])
        _take(first_set.y, index, y[networks, part])
        if weight is not None and first_set.sample_weight is not None:
            _take(first_set.sample_weight, index, weight[networks, part])
    return X, y, weight


def _memory(
    memory: dict[Any, Tensor], name: str, like: Tensor | None, k: int, length: int
) -> Tensor:
    assert like is not None  # noqa: S101 - networks to train or score on have targets
    shape = (k, length, *like.shape[1:])
    found = memory.get(name)
    if found is None or found.shape != shape:
        found = memory[name] = like.new_empty(shape)
    return found


def _indices(
    sets: Sequence[TensorSet], orders: Sequence[Tensor | None], start: int, stop: int
) -> Tensor | slice:
    """Return where the samples lie that some networks take next, network by network."""
    if len(sets) == 1 and sets[0].index is None and orders[0] is None:
        return slice(start, stop)
    picked = []
    for s, order in zip(sets, orders, strict=True):
        if order is None:
            order = torch.arange(len(s), device=s.X.device)
        places = order[start:stop]
        picked.append(places if s.index is None else s.index[places])
    return picked[0] if len(picked) == 1 else torch.cat(picked)


def _take(source: Tensor | None, index: Tensor | slice, out: Tensor) -> None:
    assert source is not None  # noqa: S101 - networks to train or score on have targets
    if isinstance(index, slice):
        out.copy_(source[index].unsqueeze(0))
    elif out.is_contiguous() and isinstance(source, Tensor):
        torch.index_select(source, 0, index, out=out.view(-1, *source.shape[1:]))
    else:
        out.copy_(source.index_select(0, index).view_as(out))


# Samples at a time: enough to outweigh the calls, few enough to stay in the cache.
_CHUNK_BYTES = 2**20
_MOST_SAMPLES = 1024


Compute = Callable[[Tensor, slice], Tensor]
Predict = Callable[[list[TensorSet], slice], Tensor | None]


class Result(NamedTuple):
    """A network's evaluation: weighted mean loss, score, and outputs, (n, C)."""

    loss: float
    score: float
    outputs: Tensor


def evaluate(
    compute: Compute,
    sets: Sequence[TensorSet | None],
    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    predict: Predict | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield position and evaluation of each network that has samples.

    `loss` and `score` map outputs (k, n, C), targets and weights to (k,). `predict` maps
    ``(sets, networks)`` to outputs faster than `compute` does, or to None.
    """
    for networks in runs([0 if s is None else len(s) for s in sets]):
        run_sets = [s for s in sets[networks] if s is not None]
        if not run_sets:
            continue
        found = None if predict is None else predict(run_sets, networks)
        if found is None:
            outputs, y, weight = _outputs(compute, run_sets, networks)
        else:
            outputs, (y, weight) = found, _targets(run_sets)
        means = loss(outputs, y, weight)
        scores = score(outputs, y, weight)
        for i, (mean, own_score) in enumerate(
            zip(means.tolist(), scores.tolist(), strict=True)
        ):
            yield networks.start + i, Result(mean, own_score, outputs[i])


def _outputs(
    compute: Compute, sets: list[TensorSet], networks: slice
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return outputs, targets and weights of networks that have equally many samples."""
    n = len(sets[0])
    per_sample = len(sets) * max(sets[0].X[0].nbytes, 1)
    chunk = min(_MOST_SAMPLES, max(64, _CHUNK_BYTES // per_sample))
    parts: list[Any] = []
    for start in range(0, n, chunk):
        check_time()
        X, y, weight = gather(sets, slice(start, start + chunk))
        # Outputs are copied, because the program writes the next ones to the same memory.
        outputs = compute(X, networks).clone(memory_format=torch.contiguous_format)
        parts.append((outputs, y, weight))
    all_outputs, targets, weights = zip(*parts, strict=True)
    joined = None if weights[0] is None else torch.cat(weights, dim=1)
    return torch.cat(all_outputs, dim=1), torch.cat(targets, dim=1), joined


def _targets(sets: list[TensorSet]) -> tuple[Tensor, Tensor | None]:
    """Return targets and weights of networks that have equally many samples."""
    targets, weights = zip(*of_each_set(TensorSet.taken_targets, sets), strict=True)
    if all(weight is None for weight in weights):
        return torch.stack(targets), None
    ones = sets[0].X.new_ones(len(sets[0]))
    return torch.stack(targets), torch.stack([ones if w is None else w for w in weights])


def of_each_set(function: Callable[[Any], _Made], sets: Sequence[Any]) -> list[_Made]:
    """Return what a function makes of each set; of one that networks share, once."""
    found = {key: function(s) for key, s in {id(s): s for s in sets}.items()}
    return [found[id(s)] for s in sets]
