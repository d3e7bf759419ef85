# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Epochs and early stopping of networks that leave them to the data.

A step teaches a network about the same in small and large tables, so the automatic number
of epochs grants a number of steps.  Only held-out samples, which small tables cannot spare,
show whether a table needs all of them.  Networks memorise few samples in few steps, so they
get fewer epochs there.  Classifiers then predict wrong classes with certainty, so they get
the fewest, and hold samples out earlier.
"""

from typing import Any

from sklearn.base import is_classifier

# Steps of a training that may stop early, and of a training that may not.
_STEPS, _STEPS_TO_THE_END = 3000, 400
_FEWEST, _MOST = 20, 200
# The most epochs of a training that may not stop early.
_MOST_TO_CLASSIFY, _MOST_TO_REGRESS = 50, 100
# Samples from which on a share is held out.
_ENOUGH_TO_HOLD_OUT, _ENOUGH_TO_CLASSIFY = 300, 150


def stops_early(network: Any, n_samples: int) -> bool:
    """Return whether a network holds samples out and keeps its best epoch."""
    if network.early_stopping != "auto":
        return bool(network.early_stopping)
    if getattr(network, "_is_streamed", False):
        # A chunk has few samples, and the next chunk has others.
        return False
    is_automatic = network.max_epochs == "auto" and not network.callbacks
    enough = _ENOUGH_TO_CLASSIFY if is_classifier(network) else _ENOUGH_TO_HOLD_OUT
    return is_automatic and n_samples >= enough


def epochs_of(network: Any, n_samples: int, *, are_granted: bool = False) -> int:
    """Return the epochs of a network on `n_samples`; `are_granted` by a search."""
    if network.max_epochs != "auto":
        return int(network.max_epochs)
    may_stop = stops_early(network, n_samples)
    if are_granted:
        may_stop = network.early_stopping is True
    n_steps = _STEPS if may_stop else _STEPS_TO_THE_END
    most = _MOST
    if not (may_stop or are_granted):
        most = _MOST_TO_CLASSIFY if is_classifier(network) else _MOST_TO_REGRESS
    batch_size = n_samples if network.batch_size == -1 else network.batch_size
    per_epoch = max(1, -(-n_samples // max(1, int(batch_size))))
    return min(most, max(_FEWEST, -(-n_steps // per_epoch)))
