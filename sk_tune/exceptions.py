# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Errors and warnings of sk_tune; every error is also a built-in exception."""

from typing import ClassVar

from sk_tune._text import page

__all__ = [
    "DataWarning",
    "LeakWarning",
    "OptionError",
    "ParameterWarning",
    "ReleaseWarning",
    "SavingWarning",
    "SearchError",
    "SkTuneError",
    "SkTuneWarning",
    "SpaceError",
    "StoreError",
    "StoreWarning",
    "TableError",
    "TimeBudgetWarning",
    "TrainedAloneWarning",
    "TrainingDivergedError",
    "TrainingFailedError",
    "VerdictWarning",
]


class SkTuneError(Exception):
    """Base of sk_tune's errors.

    A note below the message links to a page of the documentation.
    """

    _page: ClassVar[str] = ""

    def __init_subclass__(cls, *, page: str | None = None) -> None:
        cls._page = cls._page if page is None else page

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if self._page:
            self.add_note(f"See {page(self._page)}")


class TrainingDivergedError(
    SkTuneError, ArithmeticError, page="how-to/diagnosis#the-checks"
):
    """The loss or a weight became infinite or NaN, so the network is unusable."""


class TrainingFailedError(SkTuneError, RuntimeError, page="user-guide/fleets"):
    """A network's training failed in a fleet or a worker."""


class TableError(SkTuneError, ValueError, page="how-to/prepare"):
    """A table, column or file that cannot be used."""


class OptionError(SkTuneError, ValueError, page="user-guide/command-line"):
    """A command-line option that contradicts the table or another option."""


class SearchError(SkTuneError, RuntimeError, page="user-guide/searches"):
    """A search ended without a valid network."""


class SpaceError(SkTuneError, ValueError, page="user-guide/searches"):
    """A space that cannot be searched, or a candidate outside the space."""


class StoreError(SkTuneError, OSError, page="how-to/resume"):
    """A file of finished fits that cannot be used."""


class SkTuneWarning(UserWarning):
    """Base of sk_tune's warnings.

    Examples
    --------
    >>> import warnings
    >>> from sk_tune.exceptions import TrainedAloneWarning
    >>> warnings.filterwarnings("ignore", category=TrainedAloneWarning)
    """


class DataWarning(SkTuneWarning):
    """Cells, shapes or classes of the data are probably not as intended."""


class LeakWarning(SkTuneWarning):
    """The leak guard found reasons for optimistic scores."""


class ParameterWarning(SkTuneWarning):
    """A parameter has less effect than its value suggests."""


class ReleaseWarning(SkTuneWarning):
    """Another release of a library trains more slowly or may predict differently."""


class SavingWarning(SkTuneWarning):
    """A saved, loaded or exported model differs from the fitted model."""


class StoreWarning(SkTuneWarning):
    """Finished fits cannot be stored or reused."""


class TimeBudgetWarning(SkTuneWarning):
    """A time budget ended a search or a refit early."""


class TrainedAloneWarning(SkTuneWarning):
    """Networks were trained alone, which is slower and gives the same results."""


class VerdictWarning(SkTuneWarning):
    """The chosen model does not clearly beat a constant prediction."""
