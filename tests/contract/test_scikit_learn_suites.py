"""scikit-learn's own tests with our searches in place of its own, or in a ``fleet`` block.

They run from the installed wheel, in separate processes.  A pytest plugin replaces the
classes, or puts every test into a block.
"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import sklearn

TESTS = Path(sklearn.__file__).parent / "model_selection" / "tests"
SEARCH = "sklearn.model_selection.tests.test_search"
HALVING = "sklearn.model_selection.tests.test_successive_halving"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not (TESTS / "test_search.py").exists(),
        reason="this scikit-learn comes without its tests",
    ),
]

IN_A_BLOCK = """
import pytest
from sk_tune import fleet

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with fleet(n_jobs=1):
        yield
"""
# Replaces names in the test modules and values of parametrised tests.  Of modules that test
# other things only the tests that use a search remain.
BY_OUR_CLASSES = """
import inspect

import sk_tune
from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv

NAMES = (
    "GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"
)
OURS = {getattr(model_selection, name): getattr(sk_tune, name) for name in NAMES}
COMPLETE = ("test_search", "test_successive_halving", "test_metaestimators")


def replaced(value):
    if isinstance(value, type):
        return OURS.get(value, value)
    if type(value) in OURS:
        return OURS[type(value)](**value.get_params(deep=False))
    if type(value) is dict:
        return {key: replaced(element) for key, element in value.items()}
    if type(value) in (list, tuple):
        return type(value)(replaced(element) for element in value)
    return value


def pytest_collection_modifyitems(items):
    for item in items:
        module = item.module
        for theirs, ours in OURS.items():
            if getattr(module, theirs.__name__, None) is theirs:
                setattr(module, theirs.__name__, ours)
        if hasattr(item, "callspec"):
            params = item.callspec.params
            params.update({name: replaced(value) for name, value in params.items()})
    items[:] = [item for item in items if uses_a_search(item)]


def uses_a_search(item):
    module = item.module.__name__.rpartition(".")[2]
    text = inspect.getsource(item.function) + str(getattr(item, "callspec", ""))
    return module in COMPLETE or any(name in text for name in NAMES)
"""


def _outcomes(folder, modules, plugin=""):
    """Run test modules of scikit-learn; return name and outcome of each, and the output."""
    folder.mkdir()
    (folder / "our_plugin.py").write_text(plugin)
    report, root = folder / "report.xml", str(Path(__file__).parents[2])
    paths = [str(folder), root, os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--pyargs", "-q", "-p", "no:randomly"),
            *("-p", "no:cacheprovider", "-p", "our_plugin", "--disable-warnings"),
            *(f"--junitxml={report}", "--rootdir", str(folder), "--tb=short"),
            *("-o", "addopts=", *modules),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)},
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    outcomes = []
    for case in ET.parse(report).getroot().iter("testcase"):
        kinds = {"failure", "error", "skipped"} & {child.tag for child in case}
        outcomes.append((case.get("name"), kinds.pop() if kinds else "passed"))
    return outcomes, done.stdout[-12000:]


def _modules_elsewhere():
    """Return the other test modules of scikit-learn that use a search."""
    paths = Path(sklearn.__file__).parent.rglob("test_*.py")
    names = {
        ".".join(path.relative_to(Path(sklearn.__file__).parents[1]).with_suffix("").parts)
        for path in paths
        if re.search(
            r"GridSearchCV|RandomizedSearchCV|HalvingRandomSearchCV", path.read_text()
        )
    }
    return sorted(names - {SEARCH, HALVING})


# It compares dir() of GridSearchCV with that of its own search, which lacks our further
# attributes.
EXCLUDED = {"test_custom_run_search"}


@pytest.mark.parametrize(
    ("modules", "n_passed"),
    [([SEARCH], 130), ([HALVING], 60), (_modules_elsewhere(), 300)],
    ids=["search", "halving", "elsewhere"],
)
def test_scikit_learns_tests_pass_with_our_searches(modules, n_passed, tmp_path):
    """Only the excluded tests fail; an unneeded exclusion fails this test."""
    outcomes, output = _outcomes(tmp_path / "ours", modules, BY_OUR_CLASSES)

    failures = {name for name, outcome in outcomes if outcome in {"failure", "error"}}
    names = {name for name, _ in outcomes}
    assert failures == names & EXCLUDED, output
    assert sum(outcome == "passed" for _, outcome in outcomes) >= n_passed


def test_the_block_changes_no_outcome(tmp_path):
    """Each test has the same outcome as without the block, output included."""
    outside, _ = _outcomes(tmp_path / "outside", [SEARCH])
    inside, output = _outcomes(tmp_path / "inside", [SEARCH], IN_A_BLOCK)

    assert "passed" in {outcome for _, outcome in outside}
    assert inside == outside, output
