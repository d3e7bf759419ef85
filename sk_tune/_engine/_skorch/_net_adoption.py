# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Plain skorch nets: state to continue from, adoption, prediction of random draws."""

import hashlib
import math
from collections import ChainMap
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset
from skorch.utils import multi_indexing, to_tensor
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Subset

from sk_tune._engine._digest import value_fingerprint
from sk_tune._engine._skorch._net_reasons import named_inputs
from sk_tune._estimators import adopt_callbacks, callback_memory, load_net_arrays
from sk_tune._training import (
    RNG_LOCK,
    TrainingState,
    batch_sizes,
    forked_rng,
    seed_of_state,
    undone_draws,
)
from sk_tune._types import Array


def net_memory(
    net: Any, begin: int | bytes, generator: torch.Generator, datasets: Sequence[Any]
) -> dict[str, Any]:
    """Return the state of a net after an epoch; it was initialised from `begin`."""
    memory = {
        "rows": rows_digest(datasets),
        "generator": generator.get_state().numpy().tobytes().hex(),
    }
    if isinstance(begin, bytes):
        memory["begin"] = begin.hex()
    return {**memory, **callback_memory(net)}


def generator_after(state: TrainingState) -> torch.Tensor:
    """Return the state of a net's generator after its training."""
    drawn = bytearray.fromhex(state.course["generator"])
    return torch.frombuffer(drawn, dtype=torch.uint8)


def rows_digest(datasets: Sequence[Any]) -> str:
    """Return a digest of the positions of a net's training and validation samples."""
    digest = hashlib.sha256()
    for dataset in datasets:
        digest.update(b"%d:" % (0 if dataset is None else len(dataset)))
        while isinstance(dataset, Subset):
            digest.update(np.asarray(dataset.indices, dtype=np.int64).tobytes())
            dataset = dataset.dataset
    return digest.hexdigest()


def adopt_skorch(net: Any, X: Any, y: Any, state: TrainingState) -> Any:
    """Turn a net into the result of its ``fit``, from a finished training.

    `X` and `y` are the training samples. Torch's global generator advances as in training,
    if that began at its current state.
    """
    begin = state.course.get("begin")
    with RNG_LOCK:
        is_next = seed_of_state(torch.get_rng_state().numpy().tobytes()) == state.seed
        with forked_rng(bytes.fromhex(begin) if begin else state.seed, net.device):
            net.initialize()
        if is_next and state.course:
            torch.set_rng_state(generator_after(state))
    net.check_data(X, y)
    load_net_arrays(net, state)
    adopt_callbacks(net, state.course)
    return net


# Searching a longer stream would take more than a second.
_MOST_WORDS = 2**24
# Words drawn at a time, which stay in the cache.
_WORDS_SKIPPED = 2**18
_WORDS_OF_INTEGER = 2
# A sequence of this many words occurs only once in a stream.
_MARK = 4


def draw_as_fit(net: Any, X: Any, y: Any, n_words_of: dict[Any, int]) -> str:
    """Initialise a net, and draw the random numbers of all epochs of its training.

    `n_words_of` caches the draws of a training step, by module and batch size. Returns why
    the net must train in its task, without a draw; empty if it need not.
    """
    start = torch.get_rng_state()
    words: dict[Any, int] = {}
    with undone_draws() as names:
        _draw_from_torch(net, X, y, ChainMap(words, n_words_of))
    if names:
        torch.set_rng_state(start)
        return f"it draws from the global generator of {' and '.join(names)}"
    n_words_of |= words
    return ""


