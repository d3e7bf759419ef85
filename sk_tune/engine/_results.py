# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What is there of the fits of a call, and what is done with each result that comes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from sk_tune.engine._progress import ProgressReporter
from sk_tune.engine._records import Fit, Trained
from sk_tune.engine._reference import failed
from sk_tune.engine._shard import Shard
from sk_tune.engine._signature import reason_for_solo
from sk_tune.engine._stored import StoredFits
from sk_tune.estimators import LastSeen, NetworkEstimator, check_parameters, first_seed

__all__ = ["Results", "end_shard", "ready_fits"]


class Results:
    """The results so far.

    `tell` is called with what is added; `as_fleet` says that fits which were trained alone
    are to say why.
    """

    def __init__(
        self, tell: Callable[[dict[int, Trained]], object] | None, *, as_fleet: bool
    ) -> None:
        self.trained: dict[int, Trained] = {}
        self.solo: dict[int, str | None] = {}
        self._tell = tell
        self._as_fleet = as_fleet

    def add(self, trained: dict[int, Trained], solo: Mapping[int, str]) -> None:
        """Take results, and why some were trained alone, by position; tell of them."""
        self.tell(self.take(trained, solo))

    def take(
        self, trained: dict[int, Trained], solo: Mapping[int, str]
    ) -> dict[int, Trained]:
        """Take results, and return them with the reasons why some were trained alone."""
        self.solo |= solo
        if self._as_fleet:
            trained = {
                i: replace(result, solo_reason=self.solo.get(i) or "")
                for i, result in trained.items()
            }
        self.trained |= trained
        return trained

    def tell(self, trained: dict[int, Trained]) -> None:
        """Tell of results, by position."""
        if self._tell is not None:
            self._tell(trained)


def ready_fits(fits: Mapping[int, Fit], results: Results, engine: str) -> dict[int, Fit]:
    """Return fits that can be trained, by position, with seeds and epochs.

    `results` gets the others, which have failed, and why fits are to train alone.
    """
    ready: dict[int, Fit] = {}
    last, reason = LastSeen(), None
    for i, fit in fits.items():
        try:
            own = reason
            if not last.is_like(fit.estimator):
                own = _checked_reason(fit)
                if isinstance(fit.estimator, NetworkEstimator):
                    reason = own
                    last.see(fit.estimator)
            ready[i], results.solo[i] = _with_numbers(fit), own
        except Exception as error:  # noqa: BLE001 - every fit has a result
            results.add({i: failed(fit, error, 0.0, engine)}, {})
    return ready


def end_shard(
    shard: Shard,
    ended: tuple[Any, str],
    results: Results,
    stored: StoredFits,
    reporter: ProgressReporter,
) -> None:
    """Take over what a worker made of a shard: keep it, store it, and tell of it.

    `ended` is what ``train_shard`` returned, or None if the shard was lost, and why.
    """
    result, message = ended
    if result is None:
        own = {i: failed(fit, message, 0.0, "fleet") for i, fit in shard.fits.items()}
        result = (own, {})
    done = results.take(*result)
    stored.save(done)
    results.tell(done)
    reporter.fits_done(done)


def _checked_reason(fit: Fit) -> str | None:
    """Return why a fit is to train alone, if its parameters are what they must be."""
    if isinstance(fit.estimator, NetworkEstimator):
        check_parameters(fit.estimator)
    return reason_for_solo(fit)


def _with_numbers(fit: Fit) -> Fit:
    """Return a fit whose seed and epochs are known, before it goes to a worker."""
    seed, n_epochs = fit.seed, fit.n_epochs
    if fit.state is not None and not isinstance(seed, bytes):
        seed = fit.state.seed
    elif seed is None:
        seed = _first_seed(fit.estimator)
    return replace(fit, seed=seed, n_epochs=n_epochs or int(fit.estimator.max_epochs))


def _first_seed(estimator: Any) -> int:
    if isinstance(estimator, NetworkEstimator):
        return first_seed(estimator)
    # A skorch net draws from torch's global generator, which a user may have seeded.
    return int(torch.randint(2**31, ()))
