"""The page of a search without a browser, its text and JSON, and formatted values."""

import json
import math
import os
import re
import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError

from sk_tune import Finding, MLPClassifier, report
from sk_tune._report import Page, Reproduction
from sk_tune._report._gathering import gather
from sk_tune._report._report_formats import candidate_table, render, to_json, to_text
from sk_tune._report._search_trials import number_text, plain, value_text

HOSTILE = "<script>alert('x')</script>"


@pytest.mark.parametrize("name", ["grid", "hyperband", "regression", "linear"])
def test_numbers_on_the_page_match_the_results(name, request, read_page):
    """Every row of cv_results_ is in the table, with its exact score."""
    search = request.getfixturevalue(name)
    content = gather(search)
    own = read_page(render(content))

    rows = [int(key) for _, key in own.column("candidate-table", "result row")]
    cells = own.column("candidate-table", content.metric)
    suffix = "loss" if name == "linear" else "score"
    expected = search.cv_results_[f"mean_test_{suffix}"]
    assert sorted(rows) == list(range(len(expected)))
    for row, (text, key) in zip(rows, cells, strict=True):
        if math.isnan(expected[row]):
            assert (text, key) == ("n/a", None)
        else:
            assert float(key) == expected[row]
            assert float(text) == pytest.approx(expected[row], rel=5e-4)
    stds = own.column("candidate-table", "std")
    for row, (_, key) in zip(rows, stds, strict=True):
        std = search.cv_results_[f"std_test_{suffix}"][row]
        assert math.isnan(std) if key is None else float(key) == std


def test_the_answer_has_best_and_expected_score(grid, iris, read_page):
    """Next to the baselines, with exact values."""
    html = render(gather(grid, *iris))
    own = read_page(html)

    names = [name for name, _ in own.column("scores-table", "model")]
    keys = [float(key) for _, key in own.column("scores-table", "score")]
    starts = ("dummy ", "linear ", "best, uncorrected ", "expected on new data ")
    assert all(n.startswith(start) for n, start in zip(names, starts, strict=True))
    assert keys[2:] == [grid.best_score_, grid.expected_score_.score]
    # The picture has them on a linear axis.
    at = re.findall(r'<circle cx="([\d.]+)"[^>]*class="mark', html)
    assert np.corrcoef(np.array(at, dtype=float), keys)[0, 1] == pytest.approx(1, abs=1e-4)
    lows = [key for _, key in own.column("scores-table", "from")]
    assert float(lows[-1]) == grid.expected_score_.low


def test_other_formats_are_refused_before_any_work(tmp_path):
    """HTML in a .pdf file would not open; the error names the remedy."""
    with pytest.raises(ValueError, match=r"ends in \.html, .*\.json.*Name page\.html"):
        report(object(), tmp_path / "page.pdf")

    assert not list(tmp_path.iterdir())


def test_values_of_users_are_text(hostile, read_page):
    """Names, values, messages and labels cannot become elements."""
    html = render(gather(hostile))
    own = read_page(html)

    assert own.tags["script"] == 1
    assert "img" not in own.tags
    assert HOSTILE not in html
    assert HOSTILE in "".join(own.texts)
    assert not [1 for _, attributes in own.attributes if "onerror" in attributes]


