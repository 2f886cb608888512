"""The conformance suite finds what breaks its laws."""

import pytest
import torch

from maskkit.decoder import CrossDecoder, JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.maskers import Several, Uniform
from maskkit.modalities import image
from maskkit.model import MaskedModel
from maskkit.parts import part
from maskkit.positions import SinCos
from maskkit.targets import Contents
from maskkit.terms import Predict
from maskkit.testing import check_model
from maskkit.types import Mask, take


@part
class Peeking(JointDecoder):
    """A decoder that reads what is hidden."""

    def forward(self, latent, tokens, mask):
        """Return predictions with a trace of the hidden contents."""
        return super().forward(latent, tokens, mask) + 1e-3 * take(tokens.x, mask.hidden).mean()


def decoder(kind=JointDecoder):
    return kind(latent=16, dim=16, depth=1, heads=2, output=4, positions=SinCos(dim=16, axes=2))


def model(**parts):
    torch.manual_seed(0)
    made = {
        "tokenizer": image.patches(2, 1, mean=(0.5,), std=(0.5,), image_size=8),
        "masker": Uniform(ratio=0.5),
        "encoder": SparseEncoder(content=4, dim=16, depth=1, heads=2, positions=SinCos(dim=16, axes=2)),
        "decoder": decoder(),
        "target": Contents(),
    }
    return MaskedModel(**{**made, **parts})


def test_a_leak_of_the_first_term_is_found():
    with pytest.raises(AssertionError, match="do not leak"):
        check_model(model(decoder=decoder(Peeking)), image.sample(3))


def test_a_leak_of_a_further_term_is_found():
    also = {"peek": Predict(decoder=decoder(Peeking), target=Contents())}
    with pytest.raises(AssertionError, match="do not leak .term peek."):
        check_model(model(also=also), image.sample(3))


def test_several_masks_of_two_shapes_keep_the_laws():
    check_model(model(masker=Several(maskers=(Uniform(ratio=0.5), Uniform(ratio=0.75)), times=2)), image.sample(3))


@part
class Uneven:
    """A masker that hides three tokens of even samples and two of odd ones, whose third place is padding."""

    def __call__(self, tokens, rng=None):
        """Return a mask with weights."""
        order = torch.rand(*tokens.shape, generator=rng).argsort(dim=1)
        hidden = order[:, :3].clone()
        hidden[1::2, 2] = order[1::2, 5]  # a visible token
        weight = torch.ones(hidden.shape)
        weight[1::2, 2] = 0
        return Mask(visible=order[:, 3:], hidden=hidden, weight=weight)


@pytest.mark.parametrize("kind", [JointDecoder, CrossDecoder])
def test_padding_of_an_uneven_mask_changes_nothing(kind):
    found = model(masker=Uneven(), decoder=decoder(kind)).eval()
    batch = image.sample(4)
    out = found(batch, rng=torch.Generator().manual_seed(0))
    odd = Mask(visible=out.mask.visible[1:2], hidden=out.mask.hidden[1:2, :2])
    alone = found(batch[1:2], mask=odd)
    torch.testing.assert_close(out.prediction[1:2, :2], alone.prediction, rtol=1e-4, atol=1e-5)
    painted = found.paint(out, batch)
    torch.testing.assert_close(painted[1:2], found.paint(alone, batch[1:2]), rtol=0, atol=1)
    check_model(found, batch)
