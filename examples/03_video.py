"""Pretrain VideoMAE on hand-written digits that move, and see whether its encoder has learnt what motion is.

A digit moves right, left, down or up and re-enters at the other side, so one frame does not show the direction.
A linear classifier reads it from the features of clips, and of clips that stand still at their first frame.

    python examples/03_video.py --out moving
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from maskkit import MaskedModel, weights
from maskkit.cli import run_recipe
from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.engine.loop import pretrain
from maskkit.engine.settings import Pretrain
from maskkit.evaluate.probe import accuracy
from maskkit.modalities import video
from maskkit.modalities.video.videomae import init_videomae_weights
from maskkit.optim import AdamW
from maskkit.positions import FlatSinCos

CLIPS = {"frames": 8, "size": 16}


@dataclass(frozen=True)
class SmallVideoMAE:
    """VideoMAE for 8 frames of 16 x 16 pixels, half of the tubes hidden."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        # A token of two frames, as published, shows motion even to untrained encoders.
        sizes = {"frames": 8, "image_size": 16, "patch_size": 4, "tubelet": 1, "channels": 1}
        places = FlatSinCos(dim=64)
        encoder = SparseEncoder(content=16, dim=64, depth=3, heads=4, positions=places, prefix_tokens=0)
        decoder = JointDecoder(latent=64, dim=64, depth=2, heads=4, output=16, positions=places, keep_prefix=False)
        parts = {"encoder": init_videomae_weights(encoder), "decoder": init_videomae_weights(decoder)}
        return video.videomae(**sizes, mask_ratio=0.5, norm_target=False, mean=(0.1,), std=(0.25,), **parts)


@torch.no_grad()
def features(model: MaskedModel, clips: np.ndarray, *, still: bool = False) -> np.ndarray:
    """Return the mean token of every clip, or of every clip with all frames replaced by its first."""
    batch = torch.from_numpy(clips[:, :, :1].repeat(clips.shape[2], axis=2) if still else clips)
    return torch.cat([model.eval().encode(part).pooled for part in batch.split(100)]).numpy()


def main(out: Path = Path("moving"), steps: int = 1000, seed: int = 0) -> None:
    """Train, probe and draw. An existing run is not repeated."""
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "train.npz", videos=video.moving_digits(20_000, **CLIPS, seed=seed)[0])
    run, optim = out / f"run-{seed}", AdamW(lr=4e-3, no_decay=video.NO_DECAY)
    data = video.Data(root=str(out / "train.npz"), stride=1, crop="centre")
    training = {"batch": 32, "steps": steps, "optim": optim, "clip": 1.0, "workers": 0, "seed": seed}
    if not (run / "model.safetensors").exists():
        pretrain(Pretrain(model=SmallVideoMAE(), data=data, out=run, resume=True, precision="fp32", **training), video)
    model = weights.open_model(run / "model.safetensors")

    fit, fit_labels = video.moving_digits(4000, **CLIPS, seed=seed + 1)
    test, test_labels = video.moving_digits(1000, **CLIPS, seed=seed + 2)
    torch.manual_seed(seed)
    print("direction of motion from features, 4000 clips to fit and 1000 to test, chance 25 %")
    for name, encoder in (("untrained encoder", SmallVideoMAE().build()), ("pretrained encoder", model)):
        for what, still in (("clips", False), ("their first frame", True)):
            x, y = features(encoder, fit, still=still), features(encoder, test, still=still)
            print(f"  {name:<20}{what:<20}{accuracy('linear', x, fit_labels, y, test_labels):6.1%}")
    batch = torch.from_numpy(test[:4])
    with torch.no_grad():
        video.draw(batch, model(batch), model, out / "moving.png")
    print(f"pictures {out / 'moving.png'} and {out / 'moving.gif'} (of clips it has not seen)")


if __name__ == "__main__":
    run_recipe(lambda: tyro.cli(main))
