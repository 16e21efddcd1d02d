"""Metrics of scikit-learn and SciPy for tests/scikit_learn.rs: python generate.py | gzip -9n > expected.json.gz

scikit-learn 1.9.1, SciPy and NumPy as it requires.
"""

import json

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_softmax, softmax
from scipy.stats import binomtest
from sklearn import metrics


def defined(value):
    """JSON has no NaN: undefined is null."""
    return None if value is None or np.isnan(value) else float(value)


def scores(actual, predicted, classes, average):
    present = sorted(set(actual))
    labels = present if average else range(classes)
    found = metrics.precision_recall_fscore_support(
        actual, predicted, labels=labels, average=average, zero_division=0
    )[:3]
    return [np.asarray(part).tolist() for part in found]


def ranking(truth, probabilities):
    """Areas of each class against the rest, and their averages; a class without both sides has none."""
    classes = truth.shape[1]
    both = [0 < truth[:, c].sum() < len(truth) for c in range(classes)]
    some = [truth[:, c].sum() > 0 for c in range(classes)]
    auc = [metrics.roc_auc_score(truth[:, c], probabilities[:, c]) if both[c] else None for c in range(classes)]
    ap = [metrics.average_precision_score(truth[:, c], probabilities[:, c]) if some[c] else None for c in range(classes)]

    def averages(metric, usable):
        part = truth[:, usable], probabilities[:, usable]
        micro = defined(metric(truth, probabilities, average="micro"))
        if not any(usable):
            return [None, None, micro]
        return [defined(metric(*part, average=kind)) for kind in ("macro", "weighted")] + [micro]

    curves = []
    for c in range(classes):
        if both[c]:
            fpr, tpr, _ = metrics.roc_curve(truth[:, c], probabilities[:, c], drop_intermediate=False)
            curves.append(np.stack([fpr, tpr], 1).tolist())
        else:
            curves.append([])
    return {
        "roc_auc": auc,
        "average_precision": ap,
        "roc_auc_averages": averages(metrics.roc_auc_score, both),
        "average_precision_averages": averages(metrics.average_precision_score, some),
        "roc_curves": curves,
    }


def ece(confidence, right, bins=15):
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(confidence, edges, right=True), 1, bins)
    error = 0.0
    for step in range(1, bins + 1):
        inside = place == step
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)


def single(rng, images, classes, absent=(), decimals=None, scale=2.0):
    usable = [c for c in range(classes) if c not in absent]
    actual = rng.choice(usable, images)
    logits = rng.normal(size=(images, classes)) * scale
    logits[np.arange(images), actual] += scale
    if decimals is not None:
        logits = logits.round(decimals)
    logits = logits.astype(np.float32).astype(np.float64)
    probabilities = softmax(logits, axis=1)
    # What is compared are 32-bit probabilities; ties among them count.
    single_precision = probabilities.astype(np.float32)
    predicted = logits.argmax(1)
    truth = np.eye(classes, dtype=int)[actual]
    confidence, right = probabilities.max(1), predicted == actual

    def slope(inverse):
        p = softmax(inverse * logits, axis=1)
        return ((p * logits).sum(1) - logits[np.arange(images), actual]).mean()

    def loss(inverse):
        return -log_softmax(inverse * logits, axis=1)[np.arange(images), actual].mean()

    within = slope(20.0) > 0 > slope(0.05)
    inverse = brentq(slope, 0.05, 20, xtol=1e-15, rtol=1e-14) if within else None
    scaled = softmax(inverse * logits, axis=1) if within else None
    interval = binomtest(int(right.sum()), images).proportion_ci(0.95, method="wilson")
    return {
        "classes": classes,
        "logits": logits.ravel().tolist(),
        "actual": actual.tolist(),
        "scores": scores(actual, predicted, classes, None),
        "macro": scores(actual, predicted, classes, "macro"),
        "weighted": scores(actual, predicted, classes, "weighted"),
        "interval": [interval.low, interval.high],
        "log_loss": metrics.log_loss(actual, probabilities, labels=range(classes)),
        "brier": metrics.brier_score_loss(
            actual, probabilities if classes > 2 else probabilities[:, 1], labels=range(classes)
        ),
        "calibration_error": ece(confidence, right),
        "ranking": ranking(truth, single_precision),
        "temperature": 1 / inverse if within else None,
        "temperature_loss": float(loss(inverse)) if within else None,
        "temperature_error": ece(scaled.max(1), right) if within else None,
    }


def several(rng, images, classes, absent=()):
    logits = (rng.normal(size=(images, classes)) * 3).round(1)
    truth = rng.random((images, classes)) < expit(logits / 2)
    truth[:, list(absent)] = False
    logits = logits.astype(np.float32).astype(np.float64)
    probabilities = expit(logits)
    selected = probabilities >= 0.5

    def slope(inverse):
        return ((expit(inverse * logits) - truth) * logits).mean()

    inverse = brentq(slope, 0.05, 20, xtol=1e-15, rtol=1e-14)
    present = [c for c in range(classes) if c not in absent]

    def averaged(kind):
        found = metrics.precision_recall_fscore_support(
            truth[:, present], selected[:, present], average=kind, zero_division=0
        )
        return [float(part) for part in found[:3]]

    return {
        "classes": classes,
        "logits": logits.ravel().tolist(),
        "truth": truth.ravel().tolist(),
        "macro": averaged("macro"),
        "weighted": averaged("weighted"),
        "ranking": ranking(truth.astype(int), probabilities.astype(np.float32)),
        "calibration_error": ece(probabilities.ravel(), truth.ravel()),
        "temperature": 1 / inverse,
        "temperature_loss": metrics.log_loss(truth.ravel(), expit(inverse * logits).ravel()),
    }


def main():
    rng = np.random.default_rng(0)
    cases = {
        "plain": single(rng, 60, 4),
        "ties": single(rng, 80, 3, decimals=0, scale=1.0),
        "a class without images": single(rng, 50, 4, absent=[2], decimals=1),
        "two classes": single(rng, 40, 2, decimals=1),
        "images of one class only": single(rng, 12, 3, absent=[0, 2], scale=0.5),
        "overconfident": single(rng, 70, 5, scale=6.0),
    }
    labels = {"several": several(rng, 40, 4), "a label that never occurs": several(rng, 30, 3, absent=[1])}
    intervals = [[k, n, *map(float, binomtest(k, n).proportion_ci(0.95, method="wilson"))]
                 for k, n in [(0, 1), (1, 1), (0, 50), (50, 50), (3, 7), (9321, 10000), (999_999, 1_000_000)]]
    text = json.dumps({"single": cases, "several": labels, "intervals": intervals}, separators=(",", ":"))
    print(text)


if __name__ == "__main__":
    main()
