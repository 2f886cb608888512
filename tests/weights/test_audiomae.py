"""Audio-MAE's checkpoints, held against its forward pass written out from the formulas, name by name.

The reference below knows nothing of maskkit: it reads a state dict with the authors' names, as ``models_mae.py``,
``util/pos_embed.py`` and the windowed block of their patched timm define them (docs/official.md A1 to A5).
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskkit import weights
from maskkit.modalities import audio

FRAMES, MELS, PATCH = 192, 64, 16
ROWS, COLUMNS = FRAMES // PATCH, MELS // PATCH


def table(dim, height, width):
    """get_2d_sincos_pos_embed_flexible: meshgrid with w first, so the first half of the width encodes the column."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    omega = 1 / 10000 ** (np.arange(dim // 4) / (dim / 4))
    halves = []
    for coordinate in (columns, rows):
        angle = coordinate.reshape(-1, 1) * omega
        halves += [np.sin(angle), np.cos(angle)]
    cells = np.concatenate(halves, axis=1)
    return torch.from_numpy(np.concatenate([np.zeros((1, dim)), cells])).float()[None]


def linear(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def norm(state, name, x):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)


def mlp(state, name, x, act=F.gelu):
    return linear(state, f"{name}.fc2", act(linear(state, f"{name}.fc1", x)))


def heads(state, name, x, count):
    batch, length, dim = x.shape
    return linear(state, f"{name}.qkv", x).reshape(batch, length, 3, count, dim // count).permute(2, 0, 3, 1, 4)


def vit_block(state, name, x, count):
    q, k, v = heads(state, f"{name}.attn", norm(state, f"{name}.norm1", x), count)
    mixed = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
    x = x + linear(state, f"{name}.attn.proj", mixed.transpose(1, 2).reshape(x.shape))
    return x + mlp(state, f"{name}.mlp", norm(state, f"{name}.norm2", x))


def swin_block(state, name, x, count, shift, grid=(ROWS, COLUMNS), window=4):
    """Post-norm, cosine attention over tau, log-spaced relative places through a small network, seam closed by -100."""
    batch, length, dim = x.shape
    rows, columns = grid
    at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    apart = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0).reshape(-1, 2).float()
    bias = mlp(state, f"{name}.attn.meta_mlp", apart.sign() * (1 + apart.abs()).log(), F.relu)
    bias = bias.T.reshape(count, window**2, window**2)
    tau = state[f"{name}.attn.tau"].clamp(min=0.01)[:, None, None]
    seen = torch.zeros(batch, rows, columns, dim)
    plane = x.reshape(batch, rows, columns, dim)
    for top in range(0, rows, window):
        for left in range(0, columns, window):
            r = [(top + i + shift[0]) % rows for i in range(window)]  # where the window lies once it is shifted
            c = [(left + j + shift[1]) % columns for j in range(window)]
            piece = plane[:, r][:, :, c].reshape(batch, window**2, dim)
            q, k, v = heads(state, f"{name}.attn", piece, count)
            cosine = q @ k.mT / (q.norm(dim=-1, keepdim=True) @ k.norm(dim=-1, keepdim=True).mT).clamp(min=1e-6)
            wrapped = [(top + i + shift[0] >= rows, left + j + shift[1] >= columns) for i in range(4) for j in range(4)]
            seam = torch.tensor([[0.0 if a == b else -100.0 for b in wrapped] for a in wrapped])
            mixed = (cosine / tau + bias + seam).softmax(-1) @ v
            out = linear(state, f"{name}.attn.proj", mixed.transpose(1, 2).reshape(piece.shape))
            for i, row in enumerate(r):
                seen[:, row, c] = out.reshape(batch, window, window, dim)[:, i]
    x = x + norm(state, f"{name}.norm1", seen.reshape(x.shape))
    return x + norm(state, f"{name}.norm2", mlp(state, f"{name}.mlp", x))


def authors(state, batch, mask, *, encoder_heads, decoder_heads, windowed):
    """Return prediction of all tokens and loss."""
    size = len(batch)
    x = F.conv2d(batch, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=PATCH)
    x = x.flatten(2).transpose(1, 2) + state["pos_embed"][:, 1:]
    x = torch.stack([each[seen] for each, seen in zip(x, mask.visible, strict=True)])
    x = torch.cat([(state["cls_token"] + state["pos_embed"][:, :1]).expand(size, -1, -1), x], dim=1)
    depth = sum(name.startswith("blocks.") and name.endswith("norm1.weight") for name in state)
    for number in range(depth):
        x = vit_block(state, f"blocks.{number}", x, encoder_heads)
    x = linear(state, "decoder_embed", norm(state, "norm", x))
    tokens = state["mask_token"].repeat(size, ROWS * COLUMNS, 1)
    for row, (seen, values) in enumerate(zip(mask.visible, x[:, 1:], strict=True)):
        tokens[row, seen] = values
    x = torch.cat([x[:, :1], tokens], dim=1) + state["decoder_pos_embed"]
    depth = sum(name.startswith("decoder_blocks.") and name.endswith("norm1.weight") for name in state)
    x = x[:, 1:] if windowed else x
    for number in range(depth):
        name = f"decoder_blocks.{number}"
        if windowed:
            x = swin_block(state, name, x, decoder_heads, (2, 0) if number % 2 else (0, 0))
        else:
            x = vit_block(state, name, x, decoder_heads)
    prediction = linear(state, "decoder_pred", norm(state, "decoder_norm", x))
    prediction = prediction if windowed else prediction[:, 1:]
    target = batch.reshape(size, ROWS, PATCH, COLUMNS, PATCH).permute(0, 1, 3, 2, 4).reshape(size, -1, PATCH**2)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
    hidden = torch.zeros(size, ROWS * COLUMNS).scatter(1, mask.hidden, 1.0)
    return prediction, (((prediction - target) ** 2).mean(-1) * hidden).sum() / hidden.sum()


