"""What `maskkit bench step --work audio` times: ViT-B, 1024 x 128, mask 0.8, global decoder 512 x 8, batch 4."""

import torch
from timm.models.vision_transformer import Block

from maskkit.bench.timing import training_step
from maskkit.bench.workload import Preset, Run, Workload
from maskkit.engine.optim import AdamW
from maskkit.modalities.audio.audiomae import audiomae
from maskkit.model import MaskedModel

BATCH = 4
TITLE = f"ViT-B/16, spectrograms 1024 x 128, mask 0.8, global decoder 512 x 8, batch {BATCH}, normalised target"
# transformers' ViTMAE takes squares only.
PEER = "the same model with timm's blocks, torch's fused attention and torch's default AdamW"


def ours(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of ours."""
    torch.manual_seed(0)
    model = audiomae("base", decoder="global").to(device).train()
    return _step(model, AdamW(lr=1e-5).build(model), dtype, device)


def peer(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of the peer's: timm's blocks as they are, which call torch's attention and products."""
    torch.manual_seed(0)
    model = audiomae("base", decoder="global")
    for stack in (model.encoder.blocks, model.decoder.blocks):
        for number, block in enumerate(stack):
            theirs = Block(
                block.attn.qkv.in_features, block.attn.num_heads, qkv_bias=True, norm_layer=type(block.norm1)
            )
            theirs.load_state_dict(block.state_dict())
            stack[number] = theirs
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.05)
    return _step(model, optimizer, dtype, device)


def _step(model: MaskedModel, optimizer: torch.optim.Optimizer, dtype: torch.dtype, device: str) -> Run:
    batch = torch.randn(BATCH, 1, 1024, 128, device=device)
    return training_step(lambda: model(batch).loss, optimizer, dtype, device)


WORKLOAD = Workload(
    title=TITLE,
    ours=ours,
    peer=peer,
    peer_name=PEER,
    presets=tuple(
        Preset(
            name=f"audio.audiomae-{decoder}",
            module="maskkit.modalities.audio",
            function="audiomae",
            arguments={"size": "small", "frames": 512, "decoder": decoder},
            shape=(batch, 1, 512, 128),
        )
        for decoder, batch in (("window", 2), ("global", 4))
    ),
)
