"""A new modality: one-dimensional signals, from a tokenizer to a trained model, in one short file.

python examples/02_new_modality.py --out signals.png
"""

from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure

from maskkit import MaskedModel
from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.maskers import Uniform
from maskkit.positions import SinCos
from maskkit.targets import Contents
from maskkit.testing import check_masker, check_model, check_tokenizer
from maskkit.tokenizers import Patches


def signals(count: int, rng: torch.Generator) -> torch.Tensor:
    """Return sums of two sines, ``[B 1 128]``."""
    time = torch.linspace(0, 6.28, 128)
    pitch, phase = torch.rand(2, count, 2, 1, generator=rng)
    return torch.sin((1 + 4 * pitch) * time + 6.28 * phase).mean(dim=1, keepdim=True)


def model() -> MaskedModel:
    """Return a model of six parts, which is all that a new modality needs."""
    return MaskedModel(
        tokenizer=Patches(size=(8,), channels=1),
        masker=Uniform(ratio=0.5),
        encoder=SparseEncoder(content=8, dim=64, depth=3, heads=4, positions=SinCos(dim=64, axes=1)),
        decoder=JointDecoder(latent=64, dim=32, depth=2, heads=4, output=8, positions=SinCos(dim=32, axes=1)),
        target=Contents(),
    )


def main(out: Path = Path("signals.png"), steps: int = 400) -> None:
    """Check the parts, train, and draw."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    net, sample = model(), signals(8, rng)
    check_masker(net.masker, check_tokenizer(net.tokenizer, sample))  # the properties that every modality must have
    check_model(net, sample)
    held_out = signals(256, rng)
    print(f"loss on held-out signals before: {net(held_out).loss.item():.4f}")
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=2e-3, fused=True)
    for _ in range(steps):
        net(signals(64, rng)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"loss on held-out signals after:  {net.eval()(held_out).loss.item():.4f}")

    with torch.no_grad():
        output = net(held_out[:3])
    blank = net.paint(output, held_out[:3], contents=torch.full_like(output.value, torch.nan))
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    rows = zip(axes, held_out, net.paint(output, held_out[:3]).detach(), blank, strict=False)
    for axis, signal, filled, seen in rows:
        axis.plot(filled[0], color="tab:orange", label="predicted")
        axis.plot(signal[0], color="gray", linestyle=":", label="hidden")
        axis.plot(seen[0], color="black", label="visible")
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=3, loc="outside upper right")
    axes[-1].set_xlabel("sample")
    figure.savefig(out, dpi=110, bbox_inches="tight")
    print(out)


if __name__ == "__main__":
    tyro.cli(main)
