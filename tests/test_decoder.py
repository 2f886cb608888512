"""What decoders may know: which tokens are asked for, levels of the encoder, blocks of a mask."""

import pytest
import torch

from maskkit import Mask
from maskkit.decoder import AtLevel, CrossDecoder, JointDecoder, LinearDecoder, PerBlock, WindowDecoder
from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.maskers import Uniform
from maskkit.modalities import image
from maskkit.positions import SinCos
from maskkit.testing import check_model
from maskkit.types import Latent

LATENT, WIDTH = 16, 4


def places():
    return SinCos(dim=16, axes=2)


def encoder(kind=SparseEncoder, **settings):
    return kind(content=WIDTH, dim=LATENT, depth=2, heads=2, positions=places(), **settings)


def decoder(kind, **settings):
    return kind(latent=LATENT, dim=16, depth=2, heads=2, output=WIDTH, positions=places(), **settings).eval()


MAKE = {
    "joint": lambda: decoder(JointDecoder),
    "cross": lambda: decoder(CrossDecoder),
    "window": lambda: decoder(WindowDecoder, window=(2, 2), shift=(1, 0)),
    "linear": lambda: LinearDecoder(latent=LATENT, output=WIDTH),
}


def model_with(**parts):
    torch.manual_seed(0)
    tokenizer = image.patches(2, 1, mean=(0.5,), std=(0.5,), image_size=8)
    return image.mae(
        **{"tokenizer": tokenizer, "norm_target": False, "encoder": encoder(), "decoder": MAKE["joint"](), **parts}
    ).eval()


def given(visible=6, batch=2):
    """Tokens of a 4 x 4 grid, latents of some, and an order of all tokens for each sample."""
    torch.manual_seed(0)
    tokens = image.patches(2, 1, mean=(0.5,), std=(0.5,), image_size=8)(image.sample(batch))
    order = torch.rand(batch, 16).argsort(dim=1)
    return tokens, Latent(torch.randn(batch, visible, LATENT), torch.randn(batch, 1, LATENT)), order


@pytest.mark.parametrize("kind", [SparseEncoder, DenseEncoder])
@pytest.mark.parametrize("name", ["joint", "cross", "linear", "window"])
def test_decoders_keep_the_laws_with_both_kinds_of_encoder(name, kind):
    model = model_with(encoder=encoder(kind), decoder=MAKE[name]())
    wrong = {("linear", SparseEncoder): "pair it with DenseEncoder", ("window", DenseEncoder): "pair it with SparseEnc"}
    if (name, kind) in wrong:
        with pytest.raises(ValueError, match=wrong[name, kind]):
            model(image.sample(2))
    else:
        check_model(model, image.sample(3))


def test_a_cross_decoder_predicts_each_token_whatever_else_is_asked():
    tokens, latent, order = given()
    cross, visible = MAKE["cross"](), order[:, :6]
    every = cross(latent, tokens, Mask(visible=visible, hidden=order[:, 6:]))
    for chosen in ([0], [3, 1], [9, 4, 4, 0]):
        mask = Mask(visible=visible, hidden=order[:, 6:][:, chosen], blocks=len(chosen))
        assert torch.allclose(cross(latent, tokens, mask), every[:, chosen], atol=1e-6)
    joint = MAKE["joint"]()  # in which hidden tokens see each other
    whole = joint(latent, tokens, Mask(visible=visible, hidden=order[:, 6:]))
    assert not torch.allclose(
        joint(latent, tokens, Mask(visible=visible, hidden=order[:, 6:7])), whole[:, :1], atol=1e-3
    )


def test_a_dense_latent_is_read_at_its_visible_tokens():
    tokens, _, order = given()
    dense = Latent(torch.randn(2, 16, LATENT), torch.randn(2, 1, LATENT))
    mask = Mask(visible=order[:, :6], hidden=order[:, 6:])
    seen = Latent(dense.tokens.gather(1, order[:, :6, None].expand(-1, -1, LATENT)), dense.prefix)
    cross = MAKE["cross"]()
    assert torch.equal(cross(dense, tokens, mask), cross(seen, tokens, mask))


