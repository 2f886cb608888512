"""Several kinds of token in one sample: an image and a clip, each with its own tokenizer, masker, encoder and term."""

import pytest
import torch

from maskkit import MaskedModel
from maskkit.batches import Fields
from maskkit.decoder import JointDecoder
from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.maskers import Several, TubeMasker, Uniform
from maskkit.positions import SinCos
from maskkit.spans import InSpan, PerSpan, SideBySide, SpanPositions, Streams, span_of
from maskkit.step import Step
from maskkit.targets import Contents, NormalizedContents
from maskkit.teachers import Teacher
from maskkit.terms import Predict
from maskkit.testing import check_masker, check_model, check_tokenizer
from maskkit.tokenizers import Patches
from maskkit.types import Mask, take

DIM = 24
SIZES = {"image": (2, 2), "clip": (2, 4, 4)}
TOKENIZER = SideBySide(tokenizers={name: Patches(size=size, channels=1) for name, size in SIZES.items()})
MASKER = PerSpan(maskers={"image": Uniform(ratio=0.75), "clip": TubeMasker(ratio=0.5)})


def batch(count=3):
    rng = torch.Generator().manual_seed(0)
    return Fields(image=torch.randn(count, 1, 8, 8, generator=rng), clip=torch.randn(count, 1, 4, 8, 8, generator=rng))


def encoders(kind=SparseEncoder, depth=1, prefix=1):
    return {
        name: kind(
            content=32 if name == "clip" else 4,
            dim=DIM,
            depth=depth,
            heads=2,
            positions=SinCos(dim=DIM, axes=len(size)),
            prefix_tokens=prefix,
            final_norm=depth > 0,
        )
        for name, size in SIZES.items()
    }


def decoder(output):
    places = SpanPositions(dim=DIM, positions={name: SinCos(dim=DIM, axes=len(size)) for name, size in SIZES.items()})
    return JointDecoder(latent=DIM, dim=DIM, depth=1, heads=2, output=output, positions=places)


def model(kind=SparseEncoder, depth=1, prefix=1, **parts):
    torch.manual_seed(0)
    built = {
        "tokenizer": TOKENIZER,
        "masker": MASKER,
        "encoder": Streams(encoders=encoders(kind, depth, prefix), depth=1, heads=2),
        "decoder": decoder(4),
        "target": InSpan(name="image", target=NormalizedContents()),
        "on": "image",
        "also": {"clip": Predict(decoder=decoder(32), target=InSpan(name="clip", target=Contents()), on="clip")},
    }
    return MaskedModel(**{**built, **parts})


def step(tokens):
    return Step(model=None, batch=batch(), tokens=tokens)


def test_kinds_keep_the_laws_of_tokens():
    tokens = check_tokenizer(TOKENIZER, batch())
    assert tokens.shape == (3, 16 + 8) and TOKENIZER.width == 32 and tokens.grid is None
    for name, size in SIZES.items():
        own, alone = span_of(tokens, name), Patches(size=size, channels=1)(batch()[name])
        assert torch.equal(own.x, alone.x) and torch.equal(own.pos, alone.pos) and own.grid == alone.grid
    assert not tokens.x[:, :16, 4:].any()


def test_each_kind_is_masked_by_its_own_masker():
    tokens = TOKENIZER(batch())
    mask = check_masker(MASKER, tokens, step=step(tokens))
    assert mask.sets["image"].index.shape == (3, 12) and int(mask.sets["image"].index.max()) < 16
    clip = mask.sets["clip"].index
    assert clip.shape == (3, 4) and int(clip.min()) >= 16
    assert torch.equal(clip[:, :2].sort().values + 4, clip.sort().values[:, 2:])  # tubes
    assert torch.equal(mask.hidden, torch.cat([mask.sets["image"].index, clip], dim=1))


@pytest.mark.parametrize("depth", [0, 1], ids=["only embeddings", "streams"])
@pytest.mark.parametrize("kind", [SparseEncoder, DenseEncoder])
def test_models_of_two_kinds_keep_the_laws(kind, depth):
    check_model(model(kind, depth, prefix=depth), batch())


def test_a_leak_on_a_named_set_is_found():
    class Peeking(JointDecoder):
        def forward(self, latent, tokens, mask):
            return super().forward(latent, tokens, mask) + 1e-3 * take(tokens.x, mask.hidden).mean()

    leaky = model()
    leaky.decoder.__class__ = Peeking
    with pytest.raises(AssertionError, match="do not leak .term predict."):
        check_model(leaky, batch())


def test_two_terms_train_every_weight():
    both = model()
    out = both(batch(), rng=torch.Generator().manual_seed(0))
    assert out.terms.keys() == {"predict", "clip"}
    assert out.prediction.shape == (3, 12, 4) and out.views[0]["clip"].prediction.shape == (3, 4, 32)
    out.loss.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in both.parameters())


