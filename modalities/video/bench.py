"""What `maskkit bench step --work video` and `maskkit bench data --work video` time."""

import importlib.util
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskkit.bench.timing import training_step
from maskkit.bench.workload import Preset, Run, Workload
from maskkit.data.source import Key
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.transcode import transcode
from maskkit.modalities.video.transforms import MultiScaleCrop
from maskkit.modalities.video.videomae import NO_DECAY, videomae
from maskkit.modalities.video.videos import Videos, find_videos
from maskkit.optim import AdamW
from maskkit.seeds import generator

HAS_PEER = importlib.util.find_spec("transformers") is not None
if HAS_PEER:  # imported here, so that the import is not measured
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

BATCH = 2
TITLE = f"ViT-S/16, tubelet 2, clips 16 x 224 x 224, tube mask 0.9, decoder 192 x 4, batch {BATCH}, normalised target"
PEER = "transformers' VideoMAEForPreTraining with torch's default AdamW"

READING = "clips of 16 frames, every 4th, a multi-scale crop to 224 x 224; 10 s of H.264 at 30 frames per second"
SIZES = ("1280x720", "340x256")


def ours(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of ours."""
    torch.manual_seed(0)
    model = videomae("small").to(device).train()
    optimizer = AdamW(lr=1e-5, no_decay=NO_DECAY).build(model)
    batch = torch.randn(BATCH, 3, 16, 224, 224, device=device)

    return training_step(lambda: model(batch).loss, optimizer, dtype, device)


def theirs(dtype: torch.dtype, device: str) -> Run:
    """Return one training step of the peer's, under a mask of the same kind."""
    torch.manual_seed(0)
    config = VideoMAEConfig(
        hidden_size=384,
        num_attention_heads=6,
        intermediate_size=1536,
        decoder_hidden_size=192,
        decoder_num_attention_heads=3,
        decoder_intermediate_size=768,
        use_mean_pooling=False,
        layer_norm_eps=1e-6,
    )
    model = VideoMAEForPreTraining(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.05)
    batch = torch.randn(BATCH, 16, 3, 224, 224, device=device)

    def loss() -> Tensor:
        cells = torch.rand(BATCH, 196, device=device).argsort(dim=1) < 176
        return model(batch, bool_masked_pos=cells.repeat(1, 8)).loss

    return training_step(loss, optimizer, dtype, device)


@contextmanager
def readers(source: str | None) -> Iterator[dict[str, tuple[Callable[[int], object], int]]]:
    """Give ways of reading, each a function of a running number and how many clips it reads; plain decord is first.

    Without a source, videos are made in two sizes, as a camera and as Kinetics' copies have them.
    """
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(source)] if source else [_made(Path(folder), size) for size in SIZES]
        ways: dict[str, tuple[Callable[[int], object], int]] = {}
        for place in places:
            stored = Path(folder) / f"{place.name}-transcoded"
            with redirect_stdout(None):
                transcode(str(place), stored)
            ways[f"{place.name}: decord at full size"] = _plain(place), 1
            ways[f"{place.name}: maskkit"] = _reader(place, repeats=1), 1
            ways[f"{place.name}: maskkit, after maskkit transcode"] = _reader(stored, repeats=1), 1
            ways[f"{place.name}: maskkit, 4 clips from a decode"] = _reader(place, repeats=4), 4
        yield ways


def _made(folder: Path, size: str) -> Path:
    """Make a video with FFmpeg."""
    place = folder / size
    place.mkdir()
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30:duration=10"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-c:v", "libx264", str(place / "0.mp4")], check=True)
    return place


def _plain(place: Path) -> Callable[[int], object]:
    """Read as VideoMAE's kinetics.py does: decord's get_batch at full size, then the crop."""
    import decord

    files, sampling, crop = find_videos(place), Sampling(frames=16, stride=4), MultiScaleCrop(size=(224, 224))

    def read(turn: int) -> object:
        rng = generator(turn)
        reader = decord.VideoReader(files.path(turn % len(files)), num_threads=1)
        numbers = sampling(np.arange(len(reader)) / 30, rng)
        return crop(torch.from_numpy(reader.get_batch(numbers).asnumpy()).permute(0, 3, 1, 2), rng)

    return read


def _reader(place: Path, *, repeats: int) -> Callable[[int], object]:
    """Read with ours: one clip, or all repeats of a video one after the other, as a run meets them."""
    crop, files = MultiScaleCrop(size=(224, 224)), find_videos(place)
    sampling = Sampling(frames=16, stride=4)
    source = Videos(files=files, sampling=sampling, transform=crop, short_side=crop.short_side, repeats=repeats)

    def read(turn: int) -> object:
        # A new seed each turn, as a new epoch has, so that nothing decoded before is left to use.
        return [source.read(Key(turn, turn % len(files), repeat), generator(turn)) for repeat in range(repeats)]

    return read


WORKLOAD = Workload(
    title=TITLE,
    ours=ours,
    peer=theirs if HAS_PEER else None,
    peer_name=PEER,
    readers=readers,
    reading=READING,
    presets=tuple(
        Preset(
            name=f"video.{method}",
            module="maskkit.modalities.video",
            function=method,
            arguments={"size": "small", "frames": 16, "image_size": 224},
            shape=(batch, 3, 16, 224, 224),
        )
        for method, batch in (("videomae", 4), ("mae_st", 2))
    ),
)
