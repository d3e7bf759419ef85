# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The work of one ``with fleet()`` block: record, train, replay.

Every task runs twice.  *Record*: a copy of the task runs, and leaves by an exception when
a network requests a training that does not exist yet.  After all tasks are recorded, the
engine trains all requests.  A task that then fits another network is recorded again, until
nothing is missing.  *Replay*: the task itself runs, and its networks adopt their trainings.
A fit that does not match the record trains as it does without the block.
"""

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import clone

from sk_tune._adoption import FitRequested, adoption
from sk_tune._backend._shared_objects import CannotPutBackError, SharedObjects, State
from sk_tune._backend._task_copy import (
    RemainingDraws,
    copy_task,
    kept_random_states,
    silenced,
)
from sk_tune._engine import (
    Fit,
    Trained,
    data_fingerprint,
    draw_as_fit,
    outside_blocks,
    params_fingerprint,
    signature,
    train,
)
from sk_tune._estimators import NetworkEstimator, resolve_seed
from sk_tune._text import CARRIED, error_line, error_text, page, seconds_text, text_table
from sk_tune._training import TrainingState, seed_of_state
from sk_tune._warnings import warn_trained_alone

Task = Callable[[], Any]
# Takes X, y and sample_weight; returns positions of monitor samples.
Monitor = Callable[[Any, Any, Any], Any]
_FASTEST = "by the kernel"
_FASTER = (
    "The kernel is fastest. It trains MLPs, with or without embeddings of categories "
    "(categorical_features), and nn.Sequential modules of supported layers. See "
    f"{page(CARRIED)}"
)
# Reason for a network of a recorded task that trains as usual.
_UNMATCHED = "no equal fit was requested when a copy of its task ran"


@dataclass(slots=True, kw_only=True)
class FleetReport:
    """Counts, times and reasons of a ``with fleet()`` block.

    Parameters
    ----------
    n_requested : int
        Trainings requested by networks of the block, in fleets or alone.
    n_in_fleets : int
        Requested trainings that were networks of a fleet.
    n_calls : int
        Calls of the engine; each trains all new requests.
    n_fleets : int
        Number of fleets, summed over the calls.  The networks of a fleet train as one
        tensor program, which is divided into shards for several workers.
    n_continued : int
        Trainings that continued a shorter training of the same fit.
    n_loaded : int
        Trainings loaded from the store.
    n_adopted : int
        Networks that adopted a training.
    n_trained_again : int
        Networks that were trained alone because no recorded training matched;
        `alone_reasons` has the reasons.
    n_drawn_otherwise : int
        Plain skorch nets that drew different numbers from torch's global generator than
        without the block, because the number of earlier draws could not be predicted.
    alone_reasons : dict of str to int
        Number of networks that were trained alone, by reason.
    ways : dict of str to int
        Number of networks in fleets by way of training: by the kernel, by layers with
        derivatives written out, or by ``torch.func.vmap``; with the reason why a faster
        way was not possible.
    seconds_recording, seconds_training, seconds_replaying : float
        Wall-clock time.
    """

    n_requested: int = 0
    n_in_fleets: int = 0
    n_calls: int = 0
    n_fleets: int = 0
    n_continued: int = 0
    n_loaded: int = 0
    n_adopted: int = 0
    n_trained_again: int = 0
    n_drawn_otherwise: int = 0
    alone_reasons: dict[str, int] = field(default_factory=dict)
    ways: dict[str, int] = field(default_factory=dict)
    seconds_recording: float = 0.0
    seconds_training: float = 0.0
    seconds_replaying: float = 0.0

    def __str__(self) -> str:
        counts = [
            ["requested", self.n_requested],
            ["in fleets", self.n_in_fleets],
            ["kinds of fleets", self.n_fleets],
            ["continued from a shorter one", self.n_continued],
            ["loaded from the store", self.n_loaded],
            ["alone", sum(self.alone_reasons.values())],
            ["adopted by networks", self.n_adopted],
            ["with other random numbers", self.n_drawn_otherwise],
        ]
        names = ("recording", "training", "replaying")
        spent = (f"{n} {seconds_text(getattr(self, f'seconds_{n}'))}" for n in names)
        lines = [f"{n} trained {way}" for way, n in self.ways.items()]
        reasons = self.alone_reasons.items()
        lines += [f"{n} trained alone, because {why}" for why, n in reasons]
        if self.alone_reasons or not all(way.startswith(_FASTEST) for way in self.ways):
            lines.append(_FASTER)
        table = text_table(["trainings", "count"], counts)
        return "\n".join([table, ", ".join(spent), *lines])


@dataclass(slots=True, kw_only=True, eq=False)
class _RequestedTraining:
    """A requested training and its result."""

    fit: Fit
    key: Any
    base_key: Any
    trained: Trained | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether a second fit with the same key gives the same network."""
        seed = getattr(self.fit.estimator, "random_state", None)
        return isinstance(seed, int | np.integer)


