"""Point-MAE (arXiv:2203.06604), with every quirk of the authors' code (Pang-Yatian/Point-MAE; docs/official.md, P)."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.losses import Chamfer
from maskkit.maskers import BlockMasker, Uniform
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.inputs import NEAR_ORIGIN, Inputs
from maskkit.modalities.points.pointnet import GroupPointNet, init_point_mae_weights
from maskkit.modalities.points.targets import Coordinates
from maskkit.model import MaskedModel, check_parts
from maskkit.optim import AdamW
from maskkit.positions import CoordinateMLP
from maskkit.ranges import Decay, Length, Share

# Width, depth, heads, and depth of the decoder. The authors publish one size, small; tiny is ours.
SIZES = {"tiny": (192, 6, 3, 2), "small": (384, 12, 6, 4)}


def point_mae(
    *,
    num_points: int = 1024,
    num_groups: int = 64,
    group_size: int = 32,
    features: int = 0,
    mask_ratio: float = 0.6,
    mask: Literal["random", "block"] = "random",
    norm: Literal["l1", "l2"] = "l2",
    batch_norm: Literal["all", "visible"] = "all",
    start: Literal["first", "far"] = "first",
    skip_origin: float | None = NEAR_ORIGIN,
    dim: int = 384,
    depth: int = 12,
    heads: int = 6,
    decoder_depth: int = 4,
    decoder_heads: int | None = None,
    drop_path: float = 0.1,
    **parts: Any,
) -> MaskedModel:
    """Build Point-MAE (arXiv:2203.06604) as in the authors' ``models/Point_MAE.py`` and ``cfgs/pretrain.yaml``.

    ``num_points`` is the number of points that readers deliver; the model accepts any number. ``features`` further
    values per point are seen and not predicted. ``mask`` hides groups at "random", or a "block" of them. ``norm`` is
    that of the Chamfer distance. ``start`` and ``skip_origin`` are those of ``Groups``.

    ``batch_norm="all"``, the authors' choice, takes statistics from hidden groups too in training, so a little about
    them leaks. "visible" runs the mini-PointNet on visible groups only: nothing leaks, and it is 2.5 times cheaper
    (docs/official.md P2). In evaluation the two are equal. Groups overlap, so points of a hidden group may also lie in
    a visible one, as published.

    There is one published size; ``dim``, ``depth`` and ``heads`` change it. ``parts`` replaces any of tokenizer,
    masker, encoder, decoder, target, loss. Raises ValueError for an unknown setting or part.
    """
    check_parts("points.point_mae", parts)
    _check_choice("mask", mask, ("random", "block"))
    _check_choice("batch_norm", batch_norm, ("all", "visible"))
    groups = Groups(
        num_groups=num_groups,
        group_size=group_size,
        features=features,
        start=start,
        skip_origin=skip_origin,
        num_points=num_points,
    )
    tokenizer: Groups = parts.setdefault("tokenizer", groups)
    fresh = not {"encoder", "decoder"} & set(parts)
    if "encoder" not in parts:
        parts["encoder"] = _encoder(tokenizer, dim, depth, heads, drop_path, embed_hidden=batch_norm == "all")
    if "decoder" not in parts:
        width, decoder_heads = parts["encoder"].dim, heads if decoder_heads is None else decoder_heads
        parts["decoder"] = _decoder(tokenizer, width, decoder_depth, decoder_heads, drop_path)
    # hide int(0.6 x 64) = 38 of 64 (docs/official.md Q1); theirs draws on the CPU with numpy (P9), ours from ``rng``
    kind = Uniform if mask == "random" else BlockMasker
    parts.setdefault("masker", kind(ratio=mask_ratio, rounding="hide"))
    parts.setdefault("target", Coordinates(features=tokenizer.features))
    parts.setdefault("loss", Chamfer(norm=norm))
    model = MaskedModel(**parts)
    return init_point_mae_weights(model) if fresh else model


def _check_choice(name: str, value: str, known: tuple[str, str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be {known[0]} or {known[1]}, got {value!r}")


# torch's default epsilon of LayerNorm, where the other methods have 1e-6; and no bias on queries, keys and values
NORM_EPS, QKV_BIAS = 1e-5, False


def _encoder(
    tokenizer: Groups, dim: int, depth: int, heads: int, drop_path: float, *, embed_hidden: bool
) -> SparseEncoder:
    return SparseEncoder(
        content=tokenizer.width,
        dim=dim,
        depth=depth,
        heads=heads,
        positions=CoordinateMLP(dim=dim),
        prefix_tokens=0,
        embed=GroupPointNet(channels=3 + tokenizer.features, dim=dim),
        embed_hidden=embed_hidden,
        norm_eps=NORM_EPS,
        qkv_bias=QKV_BIAS,
        drop_path=drop_path,
        pos_every_block=True,
    )


def _decoder(tokenizer: Groups, dim: int, depth: int, heads: int, drop_path: float) -> JointDecoder:
    return JointDecoder(
        latent=dim,
        dim=dim,
        depth=depth,
        heads=heads,
        output=3 * tokenizer.group_size,
        positions=CoordinateMLP(dim=dim),
        keep_prefix=False,
        project=False,
        norm_eps=NORM_EPS,
        qkv_bias=QKV_BIAS,
        drop_path=drop_path,
        pos_every_block=True,
    )


@dataclass(frozen=True, kw_only=True)
class PointMAE(Inputs):
    """Point-MAE (arXiv:2203.06604): groups of points are hidden, and their points are predicted."""

    name: ClassVar[str] = "point-mae"
    min_lr: ClassVar[float] = 1e-6  # the authors' final rate

    size: Literal["tiny", "small"] | None = None
    """Size of the encoder and its decoder. By default small, the authors' size, on a GPU, and tiny on a CPU."""
    mask_ratio: Share = 0.6
    """Share of hidden groups, in (0, 1)."""
    mask: Literal["random", "block"] = "random"
    """Hide groups at random, or a block of neighbouring groups."""
    norm: Literal["l1", "l2"] = "l2"
    """Norm of the Chamfer distance: squared distances (l2) or distances (l1)."""
    batch_norm: Literal["all", "visible"] = "all"
    """Groups that batch normalisation takes its statistics from: all (the authors') or the visible ones."""
    dim: Length | None = None
    """Width of the tokens, instead of the size's."""
    depth: Length | None = None
    """Number of encoder blocks, instead of the size's."""
    heads: Length | None = None
    """Number of attention heads, instead of the size's."""
    decoder_depth: Length | None = None
    """Number of decoder blocks, instead of the size's."""
    drop_path: Decay = 0.1
    """Rate of stochastic depth in the last block, in [0, 1). It grows linearly over the blocks."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        if (self.size or "small") not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {self.size!r}")
        sizes = dict(zip(("dim", "depth", "heads", "decoder_depth"), SIZES[self.size or "small"], strict=True))
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "size"}
        given |= {"num_groups": self.groups, "group_size": self.points_of_group}
        return point_mae(**{**sizes, **{name: x for name, x in given.items() if x is not None or name not in sizes}})

    def optim(self, batch: int) -> AdamW:
        """Return the authors' optimiser; its rate does not follow the batch."""
        return AdamW(lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05, no_decay=("mask_token",))
