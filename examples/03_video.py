"""Pretrain VideoMAE on hand-written digits that move, and see whether its encoder has learnt what motion is.

A digit moves right, left, down or up and comes in again at the other side, so that one frame says nothing of the
direction. A linear classifier reads it from the features of clips, and of clips that stand still at their first frame.

    python examples/03_video.py --out moving
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from maskkit.modalities import video
from maskkit.modalities.video.presets import start_as_videomae

from maskkit import MaskedModel, weights
from maskkit.cli import run_recipe
from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.engine.loop import pretrain
from maskkit.engine.optim import AdamW
from maskkit.engine.run import Pretrain
from maskkit.evaluate.probe import accuracy
from maskkit.positions import FlatSinCos

FRAMES, SIZE = 8, 16


@dataclass(frozen=True)
class SmallVideoMAE:
    """VideoMAE for 8 frames of 16 x 16 pixels, half of the tubes hidden.

    A token is one frame of a patch. In two frames, as published, it shows motion already, even to untrained encoders.
    """

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""
        sizes = {"frames": FRAMES, "image_size": SIZE, "patch_size": 4, "tubelet": 1, "channels": 1}
        places = FlatSinCos(dim=64)
        encoder = SparseEncoder(content=16, dim=64, depth=3, heads=4, positions=places, prefix_tokens=0)
        decoder = JointDecoder(latent=64, dim=64, depth=2, heads=4, output=16, positions=places, keep_prefix=False)
        parts = {"encoder": start_as_videomae(encoder), "decoder": start_as_videomae(decoder)}
        return video.videomae(**sizes, mask_ratio=0.5, norm_target=False, mean=(0.1,), std=(0.25,), **parts)


@torch.no_grad()
def features(model: MaskedModel, clips: np.ndarray, *, still: bool = False) -> np.ndarray:
    """Return the mean token of every clip, or of every clip with all frames replaced by its first."""
    batch = torch.from_numpy(clips)
    batch = batch[:, :, :1].expand_as(batch) if still else batch
    return torch.cat([model.eval().encode(part).pooled for part in batch.split(100)]).numpy()


def main(out: Path = Path("moving"), steps: int = 1000, seed: int = 0) -> None:
    """Train, probe, draw."""
    out.mkdir(parents=True, exist_ok=True)
    clips, _ = video.moving_digits(20_000, frames=FRAMES, size=SIZE, seed=seed)
    np.savez(out / "train.npz", videos=clips)
    settings = Pretrain(
        model=SmallVideoMAE(),
        data=video.Data(root=str(out / "train.npz"), stride=1, crop="centre"),
        out=out / f"run-{seed}",
        batch=32,
        steps=steps,
        optim=AdamW(lr=4e-3, no_decay=video.NO_DECAY),
        clip=1.0,
        precision="fp32",
        workers=0,
        seed=seed,
        log_every=50,
        resume=(out / f"run-{seed}" / "config.json").exists(),
    )
    pretrain(settings, video)
    model = weights.open_model(out / f"run-{seed}" / "model.safetensors")

    fit, fit_labels = video.moving_digits(4000, frames=FRAMES, size=SIZE, seed=seed + 1)
    test, test_labels = video.moving_digits(1000, frames=FRAMES, size=SIZE, seed=seed + 2)
    torch.manual_seed(seed)
    print("direction of motion from features, 4000 clips to fit and 1000 to test, chance 25 %")
    for name, encoder in (("untrained encoder", SmallVideoMAE().build()), ("pretrained encoder", model)):
        for what, still in (("clips", False), ("their first frame", True)):
            x, y = features(encoder, fit, still=still), features(encoder, test, still=still)
            print(f"  {name:<20}{what:<20}{accuracy('linear', x, fit_labels, y, test_labels):6.1%}")
    with torch.no_grad():
        batch = torch.from_numpy(test[:4])
        video.draw(batch, model(batch), model, out / "moving.png")
    print(f"pictures {out / 'moving.png'} and {out / 'moving.gif'} (of clips it has not seen)")


if __name__ == "__main__":
    run_recipe(lambda: tyro.cli(main))
