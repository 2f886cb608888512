"""The layout of Audio-MAE's own code (``models_mae.py`` of facebookresearch/AudioMAE): MAE's names, two differences.

Its tables are laid out for the transposed grid (docs/official.md A1). A table of the other orientation raises: weights
trained with one read the other as noise. And ``decoder_pos_embed`` has a row for the class token even where the
windowed decoder drops that token (A4).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from maskkit.model import MaskedModel
from maskkit.positions import SinCos
from maskkit.tokenizers import grid_places
from maskkit.weights import mae
from maskkit.weights.translation import Translation, nominal_grid, patch_tokenizer, position_table

PARTS = mae.PARTS


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Say whether there are window blocks. With the global decoder all names are MAE's, and "mae" reads them alike."""
    return "decoder_blocks.0.attn.tau" in state and "patch_embed.proj.weight" in state


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate the authors' names, once the tables are known to have the model's orientation."""
    for part, name in (("encoder", "pos_embed"), ("decoder", "decoder_pos_embed")):
        positions = getattr(model, part).positions
        if name in state and isinstance(positions, SinCos):
            _check_orientation(state[name].float().cpu()[:, 1:], positions, model, name)
    return mae.to_maskkit(state, model, resize_positions=resize_positions)


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel) -> dict[str, Tensor]:
    """Name everything as ``models_mae.py`` does; both tables begin with the class token's row of zeros."""
    renamed = mae.named(state, model, "audiomae")
    if "decoder_embed.weight" in renamed:
        tokenizer = patch_tokenizer(model, "audiomae")
        renamed["decoder_pos_embed"] = position_table(model.decoder.positions, tokenizer, 1).cpu()
    return renamed


def _check_orientation(table: Tensor, positions: SinCos, model: MaskedModel, name: str) -> None:
    """Raise unless this is the model's own table, or one that is no sine-cosine table at all."""
    tokenizer = patch_tokenizer(model, "audiomae")
    grid = nominal_grid(tokenizer)
    if _same(table, positions, grid):
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
    """Say whether a table is what these positions compute for a grid."""
    ours = positions.table(grid_places(grid, torch.device("cpu")))
    return ours.shape == table.shape and torch.allclose(ours, table, atol=1e-3)
