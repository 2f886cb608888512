"""Figures: grids of pixels with titles and a caption, loss curves. A modality arranges them."""
