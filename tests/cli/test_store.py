"""``sk-tune store``."""

import sqlite3

import pytest

from sk_tune import MLPClassifier
from sk_tune.cli import main
from sk_tune.engine import Fit, train


@pytest.fixture
def path(tmp_path, iris):
    """A store with two fits of three epochs."""
    path = tmp_path / "fits.db"
    nets = [MLPClassifier(width=4, max_epochs=3, random_state=seed) for seed in (0, 1)]
    train([Fit(estimator=net, X=iris.X, y=iris.y) for net in nets], store=path)
    return path


def _damage(path):
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE fits SET meta = meta || ' ' WHERE key = (SELECT min(key) FROM fits)"
        )
    connection.close()


def test_info_counts_fits_and_epochs(path, capsys):
    """Two fits of three epochs."""
    assert main(["store", "info", str(path)]) == 0

    assert "2 with 6 epochs" in capsys.readouterr().out


def test_verify_names_the_file_and_how_much_is_damaged(path, capsys):
    """A whole store is fine; a changed byte is found."""
    assert main(["store", "verify", str(path)]) == 0

    _damage(path)
    assert main(["store", "verify", str(path)]) == 2
    assert f"1 of 2 fits in {path} are damaged" in capsys.readouterr().err


def test_vacuum_removes_what_is_damaged(path, capsys):
    """Afterwards the store is whole again."""
    _damage(path)

    assert main(["store", "vacuum", str(path)]) == 0

    out = capsys.readouterr().out
    assert "1 fits" in out
    assert "1 with 3 epochs" in out
    assert main(["store", "verify", str(path)]) == 0


def test_vacuum_keeps_to_a_size(path, capsys):
    """Nothing fits into one byte."""
    assert main(["store", "vacuum", str(path), "--max-size", "1"]) == 0

    assert "0 with 0 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["", "much", "-5M", "5T"])
def test_a_bad_size_is_refused(path, size, fails):
    """Sizes are numbers with k, M or G."""
    fails(["store", "vacuum", str(path), f"--max-size={size}"], "--max-size", repr(size))


def test_a_store_that_is_not_there_is_not_made(tmp_path, fails):
    """A wrong path is said, and leaves no file."""
    path = tmp_path / "none.db"

    fails(["store", "info", str(path)], "must be a file that exists", str(path))

    assert not path.exists()
