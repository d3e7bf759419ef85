# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The joblib backend that hands the rounds of a search to its session."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from joblib.parallel import ParallelBackendBase

from sk_tune.backend import CollectingBackend
from sk_tune.search._session import SearchSession

__all__ = ["SearchBackend"]


class SearchBackend(CollectingBackend):
    """Collects the tasks of a round and gives them to the session of a search."""

    def __init__(self, session: SearchSession, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session = session

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **kwargs: Any) -> int:
        """Let a call of joblib hand over all of its tasks at once, whatever it was told."""
        if parallel is not None:
            # A search's own pre_dispatch is for the workers, behind the session.
            parallel.pre_dispatch = "all"
        return int(super().configure(n_jobs=n_jobs, parallel=parallel, **kwargs))

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run all collected tasks before joblib looks for their results."""
        for jobs in self.collected():
            self.session.run(jobs)
        yield

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        """Return the backend of calls of joblib inside a task, as joblib has it.

        It is one of threads on the first level, and has no parallelism below.
        """
        nested: tuple[ParallelBackendBase, int | None] = (
            ParallelBackendBase.get_nested_backend(self)
        )
        return nested
