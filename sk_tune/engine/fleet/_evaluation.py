# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Outputs, loss and score of many rows, each on samples of its own."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sk_tune.engine.fleet._batches import gather, runs
from sk_tune.engine.fleet._program import Program
from sk_tune.training import TensorSet

__all__ = ["Result", "evaluate"]

# Samples at a time: enough to outweigh the calls, few enough to stay in the cache.
_CHUNK_BYTES = 2**20
_MOST_SAMPLES = 1024


class Result(NamedTuple):
    """A row's evaluation.

    Parameters
    ----------
    loss : float
        Weighted mean over the samples.
    score : float
        Of the outputs.
    outputs : Tensor of shape (n, C)
        For each sample.
    """

    loss: float
    score: float
    outputs: Tensor


def evaluate(
    program: Program,
    sets: Sequence[TensorSet | None],
    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> Iterator[tuple[int, Result]]:
    """Yield the evaluation of each row that has samples.

    Parameters
    ----------
    program : Program
        The rows.
    sets : sequence of TensorSet or None
        Samples of each row.
    loss : callable
        ``(outputs (k, n, C), targets, weights) -> losses (k,)``.
    score : callable
        ``(outputs (k, n, C), targets, weights) -> scores (k,)``.

    Yields
    ------
    position : int
        Which row.
    result : Result
        Its evaluation.
    """
    for rows in runs([0 if s is None else len(s) for s in sets]):
        own = [s for s in sets[rows] if s is not None]
        if not own:
            continue
        outputs, y, weight = _outputs(program, own, rows)
        means = loss(outputs, y, weight)
        found = zip(means.tolist(), score(outputs, y, weight).tolist(), strict=True)
        for i, (mean, own_score) in enumerate(found):
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
        X, y, weight = gather(sets, slice(start, start + chunk))
        # Copied, because the program writes the next outputs to the same memory.
        outputs = program.evaluate(X, rows).clone(memory_format=torch.contiguous_format)
        parts.append((outputs, y, weight))
    all_outputs, targets, weights = zip(*parts, strict=True)
    joined = None if weights[0] is None else torch.cat(weights, dim=1)
    return torch.cat(all_outputs, dim=1), torch.cat(targets, dim=1), joined
