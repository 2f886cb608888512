"""The laws of a masked model, and a new modality in under forty lines."""

import types

import pytest
import torch
from timm.models.vision_transformer import Block

from maskkit import Mask, MaskedModel
from maskkit.decoder import JointDecoder, LinearDecoder
from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.layers import Blocks
from maskkit.maskers import ByScore, Several, Uniform
from maskkit.modalities import image
from maskkit.parts import build, build_as, describe, part
from maskkit.positions import SinCos
from maskkit.targets import Contents
from maskkit.teachers import Teacher
from maskkit.terms import Predict
from maskkit.testing import check_modality, check_model
from maskkit.tokenizers import Patches


# --- a modality of one's own: signals [B 1 length], cut into pieces of eight ---------------------------------------
def signal_model(dense: bool = False) -> MaskedModel:
    encoder = (DenseEncoder if dense else SparseEncoder)(
        content=8, dim=32, depth=2, heads=4, positions=SinCos(dim=32, axes=1), prefix_tokens=2
    )
    joint = JointDecoder(latent=32, dim=16, depth=1, heads=2, output=8, positions=SinCos(dim=16, axes=1))
    return MaskedModel(
        tokenizer=Patches(size=(8,), channels=1),
        masker=Uniform(ratio=0.6),
        encoder=encoder,
        decoder=LinearDecoder(latent=32, output=8) if dense else joint,
        target=Contents(),
    )


def signals(count: int) -> torch.Tensor:
    time = torch.linspace(0, 6.28, 96)
    return torch.stack([torch.sin(time * (1 + i) + i) for i in range(count)])[:, None]


signal = types.ModuleType("signal_modality")
signal.NAME, signal.sample, signal.tiny = "signal", signals, signal_model
# -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", [image, signal], ids=lambda module: module.__name__)
def test_modalities_conform(modality):
    check_modality(modality)


def test_a_dense_encoder_conforms():
    check_model(signal_model(dense=True), signals(3))


@pytest.mark.parametrize("dense", [False, True])
def test_nothing_hidden_leaks(dense):
    """Also not as infinity: hidden contents are never read, so even a broken value cannot spread."""
    model = signal_model(dense).eval()
    batch = signals(2)
    out = model(batch)
    poisoned = model.tokenizer.paint(out.tokens, out.mask.hidden, torch.full((*out.mask.hidden.shape, 8), torch.nan))
    assert poisoned.isnan().any()
    assert torch.equal(model(poisoned, mask=out.mask).prediction, out.prediction)


@pytest.mark.parametrize("dense", [False, True])
def test_the_order_of_a_mask_does_not_matter(dense):
    model = signal_model(dense).eval()
    batch = signals(2)
    out = model(batch)
    seen, hidden = torch.randperm(out.mask.visible.shape[1]), torch.randperm(out.mask.hidden.shape[1])
    other = model(batch, mask=Mask(visible=out.mask.visible[:, seen], hidden=out.mask.hidden[:, hidden]))
    assert torch.allclose(other.prediction, out.prediction[:, hidden], atol=1e-5)
    assert torch.allclose(other.loss, out.loss)


def test_tokens_may_be_neither_seen_nor_predicted():
    model = signal_model().eval()
    mask = Mask(visible=torch.tensor([[0, 1, 2]]), hidden=torch.tensor([[5]]))
    out = model(signals(1), mask=mask)
    assert out.prediction.shape == (1, 1, 8)
    changed = signals(1)
    changed[..., 64:] = 7.0  # tokens 8 and later are in neither
    assert torch.equal(model(changed, mask=mask).prediction, out.prediction)


def test_only_the_dense_decoder_needs_every_latent():
    model = signal_model()
    model.decoder = LinearDecoder(latent=32, output=8)
    with pytest.raises(ValueError, match="pair it with DenseEncoder"):
        model(signals(2))


def test_encoding_ignores_padding():
    model = signal_model().eval()
    tokens = model.tokenizer(signals(2))
    valid = torch.arange(12)[None] < torch.tensor([[12], [7]])
    together = model.encoder(tokens.replace(valid=valid))
    alone = model.encoder(tokens.replace(x=tokens.x[1:, :7], pos=tokens.pos[:, :7], grid=(7,)))
    assert torch.allclose(together.pooled[1:], alone.pooled, atol=1e-5)
    assert torch.allclose(together.prefix[1:], alone.prefix, atol=1e-5)


def test_reconstruct_keeps_what_was_seen_in_the_units_of_the_batch():
    model = image.mae("tiny", image_size=32, patch_size=8).eval()
    batch = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mask = Mask.hide(torch.tensor([[0, 5, 6], [1, 2, 3]]), num_tokens=16)
    picture = model.reconstruct(batch, mask=mask)
    assert picture.dtype == torch.uint8 and picture.shape == batch.shape
    same = (picture == batch).view(2, 3, 4, 8, 4, 8).all(dim=(1, 3, 5)).flatten(1)
    assert same.gather(1, mask.visible).all() and not same.gather(1, mask.hidden).any()