def build(**settings):
    torch.manual_seed(0)
    model = audio.audiomae("tiny", frames=FRAMES, mels=MELS, **settings).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim < 2 or "tau" in name:  # norms, biases and tau start at constants, which would hide mistakes
                weight.add_(0.3 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("decoder", ["window", "global"])
@pytest.mark.parametrize("mask", ["random", "both"])
def test_prediction_and_loss_are_the_authors(decoder, mask):
    model = build(decoder=decoder, mask=mask)
    state = weights.convert(model, "audiomae")
    batch = torch.randn(2, 1, FRAMES, MELS)
    with torch.no_grad():
        out = model(batch)
        theirs, loss = authors(state, batch, out.mask, encoder_heads=3, decoder_heads=4, windowed=decoder == "window")
    hidden = torch.stack([each[index] for each, index in zip(theirs, out.mask.hidden, strict=True)])
    assert torch.allclose(out.prediction, hidden, atol=1e-4)
    assert out.loss.item() == pytest.approx(loss.item(), abs=1e-4)


@pytest.mark.parametrize("decoder", ["window", "global"])
def test_names_and_tables_are_the_authors(decoder):
    """The tables that come out are theirs, transposed as theirs (A1), and all goes in again."""
    model = build(decoder=decoder)
    state = weights.convert(model, "audiomae")
    transposed = (COLUMNS, ROWS)  # patch_hw = (W / p, H / p), where tokens are rows of time
    assert torch.allclose(state["pos_embed"], table(192, *transposed), atol=1e-6)
    assert torch.allclose(state["decoder_pos_embed"], table(128, *transposed), atol=1e-6)
    assert state["patch_embed.proj.weight"].shape == (192, 1, 16, 16)
    attention = {"tau", "qkv.weight", "qkv.bias", "proj.weight", "proj.bias"}
    attention |= {f"meta_mlp.fc{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
    inside = {n.removeprefix("decoder_blocks.3.attn.") for n in state if n.startswith("decoder_blocks.3.attn.")}
    assert inside == attention if decoder == "window" else inside < attention
    other = audio.audiomae("tiny", frames=FRAMES, mels=MELS, decoder=decoder)
    report = weights.load(other, {f"module.{name}": tensor for name, tensor in state.items()}, layout="audiomae")
    assert not report.unused and not report.notes
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_full_size_is_the_authors():
    """Names and shapes of mae_vit_base_patch16 with 16 windowed blocks for 1024 x 128."""
    state = weights.convert(audio.audiomae("base"), "audiomae")
    assert state["pos_embed"].shape == (1, 513, 768) and state["decoder_pos_embed"].shape == (1, 513, 512)
    assert torch.allclose(state["pos_embed"], table(768, 8, 64), atol=1e-6)
    assert {int(name.split(".")[1]) for name in state if name.startswith("decoder_blocks.")} == set(range(16))
    assert state["decoder_blocks.15.attn.meta_mlp.fc1.weight"].shape == (384, 2)
    assert state["decoder_blocks.0.attn.tau"].shape == (16,) and state["decoder_pred.weight"].shape == (256, 512)


def test_auto_knows_the_window_and_files_go_both_ways(tmp_path):
    model = build()
    path = weights.save(model, tmp_path / "audio.pth", layout="audiomae")
    other = audio.audiomae("tiny", frames=FRAMES, mels=MELS)
    assert weights.load(other, path).layout == "audiomae"
    assert torch.equal(other.decoder.blocks[1].attn.tau, model.decoder.blocks[1].attn.tau)
    with pytest.raises(ValueError, match="choose layout audiomae"):
        weights.convert(model, "mae")


def test_a_table_of_the_other_orientation_is_refused():
    state = weights.convert(build(positions="corrected"), "audiomae")
    assert torch.allclose(state["pos_embed"], table(192, ROWS, COLUMNS), atol=1e-6)
    with pytest.raises(
        ValueError, match="laid out as positions='corrected'.*build the model with positions='corrected'"
    ):
        weights.load(build(), state, layout="audiomae")
    with pytest.raises(ValueError, match="reads positions='corrected'"):
        weights.load(build(positions="corrected"), weights.convert(build(), "audiomae"), layout="audiomae")
    weights.load(build(positions="corrected"), state, layout="audiomae")


def test_a_table_of_another_length_names_the_frames():
    state = weights.convert(build(), "audiomae")
    other = audio.audiomae("tiny", frames=2 * FRAMES, mels=MELS)
    with pytest.raises(ValueError, match=f"grid 12x4, the model's grid is 24x4; build the model with frames={FRAMES}"):
        weights.load(other, state, layout="audiomae")


def test_positions_that_were_trained_are_read_as_they_are():
    state = weights.convert(build(), "audiomae")
    state["pos_embed"] = torch.randn_like(state["pos_embed"]) * 0.02
    other = build()
    report = weights.load(other, state, layout="audiomae")
    assert any("learned table" in note for note in report.notes)
    assert torch.equal(weights.convert(other, "audiomae")["pos_embed"][:, 1:], state["pos_embed"][:, 1:])


@pytest.mark.parametrize("theirs, ours", [("authors", "corrected"), ("corrected", "authors")])
def test_the_orientation_is_checked_where_the_names_are_maes(theirs, ours):
    state = weights.convert(build(decoder="global", positions=theirs), "audiomae")
    with pytest.raises(ValueError, match=f"laid out as positions='{theirs}'"):
        weights.load(build(decoder="global", positions=ours), state)
