"""Each number of the metrics against scikit-learn, called another way on the file itself."""

import csv
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from alloyk.metrics import classification_metrics
from alloyk.metrics.classification import PER_CLASS
from alloyk.runs.predictions import Predictions, read_predictions, write_predictions

CLASSES = ("1050", "2017", "5083", "6082", "7075")


@st.composite
def prediction_tables(draw):
    """Labels, decisions and probabilities: few images, so classes go missing; coarse, so ties."""
    k = draw(st.integers(2, 5))
    n = draw(st.integers(1, 25))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    present = draw(st.integers(1, k))
    y = rng.integers(0, present, n)
    levels = draw(st.sampled_from([1, 3, 1000]))
    raw = rng.integers(0, levels + 1, size=(n, k)) + draw(st.sampled_from([1e-9, 0.5]))
    edited = draw(st.booleans())
    return y, raw, (rng.integers(0, k, n) if edited else None)


def recompute(path):
    """The figures from the file's text by scikit-learn with string labels, class by class."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    classes = [name[2:] for name in rows[0] if name.startswith("p_")]
    true = np.array([row["label"] for row in rows])
    predicted = np.array([row["predicted"] for row in rows])
    p = np.array([[float(row[f"p_{c}"]) for c in classes] for row in rows])
    one_hot = np.array([[label == c for c in classes] for label in true])
    kw = {"labels": classes, "zero_division": np.nan}
    expected = {
        "accuracy": sk.accuracy_score(true, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(true, predicted),
        "log_loss": sk.log_loss(true, p, labels=classes),
        "confusion_matrix": sk.confusion_matrix(true, predicted, labels=classes),
    }
    per_class = {name: [] for name in PER_CLASS}
    for k, c in enumerate(classes):
        is_c, called_c = true == c, predicted == c
        binary = {"zero_division": np.nan}
        per_class["precision"].append(sk.precision_score(is_c, called_c, **binary))
        per_class["recall"].append(sk.recall_score(is_c, called_c, **binary))
        per_class["specificity"].append(sk.recall_score(~is_c, ~called_c, **binary))
        per_class["f1"].append(sk.f1_score(is_c, called_c, **binary))
        ap = sk.average_precision_score(is_c, p[:, k]) if is_c.any() else np.nan
        both = is_c.any() and not is_c.all()
        per_class["average_precision"].append(ap)
        per_class["roc_auc"].append(sk.roc_auc_score(is_c, p[:, k]) if both else np.nan)
        per_class["support"].append(is_c.sum())
    expected["per_class"] = per_class
    expected["macro"] = {
        "precision": sk.precision_score(true, predicted, average="macro", **kw),
        "recall": sk.recall_score(true, predicted, average="macro", **kw),
        "f1": sk.f1_score(true, predicted, average="macro", **kw),
    }
    expected["micro"] = {
        "precision": sk.precision_score(true, predicted, average="micro", **kw),
        "recall": sk.recall_score(true, predicted, average="micro", **kw),
        "f1": sk.f1_score(true, predicted, average="micro", **kw),
        "specificity": sk.recall_score(
            ~one_hot.ravel(), (predicted[:, None] != np.array(classes)).ravel()
        ),
        "average_precision": sk.average_precision_score(one_hot, p, average="micro"),
        "roc_auc": sk.roc_auc_score(one_hot.ravel(), p.ravel()),
        "support": len(true),
    }
    return classes, expected


def close(found, expected):
    found = np.nan if found is None else found
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prediction_tables())
def test_every_figure_equals_scikit_learn(tmp_path_factory, case):
    y, raw, edited = case
    classes = CLASSES[: raw.shape[1]]
    path = tmp_path_factory.mktemp("m") / "predictions.csv"
    labels = [classes[i] for i in y]
    table = pd.DataFrame({"path": [str(i) for i in range(len(y))], "label": labels})
    predicted = None if edited is None else [classes[i] for i in edited]
    write_predictions(path, table, raw, classes, predicted=predicted)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is undefined is said in the result, not on stderr
        found = classification_metrics(read_predictions(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names, expected = recompute(path)

    assert found["classes"] == names
    assert found["n"] == len(y)
    for name in ("accuracy", "balanced_accuracy", "log_loss", "confusion_matrix"):
        close(found[name], expected[name])
    for name in PER_CLASS:
        for k, c in enumerate(names):
            close(found["per_class"][c][name], expected["per_class"][name][k])
            assert (f"per_class.{c}.{name}" in found["undefined"]) == (
                found["per_class"][c][name] is None
            )
    for name in ("specificity", "average_precision", "roc_auc"):
        values = [v for v in expected["per_class"][name] if not np.isnan(v)]
        close(found["macro"][name], np.mean(values) if values else np.nan)
        assert (f"macro.{name}" in found["undefined"]) == (not values)
    for average in ("macro", "micro"):
        for name, value in expected[average].items():
            close(found[average][name], value)
    json.dumps(found, allow_nan=False)


def predictions_of(y_true, y_pred, probabilities, classes):
    table = pd.DataFrame({"path": [str(i) for i in range(len(y_true))]})
    return Predictions(
        table, tuple(classes), np.array(y_true), np.array(y_pred), np.array(probabilities)
    )


def test_counts_by_hand():
    # True A, A, A, B, B, C; said A, A, B, B, C, C.
    figures = classification_metrics(
        predictions_of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], np.full((6, 3), 1 / 3), "ABC")
    )
    assert figures["confusion_matrix"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert figures["log_loss"] == pytest.approx(np.log(3))
    assert figures["per_class"]["B"] == pytest.approx(
        {
            "precision": 1 / 2,
            "recall": 1 / 2,
            "specificity": 3 / 4,
            "f1": 1 / 2,
            "average_precision": 1 / 3,  # all tied: the share of the class
            "roc_auc": 1 / 2,
            "support": 2,
        }
    )


def test_a_class_never_predicted_and_one_without_images_say_why():
    likely = [[0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.5, 0.4, 0.1]]
    figures = classification_metrics(predictions_of([0, 0, 1], [0, 0, 0], likely, "ABC"))
    b, c = figures["per_class"]["B"], figures["per_class"]["C"]
    assert (b["precision"], b["recall"], b["f1"]) == (None, 0.0, 0.0)
    assert (c["recall"], c["f1"], c["average_precision"], c["roc_auc"]) == (None,) * 4
    assert c["specificity"] == 1.0
    assert figures["undefined"]["per_class.B.precision"] == "no image was predicted as B"
    assert figures["undefined"]["per_class.C.roc_auc"] == "the split has no image of C"
    assert figures["macro"]["recall"] == figures["balanced_accuracy"] == 0.5


def test_a_split_of_one_class_is_defined():
    figures = classification_metrics(predictions_of([0, 0], [0, 1], [[0.9, 0.1], [0.2, 0.8]], "AB"))
    assert figures["accuracy"] == figures["balanced_accuracy"] == 0.5
    assert figures["macro"]["roc_auc"] is None
    assert figures["undefined"]["per_class.A.roc_auc"] == "every image of the split is of A"
    assert figures["undefined"]["macro.roc_auc"] == "undefined for every class"


def test_a_wrong_certainty_costs_a_finite_log_loss():
    figures = classification_metrics(predictions_of([0], [1], [[0.0, 1.0]], "AB"))
    assert figures["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))
