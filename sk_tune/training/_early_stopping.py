# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""When to stop, decided from the validation losses seen so far."""

from dataclasses import dataclass, replace

__all__ = ["StoppingState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingState:
    """What early stopping remembers between epochs.

    Parameters
    ----------
    best_loss : float, default=inf
        Lowest validation loss so far.
    best_epoch : int, default=0
        Its epoch, counted from 1; 0 before the first.
    n_waited : int, default=0
        Epochs since the loss last fell by more than the tolerance.
    """

    best_loss: float = float("inf")
    best_epoch: int = 0
    n_waited: int = 0

    def after(self, epoch: int, loss: float, tol: float) -> "StoppingState":
        """Return the state after one more epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 1.
        loss : float
            Its validation loss.
        tol : float
            A fall of the loss must exceed it to count as progress.

        Returns
        -------
        StoppingState
            ``best_epoch`` equals `epoch` if this one is the best so far.

        Examples
        --------
        >>> state = StoppingState().after(1, 0.5, tol=0.1).after(2, 0.45, tol=0.1)
        >>> state.best_epoch, state.n_waited
        (2, 1)
        """
        n_waited = 0 if loss < self.best_loss - tol else self.n_waited + 1
        if loss < self.best_loss:
            return StoppingState(best_loss=loss, best_epoch=epoch, n_waited=n_waited)
        return replace(self, n_waited=n_waited)
