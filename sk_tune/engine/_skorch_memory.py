# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a plain skorch net goes on from in mid-training, beside its weights and moments.

skorch's callbacks remember the epochs before in attributes of their own, a scheduler in
those of torch, and shuffling and dropout in the state of a generator.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import EarlyStopping, EpochScoring, LRScheduler, PassthroughScoring
from skorch.history import History
from torch.utils.data import Subset

from sk_tune._json_values import decode, encode
from sk_tune.training import TrainingState

__all__ = ["begin_of", "generator_after", "net_memory", "recall", "recall_callbacks"]

# What callbacks carry from epoch to epoch.  A timer, a clip and a log carry nothing.
_CARRIED: dict[type, tuple[str, ...]] = {
    EarlyStopping: ("misses_", "dynamic_threshold_", "best_epoch_"),
    EpochScoring: ("best_score_",),
    PassthroughScoring: ("best_score_",),
    LRScheduler: ("batch_idx_",),
}


def net_memory(
    net: Any, begin: int | bytes, generator: torch.Generator, datasets: Sequence[Any]
) -> dict[str, Any]:
    """Return what a net in training remembers between two epochs, as plain values.

    `begin` is the seed, or the state, from which it was initialised.  Optimizer, callbacks
    and schedulers are left out if a part of them is something else, as in the attributes of
    a scheduler that a user wrote: another net can then not go on from there.
    """
    memory = {
        "rows": _rows_digest(datasets),
        "generator": generator.get_state().numpy().tobytes().hex(),
    }
    if isinstance(begin, bytes):
        memory["begin"] = begin.hex()
    try:
        own: dict[str, Any] = {
            "options": _options(net),
            "callbacks": {name: _carried(c) for name, c in net.callbacks_},
            "schedulers": {name: own.state_dict() for name, own in _schedulers(net)},
        }
        return {**memory, **decode(encode(own))}
    except Exception:  # noqa: BLE001 - whatever a user's scheduler raises
        return memory


def begin_of(state: TrainingState) -> int | bytes:
    """Return the seed, or state of a generator, that a net was initialised from."""
    begin = state.course.get("begin")
    return state.seed if begin is None else bytes.fromhex(begin)


def recall(
    net: Any, generator: torch.Generator, datasets: Sequence[Any], state: TrainingState
) -> bool:
    """Let a net stand where another one stood, but for its optimizer's moments.

    Parameters
    ----------
    net : skorch.NeuralNet
        At the begin of its training.
    generator : Generator
        What it draws from.
    datasets : sequence of Dataset or None
        To train and to validate on.
    state : TrainingState
        With the memory of such a net as its ``course``.

    Returns
    -------
    bool
        Whether it stands there.  It stays at its begin if not all is remembered, or if rows
        to validate on were drawn otherwise this time, as by a ``ValidSplit`` without a
        seed.
    """
    memory = state.course
    if "options" not in memory or memory["rows"] != _rows_digest(datasets):
        return False
    weights = state.weights if state.last_weights is None else state.last_weights
    copies = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    net.module_.load_state_dict(copies)
    generator.set_state(generator_after(state))
    net.history_ = History(dict(record) for record in state.history)
    recall_callbacks(net, memory)
    return True


def generator_after(state: TrainingState) -> torch.Tensor:
    """Return where the generator stood that a net drew from."""
    drawn = bytearray.fromhex(state.course["generator"])
    return torch.frombuffer(drawn, dtype=torch.uint8)


def recall_callbacks(net: Any, memory: dict[str, Any]) -> None:
    """Let the optimizer's options, callbacks and schedulers of a net be what they were."""
    if "options" not in memory:
        return
    group = net.optimizer_.param_groups[0]
    group.update(_changed(_options(net), memory["options"]))
    for name, callback in net.callbacks_:
        for attribute in _CARRIED.get(type(callback), ()):
            setattr(callback, attribute, memory["callbacks"][name][attribute])
    for name, own in _schedulers(net):
        own.load_state_dict(_changed(own.state_dict(), memory["schedulers"][name]))


def _rows_digest(datasets: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for dataset in datasets:
        digest.update(b"%d:" % (0 if dataset is None else len(dataset)))
        while isinstance(dataset, Subset):
            digest.update(np.asarray(dataset.indices, dtype=np.int64).tobytes())
            dataset = dataset.dataset
    return digest.hexdigest()


def _carried(callback: Any) -> dict[str, Any]:
    return {name: getattr(callback, name) for name in _CARRIED.get(type(callback), ())}


def _options(net: Any) -> dict[str, Any]:
    """Return the options of the optimizer, the learning rate among them."""
    (group,) = net.optimizer_.param_groups
    return {name: value for name, value in group.items() if name != "params"}


def _schedulers(net: Any) -> list[tuple[str, Any]]:
    return [(n, c.lr_scheduler_) for n, c in net.callbacks_ if isinstance(c, LRScheduler)]


def _changed(own: Any, kept: Any) -> Any:
    """Return values with those in the place of their own that differ.

    What did not change stays the object that it is: the milestones of torch's
    ``MultiStepLR`` are a ``Counter``, which comes back as a dict.
    """
    if type(own) is type(kept) is dict:
        return {
            **own,
            **{n: _changed(own[n], v) if n in own else v for n, v in kept.items()},
        }
    if type(own) is type(kept) is list and len(own) == len(kept):
        return [_changed(*pair) for pair in zip(own, kept, strict=True)]
    return own if encode(own) == encode(kept) else kept
