"""How a run reads the files of each modality: sources in several settings, and what their samples may hold."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from maskkit.data.source import Source
from maskkit.modalities import audio, image, points, video
from maskkit.modalities.points.cloud import WIDTHS
from maskkit.modalities.points.groups import Groups


@dataclass(frozen=True)
class Setting:
    """A way to read a file: what opens it as a source, and what a sample may hold."""

    open: Callable[[str], Source]
    may_pad: bool = False
    """Whether NaN may stand for padding."""

    def wrong(self, sample: Tensor) -> str:
        """Return what is wrong with a sample [... rows columns], or nothing. Padding is rows of NaN at the end."""
        rows = sample.flatten(0, -2)
        if self.may_pad:
            padding = rows.isnan().all(dim=1).flip(0).cumprod(0).flip(0).bool()
            rows = rows[~padding]
        if not len(rows):
            return "holds nothing but padding"
        return "" if rows.isfinite().all() else "holds numbers that are not finite"


Settings = dict[str, Setting]


def _image() -> Settings:
    colour, grey = (image.mae("tiny", image_size=8, patch_size=2, channels=channels).tokenizer for channels in (3, 1))
    return {
        "train": Setting(lambda path: image.Data(root=path).open(colour, train=True)),
        "plain": Setting(lambda path: image.open_images(path, colour)),
        "grey": Setting(lambda path: image.open_images(path, grey)),
    }


def _video() -> Settings:
    clips = video.videomae("tiny", frames=4, image_size=16, patch_size=4, channels=3).tokenizer
    return {
        "train": Setting(lambda path: video.Data(root=path, stride=1).open(clips, train=True)),
        "seconds": Setting(lambda path: video.Data(root=path, seconds=0.2, crop="resized").open(clips, train=True)),
        "plain": Setting(lambda path: video.open_videos(path, clips)),
    }


def _audio() -> Settings:
    clips = audio.tiny().tokenizer
    return {
        "train": Setting(lambda path: audio.Data(root=path).open(clips, train=True)),
        "changed": Setting(lambda path: audio.Data(root=path, gain=True, roll=True).open(clips, train=True)),
        "padded": Setting(lambda path: audio.Data(root=path, padding="ignored").open(clips, train=True), may_pad=True),
        "plain": Setting(lambda path: audio.open_audio(path, clips), may_pad=True),
    }


def _points() -> Settings:
    return {
        "train": Setting(lambda path: points.Data(root=path, rotate="all").open(_groups(0), train=True), may_pad=True),
        "features": Setting(_with_features, may_pad=True),
        "plain": Setting(lambda path: points.open_clouds(path, _groups(0)), may_pad=True),
        "open3d": Setting(lambda path: points.open_clouds(path, _groups(0), backend="open3d"), may_pad=True),
    }


def _groups(features: int) -> Groups:
    return Groups(num_groups=4, group_size=4, num_points=32, features=features)


def _with_features(path: str) -> Source:
    """Ask for the features that the name of a seed tells."""
    names = tuple(name for name in WIDTHS if name in Path(path).name)
    tokenizer = _groups(sum(WIDTHS[name] for name in names))
    return points.open_clouds(path, tokenizer, features=names, train=True)


SUBJECTS: dict[str, Callable[[], Settings]] = {
    "image": _image,
    "video": _video,
    "audio": _audio,
    "points": _points,
    "tar": lambda: {"train": _image()["train"]},
}