def test_a_value_is_that_of_the_kind_alone():
    out = model()(batch(), rng=torch.Generator().manual_seed(0))
    found = out.views[0]["clip"]
    alone = Patches(size=SIZES["clip"], channels=1)(batch()["clip"]).x
    index = (found.mask.hidden - 16)[..., None].expand(-1, -1, 32)
    torch.testing.assert_close(found.value, alone.gather(1, index), rtol=0, atol=0)


def test_each_kind_sees_the_other():
    both = model(kind=DenseEncoder).eval()
    changed = Fields(image=batch()["image"], clip=batch()["clip"] + 1)
    before, after = (both.encode(each).tokens[:, :16] for each in (batch(), changed))
    assert (before - after).abs().max() > 1e-4


def test_streams_give_latents_in_the_order_of_the_mask():
    tokens, streams = TOKENIZER(batch()), Streams(encoders=encoders(prefix=0), depth=0, heads=2)
    mask = MASKER(tokens, torch.Generator().manual_seed(0), step=step(tokens))
    found = streams(tokens, mask).tokens
    for name, start, count in (("image", 0, 4), ("clip", 16, 4)):
        seen = mask.visible[:, :4] if name == "image" else mask.visible[:, 4:] - start
        alone = streams.streams[name](span_of(tokens, name), Mask(seen, seen[:, :0])).tokens
        part = found[:, :4] if name == "image" else found[:, 4:]
        torch.testing.assert_close(part, streams.norm(alone), rtol=0, atol=1e-6)
        assert alone.shape[1] == count


def test_several_masks_of_several_kinds_share_a_pass():
    masks = Several(maskers=(MASKER,), times=2)
    out = model(masker=masks)(batch(), rng=torch.Generator().manual_seed(0))
    assert len(out.views) == 2


def test_a_teacher_of_two_kinds():
    target, dim = Teacher(start=0.9, end=1.0), DIM
    taught = model(decoder=decoder(dim), target=target, on="hidden", also={})
    out = taught(batch(), rng=torch.Generator().manual_seed(0))
    assert out.prediction.shape == (3, 16, DIM)


def test_a_reconstruction_paints_the_kind_that_is_predicted():
    both, fields = model(), batch()
    out = both(fields, rng=torch.Generator().manual_seed(0))
    painted = both.paint(out, fields)
    assert torch.equal(painted["clip"], fields["clip"]) and not torch.equal(painted["image"], fields["image"])
    with pytest.raises(ValueError, match="Teacher predicts no contents"):
        InSpan(name="image", target=Teacher(start=0.9, end=1.0)).contents(out.value, out.tokens, out.mask)


def test_padding_of_one_kind_is_padding_of_all():
    loose = Patches(size=(2, 2), channels=1, fill=0.0)
    both = SideBySide(tokenizers={"image": loose, "clip": Patches(size=SIZES["clip"], channels=1)})
    fields = batch()
    image = fields["image"].clone()
    image[0, :, 4:] = torch.nan
    tokens = both(Fields(image=image, clip=fields["clip"]))
    assert tokens.valid[0].sum() == 8 + 8 and tokens.valid[1:].all()
    model(tokenizer=both, masker=PerSpan(maskers={"image": Uniform(ratio=0.5), "clip": Uniform(ratio=0.5)}))(
        Fields(image=image, clip=fields["clip"]), rng=torch.Generator().manual_seed(0)
    ).loss.backward()


def test_what_does_not_fit_is_said():
    tokens = TOKENIZER(batch())
    with pytest.raises(ValueError, match=r"it lacks \['clip'\]"):
        TOKENIZER(Fields(image=torch.zeros(2, 1, 8, 8)))
    with pytest.raises(ValueError, match="it lacks"):
        TOKENIZER(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="no span 'sound', they have image, clip"):
        span_of(tokens, "sound")
    with pytest.raises(ValueError, match="maskers are for image, tokens have image, clip"):
        PerSpan(maskers={"image": Uniform(ratio=0.5)})(tokens, step=step(tokens))
    with pytest.raises(ValueError, match="the masker of clip must draw one mask"):
        two = Several(maskers=(Uniform(ratio=0.5),), times=2)
        PerSpan(maskers={"image": Uniform(ratio=0.5), "clip": two})(tokens, step=step(tokens))
    with pytest.raises(ValueError, match="one width"):
        wide = SparseEncoder(content=4, dim=32, depth=1, heads=2, positions=SinCos(dim=32, axes=2))
        Streams(encoders={**encoders(), "image": wide}, depth=1, heads=2)
    with pytest.raises(ValueError, match="not of kind 'image'; predict on='image'"):
        model(on="hidden")(batch())
    with pytest.raises(ValueError, match="encoders are for image, tokens have image, clip"):
        Streams(encoders={"image": encoders()["image"]}, depth=1, heads=2)(tokens)
    with pytest.raises(ValueError, match="a kind of token cannot be called 'keys'"):
        SpanPositions(dim=16, positions={"keys": SinCos(dim=16, axes=2)})
    with pytest.raises(ValueError, match="same number of each kind"):
        model()(batch(), mask=Mask.hide(torch.tensor([[0, 1], [0, 20], [20, 21]]), 24))
