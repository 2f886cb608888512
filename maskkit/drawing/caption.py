"""Titles and captions of figures of reconstructions."""

from maskkit.model import MaskedModel
from maskkit.targets import NormalizedContents, SlicedContents
from maskkit.types import Output

TITLES = ("input", "visible", "reconstruction")


def visible_share(output: Output) -> float:
    """Return the share of visible tokens among those that are visible or hidden, in [0, 1].

    Tokens in neither set, such as padding, do not count.
    """
    visible, hidden = output.mask.visible.shape[1], output.mask.hidden.shape[1]
    return visible / (visible + hidden)


def column_titles(output: Output) -> tuple[str, str, str]:
    """Return the titles of input, visible part and reconstruction. The second title gives the visible share."""
    before, middle, after = TITLES
    return before, f"{middle} {visible_share(output):.0%}", after


def caption(model: MaskedModel, tokens: str, *notes: str) -> str:
    """Return a caption that states which contents are the input's, further notes, and what is added to predictions.

    ``tokens`` names the tokens in the plural, such as "patches".
    """
    parts, target = [f"visible {tokens} are the input's own", *notes], model.target
    if isinstance(target, SlicedContents):
        parts.append(f"{target.kept} of {target.slices} frames in a token are predicted, the others repeat them")
        target = target.target
    if isinstance(target, NormalizedContents):
        parts.append(f"predicted {tokens} get back their true mean and contrast, which the model does not predict")
    return "; ".join(parts)