@dataclass(slots=True, eq=False)
class _Recording:
    """A task, its requests, and the reason or the exception that ended its recording."""

    task: Task
    trainings: list[_RequestedTraining] = field(default_factory=list)
    reason: str = ""
    error: str = ""
    # State of torch's generator and of shared objects at the first recording.
    start: Any = None
    shared: State = field(default_factory=list)


class Session:
    """The trainings of one block, with `monitor` and the engine's `options`."""

    def __init__(self, monitor: Monitor | None = None, **options: Any) -> None:
        self.report = FleetReport()
        self.monitor = monitor
        # Reasons of networks outside of fleets, until reported.
        self.declined: Counter[str] = Counter()
        self._options = options
        # Finished trainings of repeatable fits by key, for all tasks of the block.
        self.known: dict[Any, _RequestedTraining] = {}
        self._latest: dict[Any, _RequestedTraining] = {}
        # A number and one object for equal data.
        self._data: dict[Any, tuple[int, Any]] = {}
        # Words drawn by plain skorch nets in a training step, by module and batch size.
        self.words: dict[Any, int] = {}
        self.shared_objects = SharedObjects()

    def prepare(self, tasks: Sequence[Task], n_jobs: int | None = None) -> list["Replayer"]:
        """Record tasks in order, train the requested fits, and return the replayers."""
        recordings = [_Recording(task) for task in tasks]
        waiting = self._record_all(recordings)
        while waiting:
            missing = [t for r in waiting for t in r.trainings if t.trained is None]
            self._train(missing, n_jobs)
            # Tasks with equal numbers of requests are alike: one of them shows whether all
            # are complete.  A network of a task that differs trains as usual.
            by_size: dict[int, list[_Recording]] = {}
            for recording in waiting:
                by_size.setdefault(len(recording.trainings), []).append(recording)
            probes = self._record_all([same[0] for same in by_size.values()])
            for probe, *twins in by_size.values():
                for recording in twins:
                    recording.reason, recording.error = probe.reason, probe.error
            later = [r for same in by_size.values() if same[0] in probes for r in same[1:]]
            waiting = [*probes, *self._record_all(later)]
        return [Replayer(self, r) for r in recordings]

    def _record_all(self, recordings: Iterable[_Recording]) -> list[_Recording]:
        """Record tasks, each as after earlier tasks; return the tasks with new requests."""
        shared = self.shared_objects
        incomplete, draws = [], RemainingDraws(self.words, shared)
        with self.timed("recording"), kept_random_states(), shared.put_back():
            for recording in recordings:
                if self._record(recording):
                    incomplete.append(recording)
                    draws.skip(recording.task, recording.start)
        return incomplete

    def _record(self, recording: _Recording) -> bool:
        """Run a copy of a task; return whether it has a new request."""
        recorder = Recorder(self, recording.trainings)
        n_before = len(recording.trainings)
        try:
            with adoption(recorder), silenced():
                copied = copy_task(recording.task, self.shared_objects.meet)
                if copied is not None:
                    if recording.start is None:
                        recording.start = torch.get_rng_state()
                        recording.shared = self.shared_objects.state()
                    else:
                        torch.set_rng_state(recording.start)
                        self.shared_objects.restore(recording.shared)
                    _note_error(recording, _fit_error(copied()))
        except FitRequested:
            pass
        except CannotPutBackError as error:
            recording.reason = str(error)
            return False
        except Exception as error:  # noqa: BLE001 - reported, unless the task raises it
            _note_error(recording, error_text(error))
            return False
        recording.reason = recording.reason or recorder.reason
        # A task with a new request in each recording would never be complete.
        return recorder.n_new > 0 and recorder.n_found >= n_before

    def _train(self, asked: Sequence[_RequestedTraining], n_jobs: int | None) -> None:
        # Equal repeatable fits share one training.
        unique: dict[Any, _RequestedTraining] = {}
        for training in asked:
            key = training.key if training.is_repeatable else id(training)
            unique.setdefault(key, training)
        fits = [self._continued(t) for t in unique.values()]
        options = dict(self._options)
        with self.timed("training"), adoption(None), outside_blocks():
            if options.get("n_jobs") is None and n_jobs is not None:
                # Ensembles ask for one worker per member.
                options["n_jobs"] = min(map(joblib.effective_n_jobs, (n_jobs, -1)))
            results = train(fits, **options)
        for key, trained in zip(unique, results, strict=True):
            unique[key].trained = trained
        for training in asked:
            if training.is_repeatable:
                training.trained = unique[training.key].trained
                self.known[training.key] = training
                self._latest[training.base_key] = training
        self._count(fits, results)

    def _continued(self, training: _RequestedTraining) -> Fit:
        """Return a fit that continues a shorter training, if the result is exact."""
        fit = training.fit
        earlier = self._latest.get(training.base_key)
        trained = None if earlier is None else earlier.trained
        state = None if trained is None else trained.state
        if (
            state is None
            or state.restart_reason
            or not training.is_repeatable
            or getattr(fit.estimator, "lr_schedule", None) != "constant"
            or len(state.history) >= fit.epochs
        ):
            return fit
        self.report.n_continued += 1
        return replace(fit, state=state, n_epochs=fit.epochs - len(state.history))

    def _count(self, fits: Sequence[Fit], results: Sequence[Trained]) -> None:
        report = self.report
        report.n_calls += 1
        report.n_requested += len(results)
        report.n_loaded += sum(result.is_loaded for result in results)
        # Networks of a fleet, also of users' modules, are equal in these.
        kinds = []
        for fit, result in zip(fits, results, strict=True):
            if result.engine == "fleet":
                weights = {} if result.state is None else result.state.weights
                shapes = ((name, w.shape) for name, w in weights.items())
                kinds.append((*signature(fit), *shapes))
        report.n_in_fleets += len(kinds)
        report.n_fleets += len(set(kinds))
        reasons = Counter(r.alone_reason for r in results if r.alone_reason)
        report.alone_reasons = dict(Counter(report.alone_reasons) + reasons)
        ways = Counter(r.way for r in results if r.way)
        report.ways = dict(Counter(report.ways) + ways)

    def report_declined(self) -> None:
        """Report and warn about networks outside of fleets since the last call."""
        if self.declined:
            warn_trained_alone(self.declined)
            self.report.n_requested += self.declined.total()
            reasons = Counter(self.report.alone_reasons) + self.declined
            self.report.alone_reasons = dict(reasons)
            self.declined = Counter()

    def shared(self, data: Any) -> tuple[int, Any]:
        """Return the number of equal data, and their first object in the block."""
        key = data_fingerprint(data)
        if key not in self._data:
            is_plain = isinstance(data, np.ndarray) and not data.dtype.hasobject
            # A copy, because a task may write to the array.
            self._data[key] = len(self._data), np.array(data) if is_plain else data
        return self._data[key]

    def number(self, data: Any) -> int | None:
        """Return the number of recorded data; None if no equal data were recorded."""
        number, _ = self._data.get(data_fingerprint(data), (None, None))
        return number

    @contextmanager
    def timed(self, what: str) -> Any:
        """Add the time of the block to the report."""
        start = time.perf_counter()
        try:
            yield
        finally:
            name = f"seconds_{what}"
            seconds = getattr(self.report, name) + time.perf_counter() - start
            setattr(self.report, name, seconds)


