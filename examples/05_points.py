"""Pretrain a Point-MAE on clouds of four kinds of shapes, and measure what its encoder has learnt.

It takes about a minute on a CPU.

Spheres, tori, boxes and cones, each turned and stretched at random, are seen without labels. Then ten labels a class
are shown to two simple classifiers, which read the encoder before or after training.

    python examples/05_points.py --out shapes
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from maskkit import MaskedModel, weights
from maskkit.cli import run_recipe
from maskkit.data.source import Key
from maskkit.drawing.curve import draw_loss
from maskkit.engine.loop import pretrain
from maskkit.engine.settings import Pretrain
from maskkit.evaluate.features import embed
from maskkit.evaluate.probe import compare
from maskkit.modalities import points
from maskkit.optim import AdamW

KINDS = ("sphere", "torus", "box", "cone")


@dataclass(frozen=True)
class SmallPointMAE:
    """Point-MAE for 256 points: 16 groups of 16, seven of them visible."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        size = {"num_points": 256, "num_groups": 16, "group_size": 16}
        return points.point_mae(**size, dim=96, depth=3, heads=3, decoder_depth=1, drop_path=0.0)


def clouds(count: int, path: Path, seed: int) -> Path:
    """Write ``count`` clouds with the names of their shapes to an .npz file."""
    rng = torch.Generator().manual_seed(seed)
    made = torch.stack([points.shape(number % 4, 256, rng) for number in range(count)])
    np.savez(path, points=made.numpy(), labels=np.array([KINDS[number % 4] for number in range(count)]))
    return path


def main(out: Path = Path("shapes"), steps: int = 300, seed: int = 0) -> None:
    """Train, compare and draw. An existing run is not repeated."""
    out.mkdir(parents=True, exist_ok=True)
    train, test = clouds(2000, out / "train.npz", seed), clouds(400, out / "test.npz", seed + 1)
    run = out / f"run-{seed}"
    if not (run / "model.safetensors").exists():
        data, optim = points.Data(root=str(train)), AdamW(lr=1e-3, betas=(0.9, 0.999))
        training = {"batch": 32, "steps": steps, "optim": optim, "precision": "fp32", "workers": 0, "seed": seed}
        pretrain(Pretrain(model=SmallPointMAE(), data=data, out=run, resume=True, **training), points)
    model = weights.open_model(run / "model.safetensors")

    fit, check = (points.open_clouds(path, model.tokenizer) for path in (train, test))
    torch.manual_seed(seed)
    print("\nten labels a class, 400 clouds to test on")
    for name, encoder in {"untrained encoder": SmallPointMAE().build(), "pretrained encoder": model}.items():
        scores = compare(embed(encoder, fit), embed(encoder, check), per_class=10, draws=5)
        print(f"  {name:<20}" + "  ".join(f"{kind} {s.mean():6.1%} ± {s.std():.1%}" for kind, s in scores.items()))

    with torch.no_grad():
        batch = torch.stack([check.read(Key.of(number), torch.Generator().manual_seed(0)) for number in range(4)])
        points.draw(batch, model.eval()(batch, rng=torch.Generator().manual_seed(0)), model, out / "shapes.png")
    curve = draw_loss(run / "metrics.jsonl", out / "loss.png")
    print(f"pictures   {out / 'shapes.png'}, {out / 'shapes.html'} (of shapes it has not seen)\nloss curve {curve}")


if __name__ == "__main__":
    run_recipe(lambda: tyro.cli(main))
