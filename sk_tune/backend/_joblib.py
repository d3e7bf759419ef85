# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The joblib backend of a ``with fleet():`` block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from sk_tune.adoption import FitRequested, adopter, adoption
from sk_tune.backend._collecting import CollectingBackend, Job
from sk_tune.backend._draws import RestOfTasks
from sk_tune.backend._session import Recorder, Session

__all__ = ["FleetBackend"]


class FleetBackend(CollectingBackend):
    """Runs tasks in this process, with the trainings in them made as fleets.

    Parameters
    ----------
    session : Session
        Of the block.
    nesting_level : int, default=0
        How many other calls of joblib are around.
    """

    def __init__(self, session: Session, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        self.session = session

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run all collected tasks before joblib looks for their results.

        Yields
        ------
        None
            Nothing.
        """
        current = adopter()
        for jobs in self.collected():
            if current is None:
                self._run_top(jobs)
            elif isinstance(current, Recorder):
                self._record_nested(jobs)
            else:
                self._run_nested(jobs)
        yield

    def get_nested_backend(self) -> tuple["FleetBackend", None]:
        """Return the backend of calls of joblib inside a task.

        Returns
        -------
        backend : FleetBackend
            Of the same session.
        n_jobs : None
            Without effect.
        """
        return FleetBackend(self.session, (self.nesting_level or 0) + 1), None

    def _run_top(self, jobs: Sequence[Job]) -> None:
        replayers = self.session.prepare([job.task for job in jobs])
        for job, replayer in zip(jobs, replayers, strict=True):
            if self._aborted:
                return
            # What asked for nothing costs what it costs without the block.
            timed = self.session.replaying() if replayer.trainings else nullcontext()
            with timed, adoption(replayer):
                job.run()
            if job.error is not None:
                # The rest is not run, as in a plain loop.
                break
        self.session.tell_of_declined()

    def _run_nested(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.run()
            if job.error is not None:
                return

    def _record_nested(self, jobs: Sequence[Job]) -> None:
        """Let all tasks inside a task ask for their trainings before it is left."""
        requested, rest = (
            False,
            RestOfTasks(self.session.draws, self.session.shared_objects),
        )
        for job in jobs:
            start = torch.get_rng_state()
            try:
                job.result = job.task()
            except FitRequested:
                requested = True
                rest.skip(job.task, start)
            except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
                job.error = error
        if requested:
            raise FitRequested
        for job in jobs:
            job.callback(job)
