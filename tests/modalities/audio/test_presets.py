"""Audio-MAE as a choice of parts, its quirks, and clips of any length."""

import pytest
import torch

from maskkit import Mask
from maskkit.decoder import JointDecoder, WindowDecoder
from maskkit.modalities import audio
from maskkit.parts import build, describe
from maskkit.testing import check_modality, check_model


def test_it_conforms():
    check_modality(audio)


@pytest.mark.parametrize("settings", [{"decoder": "global"}, {"positions": "corrected"}, {"mask": "both"}])
def test_its_variants_conform(settings):
    check_model(audio.audiomae("tiny", frames=96, mels=64, **settings), audio.sample(2))


def test_base_is_the_authors():
    model = audio.audiomae("base")
    assert isinstance(model.decoder, WindowDecoder) and len(model.decoder.blocks) == 16
    first = model.decoder.blocks[0].attn
    assert first.heads == 16 and first.qkv.in_features == 512 and first.tau.eq(1).all()
    assert first.meta_mlp.drop1.p == first.meta_mlp.drop2.p == 0.1
    assert model.decoder.blocks.window == (4, 4) and model.decoder.blocks.shift == (2, 0)
    assert (model.encoder.dim, len(model.encoder.blocks)) == (768, 12)
    assert model.tokenizer.std == (2 * 4.5689974,) and model.tokenizer.mean == (-4.2677393,)
    assert model.tokenizer.fill == pytest.approx(0.46703, abs=1e-4)
    assert not any(p.requires_grad for p in model.encoder.positions.parameters())
    tokens = model.tokenizer(torch.zeros(2, 1, 1024, 128))
    mask = model.masker(tokens, torch.Generator().manual_seed(0))
    assert tokens.grid == (64, 8) and mask.visible.shape == (2, 102) and mask.hidden.shape == (2, 410)
    glob = audio.audiomae("small", decoder="global").decoder
    assert isinstance(glob, JointDecoder) and len(glob.blocks) == 8 and glob.keep_prefix


def test_a_description_builds_it_again():
    model = audio.audiomae("tiny", frames=96, mels=64, mask="time").eval()
    again = build(describe(model)).eval()
    again.load_state_dict(model.state_dict())
    batch, mask = audio.sample(2), Mask.hide(torch.arange(12).expand(2, -1), 24)
    assert torch.equal(model(batch, mask=mask).loss, again(batch, mask=mask).loss)


@pytest.mark.parametrize("positions", ["authors", "corrected"])
def test_a_batch_of_mixed_lengths_gives_each_clip_what_it_has_alone(positions):
    """Issue figure 4. Lengths in frames: whole patches, parts of them, one patch, longer than the nominal size."""
    torch.manual_seed(0)
    model = audio.audiomae("tiny", frames=256, mels=64, positions=positions).eval()
    clips = [torch.randn(1, frames, 64) for frames in (96, 75, 10, 256, 300)]
    with torch.no_grad():
        together = model.encode(clips)
        for number, clip in enumerate(clips):
            alone = model.encode([clip])
            assert alone.valid is None and alone.tokens.shape[1] == -(-clip.shape[1] // 16) * 4
            assert torch.allclose(together.pooled[number], alone.pooled[0], atol=1e-4)
            assert torch.allclose(together.prefix[number], alone.prefix[0], atol=1e-4)
            assert torch.allclose(together.tokens[number][together.valid[number]], alone.tokens[0], atol=1e-4)
        plain = model.encode(clips[0][None])  # a tensor of whole patches needs no list
        assert torch.equal(plain.tokens, model.encode([clips[0]]).tokens)
        padded = torch.cat([clips[1], torch.full((1, 181, 64), torch.nan)], dim=1)[None]  # as the readers pad
        assert torch.allclose(model.encode(padded).pooled, model.encode([clips[1]]).pooled, atol=1e-4)


@pytest.mark.parametrize("mask", ["random", "time", "both"])
def test_padding_is_neither_trained_on_nor_attended(mask):
    model = audio.audiomae("tiny", frames=160, mels=64, mask=mask).eval()
    clips = [torch.randn(1, 160, 64), torch.randn(1, 96, 64)]
    out = model(clips, rng=torch.Generator().manual_seed(0))
    assert out.tokens.valid.gather(1, torch.cat([out.mask.visible, out.mask.hidden], dim=1)).all()
    longer = [clips[0], torch.cat([clips[1], torch.full((1, 40, 64), torch.nan)], dim=1)]
    assert torch.allclose(model(longer, mask=out.mask).prediction, out.prediction, atol=1e-5)
    painted = model.reconstruct(clips, mask=out.mask)
    assert [list(each.shape) for each in painted] == [[1, 160, 64], [1, 96, 64]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "huge"}, "size must be one of tiny, small, base, large, got 'huge'"),
        ({"decoder": "swin"}, "decoder must be 'window' or 'global'"),
        ({"positions": "none"}, "positions must be 'authors' or 'corrected'"),
        ({"mask": "stripes"}, "mask must be random, time, frequency or both"),
        ({"mask": "both", "mask_ratio": 0.8}, "mask ratio of 'both' must be a pair .* 0.7 0.3, got 0.8"),
        ({"mask_ratio": (0.7, 0.3)}, "mask ratio of 'random' must be one number"),
        ({"frames": 1000}, "input 1000x128 is not divisible by patch 16x16: time is 1000"),
        ({"stride": 10}, "audio.audiomae has no argument stride"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        audio.audiomae(**{"size": "tiny"} | settings)
