# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The free memory of this machine, and forecasts of memory."""

from contextlib import suppress
from pathlib import Path

from sk_tune._text import LiveLine, bytes_text
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SkTuneWarning

# Bytes of samples from which on other memory is kept below them, and forecast.
LARGE_SAMPLES = 2**27
_OF_A_SMALL_MACHINE = 4 * 2**30
# Linux control groups, versions 2 and 1: folder, and files with a container's memory limit
# and usage.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available_memory() -> int:
    """Return the free bytes of this machine's memory, file caches included."""
    limits = [_left_in_group()]
    with suppress(OSError, ValueError, LookupError):
        _, _, text = Path("/proc/meminfo").read_text("ascii").partition("MemAvailable:")
        limits.append(int(text.split()[0]) * 1024)
    # Unknown on Windows and macOS, so a small machine is assumed.
    return min((free for free in limits if free is not None), default=_OF_A_SMALL_MACHINE)


def _left_in_group() -> int | None:
    """Return the remaining bytes of a container's control group; None without a limit."""
    for folder, limit, used in _GROUPS:
        try:
            most = int(Path(folder, limit).read_text(encoding="ascii"))
            now = int(Path(folder, used).read_text(encoding="ascii"))
            stat = Path(folder, "memory.stat").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            # The limit "max" means unlimited.
            continue
        values = dict(zip(stat[::2], stat[1::2], strict=False))
        # File caches can be freed, including active files.
        cached = sum(int(values.get(name, 0)) for name in ("inactive_file", "active_file"))
        return max(most - now + cached, 0)
    return None


def report_memory(what: str, need: int | None, *, prints: bool, remedy: str) -> None:
    """Print the memory that `what` needs on top of X; warn if less is free."""
    if need is None:
        return
    free = available_memory()
    if prints:
        text = f"Expected memory: {bytes_text(need)} on top of X, {bytes_text(free)} free"
        LiveLine().end(text)
    if need > free:
        warn_user(
            f"{what} needs about {bytes_text(need)} of memory on top of X. Got "
            f"{bytes_text(free)} of free memory: {remedy}",
            SkTuneWarning,
        )
