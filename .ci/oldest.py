# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Prints constraints for pip: the oldest releases that pyproject.toml declares."""

import re
import tomllib
from pathlib import Path


def main() -> None:
    """Print a line for each dependency, of the extras and of the tests too."""
    folder = Path(__file__).parent.parent
    declared = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    project = declared["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    groups.append([d for d in declared["dependency-groups"]["test"] if type(d) is str])
    # "dask[distributed]>=2025.3": a constraint has no extras.
    pattern = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)")
    found = {pattern.fullmatch(d) for group in groups for d in group}
    print("\n".join(sorted(f"{m[1]}=={m[2]}.*" for m in found if m)))


if __name__ == "__main__":
    main()
