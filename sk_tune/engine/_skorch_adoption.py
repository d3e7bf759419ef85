# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A plain skorch net takes over a training that was made elsewhere."""

from typing import Any

import torch
from skorch.callbacks import (
    EarlyStopping,
    EpochScoring,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
)
from skorch.history import History

from sk_tune.engine._skorch_memory import begin_of, generator_after, recall_callbacks
from sk_tune.estimators import load_net_arrays
from sk_tune.training import TrainingState, exclusive_rng, forked_rng, seed_of_state

__all__ = ["adopt_skorch", "silenced"]

# These remember something of their epochs; other callbacks are skorch's to call.
_REMEMBERING = (EarlyStopping, EpochScoring, LRScheduler, PassthroughScoring)


def adopt_skorch(net: Any, X: Any, y: Any, state: TrainingState) -> Any:
    """Make a net what ``fit`` would have made of it, from a finished training.

    Torch's global generator moves on as in the training, if that began where it stands.

    Parameters
    ----------
    net : skorch.NeuralNet
        With the parameters of the training.
    X, y : array-like
        The rows that were trained on.
    state : TrainingState
        Where the training ended.

    Returns
    -------
    skorch.NeuralNet
        The net, initialised and trained.
    """
    with exclusive_rng():
        is_next = seed_of_state(torch.get_rng_state().numpy().tobytes()) == state.seed
        with forked_rng(begin_of(state), net.device):
            net.initialize()
        if is_next and state.course:
            torch.set_rng_state(generator_after(state))
    net.check_data(X, y)
    if state.course:
        for _, callback in net.callbacks_:
            if type(callback) in _REMEMBERING:
                callback.on_train_begin(net, X=X, y=y)
    load_net_arrays(net, state)
    if state.course:
        recall_callbacks(net, state.course)
    _print_epochs(net)
    return net


def silenced(net: Any) -> Any:
    """Let a net that is not initialised print nothing, whatever its callbacks write to."""
    net.set_params(verbose=0)
    for entry in () if net.callbacks == "disable" else net.callbacks or ():
        callback = entry[1] if isinstance(entry, tuple) else entry
        if isinstance(callback, EarlyStopping | PrintLog):
            callback.sink = _drop
    return net


def _print_epochs(net: Any) -> None:
    """Print what callbacks print in a training, from its history."""
    own = [c for _, c in net.callbacks_ if isinstance(c, EarlyStopping | PrintLog)]
    if not net.verbose and all(callback.sink is print for callback in own):
        return
    history, stoppers = net.history, [c for c in own if isinstance(c, EarlyStopping)]
    loads_best = [stopper.load_best for stopper in stoppers]
    for stopper in stoppers:
        # The weights are the best ones already.
        stopper.load_best = False
        stopper.on_train_begin(net)
    try:
        for n in range(1, len(history) + 1):
            net.history_ = History(history[:n])
            for callback in own:
                callback.on_epoch_end(net)
    except KeyboardInterrupt:
        # With this a callback ends a training.
        pass
    finally:
        net.history_ = history
    for stopper, load_best in zip(stoppers, loads_best, strict=True):
        stopper.load_best = load_best
        if load_best:
            stopper.best_model_weights_ = net.module_.state_dict()
        stopper.on_train_end(net)


def _drop(text: str) -> None:
    pass
