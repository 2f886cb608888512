"""A model and a run of the image modality that train in seconds, and what to compare of two runs."""

import json
from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.engine.run import Pretrain
from maskkit.modalities import image
from maskkit.modality import find_modality
from maskkit.optim import AdamW
from maskkit.positions import SinCos


@dataclass(frozen=True, kw_only=True)
class Small:
    """A model of the image modality that trains in seconds."""

    image_size: int = 8
    patch_size: int = 2
    channels: int = 1
    mask_ratio: float = 0.75
    mean: float = 0.5
    std: float = 0.5
    drop_path: float = 0.1

    def build(self):
        tokenizer = image.patches(
            self.patch_size, self.channels, mean=(self.mean,), std=(self.std,), image_size=self.image_size
        )
        return image.mae(
            tokenizer=tokenizer,
            norm_target=False,
            mask_ratio=self.mask_ratio,
            encoder=SparseEncoder(
                content=tokenizer.width,
                dim=64,
                depth=2,
                heads=4,
                positions=SinCos(dim=64, axes=2),
                drop_path=self.drop_path,
            ),
            decoder=JointDecoder(
                latent=64, dim=32, depth=1, heads=2, output=tokenizer.width, positions=SinCos(dim=32, axes=2)
            ),
        )


@dataclass(frozen=True)
class Tiny:
    """The small built-in model of a modality."""

    modality: str

    def build(self):
        return find_modality(self.modality).tiny()


def run_settings(digits, out):
    """Settings of six steps on an array of digits, with checkpoints at the third and the last."""
    return Pretrain(
        model=Small(),
        data=image.Data(root=str(digits), min_scale=1, flip=False),
        out=out,
        batch=32,
        steps=6,
        warmup_epochs=50,
        optim=AdamW(lr=1e-3),
        precision="fp32",
        workers=0,
        log_every=1,
        save_every=3,
        picture_every=100,
    )


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k in ("step", "loss", "lr", "grad_norm", "skipped")} for line in lines]


def same_weights(one, other):
    one, other = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
