"""Files of collapsed ensembles hold networks and numbers, and are believed no more."""

import json

import numpy as np
import pytest

from sk_tune.ensemble._collapsed_file import load_parts, save_parts
from sk_tune.ensemble._combination import Member
from sk_tune.ensemble._parts import Parts
from sk_tune.estimators import read_file, write_file


@pytest.fixture
def saved(iris, make_estimator, tmp_path):
    """Return the file of an ensemble of two networks, and its parts."""
    labels = np.array(["a", "b", "c"])
    members = tuple(
        Member(
            make_estimator("MLPClassifier", random_state=seed).fit(iris.X[:, own], iris.y),
            weight,
            own,
        )
        for seed, (own, weight) in enumerate([
            (np.array([0, 2]), 0.25),
            (np.array([3, 1]), 0.75),
        ])
    )
    parts = Parts(
        members=members,
        n_features=4,
        classes=labels,
        member_classes=np.arange(3),
        temperature=1.5,
    )
    path = tmp_path / "ensemble"
    save_parts(parts, "CollapsedClassifier", path, overwrite=True)
    return path, parts


def test_all_of_the_parts_come_back(saved):
    """Weights, columns, labels and the temperature are as they were."""
    path, parts = saved

    loaded = load_parts(path, "CollapsedClassifier", None)

    assert loaded.link == "mean"
    assert loaded.n_features == 4
    assert loaded.temperature == 1.5
    assert loaded.offset is None
    np.testing.assert_array_equal(loaded.classes, parts.classes)
    np.testing.assert_array_equal(loaded.member_classes, parts.member_classes)
    for own, other in zip(loaded.members, parts.members, strict=True):
        assert own.weight == other.weight
        np.testing.assert_array_equal(own.features, other.features)
        assert own.estimator.get_params() == other.estimator.get_params()


def test_a_file_is_small(saved):
    """Neither optimizer states nor histories are in it."""
    tensors, description = read_file(saved[0])

    assert {name.split(".")[1] for name in tensors} == {"module"}
    assert len(json.dumps(description)) < 4000
    assert all(not m["network"]["history"] for m in description["members"])


def test_a_loaded_network_trains_on(saved, iris):
    """Without the optimizer's state, but from its weights."""
    member = load_parts(saved[0], "CollapsedClassifier", None).members[0]

    member.estimator.partial_fit(iris.X[:, member.features], iris.y, n_epochs=2)

    assert member.estimator.n_epochs_ == 2


def test_other_classes_than_networks_are_not_made(saved):
    """A name in a file is looked up among sk_tune's networks only."""
    path, _ = saved
    tensors, description = read_file(path)
    description["members"][0]["network"]["class"] = "FitPreparer"
    write_file(path, tensors, description, overwrite=True)

    with pytest.raises(ValueError, match="Got a 'FitPreparer'"):
        load_parts(path, "CollapsedClassifier", None)


def test_a_damaged_file_is_refused(saved):
    """The checksum covers numbers and description."""
    path, _ = saved
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(ValueError, match="damaged"):
        load_parts(path, "CollapsedClassifier", None)


def test_labels_of_other_types_are_refused(saved, tmp_path):
    """Dates have no place in JSON; the message names the type."""
    parts = saved[1]
    dates = np.array(["2020", "2021", "2022"], dtype="datetime64[Y]")
    own = Parts(members=parts.members, n_features=4, classes=dates, member_classes=dates)

    with pytest.raises(TypeError, match="datetime64"):
        save_parts(own, "CollapsedClassifier", tmp_path / "dates", overwrite=True)
