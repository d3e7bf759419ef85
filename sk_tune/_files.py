# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Files written as a whole or not at all, and signatures of those this user wrote.

A signature is the HMAC of a file under a secret of the user's, which never leaves the
user's home: whoever changes the file, or hands over another one, cannot sign it.
"""

import errno
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

# Which file system each folder of this process is of; Linux has it.
_MOUNTS = Path("/proc/self/mountinfo")
# Names that Linux gives to network file systems; those in user space ("fuse.sshfs") count
# as such, too.
_OF_NETWORKS = {
    "9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs",
    "nfs4", "ocfs2", "panfs", "pvfs2", "smb3", "virtiofs",
}  # fmt: skip


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to `path`, and move it there after the block succeeds.

    A link is followed, a device or pipe is written directly. Errors of the temporary file
    name `path`.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        message = "The folder does not exist, make it first"
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
    """Return whether other machines may see a file; only Linux tells."""
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    device = path.resolve().parent.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.split() for line in lines]
    # The number of the device is third; the kind comes after a hyphen.
    kinds = [mount[mount.index("-") + 1] for mount in mounts if mount[2] == number]
    return any(kind in _OF_NETWORKS or kind.startswith("fuse.") for kind in kinds)


_N_BYTES = 32
_CHUNK = 2**20


def sign(path: Path, *, instead_of: Path | None = None) -> None:
    """Write the signature of a file that will be moved to the place of another one.

    It stands beside the place, and the signature of what is there now holds until then, so
    that at no moment a file lacks one.  Nothing is written where the user has no home.
    """
    place = instead_of or path
    key = _key()
    if key is None:
        return
    previous_keys = _signatures(place)[:1]
    with replaced_file(_beside(place)) as temporary:
        temporary.write_text("\n".join([_signature(path, key), *previous_keys]) + "\n")


def is_own(path: Path) -> bool:
    """Return whether a file is as this user has written it."""
    signatures, key = _signatures(path), _key()
    if not signatures or key is None:
        return False
    signature = _signature(path, key)
    return any(hmac.compare_digest(signature, other) for other in signatures)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.signature")


def _signatures(path: Path) -> list[str]:
    try:
        return _beside(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeError):
        return []


def _signature(path: Path, key: bytes) -> str:
    digest = hmac.new(key, digestmod=sha256)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _key() -> bytes | None:
    """Return the user's secret, made on first use; None where it cannot be kept."""
    try:
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        path = Path(home) / "sk-tune" / "key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_name(f".key.{os.getpid()}")
            descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_N_BYTES))
            # Unlike a move, a link replaces no secret that another process made meanwhile.
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
            temporary.unlink()
        key = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return key if len(key) == _N_BYTES else None
