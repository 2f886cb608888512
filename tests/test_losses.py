"""Each loss against its formula written out."""

import math

import pytest
import torch

from maskkit.losses import L1, Chamfer, Cosine, CrossEntropy, MeanSquared, SmoothL1
from maskkit.parts import build, describe


def numbers(width=6):
    rng = torch.Generator().manual_seed(width)
    return torch.randn(2, 5, width, generator=rng), torch.randn(2, 5, width, generator=rng)


def smooth(d, beta):
    return d**2 / (2 * beta) if abs(d) < beta else abs(d) - beta / 2


def chamfer(p, v, norm):
    distances = [[math.dist(a, b) for b in v] for a in p]
    there = [min(row) for row in distances]
    back = [min(column) for column in zip(*distances, strict=True)]
    if norm == "l2":
        return sum(d**2 for d in there) / len(there) + sum(d**2 for d in back) / len(back)
    return (sum(there) / len(there) + sum(back) / len(back)) / 2


def cosine(p, v):
    return 1 - sum(a * b for a, b in zip(p, v, strict=True)) / math.hypot(*p) / math.hypot(*v)


def mean_of(of_one):
    return lambda p, v: sum(of_one(a - b) for a, b in zip(p, v, strict=True)) / len(p)


def points(flat, axes=3):
    return [flat[start : start + axes] for start in range(0, len(flat), axes)]


FORMULAS = [
    (MeanSquared(), mean_of(lambda d: d**2)),
    (L1(), mean_of(abs)),
    (SmoothL1(), mean_of(lambda d: smooth(d, 1.0))),
    (SmoothL1(beta=0.3), mean_of(lambda d: smooth(d, 0.3))),
    (Cosine(), cosine),
    (Chamfer(norm="l1"), lambda p, v: chamfer(points(p), points(v), "l1")),
    (Chamfer(norm="l2"), lambda p, v: chamfer(points(p), points(v), "l2")),
    (Chamfer(norm="l2", axes=2), lambda p, v: chamfer(points(p, 2), points(v, 2), "l2")),
]


@pytest.mark.parametrize(("loss", "formula"), FORMULAS, ids=[repr(loss) for loss, _ in FORMULAS])
def test_losses_are_their_formulas(loss, formula):
    prediction, value = numbers()
    found = loss(prediction, value)
    assert found.shape == (2, 5) and found.dtype == torch.float32
    rows = zip(prediction.flatten(0, 1).double().tolist(), value.flatten(0, 1).double().tolist(), strict=True)
    wanted = [formula(p, v) for p, v in rows]
    assert found.flatten().tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert build(describe(loss)) == loss
    half = loss(prediction.bfloat16(), value)
    assert half.dtype == torch.float32 and torch.allclose(half, found, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("loss", [each for each, _ in FORMULAS], ids=repr)
def test_what_is_predicted_right_costs_nothing_and_has_a_finite_gradient(loss):
    prediction, _ = numbers()
    prediction.requires_grad_()
    found = loss(prediction, prediction.detach())
    assert found.abs().max() < 1e-5
    found.sum().backward()
    assert prediction.grad.isfinite().all()


def log_softmax(scores):
    return [score - math.log(sum(map(math.exp, scores))) for score in scores]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["codes", "probabilities"])
def test_cross_entropy_is_its_formula(kind, smoothing):
    scores = numbers(4)[0]
    codes = torch.arange(10).view(2, 5) % 4
    share = torch.nn.functional.one_hot(codes, 4).float() if kind == "codes" else numbers(4)[1].softmax(dim=-1)
    value = codes if kind == "codes" else share
    found = CrossEntropy(smoothing=smoothing)(scores, value)
    spread = (1 - smoothing) * share + smoothing / 4
    logs = [log_softmax(row) for row in scores.flatten(0, 1).double().tolist()]
    wanted = [
        -sum(a * b for a, b in zip(p, q, strict=True)) for p, q in zip(spread.flatten(0, 1).tolist(), logs, strict=True)
    ]
    assert found.flatten().tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("classes", [2, 10, 8192])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_chance_is_the_logarithm_of_the_classes(classes, smoothing):
    codes = torch.randint(classes, (2, 3))
    found = CrossEntropy(smoothing=smoothing)(torch.zeros(2, 3, classes), codes)
    assert torch.allclose(found, torch.full((2, 3), math.log(classes)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
def test_a_code_of_minus_one_counts_nothing(dtype):
    scores = numbers(4)[0].requires_grad_()
    codes = torch.tensor([[0, -1, 2, 3, -1], [-1, 1, 2, 3, 0]], dtype=dtype)
    found = CrossEntropy()(scores, codes)
    assert ((found == 0) == (codes == -1)).all()
    found.sum().backward()
    assert ((scores.grad == 0).all(dim=-1) == (codes == -1)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmoothL1(beta=0), "beta must be positive, got 0; choose L1 for 0"),
        (lambda: CrossEntropy(smoothing=1), r"smoothing must lie in \[0, 1\), got 1"),
        (lambda: Chamfer(norm="l3"), "norm must be l1 or l2, got 'l3'"),
    ],
)
def test_settings_that_make_no_loss_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
