"""Ctrl-C passes through code that catches KeyboardInterrupt; other interrupts do not."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sk_tune._processes import passing_interrupts


def _swallows(action):
    try:
        action()
    except KeyboardInterrupt:
        return "swallowed"
    return "ended"


def _press(number=signal.SIGINT):
    os.kill(os.getpid(), number)
    # Python calls the handler between two instructions.
    signal.getsignal(number)


def _fit_another():
    with passing_interrupts():
        _swallows(_press)


# A callback of a net may fit another net.
@pytest.mark.parametrize("fit", [_press, _fit_another])
def test_ctrl_c_leaves_code_that_catches_it(fit):
    """The caller gets the KeyboardInterrupt, and Python's handler is restored."""
    with pytest.raises(KeyboardInterrupt), passing_interrupts():
        _swallows(fit)

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert _swallows(_press) == "swallowed"


def test_interrupts_raised_by_code_are_caught_as_usual():
    """skorch's callbacks end a training this way."""

    def stop():
        raise KeyboardInterrupt

    with passing_interrupts():
        assert _swallows(stop) == "swallowed"


def test_a_callers_handler_is_called():
    """A handler that does not raise does not end the call; SIGTERM counts, too."""
    seen = []

    def end(number, frame):
        seen.append(number)
        raise KeyboardInterrupt

    before = [signal.signal(signal.SIGINT, lambda *_: seen.append(0))]
    before.append(signal.signal(signal.SIGTERM, end))
    try:
        with passing_interrupts():
            assert _swallows(_press) == "ended"
        with pytest.raises(KeyboardInterrupt), passing_interrupts():
            _swallows(lambda: _press(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])

    assert seen == [0, signal.SIGTERM]


_EARLY = """
import os, signal, sys, threading, time
from sklearn.datasets import load_iris
from skorch.callbacks import Callback
from sk_tune import MLPClassifier

def press():
    while "sympy.polys" not in sys.modules:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

# A callback looks on, so that torch trains, with an optimizer.
net = MLPClassifier(callbacks=[Callback()], max_epochs=2, random_state=0)
data = load_iris(return_X_y=True)
threading.Thread(target=press, daemon=True).start()
try:
    net.fit(*data)
except KeyboardInterrupt:
    net.fit(*data).save(sys.argv[1])
    print("interrupted, then saved")
"""


@pytest.mark.slow
def test_ctrl_c_in_the_first_second_breaks_no_import(tmp_path):
    """The interrupted process can still train and save."""
    command = [sys.executable, "-c", _EARLY, str(tmp_path / "net.skt")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == "interrupted, then saved\n", done.stderr


def test_other_threads_are_not_affected():
    """Only the main thread can change signal handlers."""
    seen = []

    def run():
        with passing_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert seen == [signal.default_int_handler]
