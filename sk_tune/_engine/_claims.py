# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Claims, by which processes with one store train different fits of the same search.

A claim expires unless its process renews it, so the fits of a killed process become free.
Two processes may still train the same fit, if one of them was stopped for long; both
results are equal.
"""

import os
import socket
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from sk_tune._engine._database import Database

# Seconds until a claim expires, and between renewals.
_LEASE = 60.0
_RENEWAL = 15.0
# Keys per query; old versions of SQLite take at most 999 variables.
MOST_KEYS = 500


class Claims:
    """The fits that this process trains, and the fits that other processes train.

    `keys` are the keys of fits in the store. Without access to the database, no fit is
    claimed by anybody.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = _process(str(os.getpid()))
        now = database.now
        # A clock that is wrong by more than a lease must not make a claim eternal.
        self._is_live = f"expires BETWEEN {now} AND {now} + {2 * _LEASE}"
        self._until = f"{now} + {_LEASE}"
        self._held: set[str] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()

    def take(self, keys: Collection[str]) -> set[str]:
        """Claim unfinished fits; return the keys that other processes have claimed."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew_until_closed, daemon=True)
            self._thread.start()
        # A row of its own shows the process while it trains nothing.
        rows = [(key, self._owner, key) for key in sorted({*keys, self._owner})]
        with suppress(*self._database.errors), self._database.transaction(of_claims=True):
            self._database.execute(f"DELETE FROM claims WHERE NOT ({self._is_live})", [()])
            dead = [(owner,) for owner in self._others() if _is_dead(owner)]
            self._database.execute("DELETE FROM claims WHERE owner = ?", dead)
            self._database.execute(
                f"INSERT INTO claims SELECT ?, ?, {self._until} "
                "WHERE NOT EXISTS (SELECT 1 FROM fits WHERE key = ?) "
                "ON CONFLICT (key) DO UPDATE SET expires = excluded.expires "
                "WHERE claims.owner = excluded.owner",
                rows,
            )
            busy = self._of_others(keys)
            self._held.update(set(keys) - busy)
            return busy
        return set()

    def release(self, keys: Iterable[str]) -> None:
        """Let other processes train fits that have ended without a stored result."""
        released = self._held.intersection(keys)
        # Not renewed any more, even if the database does not respond.
        self._held -= released
        rows = [(key, self._owner) for key in sorted(released)]
        if not rows:
            return
        with suppress(*self._database.errors), self._database.transaction(of_claims=True):
            self._database.execute("DELETE FROM claims WHERE key = ? AND owner = ?", rows)

    def are_busy(self, keys: Collection[str]) -> bool:
        """Return whether other processes have claimed all keys."""
        with suppress(*self._database.errors):
            return self._of_others(keys) >= set(keys)
        return False

    def _of_others(self, keys: Iterable[str]) -> set[str]:
        """Return the keys that other live processes have claimed."""
        listed, busy = sorted(keys), set[str]()
        for start in range(0, len(listed), MOST_KEYS):
            part = listed[start : start + MOST_KEYS]
            rows = self._database.query(
                f"SELECT key, owner FROM claims WHERE owner <> ? AND {self._is_live} "
                f"AND key IN ({', '.join('?' * len(part))})",
                [self._owner, *part],
            )
            busy.update(key for key, owner in rows if not _is_dead(owner))
        return busy

    def n_processes(self) -> int:
        """Return the number of processes that use the store now, including this one."""
        with suppress(*self._database.errors):
            return 1 + sum(not _is_dead(owner) for owner in self._others())
        return 1

    def close(self) -> None:
        """Release all claims and stop renewing them."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()
            self.release(self._held)

    def _others(self) -> list[str]:
        """Return other processes that have not expired."""
        query = f"SELECT DISTINCT owner FROM claims WHERE owner <> ? AND {self._is_live}"
        return [owner for (owner,) in self._database.query(query, [self._owner])]

    def _renew_until_closed(self) -> None:
        update = f"UPDATE claims SET expires = {self._until} WHERE key = ? AND owner = ?"
        while not self._is_closed.wait(_RENEWAL):
            rows = [(key, self._owner) for key in sorted({*self._held, self._owner})]
            with (
                suppress(*self._database.errors),
                self._database.transaction(of_claims=True),
            ):
                self._database.execute(update, rows)


def _process(pid: str) -> str:
    """Return the name of a process, which no other process ever has on Linux."""
    return f"{_machine()} {pid} {_start_of(pid)}"


def _is_dead(owner: str) -> bool:
    """Return whether a process ran on this machine and has ended; False if unknown."""
    # The file may come from a stranger.
    machine, pid, start = (*str(owner).split(" "), "", "")[:3]
    is_here = machine == _machine() and pid.isdecimal() and start != "0"
    return is_here and _start_of(pid) != start


@cache
def _machine() -> str:
    """Return the name of this machine since its start, or of this container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def _start_of(pid: str) -> str:
    """Return when a process of this machine started, in ticks; "0" if unknown or ended."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        state, *values = text.rpartition(")")[2].split()
        # A killed process remains as a zombie until its parent looks.
        return "0" if state in "ZX" else values[18]
    return "0"
