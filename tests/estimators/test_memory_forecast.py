"""The forecast of a fit's memory."""

import numpy as np
import pandas as pd
import pytest

from sk_tune import MLPClassifier
from sk_tune._estimators import _encoded_data
from sk_tune._text import bytes_text
from sk_tune._training import _free_memory
from sk_tune.exceptions import SkTuneWarning

X = np.random.default_rng(0).normal(size=(1000, 5)).astype(np.float32)
Y = X[:, 0] > 0


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch):
    monkeypatch.setattr(_encoded_data, "LARGE_SAMPLES", 1000)


@pytest.mark.parametrize(
    ("samples", "n_bytes"),
    [
        # 100 bytes of each sample, and X in float32 unless it is that already.
        (X, 100_000),
        (X.astype(np.float64), 120_000),
        (np.asfortranarray(X), 120_000),
        (pd.DataFrame(X), 120_000),
        (X[:10], None),
    ],
    ids=["as it is", "float64", "by columns", "frame", "small"],
)
def test_a_fit_needs_its_own_copy_of_other_samples(samples, n_bytes):
    """An array in the dtype of the network is not copied."""
    assert _encoded_data.memory_of_fit(MLPClassifier(), samples, "float32") == n_bytes


def test_a_net_with_callbacks_copies_the_rows_that_are_not_held_out(monkeypatch, capsys):
    """Early stopping and a printed line for each epoch take another copy of X."""
    monkeypatch.setattr(_free_memory, "available_memory", lambda: 10**9)
    net = MLPClassifier(max_epochs=1, verbose=1, early_stopping=True, random_state=0)
    net.fit(X, Y)

    assert f"Expected memory: {bytes_text(120_000)} " in capsys.readouterr().out


def test_a_large_fit_prints_its_memory_and_warns_if_there_is_less(monkeypatch, capsys):
    """With verbose=1 the line comes before the first epoch."""
    net = MLPClassifier(max_epochs=1, verbose=1, random_state=0)
    monkeypatch.setattr(_free_memory, "available_memory", lambda: 10**9)
    net.fit(X, Y)
    first = capsys.readouterr().out.splitlines()[0]
    monkeypatch.setattr(_free_memory, "available_memory", lambda: 10**4)

    assert first == (
        f"Expected memory: {bytes_text(100_000)} on top of X, {bytes_text(10**9)} free"
    )
    with pytest.warns(SkTuneWarning, match="The fit needs about .* of memory on top of X"):
        net.set_params(verbose=0).fit(X, Y)
