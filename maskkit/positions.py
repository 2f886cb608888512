"""Positions: one vector per token, computed from its coordinates.

Shapes: B batch, N tokens, A axes, D width.

No class is limited to a table of fixed length, so grids of any size work. Fixed sine-cosine vectors are those of
Vaswani et al. 2017 (arXiv:1706.03762), section 3.5. Their split over axes is MAE's (``pos_embed.py``).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maskkit.cached import tracing
from maskkit.kernels.linear import Linear
from maskkit.parts import part
from maskkit.types import Tokens


class Positions(Protocol):
    """Computes the vectors that are added to the embeddings of tokens: (tokens) -> [B|1 N D]."""

    def __call__(self, tokens: Tokens) -> Float[Tensor, "B|1 N D"]:
        """Return float32 vectors."""


@dataclass(frozen=True, kw_only=True)
class Wavelengths:
    """The frequencies of ``width`` channels: ``temperature ** -(2 i / width)`` for i = 0 ... width / 2 - 1."""

    width: int
    temperature: float = 10000.0

    def __call__(self, coordinate: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape half"]:
        """Return the angles in radians, in float64: float32 loses 1e-4 at token 1568."""
        half = self.width // 2
        rate = torch.arange(half, dtype=torch.float64, device=coordinate.device) / half
        return coordinate.double()[..., None] * self.temperature**-rate


@part
class SinCos(nn.Module):
    """Fixed sine-cosine vectors for any number of axes. The channels are divided equally among the axes.

    ``order`` lists the axes in the order of their channels. MAE's code encodes the *column* in the first half (its
    ``meshgrid(w, h)``; docs/official.md M2), so for rows and columns the published order is ``(1, 0)``. The channels of
    an axis hold all sines, then all cosines. Channels that are left over by the division stay zero.

    ``misread`` is a grid (R, C) whose tokens read, by their running index, a table laid out for the grid (C, R): the
    token in row t and column f gets the vector of cell ``divmod(C t + f, R)``. Audio-MAE's code does so by mistake
    (docs/official.md A1), and its weights were trained with these vectors. The grid is that of training and does not
    depend on the batch, so a coordinate has the same vector in inputs of any length; rows beyond R continue in the same
    manner. Raises ValueError for arguments that do not fit the number of axes.
    """

    def __init__(
        self,
        *,
        dim: int,
        axes: int,
        order: tuple[int, ...] | None = None,
        temperature: float = 1e4,
        misread: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.axes = dim, axes
        self.misread = None if misread is None else (misread[0], misread[1])
        if self.misread is not None and axes != 2:
            raise ValueError(f"misread is for grids of 2 axes, got {axes}")
        self.order = tuple(range(axes)) if order is None else tuple(order)
        if sorted(self.order) != list(range(axes)):
            raise ValueError(f"order must name each of the {axes} axes once, got {self.order}")
        if dim < 2 * axes:
            raise ValueError(f"dim must be at least {2 * axes} to encode {axes} axes, got {dim}")
        self.wavelengths = Wavelengths(width=dim // axes // 2 * 2, temperature=temperature)
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, tokens: Tokens) -> Float[Tensor, "B|1 N D"]:
        """Return float32 vectors. The coordinates of a grid are one shared tensor, so its table is computed once."""
        if self._last is not None and self._last[0] is tokens.pos and not tracing():
            return self._last[1]
        table = self.table(tokens.pos)
        if not tracing():
            self._last = (tokens.pos, table)
        return table

    def table(self, pos: Float[Tensor, "B N A"]) -> Float[Tensor, "B N D"]:
        """Return the vectors of coordinates."""
        if pos.shape[-1] != self.axes:
            raise ValueError(f"positions of {self.axes} axes cannot place tokens of {pos.shape[-1]}")
        if self.misread is not None:
            rows, columns = self.misread
            number = columns * pos[..., 0] + pos[..., 1]
            pos = torch.stack([number.div(rows, rounding_mode="floor"), number % rows], dim=-1)
        angles = [self.wavelengths(pos[..., axis]) for axis in self.order]
        table = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=-1)
        return F.pad(table, (0, self.dim - table.shape[-1])).float()


@part
class FlatSinCos(nn.Module):
    """One-dimensional sine-cosine vectors of a token's index in its grid, last axis fastest. VideoMAE's positions.

    The authors' "3-D" table is that of Vaswani et al., section 3.5, over the flattened index: sines in even channels,
    cosines in odd ones, in float64, and absent from checkpoints (docs/official.md V2). The index is computed from the
    coordinates and the grid of the batch, as the authors build a table for each input size. A longer first axis
    therefore continues the numbering, and another length of the other axes changes the index of all tokens. Raises
    ValueError for tokens that fill no grid.
    """

    def __init__(self, *, dim: int, temperature: float = 1e4) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ValueError(f"dim must be even to interleave sines and cosines, got {dim}")
        self.dim = dim
        self.wavelengths = Wavelengths(width=dim, temperature=temperature)
        self._last: tuple[Tensor, tuple[int, ...], Tensor] | None = None

    def forward(self, tokens: Tokens) -> Float[Tensor, "B|1 N D"]:
        """Return float32 vectors. The coordinates of a grid are one shared tensor, so its table is computed once."""
        if self._last is not None and self._last[0] is tokens.pos and self._last[1] == tokens.grid and not tracing():
            return self._last[2]
        if tokens.grid is None or len(tokens.grid) != tokens.pos.shape[-1]:
            raise ValueError("flattened positions need tokens on a grid; choose SinCos for other tokens")
        number = torch.zeros(tokens.pos.shape[:-1], dtype=torch.float64, device=tokens.pos.device)
        for axis, length in enumerate(tokens.grid):
            number = number * length + tokens.pos[..., axis]
        angle = self.wavelengths(number)
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).float()
        if not tracing():
            self._last = (tokens.pos, tokens.grid, table)
        return table


@part
class SeparableTable(nn.Module):
    """Learned vectors for the first axis plus learned vectors for all others. MAE-ST (arXiv:2205.09113), section 3.1.

    ``grid`` is the number of cells along each axis. For a batch with another grid both tables are interpolated, along
    the first axis linearly, along the others as in ``Table``. Raises ValueError for a grid with another number of axes.
    """

    def __init__(self, *, dim: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        if len(grid) < 2:
            raise ValueError(f"a separable table needs at least two axes, got grid {grid}")
        self.dim, self.grid = dim, tuple(grid)
        self.first = Table(dim=dim, grid=self.grid[:1])
        self.rest = Table(dim=dim, grid=self.grid[1:])

    def forward(self, tokens: Tokens) -> Float[Tensor, "1 N D"]:
        """Return the sum of both vectors for every cell of the tokens' grid."""
        if tokens.grid is None or len(tokens.grid) != len(self.grid):
            raise ValueError(f"a position table of grid {self.grid} cannot place tokens of grid {tokens.grid}")
        first, rest = self.first.stretched(tokens.grid[:1]), self.rest.stretched(tokens.grid[1:])
        return (first[:, :, None] + rest[:, None]).flatten(1, 2)


