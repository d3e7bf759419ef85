# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a plain skorch net draws from torch's global generator, foreseen without training.

The weights at the start, two numbers for each pass of a ``DataLoader`` that shuffles, one
for each that does not, and whatever the module draws in each step of training: dropout.
Numbers are counted in words, of which ``torch.rand`` takes one for each float.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_tune.training import batch_sizes

__all__ = ["count_words", "draw_as_fit", "skip_words"]

# For more a search for a place in the stream would take a second.
_MOST_WORDS = 2**24
# Of so many at a time no more than the cache is written.
_WORDS_SKIPPED = 2**18
# So many in a row are met once only.
_MARK = 4


def draw_as_fit(net: Any, X: Any, y: Any, known: dict[Any, int], key: Any = None) -> None:
    """Initialise a net, and draw what its training would: all epochs of it.

    What a step of its module draws is looked up in `known`, or written there, by the size
    of the batch and a key of the module.
    """
    net.initialize()
    train, valid = net.get_split_datasets(X, y)
    options = net.get_params_for("iterator_train")
    size = int(options.get("batch_size", net.batch_size))
    sizes = batch_sizes(len(train), len(train) if size == -1 else size, shuffled=False)
    n_loads = 1 + bool(options.get("shuffle", False)) + (valid is not None)
    n_words = n_loads * _words_of_loader()
    for n in {sizes[0], sizes[-1]}:
        place = (key, n, X.shape[1:], str(X.dtype))
        if key is None or place not in known:
            known[place] = _words_of_step(net, X[:n])
        n_words += sizes.count(n) * known[place]
    skip_words(n_words * int(net.max_epochs))


def count_words(before: Tensor, after: Tensor) -> int | None:
    """Return how many words lie between two states of a generator.

    None if none can be told, as when it keeps the second of a pair of normal numbers.
    """
    if torch.equal(before, after):
        return 0
    mark, n = _stream(after, _MARK)[0], 64
    while n <= _MOST_WORDS:
        words, _ = _stream(before, n + _MARK)
        for place in np.flatnonzero(words[:n] == mark[0]).tolist():
            if np.array_equal(words[place : place + _MARK], mark):
                is_there = torch.equal(_stream(before, place)[1], after)
                return int(place) if is_there else None
        n *= 8
    return None


def skip_words(n_words: int) -> None:
    """Draw words from torch's global generator."""
    # Small integers take one word each as well, and half the time.
    drawn = torch.empty(min(n_words, _WORDS_SKIPPED), dtype=torch.uint8)
    for start in range(0, n_words, _WORDS_SKIPPED):
        drawn[: n_words - start].random_()


def _stream(state: Tensor, n: int) -> tuple[Any, Tensor]:
    """Return the next words from a state, and the state behind them."""
    generator = torch.Generator()
    generator.set_state(state)
    return torch.rand(n, generator=generator).numpy(), generator.get_state()


@cache
def _words_of_loader() -> int:
    """Return what a ``DataLoader`` draws for its workers, or to shuffle."""
    before = torch.get_rng_state()
    torch.empty((), dtype=torch.int64).random_()
    n_words = count_words(before, torch.get_rng_state()) or 0
    torch.set_rng_state(before)
    return n_words


def _words_of_step(net: Any, X: Any) -> int:
    """Return what a step of training draws on samples; 0 if that cannot be told."""
    before = torch.get_rng_state()
    try:
        net.module_.train()
        with torch.no_grad():
            net.infer(torch.as_tensor(X))
        return count_words(before, torch.get_rng_state()) or 0
    except Exception:  # noqa: BLE001 - the training itself will raise it
        return 0
    finally:
        torch.set_rng_state(before)
