"""The page of one call."""

from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import load_iris

from sk_tune import AutoClassifier
from sk_tune.exceptions import SkTuneWarning


class _Text(HTMLParser):
    """Collects what is read, and refuses tags that do not match."""

    void = ("meta", "br", "img", "link")

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        """Note it."""
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Compare it."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Keep it."""
        self.text.append(data)


@pytest.fixture(scope="module")
def leaky():
    """Return a fit on data with a leak, and with a name that could be a tag."""
    data = load_iris(as_frame=True)
    X = data.data.assign(**{"<b>told</b>": np.array([5, 9, 7])[data.target]})
    auto = AutoClassifier(
        time_budget=None, n_rounds=0, models=["linear"], cv=2, random_state=0
    )
    with pytest.warns(SkTuneWarning, match="told"):
        return auto.fit(X, data.target)


def test_the_page_has_the_answer_the_scores_and_the_leak(leaky, tmp_path):
    """It is well formed, and names from users are text."""
    path = leaky.report(tmp_path / "page.html", title="A & B")
    page = path.read_text(encoding="utf-8")

    reader = _Text()
    reader.feed(page)
    text = " ".join(" ".join(reader.text).split())
    assert reader.open == []
    assert leaky.verdict_ in text
    assert "A & B" in text
    assert "The column '<b>told</b>' is the target in other words." in text
    for name in leaky.leaderboard_.index:
        assert name in text


def test_the_page_needs_nothing_else(leaky, tmp_path):
    """No script, no other file, no network."""
    page = leaky.report(tmp_path / "page.html").read_text(encoding="utf-8")

    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
