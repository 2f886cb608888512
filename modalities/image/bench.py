"""What `maskkit bench step --work image` times: ViT-B/16, mask 0.75, decoder 512 x 8, batch 8."""

import importlib.util

import torch

from maskkit.bench.timing import training_step
from maskkit.bench.workload import Preset, Run, Workload
from maskkit.engine.optim import AdamW
from maskkit.modalities.image.mae import mae

HAS_PEER = importlib.util.find_spec("transformers") is not None
if HAS_PEER:  # imported here, so that the import is not measured
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

BATCH = 8
TITLE = f"ViT-B/16, images 224 x 224, mask 0.75, decoder 512 x 8, batch {BATCH}, normalised target"
PEER = "transformers' ViTMAEForPreTraining with torch's default AdamW"


def ours(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of ours."""
    torch.manual_seed(0)
    model = mae("base").to(device).train()
    optimizer = AdamW(lr=1e-5).build(model)
    batch = torch.randn(BATCH, 3, 224, 224, device=device)

    return training_step(lambda: model(batch).loss, optimizer, dtype, device)


def theirs(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of the peer's."""
    torch.manual_seed(0)
    model = ViTMAEForPreTraining(ViTMAEConfig(norm_pix_loss=True)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.05)
    batch = torch.randn(BATCH, 3, 224, 224, device=device)

    return training_step(lambda: model(batch).loss, optimizer, dtype, device)


WORKLOAD = Workload(
    title=TITLE,
    ours=ours,
    peer=theirs if HAS_PEER else None,
    peer_name=PEER,
    presets=(
        Preset(
            name="image.mae",
            module="maskkit.modalities.image",
            function="mae",
            arguments={"size": "base"},
            shape=(BATCH, 3, 224, 224),
        ),
    ),
)
