"""Files that are written as a whole or not at all."""

import pytest

from sk_tune._files import replaced_file


def test_a_file_appears_when_all_went_well(tmp_path):
    """What was written takes the place of what was there, and nothing else stays."""
    path = tmp_path / "result.txt"
    path.write_text("old")

    with replaced_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"

    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(error, tmp_path):
    """Half a file is never seen, and the error is passed on."""
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
