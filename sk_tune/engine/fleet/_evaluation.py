# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Outputs, loss and score of many rows, each on samples of its own."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sk_tune.engine.fleet._batches import gather, runs
from sk_tune.engine.fleet._program import Program
from sk_tune.training import TensorSet, check_time

__all__ = ["Result", "evaluate"]

# Samples at a time: enough to outweigh the calls, few enough to stay in the cache.
_CHUNK_BYTES = 2**20
_MOST_SAMPLES = 1024


Predict = Callable[[list[TensorSet], slice], Tensor | None]


class Result(NamedTuple):
    """A network's evaluation: weighted mean loss, score, and outputs, (n, C)."""

    loss: float
    score: float
    outputs: Tensor


def evaluate(
    program: Program,
    sets: Sequence[TensorSet | None],
    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    predict: Predict | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield position and evaluation of each network that has samples.

    `loss` and `score` map outputs (k, n, C), targets and weights to (k,). `predict` maps
    ``(sets, rows)`` to outputs in a faster way than the program's, or to None.
    """
    for rows in runs([0 if s is None else len(s) for s in sets]):
        own = [s for s in sets[rows] if s is not None]
        if not own:
            continue
        found = None if predict is None else predict(own, rows)
        if found is None:
            outputs, y, weight = _outputs(program, own, rows)
        else:
            outputs, (y, weight) = found, _targets(own)
        means = loss(outputs, y, weight)
        scores = score(outputs, y, weight)
        for i, (mean, own_score) in enumerate(
            zip(means.tolist(), scores.tolist(), strict=True)
        ):
            yield rows.start + i, Result(mean, own_score, outputs[i])


def _outputs(
    program: Program, sets: list[TensorSet], rows: slice
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return outputs, targets and weights of rows that have equally many samples."""
    n = len(sets[0])
    per_sample = len(sets) * max(sets[0].X[0].nbytes, 1)
    chunk = min(_MOST_SAMPLES, max(64, _CHUNK_BYTES // per_sample))
    parts: list[Any] = []
    for start in range(0, n, chunk):
        check_time()
        X, y, weight = gather(sets, slice(start, start + chunk))
        # Copied, because the program writes the next outputs to the same memory.
        outputs = program.evaluate(X, rows).clone(memory_format=torch.contiguous_format)
        parts.append((outputs, y, weight))
    all_outputs, targets, weights = zip(*parts, strict=True)
    joined = None if weights[0] is None else torch.cat(weights, dim=1)
    return torch.cat(all_outputs, dim=1), torch.cat(targets, dim=1), joined


def _targets(sets: list[TensorSet]) -> tuple[Tensor, Tensor | None]:
    """Return targets and weights of rows that have equally many samples."""
    # Of sets that several rows share, once.
    found = {key: s.taken_targets() for key, s in {id(s): s for s in sets}.items()}
    targets, weights = zip(*(found[id(s)] for s in sets), strict=True)
    if all(weight is None for weight in weights):
        return torch.stack(targets), None
    ones = sets[0].X.new_ones(len(sets[0]))
    return torch.stack(targets), torch.stack([ones if w is None else w for w in weights])
