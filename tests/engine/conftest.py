"""What several tests of the engine compare with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sk_tune.engine import Trained
from sk_tune.training import arrays_of_state


def _timeless(history: Any) -> list[dict[str, Any]]:
    return [{n: v for n, v in record.items() if n != "dur"} for record in history]


@pytest.fixture(scope="session")
def assert_same_training() -> Callable[[Trained, Trained], None]:
    """Return what compares two trainings to the bit, times apart."""

    def compare(ours: Trained, theirs: Trained) -> None:
        assert ours.message == theirs.message == ""
        assert ours.state is not None
        assert theirs.state is not None
        assert _timeless(ours.state.history) == _timeless(theirs.state.history)
        assert ours.state.n_steps == theirs.state.n_steps
        assert ours.state.seed == theirs.state.seed
        arrays, expected = arrays_of_state(ours.state), arrays_of_state(theirs.state)
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        np.testing.assert_array_equal(ours.predictions, theirs.predictions)

    return compare
