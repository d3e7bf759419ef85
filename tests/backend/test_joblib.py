"""The backend behaves to joblib's callers as its other backends do.

The reference is joblib's own sequential run of the same tasks.
"""

import gc
import threading
import warnings
from operator import mul

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from sk_tune import fleet
from sk_tune._adoption import adopter
from sk_tune._backend import FleetBackend
from sk_tune._backend._session import Session


@pytest.fixture
def backend():
    """A backend of a session of its own."""
    return FleetBackend(Session(n_jobs=1))


@pytest.fixture
def active(backend):
    """The backend, active for the test."""
    with joblib.parallel_config(backend=backend, n_jobs=-1):
        yield backend


OPTIONS = {
    "default": {},
    "n_jobs": {"n_jobs": 2},
    "batches": {"batch_size": 3},
    "one at a time": {"pre_dispatch": 1},
    "all at once": {"pre_dispatch": "all"},
    "batches, one at a time": {"batch_size": 2, "pre_dispatch": 1},
    "generator": {"return_as": "generator"},
    "unordered": {"return_as": "generator_unordered"},
    "threads preferred": {"prefer": "threads", "n_jobs": 2},
    "timeout": {"timeout": 60},
}


# joblib says that the backend has no timeout.
@pytest.mark.filterwarnings("ignore:.*does not support timeout")
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("n_tasks", [0, 1, 7])
def test_results_come_in_order(active, name, n_tasks):
    """All options of Parallel give each result once."""
    tasks = (delayed(mul)(i, i) for i in range(n_tasks))

    assert list(Parallel(**OPTIONS[name])(tasks)) == [i * i for i in range(n_tasks)]


def test_one_parallel_object_is_used_several_times(active):
    """As a context manager and without, in successive calls."""
    with Parallel(n_jobs=2) as parallel:
        first = [parallel(delayed(mul)(i, j) for i in range(3)) for j in range(2)]
    again = parallel(delayed(mul)(i, 5) for i in range(3))

    assert first == [[0, 0, 0], [0, 1, 2]]
    assert again == [0, 5, 10]


def test_no_jobs_are_refused(active):
    """As by every backend of joblib."""
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(mul)(i, i) for i in range(2))


def test_an_error_leaves_the_backend_usable(active):
    """The next call has all of its results, and none of the failed call."""

    def fail(i):
        raise KeyError(i)

    for _ in range(2):
        with pytest.raises(KeyError):
            Parallel()(delayed(fail)(i) for i in range(3))
        assert Parallel()(delayed(mul)(i, 2) for i in range(3)) == [0, 2, 4]


def test_a_generator_that_is_dropped_leaves_the_backend_usable(active):
    """joblib warns that tasks were cancelled, and the next call is right."""
    results = Parallel(return_as="generator")(delayed(mul)(i, 2) for i in range(5))
    assert next(results) == 0

    with warnings.catch_warnings(action="ignore"):
        results.close()
        del results
        gc.collect()

    assert Parallel()(delayed(mul)(i, 3) for i in range(3)) == [0, 3, 6]


def test_two_generators_at_a_time(active):
    """Each gives its own results when both are read in turn."""
    first, second = (
        Parallel(return_as="generator")(delayed(mul)(i, factor) for i in range(4))
        for factor in (2, 3)
    )

    assert list(zip(first, second, strict=True)) == [(2 * i, 3 * i) for i in range(4)]


# --- Calls in each other


def _depth(n):
    if n == 0:
        backend, _ = get_active_backend()
        return type(backend).__name__
    return Parallel()(delayed(_depth)(n - 1) for _ in range(2))


def test_nested_calls(active):
    """At any depth tasks find the same backend, and results keep their nesting."""
    assert _depth(3) == [[["FleetBackend"] * 2] * 2] * 2


def test_a_requested_backend_is_used():
    """A call that names another backend gets it, in the block too."""

    def name():
        return get_active_backend()[0], adopter()

    with fleet(n_jobs=1) as report:
        results = Parallel(2, backend="threading")(delayed(name)() for _ in range(2))

    assert [who for _, who in results] == [None] * 2
    assert report.n_calls == report.n_requested == 0


def test_calls_that_require_shared_memory_start_no_threads(active):
    """Forests cut predictions into as many parts as the backend claims to have workers."""
    X, y = load_iris(return_X_y=True)
    forest = RandomForestClassifier(random_state=0).fit(X, y)
    threads = set()

    proba = forest.predict_proba(X)
    Parallel(n_jobs=8, require="sharedmem")(
        delayed(lambda: threads.add(threading.get_ident()))() for _ in range(8)
    )

    assert threads == {threading.get_ident()}
    with joblib.parallel_config("sequential"):
        np.testing.assert_array_equal(proba, forest.predict_proba(X))


def test_aborting_forgets_tasks(backend):
    """Submitted tasks do not run after an abort."""
    ran = []
    backend.submit(lambda: ran.append(1), lambda _: None)

    backend.abort_everything()
    with backend.retrieval_context():
        pass

    assert ran == []


def test_the_nested_backend_has_the_same_session(backend):
    """Networks of inner calls therefore train together with the outer networks."""
    nested, n_jobs = backend.get_nested_backend()

    assert isinstance(nested, FleetBackend)
    assert nested.session is backend.session
    assert nested.nesting_level == 1
    assert n_jobs is None