def test_autocast_keeps_losses_and_the_residual_in_float32():
    model = signal_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(signals(2))
    assert out.losses.dtype == out.value.dtype == out.loss.dtype == torch.float32
    assert out.latent.tokens.dtype == torch.float32
    plain = model(signals(2), mask=out.mask)
    assert (plain.loss - out.loss).abs() < 0.02 * plain.loss


def test_our_attention_in_timms_block_is_timms_block():
    torch.manual_seed(0)
    ours, theirs = (
        Blocks(dim=48, depth=1, heads=4)[0],
        Block(48, 4, qkv_bias=True, norm_layer=lambda d, **_: torch.nn.LayerNorm(d, eps=1e-6)),
    )
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 30, 48)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_a_model_is_its_description():
    model = image.mae("tiny", image_size=(32, 48), patch_size=(8, 4), channels=5, norm_target=False, mask_ratio=0.6)
    again = build(describe(model))
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    batch = torch.randn(2, 5, 32, 48)
    out = model.eval()(batch)
    assert torch.equal(again.eval()(batch, mask=out.mask).loss, out.loss)


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large", "huge"])
def test_published_sizes(size):
    """Parameters of the encoder as published for ViT-S/B/L/H (the tables are not counted here, they are computed)."""
    with torch.device("meta"):
        model = image.mae(size)
    count = sum(p.numel() for p in model.encoder.parameters())
    published = {"tiny": 5.5e6, "small": 21.7e6, "base": 85.8e6, "large": 303.3e6, "huge": 630.8e6}
    assert abs(count / published[size] - 1) < 0.01


def test_unknown_arguments_and_sizes():
    with pytest.raises(ValueError, match="size must be one of tiny, small, base, large, huge, got 'giant'"):
        image.mae("giant")
    with pytest.raises(ValueError, match="image.mae has no argument mask"):
        image.mae("tiny", mask=3)
    with pytest.raises(ValueError, match="224x230 is not divisible by patch 16x16"):
        image.mae("base", image_size=(224, 230))


# --- several masks, and what parts are told ----------------------------------------------------------------------
def counted(module, method="forward"):
    """Count the calls of a module from now on."""
    calls, inner = [], getattr(module, method)

    def call(*args, **kwargs):
        calls.append(args)
        return inner(*args, **kwargs)

    setattr(module, method, call)
    return calls


def several(*ratios, **parts):
    torch.manual_seed(0)
    model = signal_model()
    made = {"tokenizer": model.tokenizer, "encoder": model.encoder, "decoder": model.decoder, "target": model.target}
    if ratios:
        made["masker"] = Several(maskers=tuple(Uniform(ratio=ratio) for ratio in ratios))
    return MaskedModel(**{**made, **parts}).eval()


@pytest.mark.parametrize(("ratios", "passes"), [((0.5, 0.5, 0.5), 1), ((0.5, 0.75), 2), ((0.5,), 1)])
def test_masks_of_one_shape_are_encoded_in_one_pass_and_give_the_same(ratios, passes):
    model = several(*ratios)
    calls = counted(model.encoder)
    out = model(signals(3), rng=torch.Generator().manual_seed(0))
    assert len(calls) == passes and len(out.views) == len(ratios)
    masks = [view["predict"].mask for view in out.views]
    alone = [model(signals(3), mask=mask) for mask in masks]
    for view, one in zip(out.views, alone, strict=True):
        assert torch.allclose(view["predict"].prediction, one.prediction, atol=1e-5)
    assert out.loss.item() == pytest.approx(sum(one.loss.item() for one in alone) / len(alone), rel=1e-5)
    assert torch.equal(out.prediction, out.views[0]["predict"].prediction)


def test_masks_of_one_shape_are_encoded_one_by_one_beside_batch_statistics():
    """The statistics of three times the batch would be those of no step that was asked for."""

    class Normed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = torch.nn.Linear(8, 32), torch.nn.BatchNorm1d(32)

        def forward(self, x):
            return self.norm(self.linear(x).transpose(1, 2)).transpose(1, 2)

    model = several(0.5, 0.5)
    model.encoder.embed = Normed()
    calls = counted(model.encoder)
    model.train()(signals(3))
    assert len(calls) == 2 and model.encoder.embed.norm.num_batches_tracked == 2


def test_coordinates_of_each_sample_and_padding_go_along_in_one_pass():
    model = several(0.5, 0.5)
    calls, cut = counted(model.encoder), model.tokenizer

    def padded(batch):
        tokens = cut(batch)
        valid = torch.arange(12)[None] < torch.tensor([[12], [9], [7]])
        return tokens.replace(pos=tokens.pos.repeat(3, 1, 1) + torch.arange(3.0)[:, None, None], valid=valid)

    model.tokenizer = padded
    out = model(signals(3), rng=torch.Generator().manual_seed(0))
    assert len(calls) == 1
    for view in out.views:
        one = model(signals(3), mask=view["predict"].mask)
        assert torch.allclose(view["predict"].prediction, one.prediction, atol=1e-5)


