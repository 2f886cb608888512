"""Terms of the objective: what they are about, how they are weighted, what they refuse."""

import pytest
import torch
import torch.nn.functional as F

from maskkit import Mask
from maskkit.batches import Fields
from maskkit.decoder import JointDecoder, LinearDecoder
from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.losses import L1, MeanSquared
from maskkit.modalities import image
from maskkit.positions import SinCos
from maskkit.step import Result
from maskkit.targets import Contents
from maskkit.terms import Classify, Predict
from maskkit.testing import check_model
from maskkit.types import Query, take


def joint():
    return JointDecoder(latent=16, dim=16, depth=1, heads=2, output=4, positions=SinCos(dim=16, axes=2))


def model_with(encoder=SparseEncoder, **parts):
    torch.manual_seed(0)
    tokenizer = image.patches(2, 1, mean=(0.5,), std=(0.5,), image_size=8)
    return image.mae(
        tokenizer=tokenizer,
        norm_target=False,
        encoder=encoder(content=4, dim=16, depth=1, heads=2, positions=SinCos(dim=16, axes=2)),
        **{"decoder": joint(), **parts},
    ).eval()


SETS = {
    "hidden": lambda mask: mask.hidden,
    "visible": lambda mask: mask.visible,
    "named": lambda mask: mask.sets["named"].index,
}


@pytest.mark.parametrize("on", SETS)
@pytest.mark.parametrize("encoder", [SparseEncoder, DenseEncoder])
def test_predict_is_about_the_tokens_that_it_names(on, encoder):
    visible_only = encoder is SparseEncoder and on == "visible"
    decoder = LinearDecoder(latent=16, output=4) if visible_only or encoder is DenseEncoder else joint()
    model = model_with(encoder, also={"more": Predict(decoder=decoder, target=Contents(), loss=L1(), on=on)})
    named = Query(torch.tensor([[3, 1], [0, 9]]), weight=torch.tensor([[1.0, 0.5], [1.0, 0.0]]))
    mask = Mask.hide(torch.tensor([[2, 5, 7], [1, 2, 3]]), num_tokens=16)
    mask = Mask(visible=mask.visible, hidden=mask.hidden, sets={"named": named})
    out = model(image.sample(2), mask=mask)
    result = out.views[0]["more"]
    asked = SETS[on](mask)
    assert torch.equal(result.mask.hidden, asked)
    assert torch.equal(result.value, take(out.tokens.x, asked))
    assert torch.allclose(result.losses, (result.prediction - result.value).abs().mean(dim=-1))
    weight = named.weight if on == "named" else torch.ones(asked.shape)
    assert torch.allclose(out.terms["more"], (result.losses * weight).sum() / weight.sum())


def test_a_set_that_the_mask_does_not_have_is_named():
    model = model_with(also={"more": Predict(decoder=joint(), target=Contents(), on="held")})
    with pytest.raises(ValueError, match="the mask has no set 'held', it has hidden, visible; choose one of them"):
        model(image.sample(2))


def test_the_loss_is_the_weighted_sum_of_the_terms():
    terms = {
        "l1": Predict(decoder=joint(), target=Contents(), loss=L1(), weight=0.25),
        "seen": Predict(decoder=LinearDecoder(latent=16, output=4), target=Contents(), on="visible", weight=3.0),
        "off": Predict(decoder=joint(), target=Contents(), weight=0.0),
    }
    model = model_with(also=terms)
    check_model(model, image.sample(3))
    out = model(image.sample(3))
    assert list(out.terms) == ["predict", "l1", "seen", "off"]
    values = [out.terms[name].item() for name in out.terms]
    assert out.loss.item() == pytest.approx(values[0] + 0.25 * values[1] + 3 * values[2], rel=1e-5)
    assert torch.equal(out.losses, out.views[0]["predict"].losses)


def test_terms_are_computed_in_order_and_see_those_before():
    seen = []

    class Later:
        weight = 1.0

        def __call__(self, step):
            seen.append(list(step.results))
            return Result(step.results["predict"].losses.mean().detach())

    out = model_with(also={"one": Later(), "two": Later()})(image.sample(2))
    assert seen == [["predict"], ["predict", "one"]]
    assert out.loss.item() == pytest.approx(3 * out.terms["predict"].item(), rel=1e-5)


def test_the_name_of_the_first_term_is_taken():
    with pytest.raises(ValueError, match="'predict' is the name of the first term; call a further term something else"):
        model_with(also={"predict": Predict(decoder=joint(), target=Contents())})


def test_the_first_term_may_be_about_visible_tokens():
    model = model_with(decoder=LinearDecoder(latent=16, output=4), on="visible", loss=MeanSquared())
    out = model(image.sample(2))
    assert out.prediction.shape[1] == 4 and out.loss == out.terms["predict"]
    check_model(model, image.sample(2))


@pytest.mark.parametrize("pool", ["mean", "prefix"])
def test_classify_is_the_cross_entropy_of_what_is_labelled(pool):
    term = Classify(latent=16, classes=3, pool=pool, weight=0.5)
    torch.nn.init.normal_(term.head.weight)
    model = model_with(also={"class": term})
    labels = torch.tensor([2, -1, 0, 1])
    out = model(Fields(x=image.sample(4), label=labels))
    pooled = out.latent.pooled if pool == "mean" else out.latent.prefix[:, 0]
    scores = term.head(term.norm(pooled))[[0, 2, 3]]
    assert out.terms["class"].item() == pytest.approx(F.cross_entropy(scores, labels[[0, 2, 3]]).item(), rel=1e-5)
    assert out.metrics["accuracy"].item() == pytest.approx(
        (scores.argmax(1) == labels[[0, 2, 3]]).float().mean().item()
    )
    assert out.loss.item() == pytest.approx(out.terms["predict"].item() + 0.5 * out.terms["class"].item(), rel=1e-5)


def test_a_batch_without_labels_adds_nothing():
    model = model_with(also={"class": Classify(latent=16, classes=3)})
    out = model(Fields(x=image.sample(2), label=torch.tensor([-1, -1])))
    assert out.terms["class"] == 0 and out.metrics["accuracy"] == 0 and out.loss == out.terms["predict"]


def test_classify_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="pool must be mean or prefix, got 'max'"):
        Classify(latent=16, classes=3, pool="max")
    model = model_with(also={"class": Classify(latent=16, classes=3, name="digit")})
    for batch in (image.sample(2), Fields(x=image.sample(2), label=torch.zeros(2, dtype=torch.long))):
        with pytest.raises(ValueError, match="needs labels in the batch under 'digit'; open the data Labelled"):
            model(batch)
