"""Helpers of the layouts: renaming, patch kernels, fused attention weights, and checks of position tables."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maskkit.decoder import JointDecoder, WindowDecoder
from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.model import MaskedModel
from maskkit.parts import replace_part
from maskkit.positions import SinCos, Table
from maskkit.tokenizers import Patches, grid_coordinates
from maskkit.types import Tokens


@dataclass
class Translation:
    """A translated state dict: ``state`` has maskkit's names, ``unused`` has the source's names.

    ``actions`` change the model; they run after all checks have passed. ``replaced`` are names of the model that an
    action replaces.
    """

    state: dict[str, Tensor]
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    actions: list[Callable[[], None]] = field(default_factory=list)

    def apply(self) -> None:
        """Run the actions, which adapt the model to the checkpoint."""
        for action in self.actions:
            action()


def rename(state: Mapping[str, Tensor], pairs: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str]]:
    """Replace the longest known prefix of each name.

    Returns the renamed tensors and the names without a known prefix.
    """
    renamed, unknown = {}, []
    for name, tensor in state.items():
        beginnings = [start for start in pairs if name == start or (start.endswith(".") and name.startswith(start))]
        if beginnings:
            start = max(beginnings, key=len)
            renamed[pairs[start] + name[len(start) :]] = tensor
        else:
            unknown.append(name)
    return renamed, unknown


def replace_first(name: str, rules: list[tuple[str, str]]) -> str:
    """Rewrite a name by the first rule (pattern, replacement) that matches."""
    for pattern, new in rules:
        changed, count = re.subn(pattern, new, name)
        if count:
            return changed
    return name


def patch_tokenizer(model: MaskedModel, layout: str) -> Patches:
    """Return the tokenizer of a model of patches. Raises ValueError for other models."""
    if not isinstance(model.tokenizer, Patches):
        raise ValueError(
            f"layout {layout} holds patch models; this one's tokenizer is {type(model.tokenizer).__name__}; "
            "choose layout maskkit"
        )
    return model.tokenizer


def transformer(model: MaskedModel) -> SparseEncoder | DenseEncoder:
    """Return the encoder of a model, a plain vision transformer. Raises ValueError for other encoders."""
    encoder = model.encoder
    if not isinstance(encoder, SparseEncoder | DenseEncoder):
        raise ValueError(
            f"this layout holds plain vision transformers, and this encoder is a {type(encoder).__name__}; "
            "choose layout maskkit"
        )
    return encoder


def grid_decoder(model: MaskedModel) -> JointDecoder | WindowDecoder:
    """Return the decoder of a model, which has positions and blocks. Raises ValueError for other decoders."""
    decoder = model.decoder
    if not isinstance(decoder, JointDecoder | WindowDecoder):
        raise ValueError(
            f"this layout holds transformers as decoders, and this decoder is a {type(decoder).__name__}; "
            "choose layout maskkit, or the encoder alone (part encoder)"
        )
    return decoder


def kernel_to_linear(kernel: Float[Tensor, "D C *patch"]) -> Float[Tensor, "D content"]:
    """Convert the kernel of a patch embedding into the weight of a linear layer; contents have channels fastest."""
    return kernel.movedim(1, -1).flatten(1)


def linear_to_kernel(weight: Float[Tensor, "D content"], tokenizer: Patches) -> Float[Tensor, "D C *patch"]:
    """Return the inverse of ``kernel_to_linear``."""
    return weight.view(len(weight), *tokenizer.size, tokenizer.channels).movedim(-1, 1).contiguous()


def split_qkv(name: str, fused: Tensor) -> dict[str, Tensor]:
    """Split ``...qkv.weight`` [3*D C] into ``...q.weight``, ``...k.weight`` and ``...v.weight`` [D C], or a bias."""
    stem, kind = name.rsplit("qkv.", 1)
    return {f"{stem}{letter}.{kind}": tensor for letter, tensor in zip("qkv", fused.chunk(3), strict=True)}


def fuse_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join q, k and v in a state dict: the inverse of ``split_qkv``."""
    fused = {name: tensor for name, tensor in state.items() if not name.rsplit(".", 1)[0].endswith((".q", ".k", ".v"))}
    for name in state:
        stem, kind = name.rsplit(".", 1) if "." in name else (name, "")
        if stem.endswith(".q"):
            stem = stem[:-1]
            parts = [state.get(f"{stem}{letter}.{kind}") for letter in "qkv"]
            if all(part is not None for part in parts):
                fused[f"{stem}qkv.{kind}"] = torch.cat([part for part in parts if part is not None])
    return fused


