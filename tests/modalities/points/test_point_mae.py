"""Groups, the mini-PointNet and the whole of Point-MAE against a written-out reference under the authors' names."""

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import nn

from maskkit import Mask, weights
from maskkit.maskers import BlockMasker
from maskkit.modalities import points
from maskkit.modalities.points.bench import PlainPort
from maskkit.parts import build, describe
from maskkit.testing import check_masker, check_modality, check_model, check_tokenizer
from maskkit.types import take


def small(**settings):
    defaults = {"num_points": 256, "num_groups": 16, "group_size": 16, "dim": 48, "depth": 2, "heads": 3}
    return points.point_mae(**{**defaults, "decoder_depth": 2, **settings})


class Written(nn.Module):
    """Point_MAE.py as its modules are called; groups and mask come from outside."""

    def __init__(self, dim, depth, heads, decoder_depth, size):
        super().__init__()

        def places():
            return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, dim))

        def blocks(count):
            return nn.ModuleList(Block(dim, heads, qkv_bias=False, norm_layer=nn.LayerNorm) for _ in range(count))

        self.MAE_encoder = nn.Module()
        encoder = self.MAE_encoder.encoder = nn.Module()
        encoder.first_conv = nn.Sequential(nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1))
        encoder.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, dim, 1)
        )
        self.MAE_encoder.pos_embed = places()
        self.MAE_encoder.blocks = nn.Module()
        self.MAE_encoder.blocks.blocks = blocks(depth)
        self.MAE_encoder.norm = nn.LayerNorm(dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, dim))
        self.decoder_pos_embed = places()
        self.MAE_decoder = nn.Module()
        self.MAE_decoder.blocks = blocks(decoder_depth)
        self.MAE_decoder.norm = nn.LayerNorm(dim)
        self.increase_dim = nn.Sequential(nn.Conv1d(dim, 3 * size, 1))
        self.size = size

    def forward(self, centres, groups, visible, hidden):
        batch, count, size, _ = groups.shape
        pointnet = self.MAE_encoder.encoder
        x = pointnet.first_conv(groups.reshape(-1, size, 3).transpose(1, 2))
        x = pointnet.second_conv(torch.cat([x.max(2, keepdim=True).values.expand(-1, -1, size), x], dim=1))
        x = take(x.max(2).values.view(batch, count, -1), visible)
        for block in self.MAE_encoder.blocks.blocks:
            x = block(x + self.MAE_encoder.pos_embed(take(centres, visible)))
        x = self.MAE_encoder.norm(x)
        x = torch.cat([x, self.mask_token.expand(batch, hidden.shape[1], -1)], dim=1)
        for block in self.MAE_decoder.blocks:
            x = block(x + self.decoder_pos_embed(take(centres, torch.cat([visible, hidden], dim=1))))
        x = self.MAE_decoder.norm(x)[:, -hidden.shape[1] :]
        x = self.increase_dim(x.transpose(1, 2)).transpose(1, 2)
        between = torch.cdist(x.reshape(-1, size, 3), take(groups.flatten(2), hidden).reshape(-1, size, 3)).square()
        return x, between.amin(dim=2).mean() + between.amin(dim=1).mean()


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_the_authors(training):
    """Prediction, loss, gradients and running statistics, in evaluation and, without drop path, in training."""
    torch.manual_seed(0)
    model = small(drop_path=0.0, skip_origin=None).train(training)
    written = Written(48, 2, 3, 2, 16).train(training)
    report = weights.load(model, {f"module.{name}": tensor.clone() for name, tensor in written.state_dict().items()})
    assert report.layout == "point-mae" and not report.unused
    batch = points.sample(4)
    out = model(batch)
    prediction, loss = written(out.tokens.pos, out.tokens.x.unflatten(2, (16, 3)), out.mask.visible, out.mask.hidden)
    torch.testing.assert_close(out.prediction, prediction, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out.loss, loss, atol=1e-5, rtol=1e-4)
    out.loss.backward()
    loss.backward()
    back = weights.convert(model, "point-mae")
    for name, tensor in written.state_dict().items():
        torch.testing.assert_close(back[name], tensor, atol=1e-5, rtol=1e-4)
    mine = model.encoder.embed.second[0].weight.grad
    torch.testing.assert_close(
        mine, written.MAE_encoder.encoder.second_conv[0].weight.grad[..., 0], atol=1e-5, rtol=1e-3
    )
    assert set(back) == set(written.state_dict())