def _note_error(recording: _Recording, error: str) -> None:
    if error:
        recording.reason = f"its task failed when a copy of it ran ({error})"
    recording.error = error


def _fit_error(results: Any) -> str:
    """Return the error of a fit that scikit-learn caught in a task; empty if none."""
    results = results if isinstance(results, list | tuple) else [results]
    errors = (r.get("fit_error") for r in results if isinstance(r, dict))
    return error_line(next(filter(None, errors), ""))


class _Answers:
    """The trainings of one task, handed out to its networks."""

    def __init__(self, session: Session, trainings: list[_RequestedTraining]) -> None:
        self.session = session
        self.trainings = trainings
        self._used: set[int] = set()
        self.n_found = 0

    def find(self, key: Any) -> _RequestedTraining | None:
        """Return the first training with a key that was not handed out yet."""
        for position, training in enumerate(self.trainings):
            if training.key == key and position not in self._used:
                self._used.add(position)
                self.n_found += 1
                return training
        return self.session.known.get(key)


class Recorder(_Answers):
    """Records the requests of a task's networks in its list of trainings."""

    def __init__(self, session: Session, trainings: list[_RequestedTraining]) -> None:
        super().__init__(session, trainings)
        self.n_new = 0
        # Why a network of the task has to train in it.
        self.reason = ""

    def __call__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any
    ) -> TrainingState | None:
        """Return an existing training, or record the request and leave the task."""
        shared = [self.session.shared(part) for part in (X, y, sample_weight)]
        numbers, data = zip(*shared, strict=True)
        key = (params_fingerprint(estimator), _seed_key(estimator), numbers)
        training = self.find(key)
        if training is None:
            training = _training(estimator, key, data, self.session.monitor)
            if not isinstance(estimator, NetworkEstimator):
                # The generator is as after the training.
                reason = draw_as_fit(estimator, X, y, self.session.words)
                if reason:
                    self.reason = reason
                    self.decline(reason)
                    return None
            self.trainings.append(training)
            self.n_new += 1
            raise FitRequested
        if training.trained is None:
            raise FitRequested
        # A failed training fails again when it is replayed, with the same error.
        return training.trained.state

    def decline(self, reason: str) -> None:
        """Leave a task that trains alone in the replay, unless it has other trainings."""
        if self.n_new > 0 or not self.trainings:
            raise FitRequested


