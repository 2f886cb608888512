"""What `maskkit bench step --work points` times: Point-MAE, 1024 points in 64 groups of 32, batch 32."""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from maskkit.bench.timing import training_step
from maskkit.bench.workload import Preset, Run, Workload
from maskkit.engine.optim import AdamW
from maskkit.modalities.points.point_mae import point_mae
from maskkit.types import take

BATCH = 32
TITLE = f"Point-MAE, 1024 points, 64 groups of 32, mask 0.6, dim 384, depth 12, decoder 4, batch {BATCH}"
PEER = "a plain port: convolutions of size 1, sampling in a loop, timm's blocks, torch's default AdamW"


def ours(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of ours."""
    torch.manual_seed(0)
    model = point_mae().to(device).train()
    optimizer = AdamW(lr=1e-5).build(model)
    batch = clouds(device)

    return training_step(lambda: model(batch).loss, optimizer, dtype, device)


def peer(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of the plain port."""
    torch.manual_seed(0)
    model = PlainPort().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05)
    batch = clouds(device)

    return training_step(lambda: model(batch), optimizer, dtype, device)


def clouds(device: str) -> Tensor:
    """Return points [B P 3] on spheres, which fill the unit sphere as normalised data do."""
    return nn.functional.normalize(torch.randn(BATCH, 1024, 3, device=device), dim=2)


class PlainPort(nn.Module):
    """Point-MAE as the paper describes it, operation by operation; only for measuring against."""

    def __init__(self, dim: int = 384, size: int = 32) -> None:
        super().__init__()
        self.size = size
        self.rise = nn.Sequential(nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1))
        self.mix = nn.Sequential(nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, dim, 1))
        self.place, self.decoder_place = (
            nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, dim)) for _ in range(2)
        )
        self.encoder, self.decoder = (
            nn.ModuleList(
                Block(dim, 6, drop_path=0.1 * number / (depth - 1), norm_layer=nn.LayerNorm) for number in range(depth)
            )
            for depth in (12, 4)
        )
        self.norm, self.decoder_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.head = nn.Conv1d(dim, 3 * size, 1)

    def forward(self, clouds: Tensor) -> Tensor:
        """Return the loss, a scalar, of clouds [B P 3]."""
        centres, groups = self.group(clouds)
        batch, num_groups = groups.shape[:2]
        order = torch.rand(batch, num_groups, device=clouds.device).argsort(dim=1)
        hidden, seen = order[:, : int(0.6 * num_groups)], order[:, int(0.6 * num_groups) :]
        x, places = take(self.embed(groups), seen), self.place(take(centres, seen))
        for block in self.encoder:
            x = block(x + places)
        places = self.decoder_place(take(centres, torch.cat([seen, hidden], dim=1)))
        x = torch.cat([self.norm(x), self.mask_token.expand(batch, hidden.shape[1], -1)], dim=1)
        for block in self.decoder:
            x = block(x + places)
        x = self.head(self.decoder_norm(x[:, -hidden.shape[1] :]).transpose(1, 2)).transpose(1, 2)
        truth = take(groups.flatten(2), hidden).reshape(-1, self.size, 3)
        between = torch.cdist(x.reshape(-1, self.size, 3).float(), truth).square()
        return between.amin(dim=2).mean() + between.amin(dim=1).mean()

    @torch.no_grad()
    def group(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the centres [B 64 3] and the groups [B 64 K 3] around them."""
        batch, count, _ = clouds.shape
        rows = torch.arange(batch, device=clouds.device)
        last = torch.zeros_like(rows)
        nearest, taken = clouds.new_full((batch, count), torch.inf), []
        for _ in range(64):
            taken.append(last)
            nearest = torch.minimum(nearest, (clouds - clouds[rows, last][:, None]).square().sum(dim=2))
            last = nearest.argmax(dim=1)
        centres = take(clouds, torch.stack(taken, dim=1))
        index = torch.cdist(centres, clouds).topk(self.size, dim=2, largest=False).indices
        groups = take(clouds, index.flatten(1)).view(batch, 64, self.size, 3)
        return centres, groups - centres[:, :, None]

    def embed(self, groups: Tensor) -> Tensor:
        """Return a vector [B N D] for each group [B N K 3]."""
        batch, num_groups, size, _ = groups.shape
        x = self.rise(groups.reshape(-1, size, 3).transpose(1, 2))
        x = self.mix(torch.cat([x.max(dim=2, keepdim=True).values.expand(-1, -1, size), x], dim=1))
        return x.max(dim=2).values.view(batch, num_groups, -1)


WORKLOAD = Workload(
    title=TITLE,
    ours=ours,
    peer=peer,
    peer_name=PEER,
    presets=(
        Preset(
            name="points.point_mae",
            module="maskkit.modalities.points",
            function="point_mae",
            arguments={},
            shape=(16, 1024, 3),
        ),
    ),
)
