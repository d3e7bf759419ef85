# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Atomic writing of files, and signatures that identify files written by this user.

A signature is the HMAC of a file under a secret in the user's home.  Others, who do not
have the secret, cannot sign a file that they changed or replaced.
"""

import errno
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

# File systems of the folders mounted in this process; Linux only.
_MOUNTS = Path("/proc/self/mountinfo")
# Linux's names of network file systems; file systems in user space ("fuse.sshfs") count as
# such.
_OF_NETWORKS = {
    "9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs",
    "nfs4", "ocfs2", "panfs", "pvfs2", "smb3", "virtiofs",
}  # fmt: skip


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to `path`, and move it there after the block succeeds.

    Links are followed; devices and pipes are written directly. Errors of the temporary file
    name `path`.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        message = "The folder does not exist, create it first"
        raise FileNotFoundError(errno.ENOENT, message, str(target.parent))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        if error.filename != str(temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def is_on_network(path: Path) -> bool:
    """Return whether other machines may see a file; False on systems other than Linux."""
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    device = path.resolve().parent.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.split() for line in lines]
    # The device number is the third field; the file system follows a hyphen.
    kinds = [mount[mount.index("-") + 1] for mount in mounts if mount[2] == number]
    return any(kind in _OF_NETWORKS or kind.startswith("fuse.") for kind in kinds)


_N_BYTES = 32
_CHUNK = 2**20


def sign(path: Path, *, instead_of: Path | None = None) -> None:
    """Write the signature of a file that will be moved to `instead_of`, or stays at `path`.

    It is stored next to the final path together with the signature of the file that is
    there now, so that a signed file exists at any time; only if there is a home folder.
    """
    place = instead_of or path
    key = _key()
    if key is None:
        return
    previous_keys = _signatures(place)[:1]
    with replaced_file(_signature_path(place)) as temporary:
        temporary.write_text("\n".join([_signature(path, key), *previous_keys]) + "\n")


def is_own(path: Path) -> bool:
    """Return whether a file is unchanged since this user wrote it."""
    signatures, key = _signatures(path), _key()
    if not signatures or key is None:
        return False
    signature = _signature(path, key)
    return any(hmac.compare_digest(signature, other) for other in signatures)


def _signature_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.signature")


def _signatures(path: Path) -> list[str]:
    try:
        return _signature_path(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeError):
        return []


def _signature(path: Path, key: bytes) -> str:
    digest = hmac.new(key, digestmod=sha256)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _key() -> bytes | None:
    """Return the user's secret, created on first use; None if it cannot be stored."""
    try:
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        path = Path(home) / "sk-tune" / "key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_name(f".key.{os.getpid()}")
            descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_N_BYTES))
            # Unlike a move, a link never replaces the secret of a concurrent process.
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
            temporary.unlink()
        key = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return key if len(key) == _N_BYTES else None
