# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which epochs had the lowest loss so far, without reading the whole history at each."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["LowestLosses"]

# Callbacks may record others, of any type.
_KINDS = frozenset({"train_loss", "valid_loss", "monitor_loss"})


class LowestLosses:
    """The lowest loss of each kind that a training has had.

    Parameters
    ----------
    history : iterable of mapping
        Records of the epochs so far, which may lack a kind.

    Examples
    --------
    >>> losses = LowestLosses([{"train_loss": 0.5}, {"train_loss": 0.6}])
    >>> [losses.is_lowest("train_loss", loss) for loss in (0.7, 0.4, 0.5)]
    [False, True, False]
    """

    def __init__(self, history: Iterable[Mapping[str, Any]]) -> None:
        self._lowest: dict[str, float] = {}
        for record in history:
            for name in _KINDS.intersection(record):
                self.is_lowest(name, record[name])

    def is_lowest(self, name: str, loss: float) -> bool:
        """Take note of a loss, and return whether none before was lower.

        Parameters
        ----------
        name : str
            Its kind: "train_loss", "valid_loss" or "monitor_loss".
        loss : float
            Of an epoch; one that is not a number never is the lowest.

        Returns
        -------
        bool
            True for the first one and for one that equals the lowest, too.
        """
        if not loss <= self._lowest.get(name, float("inf")):
            return False
        self._lowest[name] = loss
        return True
