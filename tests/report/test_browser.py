"""The page in a browser: sorting, hovering, keys, printing, and no requests."""

import base64
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.naive_bayes import GaussianNB

import sk_tune


@pytest.fixture
def opened(browser, grid, iris, tmp_path):
    """Return the browser with the page of a search with two failed candidates."""
    _screen(browser, 1280)
    browser.open(sk_tune.report(grid, tmp_path / "page.html", X=iris.X, y=iris.y))
    return browser


def _screen(browser, width):
    """Set the screen size of a computer, or of a phone if narrow."""
    is_phone = width < 1000
    size = {"width": width, "height": 800, "deviceScaleFactor": 1 + is_phone}
    browser.send("Emulation.setDeviceMetricsOverride", **size, mobile=is_phone)


def _column(browser, name):
    table = 'document.getElementById("candidate-table")'
    index = (
        f"[...{table}.tHead.rows[0].cells]"
        f".findIndex((head) => head.textContent === {name!r})"
    )
    return browser.run(
        f"[...{table}.tBodies[0].rows].map((row) => row.cells[{index}].textContent)"
    )


def _order(browser, name):
    head = (
        '[...document.querySelectorAll("#candidate-table th")]'
        f".find((head) => head.textContent === {name!r})"
    )
    return browser.run(f'{head}.getAttribute("aria-sort")')


def _middle(browser, selector):
    """Return the position of an element's middle after scrolling it into view."""
    browser.run(f'{selector}.scrollIntoView({{block: "center", behavior: "instant"}})')
    left, top, width, height = browser.run(
        f"(({{left, top, width, height}}) => [left, top, width, height])"
        f"({selector}.getBoundingClientRect())"
    )
    return left + width / 2, top + height / 2


def _button(name):
    return (
        '[...document.querySelectorAll("#candidate-table button")]'
        f".find((own) => own.textContent === {name!r})"
    )


def test_the_page_has_no_errors_and_no_requests(opened):
    """The console is empty, and only the page itself is requested."""
    assert opened.problems() == []
    assert len(opened.requests()) == 1
    assert opened.requests()[0].startswith("file:")


def test_clicks_sort_and_reverse_the_order(opened, grid):
    """By numbers instead of texts; candidates without a score stay last."""
    scores = sorted(s for s in grid.cv_results_["mean_test_score"] if s == s)

    opened.click(*_middle(opened, _button("accuracy")))
    rising = _column(opened, "accuracy")
    assert _order(opened, "accuracy") == "ascending"
    assert _order(opened, "rank") is None
    opened.click(*_middle(opened, _button("accuracy")))
    falling = _column(opened, "accuracy")

    assert rising[4:] == falling[4:] == ["n/a", "n/a"]
    assert [float(text) for text in rising[:4]] == pytest.approx(scores, rel=5e-4)
    assert [float(text) for text in falling[:4]] == pytest.approx(scores[::-1], rel=5e-4)
    assert _order(opened, "accuracy") == "descending"
    assert opened.problems() == []


@pytest.mark.parametrize(("key", "text"), [("Enter", "\r"), (" ", " ")])
def test_a_key_sorts(opened, key, text):
    """Headings are buttons with focus; the order is announced."""
    opened.run(f"{_button('width')}.focus()")
    opened.press(key, text)

    widths = [int(value) for value in _column(opened, "width")]
    assert widths == sorted(widths)
    assert _order(opened, "width") == "ascending"
    said = opened.run('document.getElementById("sorted").textContent')
    assert said == "Sorted by width, ascending"


def test_the_pointer_shows_values(opened, grid):
    """Values of the nearest point are shown while the pointer is near."""
    at = _middle(opened, 'document.querySelector("#history .best")')
    opened.move(at[0] + 4, at[1] - 3)

    assert opened.run('document.getElementById("tip").hidden') is False
    text = opened.run('document.getElementById("tip").textContent')
    assert text.startswith(f"row {grid.best_index_}: {grid.best_score_:.4g}")
    opened.move(2, 2)
    assert opened.run('document.getElementById("tip").hidden') is True
    assert opened.problems() == []


def test_a_touch_shows_values_until_the_next(opened):
    """They stay after the finger is lifted."""
    _screen(opened, 390)
    opened.send("Emulation.setTouchEmulationEnabled", enabled=True)
    x, y = _middle(opened, 'document.querySelector("#history .best")')

    _touch(opened, x, y)
    first = opened.run('document.getElementById("tip").hidden')
    box = opened.run(
        '(({left, right}) => [left, right])(document.getElementById("tip")'
        ".getBoundingClientRect())"
    )
    _touch(opened, x, y + 300)

    assert first is False
    assert 0 <= box[0] < box[1] <= 390
    assert opened.run('document.getElementById("tip").hidden') is True
    opened.send("Emulation.setTouchEmulationEnabled", enabled=False)


