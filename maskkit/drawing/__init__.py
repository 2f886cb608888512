"""Figures: grids of pixels with titles and a caption, and loss curves."""
