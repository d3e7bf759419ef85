"""A task is recorded on a copy, in silence, and the global generators are put back."""

import logging
import random
import sys
import threading
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from backend.test_fleet import _in_thread
from joblib._parallel_backends import SequentialBackend
from joblib.parallel import BatchedCalls
from scipy.optimize import fmin_l_bfgs_b, rosen
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.parallel import delayed
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import MLPClassifier
from sk_tune._backend._task_copy import copy_task, kept_random_states, silenced
from sk_tune._training import forked_rng


def _arguments(*args, **kwargs):
    return args, kwargs


def test_the_same_object_twice_is_one_object_in_the_copy():
    """A change through one reference is visible through the other."""
    shared, array = [1], np.ones(2)

    task = partial(_arguments, shared, shared, array, array)
    first, second, third, fourth = copy_task(task)()[0]

    assert first is second
    assert third is fourth


class Unknown(LogisticRegression):
    """Code of a user, which may train a network in its ``fit``."""


# By what a task calls: whether it is of libraries and has no network, and the call.
TASKS = {
    "scipy's optimiser": (True, fmin_l_bfgs_b, rosen, np.zeros(2)),
    "scikit-learn's model": (True, LogisticRegression().fit),
    "its search": (True, GridSearchCV(Ridge(), {"alpha": [1.0]}).fit),
    "estimator": (False, GridSearchCV(MLPClassifier(), {}).fit),
    "plain net": (False, make_pipeline(NeuralNetClassifier(nn.Linear)).fit),
    "class": (False, map, MLPClassifier),
    "function": (False, map, _arguments),
    "own class": (False, make_pipeline(Unknown()).fit),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_copied_if_it_may_train_a_network(name):
    """Recording a task without a network is useless and may take long."""
    has_none, function, *arguments = TASKS[name]
    data = () if arguments else (np.eye(6), np.arange(6) % 2)
    options = {"approx_grad": True} if function is fmin_l_bfgs_b else {}

    copied = copy_task(partial(function, *arguments, *data, **options))

    assert copied is None if has_none else callable(copied)


def _warning(net):
    warnings.warn("once more", UserWarning, stacklevel=1)
    return net


def test_warnings_of_the_copy_are_silenced():
    """scikit-learn's wrapper restores the caller's filters, here those of the copy."""
    function = delayed(_warning)(MLPClassifier())
    function[0].with_config_and_warning_filters(
        {"assume_finite": False}, [("always", None, Warning, None, 0)]
    )
    task = BatchedCalls([function], (SequentialBackend(), 1))

    with warnings.catch_warnings(record=True, action="always") as heard:
        with silenced():
            copy_task(task)()
        n_of_copy = len(heard)
        task()

    assert n_of_copy == 0
    assert len(heard) == 1


def test_output_of_other_threads_is_printed(capsys):
    """Only this thread is silent."""
    with silenced():
        thread, _ = _in_thread(lambda: print("heard"))  # noqa: T201
        thread.join()

    assert capsys.readouterr().out == "heard\n"


def _warn_and_log():
    warnings.warn("heard", UserWarning, stacklevel=1)
    logging.getLogger("sk_tune_tests").warning("heard")


def test_warnings_and_logs_of_other_threads_are_heard(caplog):
    """Also if another thread restores the filters of warnings after the block."""
    with warnings.catch_warnings(record=True, action="always") as heard:
        with silenced():
            _warn_and_log()
            thread, _ = _in_thread(_warn_and_log)
            thread.join()
            other = warnings.catch_warnings()
            other.__enter__()
        other.__exit__(None, None, None)
        _warn_and_log()

    assert len(heard) == len(caplog.records) == 2


def test_the_stream_comes_back_after_an_error():
    """The block may raise."""
    before = sys.stdout
    with pytest.raises(ValueError, match="mine"), silenced():
        raise ValueError("mine")

    assert sys.stdout is before


def test_without_a_stream_nothing_breaks(monkeypatch):
    """Windows programs without a console have none."""
    monkeypatch.setattr(sys, "stdout", None)
    with silenced():
        thread, _ = _in_thread(lambda: print("nowhere"))  # noqa: T201
        thread.join()

    assert sys.stdout is None


def test_states_are_restored():
    """Of Python and of torch."""
    before = random.getstate(), torch.get_rng_state()
    with kept_random_states():
        random.random()
        torch.manual_seed(5)

    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_states_are_not_restored_while_another_thread_initialises():
    """A module that seeds torch gets its own weights even while another thread records."""
    events = [threading.Event() for _ in range(4)]
    recording, leave, seeded, go_on = events

    def record():
        with kept_random_states():
            recording.set()
            leave.wait(timeout=60)

    def initialise():
        with forked_rng(0):
            torch.manual_seed(3)
            seeded.set()
            go_on.wait(timeout=60)
            return nn.Linear(4, 3).weight

    first, _ = _in_thread(record)
    recording.wait(timeout=60)
    second, weights = _in_thread(initialise)
    # Never, where one waits for the other.
    seeded.wait(timeout=0.3)
    leave.set()
    first.join(timeout=60)
    go_on.set()
    second.join(timeout=60)

    with forked_rng(3):
        expected = nn.Linear(4, 3).weight
    assert torch.equal(weights[0], expected)
