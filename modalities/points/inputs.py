"""The inputs of methods on point clouds: groups, positions, the default masker, target and loss."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from maskkit.losses import Chamfer
from maskkit.maskers import Uniform
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.pointnet import GroupPointNet
from maskkit.modalities.points.targets import Coordinates
from maskkit.modality import InputSpec
from maskkit.positions import CoordinateMLP
from maskkit.ranges import NotNegative, Range, check_ranges

NUM_POINTS, NUM_GROUPS, GROUP_SIZE = 1024, 64, 32  # Point-MAE's
NEAR_ORIGIN = 1e-3  # docs/official.md P10

Points = Annotated[int, Range(least=1, most=2**24)]


def inputs(
    num_points: int = NUM_POINTS,
    num_groups: int = NUM_GROUPS,
    group_size: int = GROUP_SIZE,
    features: int = 0,
    start: Literal["first", "far"] = "first",
    skip_origin: float | None = NEAR_ORIGIN,
) -> InputSpec:
    """Return the ``InputSpec`` of point clouds.

    ``num_points`` is the number of points that readers deliver. ``features`` is the number of values per point in
    addition to x, y and z, which are seen and not predicted. ``start`` and ``skip_origin`` are those of ``Groups``. The
    points of a group have no order, so the loss is the Chamfer distance.
    """
    tokenizer = Groups(
        num_groups=num_groups,
        group_size=group_size,
        features=features,
        start=start,
        skip_origin=skip_origin,
        num_points=num_points,
    )
    return InputSpec(
        tokenizer=tokenizer,
        positions=lambda dim: CoordinateMLP(dim=dim),
        embed=lambda dim: GroupPointNet(channels=3 + features, dim=dim),
        masker=lambda ratio: Uniform(ratio=ratio, rounding="hide"),
        target=lambda: Coordinates(features=features),
        output=3 * group_size,
        loss=Chamfer(norm="l2"),
        prefix_tokens=0,
    )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Settings of ``points.inputs``. A value of None is chosen to fit the number of points."""

    num_points: Points = NUM_POINTS
    """Number of points drawn from each cloud or mesh. Smaller clouds keep all points. Those with fewer than 16
    are skipped, and in training those with fewer points than groups."""
    num_groups: Points | None = None
    """Number of groups per cloud. By default one per 16 points."""
    group_size: Points | None = None
    """Number of points per group. By default 32, or fewer in small clouds."""
    features: Annotated[int, Range(least=0, most=1024, flag="num-features"), tyro.conf.arg(name="num-features")] = 0
    """Numbers per point in addition to x, y and z, which are seen and not predicted. By default those of --features."""
    start: Literal["first", "far"] = "first"
    """First centre of a cloud: its first point, or the point farthest from its mean (far)."""
    skip_origin: NotNegative | None = NEAR_ORIGIN
    """Points within this squared distance of the origin are never centres, as in the authors' code."""

    def __post_init__(self) -> None:
        """Validate the sizes of clouds and groups. Raises ValueError."""
        check_ranges(self)
        for name, value in (("num-groups", self.num_groups), ("group-size", self.group_size)):
            if value is not None and value > self.num_points > 0:
                raise ValueError(f"--{name} {value} is more than the {self.num_points} points of a cloud")

    @property
    def groups(self) -> int:
        """Number of groups per cloud: ``num_groups``, or the default for the number of points."""
        return self.num_groups or max(4, self.num_points // 16)

    @property
    def points_of_group(self) -> int:
        """Number of points per group: ``group_size``, or the default for the number of points."""
        return self.group_size or min(GROUP_SIZE, max(1, self.num_points // 4))

    def spec(self) -> InputSpec:
        """Return the ``InputSpec`` of point clouds."""
        return inputs(self.num_points, self.groups, self.points_of_group, self.features, self.start, self.skip_origin)
