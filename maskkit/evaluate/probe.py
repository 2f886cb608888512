"""Probes: the accuracy of classifiers on features of a frozen encoder.

The classifiers are scikit-learn's: k nearest neighbours by cosine, and multinomial logistic regression on standardised
features. The standardisation corresponds to the BatchNorm without affine parameters in MAE's linear probe.
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
NEIGHBOURS = 20  # as in DINO's protocol, weighted by similarity
COMPONENTS = 256  # number of principal components of raw contents
MOST_FITTED = 2000  # maximum number of samples to compute the components from


@dataclass(frozen=True)
class Halves:
    """Training features [n D] and labels [n] of a probe, and test features [m D] and labels [m]."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    test_features: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def projected(self, components: int = COMPONENTS) -> "tuple[Halves, str]":
        """Return a copy with features projected to principal components, and a note about it.

        The components are computed from the training features only. Features of at most ``components`` numbers are not
        projected, and the note is empty.
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
    """Return the mean [D] of features [n D], up to ``count`` principal axes [D K], and their share of the variance.

    The axes are computed from the Gram matrix [n n], which is small for wide features: 640 samples of 49,152 numbers
    took 0.9 s of CPU time. scikit-learn's PCA took 7 s with its randomised solver and 16 s with its full one. At most
    ``most`` samples are used, evenly spread.
    """
    some = features[:: -(-len(features) // most)]
    mean: NDArray[np.float32] = some.mean(axis=0)
    centred = some - mean
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    values, vectors = values[::-1], vectors[:, ::-1]
    least = float(np.finfo(np.float32).tiny)  # all samples may be equal
    kept = max(1, min(count, int((values > values[0] * 1e-7).sum())))
    axes: NDArray[np.float32] = centred.T @ (vectors[:, :kept] / np.sqrt(values[:kept].clip(least))).astype(np.float32)
    return mean, axes, float(values[:kept].sum() / max(values.sum(), least))


def halves(fit: Features, test: Features | None, *, per_class: int | None = None, seed: int = 0) -> Halves:
    """Return training and test features: two data sets, or one that is split per class (see ``split``).

    With two data sets, samples without a label are left out.
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
    """Return the test accuracy in [0, 1] of each kind of probe."""
    return {kind: accuracy(kind, pair.features, pair.labels, pair.test_features, pair.test_labels) for kind in kinds}


def accuracy(
    kind: Kind,
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    test: NDArray[np.float32],
    test_labels: NDArray[np.int64],
) -> float:
    """Return the test accuracy in [0, 1] of a probe. Raises ValueError for fewer than two classes."""
    if len(set(train_labels.tolist())) < 2:
        raise ValueError("a probe needs at least two classes; name them by sub-folders of the data")
    if kind == "knn":
        # With few labels, use as many neighbours as a class has members: further ones belong to other classes.
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
    """Return training and test indices into ``labels`` [n], drawn per class. Samples without a label are in neither.

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
    """Return the accuracies ``[draws]`` of each kind of probe for several draws of ``per_class`` labels.

    Raises ValueError for different classes.
    """
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
