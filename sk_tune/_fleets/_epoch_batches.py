# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The batches of one epoch of many networks, each network in its own order.

Networks with batches of equal size are stepped together; the networks are sorted by their
numbers of samples, so that these are neighbours.  A shorter last batch is therefore never
padded, no sample is dropped, and layers that mix samples see only the batch.

Notation: K networks of the fleet, n samples of a network, B samples of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, groupby, pairwise
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from sk_tune._training import TensorSet, check_time

_Value = TypeVar("_Value")


class StackedBatch(NamedTuple):
    """One batch of k neighbouring networks."""

    step: int  # index of the batch in the epoch
    networks: slice
    start: int  # index of its first sample
    X: Tensor  # (k, B, ...)
    y: Tensor  # (k, B) or (k, B, C)
    weight: Tensor | None  # (k, B)


def on_device(tensor: Any) -> bool:
    """Return whether a call for a tensor costs more than its arithmetic, as on a GPU."""
    return bool(tensor.device.type != "cpu")


def runs(keys: Sequence[object]) -> list[slice]:
    """Return slices of consecutive equal keys, in order.

    >>> runs("aab")
    [slice(0, 2, None), slice(2, 3, None)]
    """
    stops = [0, *accumulate(len(list(run)) for _, run in groupby(keys))]
    return [slice(*ends) for ends in pairwise(stops)]


def places_of(
    sets: Sequence[TensorSet], orders: Sequence[Sequence[Tensor]]
) -> list[tuple[slice, Tensor]]:
    """Return sample indices, (k, n), of each run of networks that share tensors."""
    device, runs_of_places = sets[0].X.device, []
    moved = torch.cat(list(chain.from_iterable(orders))).to(device, non_blocking=True)
    start = 0
    keys = [(id(s.X), id(s.y), id(s.sample_weight), len(s)) for s in sets]
    for networks in runs(keys):
        members, n = sets[networks], sum(map(len, orders[networks.start]))
        stop = start + len(members) * n
        places = moved[start:stop].view(-1, n)
        index = members[0].index
        if all(s.index is index for s in members):
            places = places if index is None else index[places]
        else:
            identity = torch.arange(len(members[0]), device=device)
            table = [identity if s.index is None else s.index for s in members]
            places = torch.stack(table).gather(1, places)
        runs_of_places.append((networks, places))
        start = stop
    return runs_of_places


def epoch_batches(
    sets: Sequence[TensorSet],
    places: Sequence[tuple[slice, Tensor]],
    sizes: Sequence[list[int]],
) -> Iterator[StackedBatch]:
    """Yield the batches of an epoch, step by step, for each run of equal batch sizes."""
    # Networks with equal sample counts, and the starts of their batches.
    groups = runs([len(s) for s in sets])
    starts = [[0, *accumulate(sizes[group.start])] for group in groups]
    is_weighted = any(s.sample_weight is not None for s in sets)
    for step in range(max(map(len, starts)) - 1):
        ends = [bounds[step : step + 2] for bounds in starts]
        keys = [end[1] - end[0] if len(end) == 2 else 0 for end in ends]
        for run in runs(keys):
            if not keys[run.start]:
                continue
            networks = slice(groups[run.start].start, groups[run.stop - 1].stop)
            # Sets with their samples, for each run of networks that share tensors.
            pieces = [
                (sets[part.start], indices[:, slice(*ends[run.start])])
                for part, indices in places
                if networks.start <= part.start < networks.stop
            ]
            X = _concatenated([_rows_at(s.X, index) for s, index in pieces])
            y = _concatenated([_rows_at(s.y, index) for s, index in pieces])
            weight = None
            if is_weighted:
                weight = _concatenated([
                    X.new_ones(index.shape)
                    if s.sample_weight is None
                    else _rows_at(s.sample_weight, index)
                    for s, index in pieces
                ])
            yield StackedBatch(step, networks, ends[run.start][0], X, y, weight)


def _rows_at(source: Any, index: Tensor) -> Tensor:
    """Return the samples of k networks at an index (k, B)."""
    rows: Tensor = source.index_select(0, index.reshape(-1))
    return rows.view(*index.shape, *source.shape[1:])


def _concatenated(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


# Bytes evaluated at a time: enough to outweigh the calls, few enough for the cache.
_CHUNK_BYTES = 2**20
# On a device, calls cost more and small chunks do not pay.
_CHUNK_BYTES_DEVICE = 2**26
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
    """Yield the position and the evaluation of each network that has samples."""
    for networks in runs([0 if s is None else len(s) for s in sets]):
        run_sets = [s for s in sets[networks] if s is not None]
        if not run_sets:
            continue
        outputs = None if predict is None else predict(run_sets, networks)
        if outputs is None:
            outputs = _outputs(compute, run_sets, networks)
        targets, weights = zip(*map_sets(TensorSet.taken_targets, run_sets), strict=True)
        y, weight = torch.stack(targets), None
        if any(w is not None for w in weights):
            ones = run_sets[0].X.new_ones(len(run_sets[0]))
            weight = torch.stack([ones if w is None else w for w in weights])
        means, scores = loss(outputs, y, weight), score(outputs, y, weight)
        results = map(Result, means.tolist(), scores.tolist(), outputs)
        yield from enumerate(results, start=networks.start)


def _outputs(compute: Compute, sets: list[TensorSet], networks: slice) -> Tensor:
    n = len(sets[0])
    per_sample = len(sets) * max(sets[0].X[0].nbytes, 1)
    n_bytes = _CHUNK_BYTES_DEVICE if on_device(sets[0].X) else _CHUNK_BYTES
    chunk = min(_MOST_SAMPLES, max(64, n_bytes // per_sample))
    parts = []
    for start in range(0, n, chunk):
        check_time()
        span = slice(start, start + chunk)
        samples = {id(s): s[span][0] for s in sets}
        if len(samples) == 1:
            # A set that all networks share is expanded, not copied.
            (only,) = samples.values()
            X = only.expand(len(sets), *only.shape)
        else:
            X = torch.stack([samples[id(s)] for s in sets])
        parts.append(compute(X, networks))
    return torch.cat(parts, dim=1)


def map_sets(function: Callable[[Any], _Value], sets: Sequence[Any]) -> list[_Value]:
    """Return the values of a function for all sets, computed once for shared sets."""
    values = {key: function(s) for key, s in {id(s): s for s in sets}.items()}
    return [values[id(s)] for s in sets]
