# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Files that are written as a whole or not at all, and what keeps them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_on_network", "replaced_file"]

# Which file system each folder of this process is of; Linux has it.
_MOUNTS = Path("/proc/self/mountinfo")
# As Linux names them; those in user space ("fuse.sshfs") are taken for such, too.
_OF_NETWORKS = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "ocfs2",
    "panfs",
    "pvfs2",
    "smb3",
    "virtiofs",
}


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, and move what was written to `path` if all went well.

    Parameters
    ----------
    path : Path
        File to write as a whole or not at all; a link is followed.

    Yields
    ------
    Path
        A file beside it; or `path` if it is no file, such as a device or a pipe.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_on_network(path: Path) -> bool:
    """Return whether other machines may see a file, as far as the system tells.

    Parameters
    ----------
    path : Path
        A file in a folder that exists.

    Returns
    -------
    bool
        False on systems other than Linux, which are not asked.
    """
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    device = path.resolve().parent.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.split() for line in lines]
    # The number of the device is third; the kind comes after a hyphen.
    kinds = [own[own.index("-") + 1] for own in mounts if own[2] == number]
    return any(kind in _OF_NETWORKS or kind.startswith("fuse.") for kind in kinds)
