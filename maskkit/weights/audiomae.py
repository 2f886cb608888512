"""The layout of Audio-MAE's code (``models_mae.py`` of facebookresearch/AudioMAE): MAE's names with two differences.

Its tables are laid out for the transposed grid (docs/official.md A1). A table of the other orientation raises
ValueError, because weights that were trained with one orientation do not work with the other. ``decoder_pos_embed`` has
a row for the class token although the windowed decoder drops that token (A4).
"""

from collections.abc import Mapping

from torch import Tensor

from maskkit.model import MaskedModel
from maskkit.weights import mae
from maskkit.weights.translation import Translation, grid_decoder, patch_tokenizer, position_table

PARTS = mae.PARTS


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether there are window blocks. With the global decoder all names are MAE's; layout "mae" reads them."""
    return "decoder_blocks.0.attn.tau" in state and "patch_embed.proj.weight" in state


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate the authors' names. ``read_table`` checks that the tables have the model's orientation."""
    return mae.to_maskkit(state, model, resize_positions=resize_positions)


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel) -> dict[str, Tensor]:
    """Return weights with the names of ``models_mae.py``. Both tables begin with a row of zeros for the class token."""
    renamed = mae.named(state, model, "audiomae")
    if "decoder_embed.weight" in renamed:
        tokenizer = patch_tokenizer(model, "audiomae")
        renamed["decoder_pos_embed"] = position_table(grid_decoder(model).positions, tokenizer, 1).cpu()
    return renamed
