"""Tasks that run without a word, beside threads that have something to say."""

import random
import sys
import threading
import warnings

import pytest
import torch
from torch import nn

from sk_tune.backend._task_copy import kept_random_states, silenced
from sk_tune.training import forked_rng


def _in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    return thread, results


def test_what_the_thread_says_is_dropped(capsys):
    """Prints, lines and warnings."""
    with silenced():
        print("lost")  # noqa: T201
        sys.stdout.writelines(["lost\n"])
        warnings.warn("lost", stacklevel=1)
    print("heard")  # noqa: T201

    assert capsys.readouterr().out == "heard\n"


def test_what_other_threads_say_is_printed(capsys):
    """They know nothing of it."""
    with silenced():
        thread, _ = _in_thread(lambda: print("heard"))  # noqa: T201
        thread.join()

    assert capsys.readouterr().out == "heard\n"


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


def test_states_are_put_back():
    """Of Python and of torch."""
    before = random.getstate(), torch.get_rng_state()
    with kept_random_states():
        random.random()
        torch.manual_seed(5)

    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_states_are_not_put_back_while_another_thread_initialises():
    """A module that seeds torch has the weights of its seed, whoever records meanwhile."""
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