def test_a_checkpoint_of_the_authors_is_read(tmp_path):
    written, model = Written(48, 2, 3, 2, 16), small()
    torch.save({"base_model": written.state_dict(), "epoch": 300}, tmp_path / "ckpt.pth")
    assert weights.load(model, tmp_path / "ckpt.pth").layout == "point-mae"
    path = weights.save(model, tmp_path / "out.pth", layout="point-mae")
    written.load_state_dict(torch.load(path, weights_only=True)["base_model"])  # what their fine-tuning reads
    with pytest.raises(ValueError, match="another architecture"):
        weights.load(small(dim=96), written.state_dict())


def test_the_published_numbers():
    model = points.point_mae()
    out = model(torch.randn(1, 1024, 3))
    assert out.mask.visible.shape == (1, 26) and out.mask.hidden.shape == (1, 38)  # docs/official.md Q1
    assert out.prediction.shape == (1, 38, 96) and len(model.encoder.blocks) == 12
    assert model.encoder.norm.eps == 1e-5 and model.encoder.blocks[0].attn.qkv.bias is None
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.encoder.blocks]
    assert rates[-1] == pytest.approx(0.1) and rates[0] == 0.0
    assert model.encoder.embed.second[0].weight.std().item() == pytest.approx(0.02, rel=0.05)  # P8


@pytest.mark.parametrize("settings", [{}, {"batch_norm": "visible"}, {"features": 4}, {"norm": "l1", "mask": "block"}])
def test_models_conform(settings):
    model, batch = small(**settings), points.sample(4)
    batch = torch.cat([batch, torch.rand(4, 256, settings.get("features", 0))], dim=2)
    check_masker(model.masker, check_tokenizer(model.tokenizer, batch))
    check_model(model, batch)
    assert describe(build(describe(model))) == describe(model)


def test_the_modality_conforms():
    check_modality(points)


def test_batch_norm_over_all_groups_lets_hidden_contents_through_in_training_and_visible_does_not():
    """docs/official.md P2."""
    for kind, leaks in (("all", True), ("visible", False)):
        torch.manual_seed(0)
        model = small(batch_norm=kind, drop_path=0.0).train()
        tokens = model.tokenizer(points.sample(4))
        mask = model.masker(tokens, torch.Generator().manual_seed(0))
        other = tokens.replace(x=tokens.x.scatter(1, mask.hidden[..., None].expand(-1, -1, 48), 5.0))
        before, after = (model.decoder(model.encoder(t, mask), t, mask) for t in (tokens, other))
        assert torch.equal(before, after) is not leaks
    assert points.point_mae(num_groups=8).encoder.embed_hidden  # the preset is the authors'


def test_groups_hold_their_centres_and_are_relative_to_them():
    batch = points.sample(3)
    tokens = points.Groups(num_groups=8, group_size=5)(batch)
    groups = tokens.x.unflatten(2, (5, 3))
    assert (groups[:, :, 0] == 0).all() and torch.equal(tokens.pos[:, 0], batch[:, 0])
    distance = torch.cdist(tokens.pos.double(), batch.double()).float().sort(dim=2).values[..., :5]
    torch.testing.assert_close(groups.norm(dim=3), distance, atol=1e-5, rtol=1e-4)


def test_order_place_and_size_of_a_cloud():
    batch = points.sample(2)
    groups = points.Groups(num_groups=8, group_size=5, start="far")
    tokens, shuffled = groups(batch), groups(batch[:, torch.randperm(256)])
    assert torch.equal(tokens.x, shuffled.x) and torch.equal(tokens.pos, shuffled.pos)
    moved = groups(batch * 4 + 8)
    torch.testing.assert_close(moved.pos, tokens.pos * 4 + 8)
    torch.testing.assert_close(moved.x, tokens.x * 4, atol=1e-5, rtol=1e-4)


def test_points_near_the_origin_are_no_centres_in_the_preset():
    """docs/official.md P10; there 100 points lie within 0.03 of the origin and the others on the unit sphere."""
    far = nn.functional.normalize(torch.randn(1, 100, 3), dim=2)
    cloud = torch.cat([far, 0.01 * torch.randn(1, 100, 3)], dim=1)
    for skip, expected in ((1e-3, False), (None, True)):
        centres = points.Groups(num_groups=60, group_size=4, skip_origin=skip)(cloud).pos
        assert bool((centres.norm(dim=2) < 0.1).any()) is expected


def test_clouds_of_another_unit_are_refused_and_few_far_points_are_not():
    near = 0.005 * torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(0))
    groups = points.Groups(num_groups=60, group_size=4, skip_origin=1e-3)
    with pytest.raises(ValueError, match="cloud 0 of the batch lies within 0.032 .* skip_origin=None"):
        groups(near)
    near[:, 0] = 1.0  # one outlier: too few centres lie far, so near ones are let in
    assert all(len(centres.unique(dim=0)) == 60 for centres in groups(near).pos)