def _touch(browser, x, y):
    browser.send(
        "Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}]
    )
    browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def test_arrow_keys_walk_over_a_curve(opened):
    """They stop at the first and last epoch."""
    opened.run('document.getElementById("loss-curves").focus()')
    texts = []
    for _ in range(3):
        opened.press("ArrowRight")
        texts.append(opened.run('document.getElementById("tip").textContent'))

    assert texts[0].startswith("epoch 1, loss: training rows ")
    assert texts[1].startswith("epoch 2, ")
    assert texts[2] == texts[1]
    opened.press("ArrowLeft")
    assert opened.run('document.getElementById("tip").textContent') == texts[0]


def test_everything_is_reached_by_the_tab_key(opened):
    """The first stop is a link to the answer; the focus is visible."""
    opened.run("document.body.focus()")
    opened.press("Tab")

    assert opened.run("document.activeElement.className") == "skip"
    outline = opened.run(
        "getComputedStyle(document.activeElement).outlineStyle"
        " + getComputedStyle(document.activeElement).left"
    )
    assert outline == "solid12px"
    stops = []
    for _ in range(60):
        opened.press("Tab")
        stops.append(opened.run("document.activeElement.tagName.toLowerCase()"))
    assert {"a", "svg", "button", "summary"} <= set(stops)


@pytest.fixture(scope="module")
def page_of_one_call(iris, tmp_path_factory):
    """Return the page of AutoML with a network, long names and a long error."""
    X = pd.DataFrame(iris.X, columns=[f"a measurement of the {k}th kind" for k in range(4)])
    X["remarks_without_blanks_" + "x" * 40] = [f"{k}x{k}" for k in range(len(X))]
    labels = np.array(["a class with a long name", "another", "the_third_" * 4])[iris.y]
    auto = sk_tune.AutoClassifier(
        time_budget=None, n_rounds=0, models=["linear", "networks"], cv=2, random_state=0
    )
    path = tmp_path_factory.mktemp("auto") / "page.html"
    return auto.fit(X, labels).report(path)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_of_one_call_need_not_scroll_sideways(browser, page_of_one_call, width):
    """Only wide tables scroll, in their own frames."""
    browser.open(page_of_one_call)
    _screen(browser, width)

    assert browser.run("document.documentElement.scrollWidth") <= width
    sticking_out = (
        "[...document.querySelectorAll('table')].filter((table) =>"
        " table.getBoundingClientRect().right > innerWidth && !table.closest('.scroll'))"
        ".length"
    )
    assert browser.run(sticking_out) == 0
    assert browser.problems() == []


def test_ten_named_classes_fit_on_a_screen(browser, tmp_path):
    """The confusion matrix takes the whole width instead of scrolling in half of it."""
    rng = np.random.default_rng(0)
    labels = np.array([f"sport {k}" for k in range(10)])[np.arange(60) % 10]
    X = rng.normal(size=(60, 2))
    search = sk_tune.GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-2]}, cv=2)
    _screen(browser, 1280)
    browser.open(sk_tune.report(search.fit(X, labels), tmp_path / "page.html"))

    frame = 'document.getElementById("confusion").parentElement'
    assert browser.run(f"{frame}.scrollWidth <= {frame}.clientWidth")


def test_the_page_has_a_dark_mode(opened):
    """It follows the system, with WCAG's AAA contrast of 7."""
    for scheme in ("light", "dark"):
        opened.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        ink, paper = (
            opened.run(f"getComputedStyle(document.body).{name}")
            for name in ("color", "backgroundColor")
        )
        light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 7
        assert (_luminance(paper) > 0.5) == (scheme == "light")
    opened.send("Emulation.setEmulatedMedia", features=[])


def _luminance(colour):
    """Return WCAG's relative luminance of a colour as browsers write it."""
    parts = [int(c) / 255 for c in colour[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_page_prints(opened):
    """It has a few printed pages."""
    pdf = base64.b64decode(opened.send("Page.printToPDF")["data"])

    assert pdf.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type */Page\b", pdf)) <= 12


def test_markup_of_users_does_not_run(browser, hostile, tmp_path):
    """A dialog or an error would be recorded."""
    browser.open(sk_tune.report(hostile, tmp_path / "page.html"))

    assert browser.problems() == []
    assert browser.run("document.scripts.length") == 1
    events = {event["method"] for event in browser.events}
    assert "Page.javascriptDialogOpening" not in events
