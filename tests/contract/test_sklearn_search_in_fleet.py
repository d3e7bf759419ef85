"""scikit-learn's own tests of its searches, run inside the block.

They are run twice in processes of their own: as they are, and with every test inside a
``fleet`` block.  The block may change no outcome.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import sklearn

SUITE = Path(sklearn.__file__).parent / "model_selection" / "tests" / "test_search.py"
PLUGIN = """
import pytest
from sk_tune import fleet

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with fleet(n_jobs=1):
        yield
"""


def _outcomes(folder, *options):
    """Run the suite in a folder; return the outcome of each test, and what was printed."""
    folder.mkdir()
    (folder / "fleet_plugin.py").write_text(PLUGIN)
    root = str(Path(__file__).parents[2])
    report = folder / "report.xml"
    command = [
        *(sys.executable, "-m", "pytest", "--pyargs", "-q", "-p", "no:randomly"),
        *("-p", "no:cacheprovider", f"--junitxml={report}", "--rootdir", str(folder)),
        *(
            "--disable-warnings",
            "--tb=short",
            "-o",
            "addopts=",
            *options,
            "sklearn.model_selection.tests.test_search",
        ),
    ]
    paths = [str(folder), root, os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if not report.exists():
        pytest.skip(f"scikit-learn's tests do not run here: {done.stdout[-500:]}")
    outcomes = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        kinds = {"failure", "error", "skipped"} & {child.tag for child in case}
        outcomes[case.get("name")] = kinds.pop() if kinds else "passed"
    return outcomes, done.stdout


# What a search prints, and callbacks that hold the search itself, see the recording.
SEEN = ("test_search_cv_verbose_3", "test_search_callbacks_")


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The tests that end otherwise in the block, with their outcomes, and what they say."""
    if not SUITE.exists():
        pytest.skip("this scikit-learn comes without its tests")
    folder = tmp_path_factory.mktemp("search")
    outside, _ = _outcomes(folder / "outside")
    inside, printed = _outcomes(folder / "inside", "-p", "fleet_plugin")
    if "passed" not in outside.values():
        pytest.skip("scikit-learn's tests do not run here")
    pairs = {name: (was, inside.get(name)) for name, was in outside.items()}
    return {n: pair for n, pair in pairs.items() if pair[0] != pair[1]}, printed[-6000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_block_changes_no_outcome(changed):
    """Each of scikit-learn's tests of its searches ends as it does without the block."""
    outcomes, printed = changed

    assert not {n for n in outcomes if not n.startswith(SEEN)}, printed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_block_is_not_seen_by_who_listens(changed):
    """What is printed and what callbacks are told is what it is without the block."""
    outcomes, printed = changed

    assert not {n for n in outcomes if n.startswith(SEEN)}, printed
