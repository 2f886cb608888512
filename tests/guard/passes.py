"""Digests of what the published presets compute, printed as JSON. Run with any revision's packages on the path.

It calls nothing but the public presets, so the same file runs on the revision that the guard compares with.
"""

import hashlib
import json

import torch

from maskkit.modalities import audio, image, points, video

POINTS = {"num_points": 256, "num_groups": 16, "group_size": 16, "dim": 48, "depth": 2, "heads": 3, "decoder_depth": 1}
PRESETS = {
    "image.mae": lambda: (image.mae("tiny", image_size=32, patch_size=8), pixels(4, 3, 32, 32)),
    "image.mae of plain pixels": lambda: (
        image.mae("tiny", image_size=(16, 24), patch_size=4, channels=1, norm_target=False),
        pixels(4, 1, 16, 24),
    ),
    "video.videomae": lambda: (video.videomae("tiny", frames=4, image_size=32, patch_size=8), pixels(2, 3, 4, 32, 32)),
    "video.mae_st": lambda: (video.mae_st("tiny", frames=4, image_size=32, patch_size=8), pixels(2, 3, 4, 32, 32)),
    "audio.audiomae with windows": lambda: (audio.audiomae("tiny", frames=128, mels=64), energies()),
    "audio.audiomae without": lambda: (audio.audiomae("tiny", frames=128, mels=64, decoder="global"), energies()),
    "points.point_mae": lambda: (points.point_mae(**POINTS), points.sample(4)),
    "points.point_mae of blocks": lambda: (
        points.point_mae(**POINTS, mask="block", batch_norm="visible", norm="l1"),
        points.sample(4),
    ),
}


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def energies() -> torch.Tensor:
    """Return spectrograms, the second of which is padded."""
    batch = torch.randn(2, 1, 128, 64, generator=torch.Generator().manual_seed(1))
    batch[1, :, 100:] = torch.nan
    return batch


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return a digest of names, shapes and bits."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def passes(preset: str, bf16: bool) -> dict[str, object]:
    """Return what one training pass of a preset comes to."""
    torch.manual_seed(0)
    model, batch = PRESETS[preset]()
    model.train()
    torch.manual_seed(1)  # of dropout
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = model(batch, rng=torch.Generator().manual_seed(2))
    out.loss.backward()
    return {
        "names": hashlib.sha256(
            json.dumps([[name, list(tensor.shape)] for name, tensor in model.state_dict().items()]).encode()
        ).hexdigest(),
        "start": digest(dict(model.named_parameters())),
        "mask": digest({"visible": out.mask.visible, "hidden": out.mask.hidden}),
        "loss": out.loss.item(),
        "losses": digest({"losses": out.losses, "prediction": out.prediction, "value": out.value}),
        "gradients": digest({name: p.grad for name, p in model.named_parameters() if p.grad is not None}),
        "buffers": digest(dict(model.named_buffers())),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(
        json.dumps({f"{name}, {kind}": passes(name, kind == "bf16") for name in PRESETS for kind in ("fp32", "bf16")})
    )
