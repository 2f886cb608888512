"""Pretrain an image MAE on scikit-learn's hand-written digits, and measure what its encoder has learnt.

1,297 digits of 8 x 8 pixels are used without labels. Then two simple classifiers are fitted to ten labels per class.
They use raw pixels, or features of the encoder before or after training, and are tested on 500 other digits.

    python examples/01_digits.py --out demo
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from maskkit import MaskedModel, weights
from maskkit.cli import run_recipe
from maskkit.decoder import JointDecoder
from maskkit.drawing.curve import draw_loss
from maskkit.encoder import SparseEncoder
from maskkit.engine.loop import pretrain
from maskkit.engine.optim import AdamW
from maskkit.engine.run import Pretrain
from maskkit.evaluate.features import embed
from maskkit.evaluate.probe import compare
from maskkit.evaluate.reconstruction import errors
from maskkit.layers import start_as_mae
from maskkit.modalities import image
from maskkit.positions import SinCos

HELD_OUT, DRAWS = 500, 5


@dataclass(frozen=True)
class SmallMAE:
    """MAE for 8 x 8 pixels: patches of 2 x 2, eight of sixteen visible (four say too little), 0.25 million weights."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        tokenizer = image.patches(2, channels=1, mean=(0.3,), std=(0.38,), image_size=8)
        places = SinCos(dim=64, axes=2, order=(1, 0))
        encoder = SparseEncoder(content=4, dim=64, depth=4, heads=4, positions=places)
        decoder = JointDecoder(latent=64, dim=64, depth=1, heads=4, output=4, positions=places)
        parts = {"encoder": start_as_mae(encoder), "decoder": start_as_mae(decoder)}
        return image.mae(tokenizer=tokenizer, mask_ratio=0.5, norm_target=False, **parts)


def main(out: Path = Path("demo"), steps: int = 2500, seed: int = 0) -> None:
    """Train, draw and compare. An existing run is not repeated."""
    pixels, labels = image.digits()
    order = np.random.default_rng(seed).permutation(len(pixels))
    train, test = order[HELD_OUT:], order[:HELD_OUT]
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "train.npz", images=pixels[train], labels=labels[train])
    np.savez(out / "test.npz", images=pixels[test], labels=labels[test])
    run, data = out / f"run-{seed}", image.Data(root=str(out / "train.npz"), min_scale=1, flip=False)
    training = {"batch": 128, "steps": steps, "optim": AdamW(lr=3e-3), "precision": "fp32", "workers": 0, "seed": seed}
    if not (run / "model.safetensors").exists():
        pretrain(Pretrain(model=SmallMAE(), data=data, out=run, resume=True, **training), image)
    model = weights.open_model(run / "model.safetensors")
    fit, check = (image.open_images(out / f"{name}.npz", model.tokenizer) for name in ("train", "test"))
    torch.manual_seed(seed)
    encoders = {"raw pixels": None, "untrained encoder": SmallMAE().build(), "pretrained encoder": model}
    print(f"\nten labels a class, {HELD_OUT} digits to test on, mean and deviation over {DRAWS} draws of labels")
    for name, encoder in encoders.items():
        scores = compare(embed(encoder, fit), embed(encoder, check), per_class=10, draws=DRAWS)
        print(f"  {name:<20}" + "  ".join(f"{kind} {s.mean():6.1%} ± {s.std():.1%}" for kind, s in scores.items()))
    ours, mean = errors(model, torch.from_numpy(pixels[test]).split(100))
    print(f"squared error on hidden pixels: {ours:.3f}, filling in the visible mean: {mean:.3f}")

    with torch.no_grad():
        digits = torch.from_numpy(pixels[test[:8]])
        image.draw(digits, model(digits), model, out / "digits.png")
    curve = draw_loss(run / "metrics.jsonl", out / "loss.png")
    print(f"pictures   {out / 'digits.png'} (of digits it has not seen)\nloss curve {curve}\nrun folder {run}")


if __name__ == "__main__":
    run_recipe(lambda: tyro.cli(main))
