# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune store``: what a file of finished trainings holds, and keeping it small."""

from pathlib import Path

from sk_tune._text import bytes_text
from sk_tune.cli._summary import labelled
from sk_tune.engine import FitStore
from sk_tune.exceptions import StoreError

__all__ = ["store"]


def store(action: str, path: Path, max_size: float | None) -> None:
    """Show "info" of a store, "verify" it, or "vacuum" it to `max_size` bytes.

    Raises StoreError if there is no such store, or it is damaged and not to be vacuumed.
    """
    with FitStore(path) as opened:
        if action == "vacuum":
            print(labelled("Removed", f"{opened.vacuum(max_size)} fits"))
        if action == "verify":
            damaged = opened.verify()
            if damaged:
                raise StoreError(
                    f"{len(damaged)} of {opened.info().n_fits} fits in {path} are damaged. "
                    "They will be trained again; vacuum removes them."
                )
            print(labelled("Verified", "every fit matches its checksum"))
        info = opened.info()
    print(labelled("Store", f"{info.path}, schema {info.schema_version}"))
    print(labelled("Fits", f"{info.n_fits:,} with {info.n_epochs:,} epochs"))
    print(labelled("Size", bytes_text(info.n_bytes)))
