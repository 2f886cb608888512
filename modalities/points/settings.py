"""What a run on point clouds is made of: a model, a data set, and defaults that fit both to what is at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from maskkit.modalities.points.cloud import WIDTHS, Feature
from maskkit.modalities.points.data import Data, Rotate
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.presets import NEAR_ORIGIN, point_mae

from maskkit.data.source import readable
from maskkit.engine.optim import AdamW
from maskkit.engine.options import Options
from maskkit.engine.run import Pretrain
from maskkit.model import MaskedModel
from maskkit.seeds import generator


@dataclass(frozen=True, kw_only=True)
class PointMAE:
    """Settings of ``points.point_mae``."""

    num_points: int = 1024
    num_groups: int = 64
    group_size: int = 32
    """Points of a group."""
    features: int = 0
    """Numbers a point beside x, y and z."""
    mask_ratio: float = 0.6
    mask: Literal["random", "block"] = "random"
    norm: Literal["l1", "l2"] = "l2"
    """Of the Chamfer distance."""
    batch_norm: Literal["all", "visible"] = "all"
    """Groups from which batch normalisation takes its statistics; all is the authors'."""
    start: Literal["first", "far"] = "first"
    skip_origin: float | None = NEAR_ORIGIN
    dim: int = 384
    depth: int = 12
    heads: int = 6
    decoder_depth: int = 4
    drop_path: float = 0.1

    def tokenizer(self) -> Groups:
        """Return the model's tokenizer, for which the rest of the model need not be built."""
        return Groups(**{field.name: getattr(self, field.name) for field in fields(Groups)})

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""
        return point_mae(**{name: getattr(self, name) for name in self.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """Pretrain a masked autoencoder on point clouds or meshes.

    What is left out is chosen to fit the machine, and the program says what it chose.
    """

    preset: Literal["auto", "point-mae", "point-mae-tiny"] = "auto"
    num_points: int = 1024
    """Points drawn from each cloud or mesh; a cloud of fewer keeps all, and one of fewer than 16 is skipped."""
    num_groups: int | None = None
    group_size: int | None = None
    """Points of a group."""
    features: tuple[Feature, ...] = ()
    """Numbers a point beside x, y and z that the model sees; it does not predict them."""
    mask_ratio: float = 0.6
    mask: Literal["random", "block"] = "random"
    batch_norm: Literal["all", "visible"] = "all"
    augment: bool = True
    """Stretch and shift at random, as the authors do."""
    rotate: Rotate = "none"

    def settings(self, say: Callable[[str], None]) -> Pretrain[PointMAE, Data]:
        """Choose what was left open, and say why."""
        cuda = torch.cuda.is_available()
        tiny = self.preset == "point-mae-tiny" or (self.preset == "auto" and not cuda)
        groups = max(4, self.num_points // 16) if self.num_groups is None else self.num_groups
        size = min(32, max(1, self.num_points // 4)) if self.group_size is None else self.group_size
        for option, value in (("num-groups", groups), ("group-size", size)):
            if value > self.num_points > 0:
                raise ValueError(f"--{option} {value} is more than the {self.num_points} points of a cloud")
        model = PointMAE(
            num_points=self.num_points,
            num_groups=groups,
            group_size=size,
            features=sum(WIDTHS[name] for name in self.features),
            mask_ratio=self.mask_ratio,
            mask=self.mask,
            batch_norm=self.batch_norm,
        )
        if tiny:
            model = replace(model, dim=192, depth=6, heads=3, decoder_depth=2)
        data = Data(root=self.data, features=self.features, augment=self.augment, rotate=self.rotate)
        source = data.open(model.tokenizer(), train=False)
        next(readable(range(min(len(source), 20)), lambda index: source.read(index, generator(0))), None)
        say(f"{len(source)} clouds or meshes, {self.num_points} points of each")
        settings = self.complete(
            model,
            data,
            samples=len(source),
            batch=128 if cuda else 32,
            lr=lambda batch: 1e-3,  # the authors' rate does not follow the batch
            what=("point-mae-tiny (192 wide, 6 deep)" if tiny else "point-mae")
            + f", {groups} groups of {model.group_size}",
            say=say,
            optim=AdamW(betas=(0.9, 0.999), no_decay=("mask_token",)),
        )
        return replace(settings, min_lr=1e-6)


def restore(record: Mapping[str, Any]) -> Pretrain[PointMAE, Data]:
    """Return the settings that a run's ``config.json`` holds."""
    return Pretrain.restored(record, PointMAE, Data)