def position_table(positions: nn.Module, tokenizer: Patches, num_prefix: int) -> Float[Tensor, "1 R+N D"]:
    """Return the position table of the tokenizer's nominal grid, with rows of zeros for prefix tokens."""
    grid = nominal_grid(tokenizer)
    places = grid_coordinates(grid, next(iter((*positions.parameters(), torch.empty(0)))).device)
    with torch.no_grad():
        table = positions(Tokens(x=places, pos=places, grid=grid))
    return torch.cat([table.new_zeros(1, num_prefix, table.shape[-1]), table], dim=1)


def read_table(
    translation: Translation, model: MaskedModel, part: str, table: Tensor, *, resize: bool, source: str
) -> None:
    """Check that a checkpoint's position table [1 R+N D] equals the model's positions, or adapt the model to it.

    A sine-cosine table of the model's grid needs no change. One of another grid raises ValueError, unless ``resize``.
    Any other table replaces the model's positions. Vectors of prefix tokens are added to those tokens.
    """
    module = transformer(model) if part == "encoder" else grid_decoder(model)
    grid = nominal_grid(patch_tokenizer(model, "with a position table"))
    num_prefix = transformer(model).prefix.shape[1] if part == "encoder" else table.shape[1] - _cells(table, grid)
    rows, table = table[:, :num_prefix], table[:, num_prefix:]
    if rows.abs().max() > 0 if rows.numel() else False:
        _add_to_prefix(translation, part, rows, source)
    positions = module.positions
    if isinstance(positions, SinCos):
        _check_orientation(table, positions, model, source)
        their_grid = _sincos_grid(table, positions, prefer=grid)
        if their_grid == grid:
            return
        if their_grid is not None:
            _resized(translation, source, their_grid, grid, resize)
            return
    their_grid = _guess_grid(table.shape[1], grid)
    if their_grid != grid:
        _resized(translation, source, their_grid, grid, resize)
    # The table keeps the checkpoint's grid. ``Table`` interpolates it to the grid of a batch.
    new = Table(dim=table.shape[-1], grid=their_grid)
    values = table.reshape(*their_grid, -1).clone()

    def put_in() -> None:
        with torch.no_grad():
            new.weight.copy_(values)
        replace_part(module, positions=new.to(next(module.parameters()).device))

    translation.actions.append(put_in)
    translation.replaced |= {f"{part}.positions.{name}" for name, _ in positions.named_parameters()}
    translation.notes.append(
        f"{source} is not sine-cosine: the {part} now reads it as a learned table of {_by(their_grid)}"
    )


