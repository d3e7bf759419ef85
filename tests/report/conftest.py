"""A browser for tests, and searches with reports."""

import json
import math
import os
import select
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform, uniform
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import sk_tune
from sk_tune._diagnosis import Curves
from sk_tune._report import SearchPart
from sk_tune._report._gathering import CandidateRow
from sk_tune._report._search_trials import parameters_of
from sk_tune._space import Choice

_SECONDS = 60
# What must reach the page as text.
HOSTILE = "<script>alert('x')</script>"


class Hostile(FunctionTransformer):
    """A transformer with HTML as its repr."""

    def __repr__(self, **kwargs: Any) -> str:
        return f"<img src=x onerror=alert(1)>{HOSTILE}"


class Browser:
    """Headless Chromium, spoken to by its DevTools protocol over a pair of pipes.

    It is what remote debugging does over a socket, without a package for web sockets.
    """

    def __init__(self, program: str, folder: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe "
            f"--disable-dev-shm-usage --user-data-dir={folder}"
        )
        # The browser reads file 3 and writes file 4.
        self._process = subprocess.Popen(
            [
                "/bin/bash",
                "-c",
                f'exec "$0" {flags} about:blank 3<&{to_browser} 4>&{from_browser}',
                program,
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._id = 0
        self.events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        own = {"targetId": target, "flatten": True}
        self._session = self._call("Target.attachToTarget", own)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait(timeout=_SECONDS)

    def send(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol in the page, and return its result."""
        return self._call(method, params, self._session)

    def open(self, path: Path) -> None:
        """Load a file, and wait until it is shown."""
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self._receive()

    def run(self, script: str) -> Any:
        """Return the value of a piece of JavaScript."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press a key where the focus is."""
        code = {"Enter": 13, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "Tab": 9}[key]
        common = {"key": key, "windowsVirtualKeyCode": code}
        kind = "keyDown" if text else "rawKeyDown"
        self.send("Input.dispatchKeyEvent", type=kind, text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Click with the left button."""
        own = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, **own)

    def problems(self) -> list[str]:
        """Return messages of the console, including uncaught errors."""
        kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [str(e["params"]) for e in self.events if e["method"] in kinds]

    def requests(self) -> list[str]:
        """Return the requested addresses."""
        return [
            e["params"]["request"]["url"]
            for e in self.events
            if e["method"] == "Network.requestWillBeSent"
        ]

    def _call(
        self, method: str, params: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        self._id += 1
        own = self._id
        message: dict[str, Any] = {"id": own, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == own:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select([self._in], [], [], left)
            part = os.read(self._in, 65536) if ready else b""
            if not part:
                raise RuntimeError("the browser ended, or did not answer")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        if "method" in answer:
            self.events.append(answer)
        return answer


def find_browser() -> str | None:
    """Return the path of Chromium or a related browser; None without one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a running browser; tests are skipped without a browser."""
    program = find_browser()
    if program is None:
        pytest.skip("needs Chromium, which is not installed")
    # Chromium goes on writing to its folder for a moment after it was told to end.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        own = Browser(program, Path(folder))
        yield own
        own.close()


class Page(HTMLParser):
    """What a page holds, read without a browser.

    ``tables`` maps ids to rows of (text, data-key) cells, heads first; ``tags`` counts
    elements; ``texts`` are all texts outside scripts and styles.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.tags: dict[str, int] = {}
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self._table: str | None = None
        self._cell: tuple[str, str | None] | None = None
        self._is_hidden = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Note an element."""
        own = dict(attrs)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes.append((tag, own))
        if own.get("id"):
            self.ids.append(own["id"])
        if tag in {"script", "style"}:
            self._is_hidden = True
        elif tag == "table":
            self._table = own.get("id") or f"table {len(self.tables)}"
            self.tables[self._table] = []
        elif tag == "tr" and self._table:
            self.tables[self._table].append([])
        elif tag in {"td", "th"} and self._table:
            self._cell = ("", own.get("data-key"))

    def handle_endtag(self, tag: str) -> None:
        """Note the end of an element."""
        if tag in {"script", "style"}:
            self._is_hidden = False
        elif tag == "table":
            self._table = None
        elif tag in {"td", "th"} and self._table and self._cell is not None:
            text, key = self._cell
            self.tables[self._table][-1].append((text.strip(), key))
            self._cell = None

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if self._is_hidden:
            return
        self.texts.append(data)
        if self._cell is not None:
            self._cell = (self._cell[0] + data, self._cell[1])

    def column(self, table: str, name: str) -> list[tuple[str, str | None]]:
        """Return the cells of a column, from above."""
        head, *rows = self.tables[table]
        index = [text for text, _ in head].index(name)
        return [row[index] for row in rows]


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    """Return a function that reads a page without a browser."""
    return Page


@pytest.fixture(scope="session")
def make_row() -> Callable[..., CandidateRow]:
    """Return a function that makes a row of ``cv_results_`` from number and score."""

    def make(row: int, score: float, **fields: Any) -> CandidateRow:
        own = {
            "rank": None if math.isnan(score) else row + 1,
            "std": 0.01,
            "fold_scores": (score, score),
            "others": {},
            "params": {"net__width": 2**row},
            "seconds": 0.5,
            "reason": "",
            "candidate": row,
            "best_so_far": score,
        }
        return CandidateRow(result_row=row, score=score, **{**own, **fields})

    return make


@pytest.fixture(scope="session")
def make_report() -> Callable[..., SearchPart]:
    """Return a function that makes the report record of a search with some rows."""

    def make(rows: list[CandidateRow], **fields: Any) -> SearchPart:
        scored = [row for row in rows if not math.isnan(row.score)]
        own = {
            "title": "A search",
            "metric": "accuracy",
            "parameters": parameters_of([row.params for row in rows]),
            "importance": None,
            "best": max(scored, key=lambda row: row.score, default=None),
            "findings": (),
            "curves": None,
            "best_epoch": None,
            "resource": None,
            "ledger": None,
        }
        return SearchPart(candidates=rows, **{**own, **fields})

    return make


@pytest.fixture(scope="session")
def make_curves() -> Callable[..., Curves]:
    """Return a function that makes falling losses and a rising score."""

    def make(n_folds: int = 3, n_epochs: int = 9) -> Curves:
        epochs = np.arange(1.0, n_epochs + 1)
        shift = 0.1 * np.arange(n_folds)[:, None]
        return Curves(
            train_loss=1 / epochs + shift,
            valid_loss=1 / epochs + 0.5 + shift,
            valid_score=1 - 1 / epochs - shift,
        )

    return make


_CV = StratifiedKFold(3, shuffle=True, random_state=1)


def _net(make_estimator: Callable[..., Any], name: str = "MLPClassifier") -> Pipeline:
    return Pipeline([("scale", StandardScaler()), ("net", make_estimator(name))])


def _fitted(search: Any, X: Any, y: Any) -> Any:
    # Of fits that fail on purpose.
    with warnings.catch_warnings(action="ignore"):
        return search.fit(X, y)


@pytest.fixture(scope="session")
def grid(make_estimator: Callable[..., Any], iris: Any) -> Any:
    """Return a fitted grid search of four networks; two others fail."""
    space = {"net__width": [4, 8], "net__learning_rate": [0.01, 0.1, -1.0]}
    net = _net(make_estimator).set_params(net__hidden_layer_sizes=None)
    return _fitted(sk_tune.GridSearchCV(net, space, cv=_CV), *iris)


@pytest.fixture(scope="session")
def hyperband(make_estimator: Callable[..., Any], iris: Any) -> Any:
    """Return a fitted Hyperband search of three brackets, with a conditional parameter."""
    rates = loguniform(1e-3, 1e-1)
    space = {
        "net__dropout": uniform(0, 0.5),
        "net__optimizer": Choice({
            "sgd": {"net__learning_rate": rates, "net__momentum": uniform(0, 0.9)},
            "adamw": {"net__learning_rate": rates},
        }),
    }
    options = {"max_resources": 9, "cv": _CV, "random_state": 0}
    options |= {"factor": 3, "select_epoch": "last"}
    search = sk_tune.HyperbandSearchCV(_net(make_estimator), space, **options)
    return _fitted(search, *iris)


@pytest.fixture(scope="session")
def regression(make_estimator: Callable[..., Any], diabetes: Any) -> Any:
    """Return a fitted search with negative scores only."""
    net, cv = _net(make_estimator, "MLPRegressor"), KFold(3, shuffle=True, random_state=0)
    space = {"net__learning_rate": loguniform(1e-3, 1e-1)}
    options = {"n_iter": 3, "scoring": "neg_mean_squared_error", "random_state": 0}
    return _fitted(sk_tune.RandomizedSearchCV(net, space, cv=cv, **options), *diabetes)


@pytest.fixture(scope="session")
def hostile(make_estimator: Callable[..., Any], iris: Any) -> Any:
    """Return a search with HTML in values, messages and labels."""
    space = {
        "net__activation": ["relu", HOSTILE],
        "scale": [StandardScaler(), "passthrough", Hostile()],
    }
    labels = np.array([HOSTILE, "</td>", "&amp;"])[iris.y]
    search = sk_tune.GridSearchCV(_net(make_estimator), space, cv=_CV)
    return _fitted(search, iris.X, labels)


@pytest.fixture(scope="session")
def linear(iris: Any) -> Any:
    """Return a fitted search over a linear model, with two metrics."""
    model, space = LogisticRegression(max_iter=500), {"C": [0.01, 1.0]}
    scoring = {"acc": "accuracy", "loss": "neg_log_loss"}
    search = sk_tune.GridSearchCV(model, space, scoring=scoring, refit="loss", cv=_CV)
    return _fitted(search, *iris)
