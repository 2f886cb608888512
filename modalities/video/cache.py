"""The former name of ``transcode``, kept for one release."""

from maskkit.modalities.video.transcode import main as main
from maskkit.modalities.video.transcode import transcode as cache

__all__ = ["cache", "main"]