def _check_orientation(table: Tensor, positions: SinCos, model: MaskedModel, name: str) -> None:
    """Raise ValueError for a spectrogram's table of the other orientation than the model's (docs/official.md A1).

    Weights trained with one orientation do not work with the other. For images such a table is one of the transposed
    grid.
    """
    tokenizer = patch_tokenizer(model, "with a position table")
    grid = nominal_grid(tokenizer)
    if tokenizer.names != ("time", "mels") or _same(table, positions, grid):
        return
    mels = grid[1]
    lengths = [grid[0]] + ([table.shape[1] // mels] if table.shape[1] % mels == 0 else [])
    for length in lengths:
        for misread in ((length, mels), None):
            other = SinCos(dim=positions.dim, axes=2, order=positions.order, misread=misread)
            if not _same(table, other, (length, mels)):
                continue
            if (misread is None) != (positions.misread is None):
                theirs, ours = ("corrected", "authors") if misread is None else ("authors", "corrected")
                raise ValueError(
                    f"{name} is laid out as positions='{theirs}', the model reads positions='{ours}'; "
                    f"build the model with positions='{theirs}'"
                )
            if misread is not None:
                raise ValueError(
                    f"{name} is a table of grid {length}x{mels}, the model's grid is {grid[0]}x{mels}; build the model "
                    f"with frames={length * tokenizer.size[0]}: it encodes clips of any other length too"
                )


def _same(table: Tensor, positions: SinCos, grid: tuple[int, ...]) -> bool:
    """Return whether a table [1 N D] equals these positions for a grid, to what the type of its numbers can hold."""
    ours = positions.table(grid_coordinates(grid, torch.device("cpu")))
    tolerance = max(1e-3, 2 * torch.finfo(table.dtype).eps)  # sines lie in [-1, 1]; bfloat16 has 8 bits
    return ours.shape == table.shape and torch.allclose(ours, table.float().cpu(), atol=tolerance)


def _add_to_prefix(translation: Translation, part: str, rows: Tensor, source: str) -> None:
    if part != "encoder":
        raise ValueError(f"{source} gives the class token a position, which the decoder does not add; it must be zero")
    prefix = translation.state["encoder.prefix"]
    translation.state["encoder.prefix"] = prefix + rows.to(prefix.dtype)
    translation.notes.append(f"the prefix tokens' rows of {source} were added to the tokens themselves")


def _resized(
    translation: Translation, source: str, theirs: tuple[int, ...], ours: tuple[int, ...], allowed: bool
) -> None:
    if not allowed:
        raise ValueError(
            f"{source} is a table of grid {_by(theirs)}, the model's grid is {_by(ours)}; build the model for that "
            "input size or allow it with resize_positions=True"
        )
    translation.notes.append(f"{source}: made anew for grid {_by(ours)} from {_by(theirs)}")


def nominal_grid(tokenizer: Patches) -> tuple[int, ...]:
    """Return the grid of a model's nominal input size. Raises ValueError if it has none."""
    if tokenizer.input_size is None:
        raise ValueError(
            "this layout stores a position table, so it needs the input size; build the model with image_size"
        )
    return tokenizer.grid(tokenizer.input_size)


def _cells(table: Tensor, grid: tuple[int, ...]) -> int:
    """Return the number of cells of a table, which may have a row for a class token."""
    length = table.shape[1]
    if length in (math.prod(grid), math.prod(grid) + 1):
        return math.prod(grid)
    return length - 1 if math.isqrt(length - 1) ** 2 == length - 1 else length


def _factorings(cells: int, axes: int) -> list[tuple[int, ...]]:
    """Return all grids with ``cells`` cells."""
    if axes == 1:
        return [(cells,)]
    return [(d, *rest) for d in range(1, cells + 1) if cells % d == 0 for rest in _factorings(cells // d, axes - 1)]


def _sincos_grid(table: Tensor, positions: SinCos, prefer: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the grid whose sine-cosine table this is, or None."""
    grids = sorted(_factorings(table.shape[1], positions.axes), key=lambda grid: grid != prefer)
    return next((grid for grid in grids if _same(table, positions, grid)), None)


def _guess_grid(cells: int, ours: tuple[int, ...]) -> tuple[int, ...]:
    """Return the grid of a table that is not sine-cosine: the model's if the count fits, else a square."""
    side = round(cells ** (1 / len(ours)))
    if cells == math.prod(ours):
        return ours
    if side ** len(ours) == cells:
        return (side,) * len(ours)
    raise ValueError(f"a position table of {cells} cells fits neither grid {_by(ours)} nor a square one")


def _by(grid: tuple[int, ...]) -> str:
    return "x".join(map(str, grid))
