"""Encoders: levels that are kept, and graphs that are exported without a trace in what is computed later."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.maskers import Uniform
from maskkit.modalities import audio, image, points, video
from maskkit.positions import FlatSinCos, SinCos
from maskkit.tokenizers import grid_coordinates
from maskkit.types import Tokens

KINDS = [SparseEncoder, DenseEncoder]


def encoder(kind, **settings):
    torch.manual_seed(0)
    return kind(content=4, dim=16, depth=3, heads=2, positions=SinCos(dim=16, axes=2), **settings).eval()


def cut(count=2):
    return image.patches(2, 1, mean=(0.5,), std=(0.5,), image_size=8)(image.sample(count))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("final_norm", [False, True])
def test_levels_are_kept_in_the_order_of_the_tokens(kind, masked, final_norm):
    found = encoder(kind, keep=(0, 2, 3), prefix_tokens=2, final_norm=final_norm)
    tokens = cut()
    mask = Uniform()(tokens) if masked else None
    latent = found(tokens, mask)
    count = 4 if masked and kind is SparseEncoder else 16
    assert [level.shape for level in latent.levels] == [(2, 2 + count, 16)] * 3
    assert torch.equal(latent.levels[0][:, :2], found.prefix.expand(2, -1, -1))
    last = found.norm(latent.levels[2])
    assert torch.equal(last[:, 2:], latent.tokens) and torch.equal(last[:, :2], latent.prefix)
    plain = encoder(kind, prefix_tokens=2, final_norm=final_norm)(tokens, mask)
    assert plain.levels == () and torch.equal(plain.tokens, latent.tokens)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [False, True])
def test_prefix_tokens_shift_no_index_and_have_no_place(kind, again):
    tokens = cut()
    for prefix in (0, 1, 3):
        found = encoder(kind, prefix_tokens=prefix, pos_every_block=again)
        latent = found(tokens)
        assert latent.tokens.shape == (2, 16, 16) and latent.prefix.shape == (2, prefix, 16)
        assert found.prefix.requires_grad == (prefix > 0)
        moved = found(tokens.replace(pos=tokens.pos + 1000.0, grid=None))
        assert not torch.allclose(moved.tokens, latent.tokens, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_contents_that_are_not_visible_are_never_read(kind):
    tokens = cut()
    mask = Uniform()(tokens)
    poisoned = tokens.replace(x=tokens.x.scatter(1, mask.hidden[..., None].expand(-1, -1, 4), torch.nan))
    found = encoder(kind)
    assert torch.equal(found(tokens, mask).tokens, found(poisoned, mask).tokens)


def test_hidden_contents_may_reach_sparse_embeddings_only():
    with pytest.raises(
        ValueError,
        match="embed_hidden is for sparse encoders; a dense encoder replaces hidden contents by a mask token",
    ):
        encoder(DenseEncoder, embed_hidden=True)


class Features(nn.Module):
    """What leaves for other programs: a batch in, the latents of all tokens out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.encode(x).tokens


MODELS = {
    "image": (lambda: image.mae("tiny", image_size=16, patch_size=4, channels=1), (1, 16, 16)),
    "audio": (lambda: audio.audiomae("tiny", frames=64, mels=32), (1, 64, 32)),
    "video": (lambda: video.model("simmim", "tiny", frames=4, image_size=32, patch_size=8), (3, 4, 32, 32)),
    "points": (lambda: points.point_mae(num_points=64, num_groups=8, group_size=8, dim=48, depth=2, heads=2), (64, 3)),
}


def holds_fake_tensors(model):
    """Return the names of modules that keep a fake tensor, in whatever attribute."""
    found = set()
    for name, module in model.named_modules():
        for value in vars(module).values():
            inside = (
                value if isinstance(value, tuple | list) else value.values() if isinstance(value, dict) else [value]
            )
            found |= {name for each in inside if isinstance(each, FakeTensor)}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_an_exported_encoder_takes_any_batch_and_leaves_nothing_behind(name):
    make, shape = MODELS[name]
    model = make().eval()
    before = model.encode(torch.ones(2, *shape)).tokens
    batch = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(Features(model), (torch.randn(2, *shape),), dynamic_shapes=batch).module()
    with torch.no_grad():
        for count in (2, 1, 5):
            x = torch.randn(count, *shape)
            assert torch.allclose(exported(x), model.encode(x).tokens, atol=1e-5)
    assert not holds_fake_tensors(model)
    assert torch.equal(model.encode(torch.ones(2, *shape)).tokens, before)
    assert make().eval().encode(torch.ones(3, *shape)).tokens.isfinite().all()  # another model of the same grid


@pytest.mark.parametrize("name", ["image", "audio"])  # the others start with torch's trunc_normal_, which needs numbers
def test_a_pass_with_fake_tensors_leaves_nothing_behind(name):
    make, shape = MODELS[name]
    with FakeTensorMode() as mode:
        model = make()
        found = model.encode(torch.ones(2, *shape))
        assert isinstance(found.tokens, FakeTensor)
        if name == "image":  # how many tokens of padded spectrograms are hidden depends on their contents
            assert isinstance(model(torch.ones(2, *shape)).loss, FakeTensor)
    real = make().eval()
    out = real(torch.ones(2, *shape))
    assert not isinstance(out.loss, FakeTensor) and out.loss.isfinite() and not holds_fake_tensors(real)
    assert torch.equal(out.tokens.pos, real.tokenizer(torch.ones(2, *shape)).pos)
    with mode:  # and the other way round: what real passes keep is of no use to fake ones
        assert isinstance(make().encode(torch.ones(2, *shape)).tokens, FakeTensor)


@pytest.mark.parametrize("positions", [SinCos(dim=16, axes=2), FlatSinCos(dim=16)], ids=["sincos", "flat"])
def test_tables_of_positions_that_were_made_of_fake_tensors_are_not_kept(positions):
    def tokens():
        return Tokens(x=torch.zeros(2, 6, 4), pos=grid_coordinates((2, 3), torch.device("cpu")), grid=(2, 3))

    before = positions(tokens())
    assert positions(tokens()) is before  # one table a grid
    with FakeTensorMode():
        assert isinstance(positions(tokens()), FakeTensor)
    assert positions(tokens()) is before
    fresh = type(positions)(**{"dim": 16, **({"axes": 2} if isinstance(positions, SinCos) else {})})
    with FakeTensorMode():
        fresh(tokens())
    assert not holds_fake_tensors(fresh) and torch.equal(fresh(tokens()), before)
