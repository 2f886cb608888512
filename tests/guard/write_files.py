"""How the files in ``tests/guard/files`` were made, by maskkit at revision f44f130: a model and two runs.

The first run ended; the second was stopped after its checkpoint at step 2 of 4. Both are of a size that only this test
has, so that they stay small.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from maskkit import weights
from maskkit.engine import loop
from maskkit.engine.optim import AdamW
from maskkit.engine.run import Pretrain
from maskkit.modalities import image
from maskkit.modalities.image import presets

presets.SIZES["nano"] = ((16, 1, 2), (16, 1, 2))


def main(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pixels, labels = image.digits()
    np.savez_compressed(out / "digits.npz", images=pixels[:60], labels=labels[:60])
    torch.manual_seed(0)
    weights.save(image.mae("nano", image_size=8, patch_size=2, channels=1), out / "model.safetensors")
    settings = {
        "model": image.MAE(size="nano", image_size=(8, 8), patch_size=2, channels=1),
        "data": image.Data(root=str(out / "digits.npz"), min_scale=1, flip=False),
        "batch": 16,
        "steps": 4,
        "optim": AdamW(lr=1e-3),
        "precision": "fp32",
        "workers": 0,
        "log_every": 1,
        "save_every": 2,
        "keep": 1,
        "device": "cpu",
    }
    loop.pretrain(Pretrain(**settings, out=out / "run"), image)
    calls = iter(range(1, 100))
    loop.interruptible = lambda: loop.contextlib.nullcontext(lambda: next(calls) == 2)
    try:
        loop.pretrain(Pretrain(**settings, out=out / "stopped"), image)
    except loop.Stopped:
        pass
    for run in ("run", "stopped"):
        for name in ("tensorboard", "pictures"):
            shutil.rmtree(out / run / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
