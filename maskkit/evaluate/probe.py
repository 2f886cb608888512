"""Probes: how far a frozen encoder's features carry a classifier.

scikit-learn does the classifying: k nearest neighbours by cosine, and multinomial logistic regression on standardised
features (whose standardising stands for the BatchNorm without affine that MAE's linear probe puts before its head).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maskkit.evaluate.features import Features

Kind = Literal["knn", "linear"]
NEIGHBOURS = 20  # as DINO's protocol, weighted by nearness


def accuracy(
    kind: Kind,
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    test: NDArray[np.float32],
    test_labels: NDArray[np.int64],
) -> float:
    """Return the share of test samples that a probe, fitted to the training features, gets right."""
    if len(set(train_labels.tolist())) < 2:
        raise ValueError("a probe needs at least two classes; name them by sub-folders of the data")
    if kind == "knn":
        # With few labels, as many neighbours as a class has members: further ones can only be of other classes.
        most = min(NEIGHBOURS, int(np.bincount(train_labels).max()))
        classifier = KNeighborsClassifier(most, metric="cosine", weights="distance")
    else:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1))
    return float(classifier.fit(train, train_labels).score(test, test_labels))


def split(
    labels: NDArray[np.int64], *, per_class: int | None = None, share: float = 0.8, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices for fitting and for testing, drawn class by class; samples without label are in neither.

    ``per_class`` labels are fitted to and all others tested on, or a ``share`` of each class is fitted to.
    """
    rng = np.random.default_rng(seed)
    fit: list[int] = []
    test: list[int] = []
    for number in sorted(set(labels[labels >= 0].tolist())):
        members = rng.permutation(np.flatnonzero(labels == number))
        count = round(share * len(members)) if per_class is None else per_class
        fit += members[: max(1, count)].tolist()
        test += members[max(1, count) :].tolist()
    if not test:
        raise ValueError("no sample is left to test on; give more labelled samples or --test-data")
    return np.array(fit), np.array(test)


def compare(
    fit: Features, test: Features, *, per_class: int, draws: int = 1, seed: int = 0
) -> dict[Kind, NDArray[np.float64]]:
    """Return the accuracy of every probe for several draws of ``per_class`` labels; ``[draws]`` for each kind."""
    if fit.classes != test.classes:
        raise ValueError(f"the test data has classes {test.classes}, the data {fit.classes}; name them alike")
    scores: dict[Kind, NDArray[np.float64]] = {}
    for kind in ("knn", "linear"):
        row = []
        for draw in range(draws):
            few, _ = split(fit.labels, per_class=per_class, seed=seed + draw)
            row.append(accuracy(kind, fit.features[few], fit.labels[few], test.features, test.labels))
        scores[kind] = np.array(row)
    return scores
