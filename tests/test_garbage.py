"""Garbage collection in a block."""

import gc
import threading
import weakref

import pytest

from sk_tune import GridSearchCV
from sk_tune._garbage import old_objects_spared


class Ring:
    """An object in a cycle, which only a collection frees."""

    def __init__(self):
        self.own = self


@pytest.fixture(autouse=True)
def _nothing_frozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_was_there_before_is_not_looked_at_within_a_block():
    """And is collected afterwards."""
    ring = Ring()
    alive = weakref.ref(ring)

    with old_objects_spared():
        assert gc.get_freeze_count() > 1000
        del ring
        gc.collect()
        assert alive() is not None
    gc.collect()

    assert gc.get_freeze_count() == 0
    assert alive() is None


def test_new_garbage_is_collected():
    """A long search does not pile it up."""
    with old_objects_spared():
        alive = weakref.ref(Ring())
        gc.collect()
        assert alive() is None


def test_the_last_of_several_blocks_undoes_it():
    """Whether they are in each other or in several threads, and after an error too."""
    inside, leave = threading.Event(), threading.Event()

    def other():
        with old_objects_spared():
            inside.set()
            leave.wait(10)

    def fail():
        with old_objects_spared():
            with old_objects_spared():
                thread.start()
                assert inside.wait(10)
            assert gc.get_freeze_count()
            raise ZeroDivisionError

    thread = threading.Thread(target=other)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.get_freeze_count()
    leave.set()
    thread.join()
    assert gc.get_freeze_count() == 0


def test_who_has_frozen_objects_or_collects_nothing_is_left_alone():
    """It is the process' own choice."""
    gc.freeze()
    with old_objects_spared():
        pass
    assert gc.get_freeze_count()
    gc.unfreeze()
    gc.disable()
    try:
        with old_objects_spared():
            assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_what_an_interpreter_freezes_at_its_start_does_not_count(monkeypatch):
    """Some hundred objects in Python 3.12."""
    frozen = []
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 375)
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    with old_objects_spared():
        assert frozen


def test_a_search_spares_old_objects(make_estimator, iris):
    """Only while it runs."""
    counts = []
    net = make_estimator("MLPClassifier", max_epochs=2)
    search = GridSearchCV(
        net, {"width": [4]}, cv=2, progress=lambda _: counts.append(gc.get_freeze_count())
    )

    search.fit(*iris)

    assert min(counts) > 1000
    assert gc.get_freeze_count() == 0
