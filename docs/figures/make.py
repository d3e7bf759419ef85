# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Draw the pictures of the tutorials by running their code.

``python docs/figures/make.py`` needs sk_tune with the extra ``plots``.

Each picture that a page shows is the last figure that its code has drawn up to there.
"""

import doctest
import io
import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

TUTORIALS = Path(__file__).parent.parent / "tutorials"
# Inches and dots per inch of a picture that sets no size of its own.
_SIZE, _DPI = (6.4, 4.0), 160
_COLOURS = 96


def main() -> int:
    """Run all tutorials; return the number of examples that failed."""
    plt.rcParams["figure.figsize"] = _SIZE
    return sum(draw(page) for page in sorted(TUTORIALS.glob("*.md")))


def draw(page: Path) -> int:
    """Run a page and save its pictures; return the number of examples that failed."""
    names: dict[str, object] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    # Text and the files of pictures take turns.
    parts = re.split(
        r"^!\[[^]]*\]\(([^)]*)\)$", page.read_text(encoding="utf-8"), flags=re.M
    )
    for text, target in zip(parts[::2], [*parts[1::2], None], strict=True):
        test = doctest.DocTestParser().get_doctest(text, names, page.name, page.name, 0)
        runner.run(test, clear_globs=False)
        names = test.globs
        if target is not None:
            save(page.parent / target)
    return runner.summarize().failed


def save(path: Path) -> None:
    """Write the last figure as a small PNG."""
    buffer = io.BytesIO()
    plt.gcf().savefig(buffer, dpi=_DPI)
    plt.close("all")
    picture = Image.open(buffer).convert("RGB").quantize(_COLOURS)
    picture.save(path, optimize=True)
    sys.stdout.write(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB\n")


if __name__ == "__main__":
    sys.exit(main())
