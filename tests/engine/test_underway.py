"""Fits that have not ended: what is left of them, and where they are kept."""

from dataclasses import replace

import numpy as np

from sk_tune import MLPClassifier
from sk_tune.engine import Fit, FitStore, train
from sk_tune.engine._store import SECONDS_BETWEEN, UnfinishedFits, rest_of, unfinished_key

KEY = "0" * 64


def _fit(n_epochs=5):
    X, y = np.eye(8), np.arange(8) % 2
    net = MLPClassifier(width=2, max_epochs=9, random_state=0)
    return Fit(estimator=net, X=X, y=y, seed=0, n_epochs=n_epochs)


def test_what_is_left_are_the_epochs_that_are_missing():
    """Also where the whole went on from a state."""
    (two,) = train([_fit(2)])
    (three,) = train([replace(_fit(1), state=two.state)])

    assert rest_of(_fit(5), two.state).n_epochs == 3
    assert rest_of(replace(_fit(5), state=two.state), three.state).n_epochs == 4


def test_what_has_as_many_epochs_or_more_is_no_part_of_a_fit():
    """Such a fit trains from its start."""
    (two,) = train([_fit(2)])

    for fit in (_fit(1), _fit(2)):
        assert rest_of(fit, two.state) is fit
        assert len(train([replace(fit, checkpoint=two.state)])[0].train_loss) == (
            fit.n_epochs
        )


def test_what_is_kept_is_found_under_no_fits_key(tmp_path):
    """A fit that has not ended is not taken for one that has."""
    (trained,) = train([_fit(2)])
    with FitStore(tmp_path / "fits.db") as store:
        place = UnfinishedFits.of(store, {3: KEY})
        place.keep({3: trained, 4: trained})

        assert store.load([KEY]) == {}
        assert list(store.load([unfinished_key(KEY)])) == [unfinished_key(KEY)]
        assert store.info().n_fits == 0
    assert place.seconds == SECONDS_BETWEEN


def test_what_has_ended_meanwhile_is_not_kept(tmp_path):
    """A worker whose coordinator was killed may train what another run has finished."""
    (trained,) = train([_fit(2)])
    with FitStore(tmp_path / "fits.db") as store:
        place = UnfinishedFits.of(store, {0: KEY, 1: KEY[:-1] + "1"})
        store.save({KEY: trained}, instead_of=[unfinished_key(KEY)])

        place.keep({0: trained, 1: trained})

        found = store.load([KEY, *map(unfinished_key, place.keys.values())])
        assert set(found) == {KEY, unfinished_key(place.keys[1])}


def test_another_machine_keeps_nothing(tmp_path):
    """It would make a file of its own under the same path."""
    (trained,) = train([_fit(2)])
    with FitStore(tmp_path / "fits.db") as store:
        place = UnfinishedFits.of(store, {0: KEY})

        replace(place, host="elsewhere").keep({0: trained})
        replace(place, path=str(tmp_path / "gone.db")).keep({0: trained})

        assert store.load([unfinished_key(KEY)]) == {}
    assert not (tmp_path / "gone.db").exists()


def test_a_file_that_was_replaced_meanwhile_disturbs_nothing(tmp_path):
    """Whoever opened the store says so."""
    (trained,) = train([_fit(2)])
    path = tmp_path / "fits.db"
    with FitStore(path) as store:
        place = UnfinishedFits.of(store, {0: KEY})
    path.write_bytes(b"something else, of some length")

    place.keep({0: trained})

    assert path.read_bytes() == b"something else, of some length"