def test_two_masks_and_two_terms_need_one_pass_of_a_teacher():
    teacher = Teacher()

    def decoder():
        return JointDecoder(latent=32, dim=16, depth=1, heads=2, output=32, positions=SinCos(dim=16, axes=1))

    model = several(
        0.5, 0.75, target=teacher, decoder=decoder(), also={"more": Predict(decoder=decoder(), target=teacher)}
    )
    calls = counted(teacher.encoder)
    for passes in (1, 2):
        out = model(signals(3))
        assert len(calls) == passes and len(out.views) == 2 and out.terms.keys() == {"predict", "more"}
    check_model(several(0.5, 0.75, target=Teacher(), decoder=decoder()), signals(3))


def test_setup_and_after_step_reach_parts_and_what_is_inside_them():
    told = []

    class Inside(torch.nn.Module):
        name = "inside"

        def setup(self, model):
            told.append((self.name, model))

        def after_step(self, model, progress):
            told.append((self.name, model, progress))

    class PlainMasker:
        name = "masker"
        setup, after_step = Inside.setup, Inside.after_step

        def __call__(self, tokens, rng=None):
            return Uniform(ratio=0.5)(tokens, rng)

    class PlainTerm(PlainMasker):
        name, weight = "term", 1.0

        def __call__(self, step):
            return step.results["predict"]

    decoder = signal_model().decoder
    decoder.inside = Inside()
    model = several(masker=PlainMasker(), decoder=decoder, also={"plain": PlainTerm()})
    assert sorted(name for name, _ in told) == ["inside", "masker", "term"]
    assert all(found is model for _, found in told)
    told.clear()
    model.after_step(0.25)
    assert sorted((name, progress) for name, _, progress in told) == [
        ("inside", 0.25),
        ("masker", 0.25),
        ("term", 0.25),
    ]


def test_a_target_without_contents_makes_no_picture_and_says_so_in_one_line():
    decoder = JointDecoder(latent=32, dim=16, depth=1, heads=2, output=32, positions=SinCos(dim=16, axes=1))
    model = several(0.5, target=Teacher(), decoder=decoder)
    batch = signals(2)
    with pytest.raises(
        ValueError, match="Teacher predicts no contents of tokens, so there is no reconstruction"
    ) as caught:
        model.reconstruct(batch)
    assert "\n" not in str(caught.value)
    out = model(batch)
    grey = model.paint(out, batch, contents=torch.zeros(*out.mask.hidden.shape, 8))
    assert grey.shape == batch.shape and (grey == 0).sum() >= out.mask.hidden.numel() * 8


def test_several_masks_given_from_outside_are_each_checked():
    model = several(0.5)
    good = Mask.hide(torch.tensor([[0], [1]]), num_tokens=12)
    assert len(model(signals(2), mask=[good, good]).views) == 2
    with pytest.raises(ValueError, match=r"mask.hidden must lie in \[0, 12\)"):
        model(signals(2), mask=[good, Mask(visible=good.visible, hidden=torch.tensor([[12], [0]]))])


def test_masks_of_one_shape_share_a_pass_beside_others():
    seen = []

    class Counting(SparseEncoder):
        def forward(self, tokens, mask=None):
            if mask is not None:
                assert not (mask.visible[:, :, None] == mask.hidden[:, None]).any()  # each with its own hidden tokens
                seen.append(len(mask.visible))
            return super().forward(tokens, mask)

    model = several(masker=Several(maskers=(Uniform(ratio=0.5), Uniform(ratio=0.75)), times=2))
    model.encoder.__class__ = Counting
    out = model(signals(3), rng=torch.Generator().manual_seed(0))
    assert seen == [6, 6] and [view["predict"].prediction.shape[1] for view in out.views] == [6, 6, 9, 9]
    alone = [model(signals(3), mask=view["predict"].mask).prediction for view in out.views]
    for view, prediction in zip(out.views, alone, strict=True):
        torch.testing.assert_close(view["predict"].prediction, prediction, rtol=1e-5, atol=1e-6)


@part
class LearnedScore(torch.nn.Module):
    """A score with weights, as AdaMAE's."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)
        self.steps = 0

    def forward(self, tokens, rng=None):
        return self.layer(tokens.x)[..., 0]

    def after_step(self, model, progress):
        self.steps += 1


def test_a_module_inside_a_masker_belongs_to_the_model():
    score = LearnedScore()
    model = several(masker=ByScore(score=score, ratio=0.5))
    assert "held.masker_score.layer.weight" in model.state_dict()
    model.after_step(0.5)
    assert score.steps == 1
    again = build_as(MaskedModel, describe(model))
    again.load_state_dict(model.state_dict())
    assert again.masker.score is not score and torch.equal(again.masker.score.layer.weight, score.layer.weight)


def test_no_masks_and_names_that_modules_cannot_have_are_refused():
    with pytest.raises(ValueError, match="the sequence of masks is empty"):
        several(0.5)(signals(2), mask=())
    for name in ("keys", "a.b", "part", "type"):
        with pytest.raises(ValueError, match="a term cannot be called"):
            several(0.5, also={name: Predict(decoder=several(0.5).decoder, target=Contents())})
