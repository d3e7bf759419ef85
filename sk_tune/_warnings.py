# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Warnings that point at the user's line, once for each topic of a search."""

import dis
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from sk_tune._text import CARRIED, page
from sk_tune.exceptions import SkTuneWarning, TrainedAloneWarning

_PACKAGE = str(Path(__file__).parent)
# A message and its category, by topic.
Messages = dict[str, tuple[str, type[SkTuneWarning]]]

# Topics that a search has warned about, so that its folds do not repeat them.
_WARNED_TOPICS: ContextVar[set[str] | None] = ContextVar("_WARNED_TOPICS", default=None)


@contextmanager
def one_warning_per_topic() -> Iterator[None]:
    """Let `warn_user` issue only one warning `about` each topic in this block."""
    token = _WARNED_TOPICS.set(set())
    try:
        yield
    finally:
        _WARNED_TOPICS.reset(token)


# Warnings to issue when a task of a search ends, possibly in another process.
_PENDING: ContextVar[Messages | None] = ContextVar("_PENDING", default=None)


@contextmanager
def collected_warnings() -> Iterator[Messages]:
    """Collect warnings `about` topics in this block, for the caller to issue."""
    messages: Messages = {}
    token = _PENDING.set(messages)
    try:
        yield messages
    finally:
        _PENDING.reset(token)


def issue(messages: Messages) -> None:
    """Issue collected warnings."""
    for about, (message, category) in messages.items():
        warn_user(message, category, about=about)


def warn_user(message: str, category: type[SkTuneWarning], *, about: str = "") -> None:
    """Issue a warning at the innermost line outside of sk_tune and of its callers."""
    topics, pending = _WARNED_TOPICS.get(), _PENDING.get()
    if about and pending is not None:
        pending.setdefault(about, (message, category))
        return
    if about and topics is not None:
        if about in topics:
            return
        topics.add(about)
    # From Python 3.12 on, skip_file_prefixes does this.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_skipped()):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


# Modules that call sk_tune on behalf of a user.
_BETWEEN = ("sklearn", "joblib", "skopt", "torch", "contextlib")


def _skipped() -> tuple[str, ...]:
    files = [getattr(sys.modules.get(name), "__file__", None) for name in _BETWEEN]
    return (_PACKAGE, *(f.removesuffix("__init__.py") for f in files if f))


def warn_trained_alone(reasons: Mapping[str, int]) -> None:
    """Warn of networks trained alone, with counts by reason ("..., because <reason>")."""
    counts = Counter(reasons)
    n = counts.total()
    if n:
        listed = "; ".join(f"{m} because {why}" for why, m in counts.most_common())
        networks = "network was" if n == 1 else "networks were"
        warn_user(
            f"{n} {networks} trained alone, which is slower and gives the same result: "
            f"{listed}. See {page(CARRIED)}",
            TrainedAloneWarning,
        )


def is_raised_by_code(error: BaseException) -> bool:
    """Return whether a raise statement raised the error, not a signal such as Ctrl-C."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    instruction = traceback.tb_frame.f_code.co_code[traceback.tb_lasti]
    return instruction == dis.opmap["RAISE_VARARGS"]
