# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Errors and warnings of sk_tune; every one is also a built-in that callers may catch."""

import dis
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import ClassVar

from sk_tune._text import CARRIED, page

__all__ = [
    "OptionError",
    "SearchError",
    "SkTuneError",
    "SkTuneWarning",
    "SpaceError",
    "StoreError",
    "TableError",
    "TrainingDivergedError",
    "TrainingFailedError",
    "is_raised_by_code",
    "telling_later",
    "telling_once",
    "warn_of_solo",
    "warn_user",
]

_PACKAGE = str(Path(__file__).parent)


class SkTuneError(Exception):
    """Base of all errors that sk_tune raises under a name of its own.

    A note below the message names the page of the documentation that tells more.
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
    """The loss or a weight became infinite or NaN, so there is no network to keep."""


class TrainingFailedError(SkTuneError, RuntimeError, page="user-guide/fleets"):
    """A network's training failed where it was made for it: in a fleet or a worker."""


class TableError(SkTuneError, ValueError, page="how-to/prepare"):
    """A table, column or file that cannot be used."""


class OptionError(SkTuneError, ValueError, page="user-guide/command-line"):
    """An option of the command line that does not suit the table or the other options."""


class SearchError(SkTuneError, RuntimeError, page="user-guide/searches"):
    """A search that ends without a network to choose."""


class SpaceError(SkTuneError, ValueError, page="user-guide/searches"):
    """A space that cannot be searched, or a candidate that is not of it."""


class StoreError(SkTuneError, OSError, page="how-to/resume"):
    """A file of finished fits that cannot be used."""


class SkTuneWarning(UserWarning):
    """Base of all warnings that sk_tune issues."""


# What users were told of in a search, whose folds would say it again.
_TOLD: ContextVar[set[str] | None] = ContextVar("_TOLD", default=None)


@contextmanager
def telling_once() -> Iterator[None]:
    """Let `warn_user` be silent of what it has told `about` in this block."""
    token = _TOLD.set(set())
    try:
        yield
    finally:
        _TOLD.reset(token)


# What they are to be told of when a task of a search ends, maybe in another process.
_TO_TELL: ContextVar[dict[str, str] | None] = ContextVar("_TO_TELL", default=None)


@contextmanager
def telling_later() -> Iterator[dict[str, str]]:
    """Keep what `warn_user` has to tell `about` in this block, for the caller to tell."""
    messages: dict[str, str] = {}
    token = _TO_TELL.set(messages)
    try:
        yield messages
    finally:
        _TO_TELL.reset(token)


def warn_user(message: str, *, about: str = "") -> None:
    """Issue a ``SkTuneWarning`` that points at the user's line.

    This is the innermost line that does not belong to sk_tune or to a package between the
    user and sk_tune.
    """
    told, to_tell = _TOLD.get(), _TO_TELL.get()
    if about and to_tell is not None:
        to_tell.setdefault(about, message)
        return
    if about and told is not None:
        if about in told:
            return
        told.add(about)
    # Python 3.12 has skip_file_prefixes for this.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_skipped()):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, SkTuneWarning, stacklevel=level)


# Modules that call sk_tune on behalf of a user.
_BETWEEN = ("sklearn", "joblib", "skopt", "contextlib")


def _skipped() -> tuple[str, ...]:
    files = [getattr(sys.modules.get(name), "__file__", None) for name in _BETWEEN]
    return (_PACKAGE, *(f.removesuffix("__init__.py") for f in files if f))


def warn_of_solo(reasons: Mapping[str, int]) -> None:
    """Warn of networks that no fleet carried, how many for each reason, if there are any.

    A reason is a clause that continues "was trained alone because".
    """
    counts = Counter(reasons)
    n = counts.total()
    if n:
        listed = "; ".join(f"{m} because {why}" for why, m in counts.most_common())
        networks = "network was" if n == 1 else "networks were"
        warn_user(
            f"{n} {networks} trained alone, which is slower and gives the same result: "
            f"{listed}. See {page(CARRIED)}"
        )


def is_raised_by_code(error: BaseException) -> bool:
    """Return whether a raise statement raised, not a signal such as that of Ctrl-C."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    instruction = traceback.tb_frame.f_code.co_code[traceback.tb_lasti]
    return instruction == dis.opmap["RAISE_VARARGS"]
