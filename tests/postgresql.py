"""A temporary PostgreSQL server of this machine, for tests and benchmarks."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

# Debian's folder; other systems have the programs in the path.
_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def has_psycopg() -> bool:
    return find_spec("psycopg") is not None


def has_server() -> bool:
    """Return whether psycopg and the programs of a server are installed."""
    return has_psycopg() and (bool(_FOLDERS) or shutil.which("initdb") is not None)


@contextmanager
def server() -> Iterator[str]:
    """Run a server on a free port; yield the URL of its database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    user: list[str] = []
    if os.getuid() == 0:
        # The server refuses to run as root.
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]
    data, log = folder / "data", folder / "log"
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"

    def run(program: str, *arguments: str | Path) -> None:
        path = str(_FOLDERS[-1] / program) if _FOLDERS else program
        command = [*user, path, *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    try:
        run("initdb", "-D", data, "-U", "sk_tune", "-A", "trust")
        run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            yield f"postgresql://sk_tune@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
