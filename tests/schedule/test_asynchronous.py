"""Promotions of asynchronous halving, for any order of results."""

import math
import operator

from hypothesis import given
from hypothesis import strategies as st

from sk_tune._schedule import AsynchronousBracket, Rung, RungJob, halving_schedule


def _rungs(*pairs):
    return [Rung(n_candidates=n, n_resources=r) for n, r in pairs]


def _n_arrived(bracket):
    return [len(scores) for scores in bracket._scores]


def _alone(bracket, score):
    """Yield the jobs of a single worker, with a score for each candidate."""
    while (job := bracket.next_job()) is not None:
        bracket.start(job)
        bracket.end(job, score(job.candidate))
        yield job.candidate, job.rung


class _Played:
    """A bracket run to its end by several workers, with results in any order."""

    def __init__(self, rungs, factor, scores, n_workers, order):
        self.bracket = AsynchronousBracket(rungs, factor)
        self.started, self.finished = [], []
        # Candidates that the bracket gave up, with the rung that they had reached.
        self.gone = set()
        running = []
        while True:
            while len(running) < n_workers and (job := self.bracket.next_job()):
                self.check(job, factor)
                self.bracket.start(job)
                self.started.append(job)
                running.append(job)
            # All jobs are submitted when a worker is free.
            assert len(running) == n_workers or self.bracket.next_job() is None
            if not running:
                return
            job = running.pop(next(order) % len(running))
            score = scores[job.candidate % len(scores)]
            self.bracket.end(job, score)
            self.finished.append((job, score))
            waiting = self.bracket.waiting()
            done = {each.candidate: each.rung for each, _ in self.finished}
            self.gone |= {each for each in done.items() if each[0] not in waiting}

    def check(self, job, factor):
        """Compare a job with the results so far."""
        if job.rung == 0:
            return
        below = [(j.candidate, s) for j, s in self.finished if j.rung == job.rung - 1]
        scores_below = dict(below)
        assert job.candidate in scores_below
        assert (job.candidate, job.rung - 1) not in self.gone
        assert not math.isnan(scores_below[job.candidate])
        n_better = sum(s > scores_below[job.candidate] for _, s in below)
        planned = self.bracket.rungs[job.rung].n_candidates
        n_running = sum(j.rung < job.rung for j in self.started) - sum(
            j.rung < job.rung for j, _ in self.finished
        )
        is_complete = (
            n_running == 0 and self.bracket._n_started == self.bracket.rungs[0].n_candidates
        )
        allowed = len(below) // factor
        assert n_better < (max(allowed, planned) if is_complete else allowed)


PLAYS = {
    "n": st.integers(1, 40),
    "factor": st.integers(2, 4),
    "scores": st.lists(
        st.one_of(st.integers(0, 9).map(float), st.just(math.nan)), min_size=1, max_size=40
    ),
    "n_workers": st.integers(1, 8),
    "order": st.lists(st.integers(0, 100), min_size=1, max_size=20),
}


def _play(n, factor, scores, n_workers, order):
    schedule = halving_schedule(n, max_resources=27, min_resources=1, factor=factor)
    turns = (order[i % len(order)] for i in range(10**6))
    return schedule, _Played(schedule.rungs, factor, scores, n_workers, turns)


@given(**PLAYS)
def test_only_the_best_results_so_far_are_promoted(**play):
    """One in `factor`, never a failed candidate, only after its result; no worker idles."""
    schedule, played = _play(**play)

    assert len(played.started) == len(set(played.started)) == len(played.finished)
    assert _n_arrived(played.bracket)[0] == schedule.rungs[0].n_candidates


@given(**PLAYS)
def test_every_rung_has_at_least_as_many_candidates_as_in_synchronous_halving(**play):
    """Unless candidates failed."""
    play["scores"] = [0.0 if math.isnan(s) else s for s in play["scores"]]
    schedule, played = _play(**play)

    for n_arrived, rung in zip(_n_arrived(played.bracket), schedule.rungs, strict=True):
        assert n_arrived >= rung.n_candidates


@given(n=st.integers(1, 60), factor=st.integers(2, 4), seed=st.randoms())
def test_simultaneous_results_give_the_rungs_of_synchronous_halving(n, factor, seed):
    """With a worker for each candidate, promotions equal synchronous halving."""
    schedule = halving_schedule(n, max_resources=27, min_resources=1, factor=factor)
    scores = seed.sample(range(n), n)
    bracket = AsynchronousBracket(schedule.rungs, factor)
    while (job := bracket.next_job()) is not None:
        jobs = []
        while job is not None:
            bracket.start(job)
            jobs.append(job)
            job = bracket.next_job()
        # Best first, so that the first results remain the best.
        for each in sorted(jobs, key=lambda j: -scores[j.candidate]):
            bracket.end(each, scores[each.candidate])

    assert _n_arrived(bracket) == [rung.n_candidates for rung in schedule.rungs]


