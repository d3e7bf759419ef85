"""The quality of predictions by common metrics."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_tune
from sk_tune._report import quality_of
from sk_tune._report._gathering import gather
from sk_tune._report._pictures import residual_picture
from sk_tune._report._quality import confusion_table
from sk_tune._report._report_formats import render

CLASSES = np.array(["a", "b", "c"])


def test_metrics_of_classes_match_scikit_learn(read_page):
    """On held-out rows and on rows set aside."""
    rng = np.random.default_rng(0)
    y, other = CLASSES[rng.integers(0, 3, 60)], CLASSES[rng.integers(0, 3, 30)]
    p, q = rng.dirichlet(np.ones(3), 60), rng.dirichlet(np.ones(3), 30)

    quality = quality_of(y, p, CLASSES, (other, q))

    lines = {line.name: line for line in quality.lines}
    for name, metric, options in (
        ("accuracy", metrics.accuracy_score, {}),
        ("balanced accuracy", metrics.balanced_accuracy_score, {}),
        ("F1, averaged over the classes", metrics.f1_score, {"average": "macro"}),
        ("Matthews correlation", metrics.matthews_corrcoef, {}),
    ):
        assert lines[name].folds == metric(y, CLASSES[p.argmax(axis=1)], **options)
        assert lines[name].set_aside == metric(other, CLASSES[q.argmax(axis=1)], **options)
    assert lines["log loss"].folds == pytest.approx(metrics.log_loss(y, p))
    auc = metrics.roc_auc_score(other, q, multi_class="ovr")
    assert lines["ROC AUC"].set_aside == pytest.approx(auc)
    assert np.array_equal(
        quality.counts, metrics.confusion_matrix(y, CLASSES[p.argmax(axis=1)])
    )
    # Of two classes the rarer one has the first column here.
    two = quality_of(y > "a", np.stack([p[:, 0], 1 - p[:, 0]], 1), np.array([False, True]))
    (found,) = (line.folds for line in two.lines if "rarer" in line.name)
    assert found == metrics.average_precision_score(y == "a", p[:, 0])
    assert confusion_table(quality)["rows"][0][2] == quality.counts[0, 0] / (y == "a").sum()


def test_rows_without_a_prediction_do_not_count():
    """Rows that no fold held out."""
    predictions = np.array([1.0, np.nan, 4.0])

    quality = quality_of(np.array([1.0, 2.0, 3.0]), predictions, None)

    lines = {line.name: line.folds for line in quality.lines}
    assert quality.n_rows == 2
    assert lines["mean absolute error"] == 0.5
    assert lines["root mean squared error"] == pytest.approx(np.sqrt(0.5))
    assert quality.counts is None


def test_of_many_classes_the_most_frequent_mistakes_are_listed():
    """With the number of rows of the true class."""
    classes = np.arange(30)
    y = np.repeat(classes, 4)
    p = np.eye(30)[y]
    p[:3] = np.eye(30)[7]

    table = confusion_table(quality_of(y, p, classes))

    assert table["rows"] == []
    assert table["mistakes"] == [("0", "7", 3, 4)]


def test_numbers_are_drawn_against_their_predictions():
    """At most 400 points, in the order of the arrow keys."""
    truth = np.linspace(-1, 1, 900)

    figure = residual_picture(quality_of(truth, truth + 0.5, None))

    points = ET.fromstring(figure["svg"]).findall(".//circle")
    assert len(points) == 400
    across = [float(point.attrib["cx"]) for point in points]
    assert across == sorted(across)
    assert "off by 0.5" in points[0][0].text
    assert "shows 400 of the rows" in figure["caption"]


def test_a_search_page_has_the_quality_of_its_best_candidate(iris, read_page):
    """And code that predicts."""
    search = sk_tune.GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}, cv=3)
    search.fit(*iris)

    report = gather(search)

    labels = search.oof_predictions_[search.best_index_].argmax(axis=1)
    own = read_page(render(report))
    key = own.column("metrics-table", "held-out rows")[0][1]
    assert float(key) == metrics.accuracy_score(iris.y, labels)
    assert own.column("confusion", "correct")
    assert "search.predict(X_new)" in "".join(own.texts)
    assert "joblib.dump(search.best_estimator_" in "".join(own.texts)
    sentence = "90 % prediction sets contain the label of "
    assert sentence in "".join(own.texts)
    assert sentence in search.report()


def test_the_page_recommends_save_where_it_takes_the_model(iris, read_page):
    """A file without code is preferred to a pickle."""
    net = make_pipeline(StandardScaler(), sk_tune.MLPClassifier(max_epochs=2))
    search = sk_tune.GridSearchCV(net, {}, cv=2).fit(*iris)

    texts = "".join(read_page(render(gather(search))).texts)

    assert "sk_tune.save(search.best_estimator_" in texts
    assert "joblib" not in texts