class Replayer(_Answers):
    """Hands the trainings of a recorded task to its networks."""

    def __init__(self, session: Session, recording: _Recording) -> None:
        super().__init__(session, recording.trainings)
        self._reason, self._error = recording.reason, recording.error
        # Networks with fits that match no recorded training.
        self._n_unmatched = 0

    def decline(self, reason: str) -> None:
        """Count a network that no fleet can train."""
        self.session.declined[reason] += 1

    def end(self, result: Any, error: BaseException | None) -> None:
        """Count networks that trained as usual, unless the task failed as its copy did."""
        own_error = _fit_error(result) if error is None else error_text(error)
        if not self._n_unmatched or (own_error and own_error == self._error):
            return
        self.session.declined[self._reason or _UNMATCHED] += self._n_unmatched

    def __call__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any
    ) -> TrainingState | None:
        """Return the training, or None if no recorded one matches."""
        numbers = tuple(self.session.number(part) for part in (X, y, sample_weight))
        training = self.find((params_fingerprint(estimator), _seed_key(estimator), numbers))
        trained = None if training is None else training.trained
        state = None if trained is None else trained.state
        if state is None:
            # A failed training fails again, and the task reports the error.
            self._n_unmatched += training is None
            self.session.report.n_trained_again += 1
            return None
        self.session.report.n_adopted += 1
        if isinstance(estimator, NetworkEstimator):
            # The estimator's generator advances as in fit.
            resolve_seed(estimator.random_state)
        elif seed_of_state(torch.get_rng_state().numpy().tobytes()) != state.seed:
            self.session.report.n_drawn_otherwise += 1
        return state


def _training(
    estimator: Any, key: Any, data: Sequence[Any], monitor: Monitor | None
) -> _RequestedTraining:
    """Return the request of an estimator; a clone guards against later changes."""
    twin = clone(estimator)
    seed: int | bytes
    rows = None
    if isinstance(twin, NetworkEstimator):
        seed = resolve_seed(twin.random_state)
        rows = None if monitor is None else monitor(*data)
    else:
        # skorch nets draw from torch's global generator.
        seed = torch.get_rng_state().numpy().tobytes()
    X, y, weight = data
    fit = Fit(estimator=twin, X=X, y=y, sample_weight=weight, seed=seed, monitor=rows)
    # Automatic early stopping depends on max_epochs.
    is_automatic = twin.max_epochs == "auto"
    params = params_fingerprint(twin, without="max_epochs")
    base_key = (params, is_automatic, seed, key[-1])
    return _RequestedTraining(fit=fit, key=key, base_key=base_key)


def _seed_key(estimator: Any) -> int | None:
    """Return the seed of a fit if its training must have had the same."""
    state = getattr(estimator, "random_state", None)
    if not isinstance(state, np.random.RandomState):
        return None
    # A copy, because drawing changes the state.
    return resolve_seed(copy.deepcopy(state))