@pytest.mark.parametrize("keep", [(0, 1, 2), (2,)])
def test_levels_are_mixed_for_each_block_on_its_own(keep):
    model = model_with(encoder=encoder(keep=keep, final_norm=False), decoder=decoder(CrossDecoder, levels=len(keep)))
    check_model(model, image.sample(3))
    cross, mask = model.decoder, Uniform()(model.tokenizer(image.sample(2)))
    tokens = model.tokenizer(image.sample(2))
    latent = model.encoder(tokens, mask)
    weights = cross.mix.weight  # [depth levels]
    x = cross.mask_token + cross.positions(tokens)[0][mask.hidden]
    for block, norm, row in zip(cross.blocks, cross.context_norms, weights, strict=True):
        mixed = sum(share * level for share, level in zip(row, latent.levels, strict=True))
        x = block(x, norm(mixed))
    assert torch.allclose(cross.head(cross.norm(x)), cross(latent, tokens, mask), atol=1e-5)


def test_levels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the decoder mixes 3 levels, the encoder keeps 1; give the encoder as many"):
        model_with(encoder=encoder(keep=(1,)), decoder=decoder(CrossDecoder, levels=3))(image.sample(2))
    with pytest.raises(ValueError, match="levels are mixed for visible tokens only; pair CrossDecoder with SparseEnc"):
        model_with(encoder=encoder(DenseEncoder, keep=(1,)), decoder=decoder(CrossDecoder, levels=1))(image.sample(2))


@pytest.mark.parametrize("name", ["joint", "window", "cross"])
def test_per_block_is_one_block_after_the_other(name):
    tokens, latent, order = given()
    inner = MAKE[name]()
    hidden = torch.cat([order[:, 6:9], order[:, 8:11], order[:, 10:13]], dim=1)  # blocks that share a token
    found = PerBlock(decoder=inner)(latent, tokens, Mask(visible=order[:, :6], hidden=hidden, blocks=3))
    for number, block in enumerate(hidden.chunk(3, dim=1)):
        alone = inner(latent, tokens, Mask(visible=order[:, :6], hidden=block))
        assert torch.allclose(found[:, 3 * number : 3 * number + 3], alone, atol=1e-5)
    mask = Mask(visible=order[:, :6], hidden=order[:, 6:])
    assert torch.equal(PerBlock(decoder=inner)(latent, tokens, mask), inner(latent, tokens, mask))


def test_per_block_takes_levels_and_coordinates_of_each_sample():
    tokens, latent, order = given()
    tokens = tokens.replace(pos=tokens.pos.repeat(2, 1, 1) + torch.tensor([0.0, 0.3]).view(2, 1, 1))
    levels = (torch.randn(2, 7, LATENT), torch.randn(2, 7, LATENT))
    latent = Latent(latent.tokens, latent.prefix, levels=levels)
    inner = decoder(CrossDecoder, levels=2)
    mask = Mask(visible=order[:, :6], hidden=order[:, 6:12], blocks=2)
    assert torch.allclose(PerBlock(decoder=inner)(latent, tokens, mask), inner(latent, tokens, mask), atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("joint", "JointDecoder"), ("window", "WindowDecoder")])
def test_decoders_that_mix_blocks_refuse_them(name, kind):
    tokens, latent, order = given()
    with pytest.raises(
        ValueError, match=f"{kind} lets the 2 target blocks of this mask see each other; wrap it in Per"
    ):
        MAKE[name]()(latent, tokens, Mask(visible=order[:, :6], hidden=order[:, 6:12], blocks=2))


def test_at_level_reads_what_the_encoder_kept():
    model = model_with(
        encoder=encoder(keep=(0, 2), final_norm=False), decoder=AtLevel(decoder=MAKE["joint"](), level=1)
    )
    check_model(model, image.sample(3))
    tokens, mask = model.tokenizer(image.sample(2)), Uniform()(model.tokenizer(image.sample(2)))
    latent = model.encoder(tokens, mask)
    inner = model.decoder.decoder
    assert torch.equal(model.decoder(latent, tokens, mask), inner(latent, tokens, mask))  # the last level is the output
    first = AtLevel(decoder=inner, level=0)(latent, tokens, mask)
    assert not torch.allclose(first, inner(latent, tokens, mask), atol=1e-3)
    for level in (2, -1):
        with pytest.raises(ValueError, match=f"the encoder keeps 2 levels, so there is no level {level}"):
            AtLevel(decoder=inner, level=level)(latent, tokens, mask)


def test_latents_that_are_neither_of_all_tokens_nor_of_the_visible_are_refused():
    tokens, _, order = given()
    odd = Latent(torch.randn(2, 9, LATENT), torch.randn(2, 1, LATENT))
    with pytest.raises(ValueError, match="gives 9 latents for 16 tokens, 6 of them visible; this decoder needs one"):
        MAKE["joint"]()(odd, tokens, Mask(visible=order[:, :6], hidden=order[:, 6:]))
