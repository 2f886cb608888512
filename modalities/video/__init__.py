"""Videos ``[B C T H W]``."""
from maskkit.modalities.video.presets import mae_st, patches, videomae
from maskkit.model import MaskedModel