def test_a_run_with_one_worker():
    """Nine candidates with a factor of 3: the best third is promoted as soon as known."""
    scores = [5.0, 1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0]
    bracket = AsynchronousBracket(_rungs((9, 1), (3, 3), (1, 9)), 3)

    assert list(_alone(bracket, scores.__getitem__)) == [
        (0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (4, 0), (5, 0), (4, 1),
        (6, 0), (7, 0), (8, 0), (6, 1), (2, 2),
    ]  # fmt: skip


def test_a_complete_rung_promotes_candidates_lost_by_rounding():
    """Of 5 candidates with a factor of 3 one is promoted early, the second at the end."""
    jobs = _alone(AsynchronousBracket(_rungs((5, 1), (2, 3), (1, 9)), 3), operator.neg)

    assert list(jobs) == [(0, 0), (1, 0), (2, 0), (0, 1), (3, 0), (4, 0), (1, 1), (0, 2)]


def test_a_straggler_does_not_delay_others():
    """While one candidate of the first rung is missing, others reach the last rung."""
    bracket = AsynchronousBracket(_rungs((10, 1), (3, 3), (1, 9)), 3)
    bracket.start(bracket.next_job())

    assert {rung for _, rung in _alone(bracket, operator.neg)} == {0, 1, 2}
    assert _n_arrived(bracket)[0] == 9


def test_failed_candidates_are_not_promoted():
    """A rung of failures promotes none, and a failed candidate is never promoted."""
    bracket = AsynchronousBracket(_rungs((4, 1), (2, 2)), 2)
    for score in (math.nan, math.nan, 0.5, math.nan):
        job = RungJob(candidate=bracket._n_started, rung=0)
        bracket.start(job)
        bracket.end(job, score)

    job = bracket.next_job()
    assert job == RungJob(candidate=2, rung=1)
    bracket.start(job)
    assert bracket.next_job() is None


def test_an_exhausted_space_ends_the_first_rung():
    """Only started candidates count, and the rung is complete."""
    bracket = AsynchronousBracket(_rungs((9, 1), (3, 3)), 3)
    for score in (0.1, 0.2):
        job = bracket.next_job()
        bracket.start(job)
        bracket.end(job, score)

    assert bracket.next_job() == RungJob(candidate=2, rung=0)
    bracket.start_no_more()
    assert bracket.next_job() == RungJob(candidate=1, rung=1)


def test_candidates_too_far_behind_are_not_waiting():
    """Of 9 candidates at most 3 are promoted, so the fourth best so far never is."""
    bracket = AsynchronousBracket(_rungs((9, 1), (3, 3), (1, 9)), factor=3)
    waiting = []
    for score in (0.5, 0.4, math.nan, 0.3, 0.2, 0.9):
        job = RungJob(candidate=bracket._n_started, rung=0)
        bracket.start(job)
        bracket.end(job, score)
        waiting.append(set(bracket.waiting()))

    assert waiting == [{0}, {0, 1}, {0, 1}, {0, 1, 3}, {0, 1, 3}, {0, 1, 5}]
    bracket.start(RungJob(candidate=5, rung=1))
    assert bracket.waiting() == {0, 1}


def test_a_shrunk_bracket_promotes_like_a_bracket_of_its_size():
    """Of five started candidates one is promoted to each rung, with a factor of 3."""
    bracket = AsynchronousBracket(_rungs((27, 1), (9, 3), (3, 9), (1, 27)), 3)
    jobs = []
    for _ in range(5):
        jobs.append(bracket.next_job())
        bracket.start(jobs[-1])
    assert bracket.top == 0

    bracket.shrink()
    for score, job in enumerate(jobs):
        bracket.end(job, float(score))

    assert list(_alone(bracket, float)) == [(4, 1), (4, 2), (4, 3)]
    assert bracket.top == 3
    assert not bracket.waiting()


def test_a_bracket_may_promote_only_its_best():
    """Two of six would be promoted; the second one remains with its resources."""
    bracket = AsynchronousBracket(_rungs((6, 1), (2, 3), (1, 9)), 3)
    jobs = [bracket.next_job() for _ in range(2)]
    for score in (0.0, 1.0, 2.0):
        job = bracket.next_job()
        bracket.start(job)
        bracket.end(job, score)
    assert jobs == [RungJob(candidate=0, rung=0)] * 2

    bracket.shrink(to_best=True)

    assert list(_alone(bracket, float)) == [(2, 1), (2, 2)]
    assert bracket.rungs_of_waiting() == []