@part
class Table(nn.Module):
    """Vectors from a table over a grid, such as that of a supervised ViT.

    ``grid`` is the number of cells along each axis, for 1 to 3 axes. For a batch with another grid the table is
    interpolated (cubic for two axes, as in timm and transformers; linear otherwise). ``learned`` is True if the table
    is trained. Raises ValueError for a grid with another number of axes.
    """

    def __init__(self, *, dim: int, grid: tuple[int, ...], learned: bool = True) -> None:
        super().__init__()
        self.dim, self.grid = dim, tuple(grid)
        if len(self.grid) not in (1, 2, 3):
            raise ValueError(f"a position table has 1, 2 or 3 axes, got grid {self.grid}")
        self.weight = nn.Parameter(torch.zeros(*self.grid, dim), requires_grad=learned)
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, tokens: Tokens) -> Float[Tensor, "B|1 N D"]:
        """Return the vectors of the tokens' cells."""
        if tokens.grid == self.grid and tokens.pos.shape[0] == 1:
            return self.weight.reshape(1, -1, self.dim)
        if tokens.grid is None or len(tokens.grid) != len(self.grid):
            raise ValueError(f"a position table of grid {self.grid} cannot place tokens of grid {tokens.grid}")
        return self.stretched(tokens.grid)

    def stretched(self, grid: tuple[int, ...]) -> Float[Tensor, "1 N D"]:
        """Return the table interpolated to a grid. For its own grid it is returned unchanged."""
        if grid == self.grid:
            return self.weight.reshape(1, -1, self.dim)
        weight = self.weight.movedim(-1, 0)[None]
        mode = {1: "linear", 2: "bicubic", 3: "trilinear"}[len(self.grid)]
        resized = F.interpolate(weight.float(), size=grid, mode=mode, align_corners=False)
        return resized.flatten(2).transpose(1, 2).to(self.weight.dtype)


@part
class CoordinateMLP(nn.Module):
    """A small perceptron on the coordinates: linear, GELU, linear. Point-MAE (arXiv:2203.06604), section 3.2.

    For coordinates that lie on no grid, such as centres of groups of points. It has torch's default initialisation.
    Raises ValueError for tokens with another number of axes.
    """

    def __init__(self, *, dim: int, axes: int = 3, hidden: int = 128) -> None:
        super().__init__()
        self.dim, self.axes = dim, axes
        self.first, self.second = Linear(axes, hidden), Linear(hidden, dim)

    def forward(self, tokens: Tokens) -> Float[Tensor, "B|1 N D"]:
        """Return float32 vectors, also under autocast, because they determine the precision of the residual stream."""
        if tokens.pos.shape[-1] != self.axes:
            raise ValueError(f"positions of {self.axes} axes cannot place tokens of {tokens.pos.shape[-1]}")
        return self.second(F.gelu(self.first(tokens.pos))).float()
