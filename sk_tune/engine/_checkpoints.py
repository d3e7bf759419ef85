# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Where fits stood on their way, so that the way back to one of their epochs is short."""

import math
from collections.abc import Iterable, Sequence

from sk_tune.engine._records import Fit
from sk_tune.engine.fleet import Row
from sk_tune.training import TrainingState

__all__ = ["bytes_per_fit", "checkpoint_before", "checkpoint_epochs", "epochs_to_keep"]

# Of what fits in training may take, what their checkpoints may, all together.
_SHARE = 1 / 16
# Weights, the best ones of early stopping, and Adam's two means.
_COPIES = 4
# What a checkpoint costs, with its way from a worker, in epochs of a small network.
_COST = 0.3


def bytes_per_fit(fits: Iterable[Fit], memory_limit: float) -> int:
    """Return the bytes that the checkpoints of one of all fits of a call may take.

    `memory_limit` is what they may take all together, in training.
    """
    n_kept = sum(fit.keeps_checkpoints for fit in fits)
    return int(_SHARE * memory_limit / max(1, n_kept))


def epochs_to_keep(row: Row, limit: int) -> range:
    """Return the epochs of its whole training, from 1, after which to keep a checkpoint.

    `limit` are the bytes that a network's checkpoints may take.
    """
    weights = row.module.state_dict().values()
    n_bytes = _COPIES * sum(w.numel() * w.element_size() for w in weights)
    return checkpoint_epochs(len(row.state.history), row.n_epochs, n_bytes, limit)


def checkpoint_epochs(n_before: int, n_epochs: int, n_bytes: int, limit: int) -> range:
    """Return evenly spaced epochs, as many as pay and as there is room for.

    `n_before` epochs were trained before and count; after the last of the `n_epochs` to
    come nothing has to be kept. A checkpoint takes `n_bytes`, all may take `limit`.

    Of n epochs with a checkpoint after each s of them, the checkpoints cost c n / s epochs,
    and the way back to one of the epochs s / 2: least in all where s is sqrt(2 c n).

    >>> list(checkpoint_epochs(9, 18, n_bytes=100, limit=1000))
    [12, 15, 18, 21, 24]
    >>> list(checkpoint_epochs(9, 18, n_bytes=100, limit=250))
    [15, 21]
    """
    n_most = limit // max(1, n_bytes)
    if n_most < 1:
        return range(0)
    # One more stretch than there are epochs to keep, the last of which ends the training.
    spacing = math.ceil(n_epochs / (n_most + 1))
    spacing = max(1, spacing, round(math.sqrt(2 * _COST * n_epochs)))
    return range(n_before + spacing, n_before + n_epochs, spacing)


def checkpoint_before(
    checkpoints: Sequence[TrainingState], n_epochs: int
) -> TrainingState | None:
    """Return the last checkpoint before an epoch.

    Parameters
    ----------
    checkpoints : sequence of TrainingState
        Of one fit.
    n_epochs : int
        Number of the epoch, from 1.

    Returns
    -------
    TrainingState or None
        With fewer epochs; None if there is none.
    """
    before = [state for state in checkpoints if len(state.history) < n_epochs]
    return max(before, key=lambda state: len(state.history), default=None)
