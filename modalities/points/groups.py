"""Groups of neighbouring points as tokens.

Shapes: B clouds, P points, C = 3 + F numbers per point (x, y, z, then features), G groups, K points of a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkit.batches import Batch, input_of
from maskkit.cached import tracing
from maskkit.kernels.fps import farthest_points
from maskkit.kernels.neighbours import nearest_points
from maskkit.parts import part
from maskkit.types import Tokens, put, take


@part
@dataclass(frozen=True, kw_only=True)
class Groups:
    """Cut a cloud into ``num_groups`` groups: centres by farthest-point sampling, each with its nearest points.

    Point-MAE (arXiv:2203.06604), section 3.1. The contents of a token are ``group_size`` points, nearest first,
    including the centre. Their x, y and z are relative to the centre and are not scaled. ``features`` further numbers
    per point (normals, colour, intensity) are not changed. The coordinates of a token are those of its centre.

    Groups overlap, and a point may be in no group, so painting returns the points of all groups and not the cloud.

    Clouds of different sizes make one batch as a list of tensors [P_i C], or padded by points of NaN. A cloud of fewer
    points than groups has padding tokens (``Tokens.valid``), which repeat its groups in turn, so that statistics over
    all tokens (batch normalisation's) stay those of real groups. A group that finds fewer points than ``group_size``
    repeats its centre. If groups are large compared with the cloud, visible groups contain most of its points.

    ``start="first"`` begins at the cloud's first point, as the authors do, who shuffle the points before
    (docs/official.md P5). ``start="far"`` begins at the point farthest from the mean, so that the order of points does
    not matter. With ``skip_origin``, points with |p|² up to this number are not centres, unless they are first. The
    authors' sampling kernel (pointnet2_ops) excludes those within 1e-3 (docs/official.md P10). If fewer points than
    groups are left, theirs repeats centres, and ours uses the excluded points as well. ``num_points`` is the number of
    points that readers return.
    """

    num_groups: int = 64
    group_size: int = 32
    features: int = 0
    start: Literal["first", "far"] = "first"
    skip_origin: float | None = None
    num_points: int = 1024

    partition: ClassVar[bool] = False  # see maskkit.testing.check_tokenizer

    def __post_init__(self) -> None:
        """Validate the settings."""
        for name in ("num_groups", "group_size", "num_points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.features < 0:
            raise ValueError(f"features must be at least 0 numbers beside x, y and z, got {self.features}")
        if self.start not in ("first", "far"):
            raise ValueError(f"start must be first or far, got {self.start!r}")

    @property
    def width(self) -> int:
        """Numbers in the contents of one group."""
        return self.group_size * (3 + self.features)

    def __call__(self, batch: Batch) -> Tokens:
        """Cut ``[B P C]``, or a list of ``[P C]``, into tokens ``[B G K*C]``."""
        points, real = self._padded(input_of(batch))
        with torch.autocast(points.device.type, enabled=False):
            xyz = points[..., :3].contiguous()
            centre_index = farthest_points(xyz, self.num_groups, self._starts(xyz, real), self._eligible(xyz, real))
            centre_index, valid = self._repeated(centre_index, xyz.shape[1], real)
            centres = take(xyz, centre_index)
            index = nearest_points(xyz, centres, self.group_size, real)
            groups = take(points, index.flatten(1)).view(*index.shape, -1)
            groups[..., :3] -= centres[:, :, None]
        return Tokens(x=groups.flatten(2), pos=centres, valid=valid)

    def paint(self, tokens: Tokens, index: Int[Tensor, "B H"], value: Float[Tensor, "B H D"]) -> Tensor:
        """Return the points of all groups, [B G*K C], in the cloud's own coordinates."""
        groups = put(tokens.x, index, value).unflatten(2, (self.group_size, 3 + self.features)).clone()
        groups[..., :3] += tokens.pos[:, :, None]
        return groups.flatten(1, 2)

    def to_input(self, painted: Tensor, batch: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the points as they are."""
        return painted

    def _padded(self, batch: Tensor | Sequence[Tensor]) -> tuple[Float[Tensor, "B P C"], Bool[Tensor, "B P"] | None]:
        """Return one tensor, and which of its points are real; None where all are."""
        width = 3 + self.features
        if not isinstance(batch, Tensor):
            if not batch:
                raise ValueError("batch holds no clouds; give at least one")
            for number, cloud in enumerate(batch):
                if cloud.ndim != 2 or cloud.shape[1] != width:
                    raise ValueError(f"cloud {number} must be [points {width}], got {list(cloud.shape)}")
            batch = torch.nn.utils.rnn.pad_sequence(list(batch), batch_first=True, padding_value=torch.nan)
        if batch.ndim != 3 or batch.shape[2] != width:
            raise ValueError(
                f"batch must be [B points {width}] (x, y, z and {self.features} features), got {list(batch.shape)}"
            )
        if not batch.is_floating_point():
            raise ValueError(f"batch must be float, got {batch.dtype}")
        batch = batch.float()
        if 0 in batch.shape:
            raise ValueError(f"batch {list(batch.shape)} holds no clouds, or clouds without points; leave them out")
        real = ~batch.isnan().any(dim=2)
        if tracing():  # a graph cannot branch on data
            return batch, real
        if bool(batch.isfinite().all()):
            return batch, None
        if bool(batch.isinf().any()):
            raise ValueError("batch holds infinite numbers; leave such points out")
        if not bool(real.any(dim=1).all()):
            raise ValueError(
                f"cloud {int(real.any(dim=1).int().argmin())} of the batch has no point without NaN; leave it out"
            )
        return batch, real

    def _starts(self, xyz: Float[Tensor, "B P 3"], real: Bool[Tensor, "B P"] | None) -> Int[Tensor, "B"]:
        if self.start == "first":
            return xyz.new_zeros(xyz.shape[0], dtype=torch.int64) if real is None else real.int().argmax(dim=1)
        known = xyz if real is None else xyz.masked_fill(~real[..., None], torch.nan)
        away = (known - known.double().nanmean(dim=1, keepdim=True)).square().sum(dim=-1)
        return away.nan_to_num(nan=-1.0).argmax(dim=1)

    def _eligible(self, xyz: Float[Tensor, "B P 3"], real: Bool[Tensor, "B P"] | None) -> Bool[Tensor, "B P"] | None:
        if self.skip_origin is None:
            return real
        outside = xyz.square().sum(dim=-1) > self.skip_origin  # False for NaN
        if not tracing() and bool(outside.all()):
            return None
        counts = outside.sum(dim=1, keepdim=True)
        if not tracing() and not bool(counts.all()):
            raise ValueError(
                f"cloud {int(counts.argmin())} of the batch lies within {self.skip_origin**0.5:.2g} of the origin, "
                "where no centres are; scale clouds to the unit sphere, or pass skip_origin=None"
            )
        near = outside.new_ones(outside.shape) if real is None else real
        return torch.where(counts < self.num_groups, near, outside)

    def _repeated(
        self, index: Int[Tensor, "B G"], num_points: int, real: Bool[Tensor, "B P"] | None
    ) -> tuple[Int[Tensor, "B G"], Bool[Tensor, "B G"] | None]:
        """Let padding name a cloud's own centres in turn; return them, and which are no padding (None where all)."""
        counts = index.new_full((index.shape[0],), num_points) if real is None else real.sum(dim=1)
        place = torch.arange(self.num_groups, device=index.device).expand(index.shape[0], -1)
        valid = place < counts[:, None]
        everything = not tracing() and bool(valid.all())
        return (index, None) if everything else (index.gather(1, place % counts[:, None]), valid)