def test_clouds_of_different_sizes_in_one_batch():
    whole, short, few = points.sample(3)
    model = small().eval()
    tokens = model.tokenizer([whole, short[:100], few[:10]])
    assert tokens.valid.sum(dim=1).tolist() == [16, 16, 10] and tokens.x.isfinite().all()
    alone = model.tokenizer(short[None, :100])
    assert torch.equal(tokens.x[1], alone.x[0]) and torch.equal(tokens.pos[1], alone.pos[0])
    out = model([whole, short[:100], few[:10]], rng=torch.Generator().manual_seed(0))
    assert out.loss.isfinite() and (out.mask.hidden[2] < 10).all() and (out.mask.visible[2] < 10).all()
    together, single = model.encode([whole, few[:10]]), model.encode([few[:10]])
    torch.testing.assert_close(together.pooled[1], single.pooled[0], atol=1e-5, rtol=1e-4)


def test_float64_is_cut_as_float32():
    batch = points.sample(2)
    assert torch.equal(points.Groups()(batch.double()).x, points.Groups()(batch).x)


def test_small_clouds_are_padded_and_their_groups_stay_their_own():
    """Padding is NaN, in features too: features of a cloud are the same alone and in a batch, in training as well."""
    torch.manual_seed(0)
    model, fill = small(features=1, num_groups=64).eval(), points.transforms.Fill(num_points=256)
    clouds = torch.cat([points.sample(2), torch.rand(2, 256, 1)], dim=2)
    batch = torch.stack([clouds[0], fill(clouds[1, :40], torch.Generator())])
    tokens, alone = model.tokenizer(batch), model.tokenizer(clouds[1:, :40])
    assert tokens.valid.sum(dim=1).tolist() == [64, 40] and tokens.x.isfinite().all()
    assert torch.equal(tokens.x[1], alone.x[0]) and torch.equal(tokens.x[1, 40:], tokens.x[1, :24])
    together, single = model.encode(batch).pooled[1], model.encode(clouds[1:, :40]).pooled[0]
    torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-4)
    out = model.train()(batch)
    assert out.mask.hidden.shape == (2, 24) and out.mask.visible.shape == (2, 16)  # of 40, in both
    out.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()) and out.loss.isfinite()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.rand(2, 9, 4), "must be"),
        (torch.ones(2, 9, 3, dtype=torch.long), "float"),
        (torch.full((2, 9, 3), torch.inf), "infinite"),
        (torch.full((2, 9, 3), torch.nan), "no point"),
        ([torch.rand(9)], "cloud 0 must be"),
        ([torch.rand(9, 3), torch.rand(9, 6)], r"cloud 1 must be \[points 3\], got \[9, 6\]"),
        ([], "no clouds"),
        (torch.rand(0, 9, 3), "no clouds"),
    ],
)
def test_what_is_no_cloud(batch, message):
    with pytest.raises(ValueError, match=message):
        points.Groups()(batch)


def test_the_block_mask_hides_a_ball():
    tokens = points.Groups(num_groups=32, group_size=4)(points.sample(3))
    mask = check_masker(BlockMasker(ratio=0.5), tokens)
    for row in range(3):
        hidden, visible = tokens.pos[row, mask.hidden[row]], tokens.pos[row, mask.visible[row]]
        reach = torch.cdist(hidden, hidden).amax(dim=1)
        assert (reach <= torch.cdist(hidden, visible).amin(dim=1) + 1e-6).any()


def test_reconstructing_gives_the_visible_points_and_the_predicted():
    model, batch = small().eval(), points.sample(2)
    mask = Mask.hide(torch.tensor([[0, 5], [1, 2]]), num_tokens=16)
    painted = model.reconstruct(batch, mask=mask).unflatten(1, (16, 16))
    between = torch.cdist(painted.flatten(1, 2).double(), batch.double()).amin(dim=2).view(2, 16, 16)
    assert between.gather(1, mask.visible[..., None].expand(-1, -1, 16)).max() < 1e-5
    assert between.gather(1, mask.hidden[..., None].expand(-1, -1, 16)).max() > 1e-3


def test_the_peer_of_the_bench_learns_too():
    torch.manual_seed(0)
    port = PlainPort(dim=48)
    port(torch.randn(2, 200, 3)).backward()
    assert all(p.grad is not None for p in port.parameters())


def test_autocast_keeps_the_loss_close():
    model, batch = small().eval(), points.sample(4)
    out = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(batch, mask=out.mask)
    assert low.loss.dtype == torch.float32 and (low.loss - out.loss).abs() < 0.03 * out.loss
    assert low.latent.tokens.dtype == torch.float32 and torch.equal(low.tokens.x, out.tokens.x)