def test_the_page_requests_nothing(grid, read_page):
    """The only address is the SVG namespace, and a policy forbids requests."""
    html = render(gather(grid))
    own = read_page(html)

    for tag, attributes in own.attributes:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#"), tag
    assert not re.search(r"https?://|@import|url\(", html)
    (policy,) = [
        attributes["content"]
        for tag, attributes in own.attributes
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


@pytest.mark.parametrize("name", ["grid", "hyperband", "linear", "hostile"])
def test_the_page_can_be_read_by_a_screen_reader(name, request, read_page):
    """Language, captions, scopes, titles of pictures, one order of headings, unique ids."""
    own = read_page(render(gather(request.getfixturevalue(name))))

    assert ("html", {"lang": "en"}) in own.attributes
    assert own.tags["caption"] == own.tags["table"]
    assert all(a.get("scope") for tag, a in own.attributes if tag == "th")
    assert len(own.ids) == len(set(own.ids))
    levels = [int(tag[1]) for tag, _ in own.attributes if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    for tag, attributes in own.attributes:
        for name_ in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name_, own.ids[0]) in own.ids
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-labelledby"]


def test_sections_come_in_the_order_of_their_use(grid, linear, read_page):
    """From the answer to reproduction; missing sections are explained."""
    own = read_page(render(gather(grid)))
    page = gather(linear)
    texts = " ".join("".join(read_page(render(page)).texts).split())
    without = replace(page, searches=[replace(page.searches[0], best=None)])

    sections = [a["id"] for tag, a in own.attributes if tag == "section"]
    assert sections == [
        *("answer", "scores-section", "quality", "usage", "verdicts", "pictures"),
        *("candidates", "ledger", "leaks", "again"),
    ]
    reasons = [text for text, _ in own.column("candidate-table", "failure")]
    assert reasons[:4] == [""] * 4
    assert all("learning_rate" in reason for reason in reasons[4:])
    assert "There are no learning curves: the best candidate is not a network" in texts
    assert "There are no learning curves: no candidate has a score" in render(without)
    assert "There are no learning curves to check" in texts


def test_error_scores_are_not_shown_as_scores(grid, iris, read_page):
    """error_score=-1 is in the table, but in no picture."""
    search = clone(grid).set_params(error_score=-1.0)
    with pytest.warns(FitFailedWarning, match="fits failed"):
        search.fit(*iris)
    html = render(gather(search))

    keys = [key for _, key in read_page(html).column("candidate-table", "accuracy")]
    assert keys.count("-1.0") == 2
    assert "2 without a score are left out" in html


def test_two_hundred_candidates_are_less_than_a_megabyte(
    make_report, make_row, make_curves
):
    """With 15 long parameter names, curves of 300 epochs, and every fifth failed."""
    rng = np.random.default_rng(0)
    rows = [
        make_row(
            k,
            math.nan if k % 5 == 4 else float(rng.random()),
            params={
                f"pipeline__network__parameter_{name}": float(rng.random())
                for name in range(15)
            },
            reason="ValueError: " + "x" * 2000 if k % 5 == 4 else "",
        )
        for k in range(200)
    ]
    part = make_report(rows, curves=make_curves(5, 300), best_epoch=300)
    texts = {"title": "A search", "subtitle": "", "metric": "accuracy", "summary": "Yes."}
    versions = {"sk_tune": "0"}
    made = Reproduction(versions=versions, seeds={}, cv="KFold()", data={}, code="search")

    page = Page(**texts, scores=[], searches=[part], reproduction=made)

    assert len(render(page).encode()) < 1_000_000


def test_a_search_writes_its_report(grid, iris, tmp_path):
    """The method and the function give the same."""
    path = grid.report(tmp_path / "a.html", X=iris.X, y=iris.y)

    assert path == tmp_path / "a.html"
    other = report(grid, str(tmp_path / "b.html"), X=iris.X, y=iris.y)
    # Apart from the minute in which they were written.
    first, second = (
        re.sub(r"written [^b]*by", "", p.read_text("utf-8")) for p in (path, other)
    )
    assert first == second


def test_the_suffix_decides_the_format(grid, tmp_path):
    """JSON, text, and text in Markdown; without a file the text is returned."""
    text = report(grid, title="A title")
    for suffix in (".json", ".txt", ".md"):
        assert grid.report(tmp_path / f"a{suffix}", title="A title").suffix == suffix

    assert text.startswith("A title\n")
    assert (tmp_path / "a.txt").read_text("utf-8") == text
    assert (tmp_path / "a.md").read_text("utf-8") == f"```text\n{text}\n```\n"
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["title"] == "A title"


def test_sections_of_users_are_on_the_page(grid, read_page):
    """Text is escaped; tables and figures keep their form."""
    figure = Figure()
    figure.subplots().plot([1, 2])
    frame = pd.DataFrame({"price": [3.5]})
    sections = {"Text": "1 < 2", "Table": frame, "Figure": figure}
    page = replace(gather(grid), sections=sections)
    html = render(page)
    own = read_page(html)

    assert "<p>1 &lt; 2</p>" in html
    assert "1 < 2" in to_text(page)
    assert "<td>3.5</td>" in html
    assert own.tags["svg"] == read_page(render(gather(grid))).tags["svg"] + 1
    assert [i for i in own.ids if i.endswith("-h")][-5:-2] == [
        f"section-{k}-h" for k in (1, 2, 3)
    ]
    assert json.loads(to_json(page))["sections"]["Text"] == "1 < 2"


def test_checks_of_users_are_on_the_page(grid, linear):
    """For searches with and without networks."""

    def too_slow(search):
        return Finding(
            code="", name="too slow", outcome="issue", severity="high",
            message=f"{search.n_splits_} folds are slow.", remedy="Take one.",
        )  # fmt: skip

    for search in (grid, linear):
        text = report(search, extra_checks=[too_slow])

        assert "issue too slow: 3 folds are slow." in text
        assert "Take one." in text


def test_a_network_has_no_report():
    """The message does not claim that a fitted network is not fitted."""
    with pytest.raises(TypeError, match=r"needs a fitted search.* Got MLPClassifier\."):
        report(MLPClassifier())


def test_a_page_is_written_as_a_whole_or_not_at_all(grid, tmp_path, monkeypatch):
    """If writing fails, the old file stays and no other file appears."""
    path = tmp_path / "a.html"
    path.write_text("before")

    with pytest.raises(NotFittedError):
        report(clone(grid), path)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        report(grid, path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.html"]


def test_counts_match_the_ledger(hyperband, linear):
    """Trained and saved epochs add up to a full training, if there are epochs."""
    spent = hyperband.ledger_
    ledger = replace(spent, epochs_trained=spent.epochs_trained - 5, epochs_loaded=5)
    counts = ledger.counts

    parts = (
        "epochs trained",
        "epochs loaded from an earlier run",
        "epochs saved by pruning",
        "epochs saved by early stopping",
        "epochs cut by failures",
    )
    full = counts["epochs if all were trained to the end"]
    assert full == sum(counts[name] for name in parts)
    assert counts["candidates"] == ledger.n_candidates
    assert list(ledger.times)[-1] == "total"
    assert list(linear.ledger_.counts) == ["candidates", "fits", "fits that failed"]


def test_a_page_lists_the_reasons_of_the_ledger(hyperband):
    """Of fits trained alone, and of fits without a curve."""
    page = gather(hyperband)
    spent = replace(
        page.searches[0].ledger,
        alone_reasons={"a callback": 2},
        remarks={"without a held-out curve, because the disk is full": 1},
    )
    html = render(replace(page, searches=[replace(page.searches[0], ledger=spent)]))

    assert "2 trained alone: a callback</p>" in html
    assert "1 without a held-out curve, because the disk is full</p>" in html


def _table(make_report, rows, **fields):
    """Return the names of columns, and the kind and cells of each row."""
    table = candidate_table(make_report(rows, **fields))
    rows = [(kind, [cell.text for cell in cells]) for kind, cells in table.rows]
    return [column.name for column in table.columns], rows


def test_the_best_is_first_and_failures_are_last(make_report, make_row):
    """In any order of evaluation; a traceback is cut and folded."""
    reason = "Traceback\n" + "x" * 9000 + "\nValueError: no"
    rows = [
        make_row(0, math.nan, reason=reason),
        make_row(1, 0.5, rank=2),
        make_row(2, 0.9, rank=1),
        make_row(3, 0.9, rank=1),
    ]

    names, shown = _table(make_report, rows)

    kinds = [(kind, texts[1]) for kind, texts in shown]
    assert kinds == [("best", "2"), ("", "3"), ("", "1"), ("failed", "0")]
    assert names == [
        *("rank", "result row", "accuracy", "std", "width", "fit time (s)", "failure")
    ]
    assert shown[-1][1] == ["n/a", "0", "n/a", "0.01", "1", "0.5", "ValueError: no"]
    details = candidate_table(make_report(rows)).rows[-1][1][-1].details
    assert details.endswith("ValueError: no")
    assert len(details) <= 500


def test_rungs_metrics_and_conditional_parameters_have_columns(make_report, make_row):
    """Missing values are empty cells."""
    early = {"rung": 0, "bracket": 2, "n_resources": 3, "others": {"f1": 0.4}}
    late = {"rung": 1, "bracket": 2, "n_resources": 9, "others": {"f1": 0.3}}
    rows = [
        make_row(0, 0.5, rank=2, params={"a": 1, "epochs": 3}, **early),
        make_row(1, 0.6, rank=1, params={"b": "x", "epochs": 9}, **late),
    ]

    names, shown = _table(make_report, rows, resource="epochs")

    assert names == [
        *("rank", "candidate", "result row", "accuracy", "std", "f1", "bracket", "rung"),
        *("epochs", "a", "b", "fit time (s)"),
    ]
    assert shown[0][1][5:11] == ["0.3", "2", "1", "9", "", "x"]
    assert shown[1][1][5:11] == ["0.4", "2", "0", "3", "1", ""]
    columns = candidate_table(make_report(rows)).columns
    assert {column.name: column.is_number for column in columns}["a"]
    assert not {column.name: column.is_number for column in columns}["b"]


def test_the_text_begins_with_the_answer(grid):
    """Scores, findings, the best candidates and the ledger follow."""
    text = report(grid)

    title, *answer = text.split("\n\n")[0].splitlines()
    assert title == "GridSearchCV over StandardScaler → MLPClassifier"
    score, *_ = str(grid.expected_score_).split()
    assert answer[0].startswith(f"Expected on new data: {score} (")
    assert answer[1].startswith("Model: MLPClassifier, ")
    assert any(line.startswith("Next step: ") for line in answer)
    assert "best, uncorrected" in text
    assert "epochs trained" in text
    assert max(map(len, answer)) <= 88


def test_json_has_the_results_in_full(hyperband, hostile, grid):
    """Numbers equal the search's; missing numbers are null."""
    page = json.loads(to_json(gather(hyperband)))
    (content,) = page["searches"]

    scores = [row["score"] for row in content["candidates"]]
    assert scores == hyperband.cv_results_["mean_test_score"].tolist()
    assert content["best"]["result_row"] == hyperband.best_index_
    assert page["expected"]["score"] == hyperband.expected_score_.score
    assert content["ledger"]["epochs_trained"] == hyperband.ledger_.epochs_trained
    assert len(content["curves"]["train_loss"]) == 3
    first, *_ = json.loads(to_json(gather(hostile)))["searches"][0]["candidates"]
    assert first["params"]["scale"] == "StandardScaler()"
    rows = json.loads(to_json(gather(grid)))["searches"][0]["candidates"]
    failed = [row for row in rows if row["reason"]]
    assert [row["score"] for row in failed] == [None, None]


class Broken:
    """An object with a failing repr."""

    def __repr__(self):
        raise OSError


@given(st.floats(-1e300, 1e300) | st.floats(1, 999_999), st.integers(2, 6))
@example(9999.7, 4)
def test_a_number_reads_back_to_its_digits(value, digits):
    """The error is below the last digit; usual numbers have no exponent."""
    shown = float(number_text(value, digits))

    assert "e" not in number_text(value, digits) or not 1 <= abs(value) <= 999_999

    assert shown == pytest.approx(value, rel=0.5 * 10.0 ** (1 - digits), abs=1e-320)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (np.bool_(False), "False"),
        (np.int64(12), "12"),
        (signal.SIGINT, "2"),
        (np.float32(0.5), "0.5"),
        (math.nan, "n/a"),
        ("a\n b", "a b"),
        (np.tanh, "tanh"),
        (np.ndarray, "ndarray"),
        (Broken(), "<Broken without repr: OSError>"),
        ([1] * 99, "[" + "1, " * 26 + "…"),
    ],
)
def test_values_are_one_short_line(value, text):
    """Cells are readable for any parameter."""
    assert value_text(value) == text


def test_plain_values_are_valid_json():
    """Arrays, numpy numbers, infinities, records and objects."""
    value = {
        1: np.arange(2),
        "a": [np.float64(math.inf), (np.bool_(True), None)],
        "b": Broken(),
    }

    text = json.dumps(plain(value), allow_nan=False)

    assert json.loads(text) == {
        "1": [0, 1],
        "a": [None, [True, None]],
        "b": "<Broken without repr: OSError>",
    }
