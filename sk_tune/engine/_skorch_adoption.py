# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A plain skorch net takes over a training that was made elsewhere."""

from typing import Any

from sk_tune.estimators import load_net_arrays
from sk_tune.training import TrainingState, forked_rng

__all__ = ["adopt_skorch"]


def adopt_skorch(net: Any, X: Any, y: Any, state: TrainingState) -> Any:
    """Make a net what ``fit`` would have made of it, from a finished training.

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
    with forked_rng(state.seed, net.device):
        net.initialize()
    net.check_data(X, y)
    load_net_arrays(net, state)
    return net
