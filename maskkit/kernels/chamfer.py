"""The Chamfer distance between sets of points, with its gradient.

Shapes: B pairs of sets, N M points of the two sets, A axes. Fan et al. 2017 (arXiv:1612.00603), section 4.1.
"""

from jaxtyping import Float
from torch import Tensor

from maskkit.kernels.neighbours import nearest, squared_distances
from maskkit.types import take


def chamfer(a: Float[Tensor, "B N A"], b: Float[Tensor, "B M A"]) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B M"]]:
    """Return each point's squared distance to the nearest point of the other set.

    Which point is nearest is found without a gradient, by a kernel where there is one; the distance to it is then
    computed anew, so the gradient is autograd's own and of any order.
    """
    return (a - take(b, nearest(a, b))).square().sum(dim=-1), (b - take(a, nearest(b, a))).square().sum(dim=-1)


def reference_chamfer(
    a: Float[Tensor, "B N A"], b: Float[Tensor, "B M A"]
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B M"]]:
    """Compute the reference: least entries of the whole table of distances."""
    between = squared_distances(a, b)
    return between.amin(dim=2), between.amin(dim=1)
