"""Which files this user wrote."""

import pytest

from sk_tune._files import is_own, sign


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return a file that its user has signed."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    path = tmp_path / "file"
    path.write_bytes(b"content")
    sign(path)
    return path


def test_a_file_is_ones_own_as_long_as_it_is_as_it_was_signed(path, tmp_path):
    """The secret can be read by its user only."""
    assert is_own(path)
    assert (tmp_path / "home" / "sk-tune" / "key").stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"Content")
    assert not is_own(path)


def test_a_file_is_ones_own_at_each_moment_of_being_replaced(path, tmp_path):
    """A kill between the signature and the move leaves a file that can be loaded."""
    other = tmp_path / "other"
    other.write_bytes(b"new")

    sign(other, instead_of=path)

    assert is_own(path)
    other.replace(path)
    assert is_own(path)


def test_nobody_elses_signature_counts(path, tmp_path, monkeypatch):
    """Whoever hands over a file with its signature has another secret."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "of another"))

    assert not is_own(path)


def test_without_a_home_nothing_is_signed_and_nothing_fails(tmp_path, monkeypatch):
    """As in a container whose home is a file."""
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    path = tmp_path / "file"
    path.write_bytes(b"content")

    sign(path)

    assert not is_own(path)
    assert not path.with_name("file.signature").exists()
