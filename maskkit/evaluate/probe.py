"""Probes: how well a classifier works on the features of a frozen encoder.

scikit-learn does the classifying: k nearest neighbours by cosine, and multinomial logistic regression on standardised
features (whose standardising stands for the BatchNorm without affine that MAE's linear probe puts before its head).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
COMPONENTS = 256  # that raw contents are projected to
MOST_FITTED = 2000  # samples that the components are found from


@dataclass(frozen=True)
class Halves:
    """Features [n D] and labels [n] to fit a probe to, and others [m D], [m] to test it on."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    test_features: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def projected(self, components: int = COMPONENTS) -> "tuple[Halves, str]":
        """Return the same with features projected to principal components, and a note that says so.

        The components are those of the features to fit to; the others have no part in them. Features of no more than
        ``components`` numbers are left as they are, with an empty note.
        """
        width, most = self.features.shape[1], min(components, len(self.features))
        if width <= components:
            return self, ""
        mean, axes, share = principal_axes(self.features, most)
        fit, test = (((each - mean) @ axes).astype(np.float32) for each in (self.features, self.test_features))
        note = f"({width:,} numbers, by PCA {axes.shape[1]}: {share:.0%} of the variance)"
        return replace(self, features=fit, test_features=test), note


def principal_axes(
    features: NDArray[np.float32], count: int, *, most: int = MOST_FITTED
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return the mean [D] of features [n D], at most ``count`` principal axes [D K], and their share of the variance.

    The axes come from the Gram matrix [n n], which is small where features are wide: 640 samples of 49,152 numbers
    took 4 s of CPU time, and 15 s with scikit-learn's PCA. More than ``most`` samples are thinned out evenly.
    """
    some = features[:: -(-len(features) // most)]
    mean: NDArray[np.float32] = some.mean(axis=0)
    centred = some - mean
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    values, vectors = values[::-1], vectors[:, ::-1]
    least = float(np.finfo(np.float32).tiny)  # all samples may be the same
    kept = max(1, min(count, int((values > values[0] * 1e-7).sum())))
    axes: NDArray[np.float32] = centred.T @ (vectors[:, :kept] / np.sqrt(values[:kept].clip(least))).astype(np.float32)
    return mean, axes, float(values[:kept].sum() / max(values.sum(), least))


def halves(fit: Features, test: Features | None, *, per_class: int | None = None, seed: int = 0) -> Halves:
    """Return what to fit to and what to test on: two data sets, or one that is split class by class (see ``split``).

    Of two data sets, samples without label are left out.
    """
    if test is None:
        a, b = split(fit.labels, per_class=per_class, seed=seed)
        test = fit
    else:
        a, b = (np.flatnonzero(each.labels >= 0) for each in (fit, test))
        if per_class is not None:
            a, _ = split(fit.labels, per_class=per_class, seed=seed, test=False)
    return Halves(fit.features[a], fit.labels[a], test.features[b], test.labels[b], fit.classes)


def accuracies(pair: Halves, kinds: Iterable[Kind]) -> dict[str, float]:
    """Return the accuracy of each kind of probe."""
    return {kind: accuracy(kind, pair.features, pair.labels, pair.test_features, pair.test_labels) for kind in kinds}


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
    labels: NDArray[np.int64],
    *,
    per_class: int | None = None,
    share: float = 0.8,
    seed: int = 0,
    test: bool = True,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices for fitting and for testing, drawn class by class; samples without label are in neither.

    ``per_class`` labels are fitted to and all others tested on, or a ``share`` of each class is fitted to. Raises
    ValueError if no sample is left to test on, unless ``test`` is False.
    """
    rng = np.random.default_rng(seed)
    fit: list[int] = []
    rest: list[int] = []
    for number in sorted(set(labels[labels >= 0].tolist())):
        members = rng.permutation(np.flatnonzero(labels == number))
        count = round(share * len(members)) if per_class is None else per_class
        fit += members[: max(1, count)].tolist()
        rest += members[max(1, count) :].tolist()
    if test and not rest:
        raise ValueError("no sample is left to test on; give more labelled samples or --test-data")
    return np.array(fit, dtype=np.int64), np.array(rest, dtype=np.int64)


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
