"""Small models that each use one of the revised contracts, as settings that other processes can build."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from maskkit import MaskedModel
from maskkit.data.labelled import Labelled
from maskkit.decoder import AtLevel, CrossDecoder, JointDecoder, LinearDecoder, PerBlock
from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.losses import L1, SmoothL1
from maskkit.maskers import ByScore, Several, Uniform
from maskkit.modalities import image
from maskkit.optim import AdamW, Group
from maskkit.parts import part
from maskkit.positions import SinCos
from maskkit.spans import InSpan, PerSpan, SideBySide, SpanPositions, Streams
from maskkit.step import Result, Step
from maskkit.targets import Contents
from maskkit.teachers import FrozenTeacher, Teacher
from maskkit.terms import Classify, Predict
from maskkit.types import Mask, Tokens

DIM, WIDTH = 32, 4
TOKENIZER = image.patches(2, 1, mean=(0.5,), std=(0.5,), image_size=8)


@part
@dataclass(frozen=True)
class Contrast:
    """A score of contents alone: their deviation."""

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> torch.Tensor:
        return tokens.x.std(dim=-1)


@part
@dataclass(frozen=True)
class TeacherScore:
    """A score as AttMask's: what the teacher makes of each token. It shares the teacher's pass with the target."""

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *, step: Step) -> torch.Tensor:
        teacher = step.model.target
        values = step.once(("teacher", id(teacher)), lambda: teacher.values(tokens, step))
        return values[..., 0]


@part
@dataclass(frozen=True)
class TwoBlocks:
    """A masker of two blocks that share a token, with weights: the second block of a sample has one token less."""

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        order = torch.rand(*tokens.shape, generator=rng).argsort(dim=1)
        hidden = torch.cat([order[:, :3], order[:, 2:5]], dim=1)
        weight = torch.ones(hidden.shape)
        weight[:, -1] = 0
        return Mask(visible=order[:, 6:], hidden=hidden, blocks=2, weight=weight)


@part
class Difficulty(nn.Module):
    """A further term as HPM's: predict from the first term's losses how hard each hidden token was."""

    def __init__(self, *, dim: int, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight
        self.decoder = JointDecoder(latent=dim, dim=16, depth=1, heads=2, output=1, positions=SinCos(dim=16, axes=2))

    def forward(self, step: Step) -> Result:
        mask = step.mask
        guess = self.decoder(step.latent, step.tokens, mask)
        wanted = step.results["predict"].losses.detach()[..., None]
        step.log("hardest", wanted.max())
        return Result(L1()(guess, wanted), guess, wanted, mask)


def _encoder(kind=SparseEncoder, **settings):
    places = SinCos(dim=DIM, axes=2)
    return kind(content=WIDTH, dim=DIM, depth=2, heads=2, positions=places, **settings)


def _decoder(output=WIDTH):
    return JointDecoder(latent=DIM, dim=DIM, depth=1, heads=2, output=output, positions=SinCos(dim=DIM, axes=2))


def _span_decoder():
    places = {name: SinCos(dim=DIM, axes=2) for name in ("x", "small")}
    positions = SpanPositions(dim=DIM, positions=places)
    return JointDecoder(latent=DIM, dim=DIM, depth=1, heads=2, output=WIDTH, positions=positions)


def _visible():
    return Predict(decoder=LinearDecoder(latent=DIM, output=WIDTH), target=Contents(), on="visible", weight=0.5)


KINDS = {
    "two terms": lambda: {"also": {"visible": _visible(), "difficulty": Difficulty(dim=DIM)}},
    "two masks, one teacher": lambda: {
        "masker": Several(maskers=(Uniform(ratio=0.75), Uniform(ratio=0.5)), times=2),
        "target": Teacher(start=0.9, end=1.0),
        "decoder": _decoder(output=DIM),
        "loss": SmoothL1(),
    },
    "a frozen teacher": lambda: {"target": FrozenTeacher(_encoder()), "decoder": _decoder(output=DIM)},
    "labels": lambda: {"also": {"labels": Classify(latent=DIM, classes=10, weight=0.1)}},
    "masks by a teacher": lambda: {
        "masker": ByScore(score=TeacherScore(), ratio=0.5),
        "target": Teacher(start=0.9, end=1.0, layers=(1, 2), norm="instance"),
        "decoder": _decoder(output=DIM),
    },
    "annealed masks": lambda: {
        "masker": ByScore(score=Contrast(), ratio=0.5, end_ratio=0.75, start_share=0.0, end_share=1.0)
    },
    "levels": lambda: {
        "encoder": _encoder(keep=(0, 1, 2), final_norm=False),
        "decoder": CrossDecoder(
            latent=DIM, dim=DIM, depth=2, heads=2, output=WIDTH, positions=SinCos(dim=DIM, axes=2), levels=3
        ),
    },
    "a term at a level": lambda: {
        "encoder": _encoder(keep=(1,)),
        "also": {"shallow": Predict(decoder=AtLevel(decoder=_decoder(), level=0), target=Contents())},
    },
    "blocks": lambda: {"masker": TwoBlocks(), "decoder": PerBlock(decoder=_decoder())},
    "two kinds of token": lambda: {
        "tokenizer": SideBySide(tokenizers={"x": TOKENIZER, "small": TOKENIZER}),
        "masker": PerSpan(maskers={"x": Uniform(ratio=0.75), "small": Uniform(ratio=0.5)}),
        "encoder": Streams(encoders={"x": _encoder(), "small": _encoder()}, depth=1, heads=2),
        "decoder": _span_decoder(),
        "target": InSpan(name="x", target=Contents()),
        "on": "x",
        "also": {"small": Predict(decoder=_span_decoder(), target=InSpan(name="small", target=Contents()), on="small")},
    },
    "dense and joint": lambda: {"encoder": _encoder(DenseEncoder)},
}


@dataclass(frozen=True)
class Contract:
    """A model of images of 8 x 8 pixels, one kind a contract."""

    kind: str = "two terms"

    name: ClassVar[str] = "contract"

    def build(self) -> MaskedModel:
        parts = {
            "tokenizer": TOKENIZER,
            "masker": Uniform(ratio=0.75),
            "target": Contents(),
            **KINDS[self.kind](),
        }
        if "encoder" not in parts:
            parts["encoder"] = _encoder()
        if "decoder" not in parts:
            parts["decoder"] = _decoder()
        return MaskedModel(**parts)


@dataclass(frozen=True)
class LabelledImages:
    """Images whose classes travel with them."""

    root: str = ""

    def at(self, root):
        return replace(self, root=root)

    def open(self, tokenizer, *, train):
        return Labelled(image.Data(root=self.root, min_scale=1, flip=False).open(tokenizer, train=train))


class WithSmall(Labelled):
    """Images with their class and a small copy: samples of three tensors."""

    def read(self, key, rng):
        sample = super().read(key, rng)
        return {**sample, "small": sample["x"][:, ::2, ::2].contiguous()}


@dataclass(frozen=True)
class TwoImages(LabelledImages):
    """Images beside small copies of themselves."""

    def open(self, tokenizer, *, train):
        return WithSmall(image.Data(root=self.root, min_scale=1, flip=False).open(TOKENIZER, train=train))


SLOW_DECODER = AdamW(
    lr=1e-3, groups=(Group(names=("encoder.embed.*",), lr=0), Group(names=("decoder.*",), lr=0.1, weight_decay=0.0))
)