def _draw_from_torch(
    net: Any, X: Any, y: Any, n_words_of: MutableMapping[Any, int]
) -> None:
    net.initialize()
    train, valid = net.get_split_datasets(X, y)
    sizes = batch_sizes_of(net, "train", len(train))
    options = net.get_params_for("iterator_train")
    n_loads = 1 + bool(options.get("shuffle", False)) + (valid is not None)
    # A DataLoader draws an integer of 64 bits for its workers, another for shuffling.
    n_words = n_loads * _WORDS_OF_INTEGER
    n_lazy = 0
    if any(map(is_lazy, net.module_.parameters())):
        # Only the first step draws the weights of lazy layers.
        first = multi_indexing(X, slice(sizes[0]))
        n_lazy = _words_of_step(net, first) - _words_of_step(net, first)
    settings = sorted(net.get_params_for("module").items())
    values = map(value_fingerprint, (net.module, *settings))
    kind = (*values, named_inputs(X) or (X.shape[1:], str(X.dtype)))
    for n in {sizes[0], sizes[-1]}:
        if (kind, n) not in n_words_of:
            n_words_of[kind, n] = _words_of_step(net, multi_indexing(X, slice(n)))
        n_words += sizes.count(n) * n_words_of[kind, n]
    skip_words(n_words * int(net.max_epochs) + n_lazy)


def batch_sizes_of(net: Any, kind: str, n_samples: int) -> list[int]:
    """Return the sizes of a net's batches, "train" or "valid", in an epoch."""
    options = net.get_params_for(f"iterator_{kind}")
    size = int(options.get("batch_size", net.batch_size))
    return batch_sizes(n_samples, n_samples if size == -1 else size, shuffled=False)


def count_words(before: Tensor, after: Tensor) -> int | None:
    """Return the number of words between two generator states; None if unknown."""
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
    # Small integers take one word each, too, in half the time.
    drawn = torch.empty(min(n_words, _WORDS_SKIPPED), dtype=torch.uint8)
    for start in range(0, n_words, _WORDS_SKIPPED):
        drawn[: n_words - start].random_()


def _stream(state: Tensor, n: int) -> tuple[Any, Tensor]:
    """Return the next words from a state, and the state after them."""
    generator = torch.Generator()
    generator.set_state(state)
    words = torch.rand(n, generator=generator, dtype=torch.float32)
    return words.numpy(), generator.get_state()


def _words_of_step(net: Any, X: Any) -> int:
    """Return the number of words that a training step draws on samples; 0 if unknown."""
    state = torch.get_rng_state()
    try:
        net.module_.train()
        with torch.no_grad():
            net.infer(to_tensor(X, net.device))
        return count_words(state, torch.get_rng_state()) or 0
    except Exception:  # noqa: BLE001 - training will raise it
        return 0
    finally:
        torch.set_rng_state(state)


def cutting_iterator(get_iterator: Callable[..., Any]) -> Callable[..., Any]:
    """Return skorch's ``get_iterator``, but with slices of arrays as batches."""

    def cutting(net: Any, dataset: Any, training: bool = False) -> Any:  # noqa: FBT001
        if not training and _is_plain(net, dataset):
            size = net.get_params_for("iterator_valid").get("batch_size", net.batch_size)
            if size == -1:
                size = len(dataset)
            if type(size) is int and size > 0:
                return _Slices(dataset.X, size)
        return get_iterator(net, dataset, training=training)

    return cutting


def _is_plain(net: Any, dataset: Any) -> bool:
    """Return whether a data loader would only stack samples of an array."""
    if type(dataset) is not Dataset or dataset.y is not None:
        return False
    X = dataset.X
    return (
        type(X) in {np.ndarray, np.memmap}
        and X.ndim > 1
        and X.dtype.kind in "fi"
        and X.dtype.isnative
        and net.iterator_valid is DataLoader
        and set(net.get_params_for("iterator_valid")) <= {"batch_size"}
    )


class _Slices:
    """Batches of an array, each with skorch's zeros in place of targets."""

    def __init__(self, X: Array, batch_size: int) -> None:
        self._X = X
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._X) / self._batch_size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        # A data loader draws this seed for its workers, also without workers; later draws
        # from torch's generator must not change.
        with RNG_LOCK:
            torch.empty((), dtype=torch.int64).random_()
        for start in range(0, len(self._X), self._batch_size):
            # A copy, because a module may modify its input in place.
            samples = np.array(self._X[start : start + self._batch_size], order="C")
            yield [torch.from_numpy(samples), torch.zeros(len(samples), 1)]
