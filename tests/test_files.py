"""Atomically written files, and their signatures."""

import os

import pytest

from sk_tune import _files
from sk_tune._files import is_on_network, is_own, replaced_file, sign


def test_a_file_appears_after_the_block_succeeds(tmp_path):
    """The new file replaces the old file, with the same permissions."""
    path = tmp_path / "result.txt"
    path.write_text("old")
    mode = path.stat().st_mode

    with replaced_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"

    assert path.stat().st_mode == mode
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_unchanged(error, tmp_path):
    """Partial files are never visible, and the error is raised."""
    path = tmp_path / "result.txt"
    path.write_text("old")

    def write_half():
        with replaced_file(path) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(error):
        write_half()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_system_names_the_requested_path(tmp_path):
    """Users never see the name of the temporary file."""
    # The temporary name is longer than the 255 bytes of usual file systems.
    path = tmp_path / ("x" * 250)

    with pytest.raises(OSError, match="long") as raised, replaced_file(path) as temporary:
        temporary.write_text("new")

    assert raised.value.filename == str(path)


def test_a_link_is_followed(tmp_path):
    """Its target is replaced, and the link remains."""
    (tmp_path / "far").mkdir()
    path, link = tmp_path / "far" / "result.txt", tmp_path / "link"
    link.symlink_to(path)

    for text in ("made", "replaced"):
        with replaced_file(link) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text

    assert link.is_symlink()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_and_devices_are_written_directly(tmp_path):
    """A pipe or a device, such as /dev/null, is not replaced by a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    with replaced_file(path) as own:
        own.write_text("a line")

    assert os.read(reader, 100) == b"a line"
    assert path.is_fifo()
    os.close(reader)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ext4", False), ("nfs4", True), ("fuse.sshfs", True), ("fuseblk", False)],
)
def test_network_file_systems_are_recognised(tmp_path, monkeypatch, kind, expected):
    """A line as proc(5) describes it, with an optional field before the hyphen."""
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 27 0:0 / /proc rw,relatime - nfs proc rw\n"
        f"36 35 {number} /a /b rw,noatime master:1 - {kind} server:/a rw,errors=continue\n"
    )
    monkeypatch.setattr(_files, "_MOUNTS", mounts)

    assert is_on_network(tmp_path / "new.db") is expected
    monkeypatch.setattr(_files, "_MOUNTS", tmp_path / "none")  # As on other systems.
    assert not is_on_network(tmp_path / "new.db")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return a file that its user has signed."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    path = tmp_path / "file"
    path.write_bytes(b"content")
    sign(path)
    return path


def test_a_file_is_own_while_it_is_unchanged(path, tmp_path):
    """Only the user can read the secret."""
    assert is_own(path)
    assert (tmp_path / "home" / "sk-tune" / "key").stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"Content")
    assert not is_own(path)


def test_a_file_is_own_at_each_moment_of_a_replacement(path, tmp_path):
    """A kill between the signature and the move leaves a loadable file."""
    other = tmp_path / "other"
    other.write_bytes(b"new")

    sign(other, instead_of=path)

    assert is_own(path)
    other.replace(path)
    assert is_own(path)


def test_signatures_of_other_users_do_not_count(path, tmp_path, monkeypatch):
    """Other users have other secrets; without a home folder nothing is signed."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "of another"))
    assert not is_own(path)

    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "a file"))
    path.with_name("file.signature").unlink()
    sign(path)

    assert not is_own(path)
    assert not path.with_name("file.signature").exists()
