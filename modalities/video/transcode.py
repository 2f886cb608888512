"""``maskkit transcode video SRC OUT``: videos made smaller, in a form in which any frame can be read at once.

A video is stored by FFmpeg as H.264 of keyframes only, its shorter side cut to what training needs; decoders can then
seek to any frame (see ``decoders/decord.py``). Frames and their times are kept, sound is not.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Annotated, Literal

import tyro
from PIL import Image

from maskkit.data.containers import OPTIONS
from maskkit.data.skips import line_of
from maskkit.files import BadSampleError, make_folder, whole_file
from maskkit.modalities.video.decoders import open_video
from maskkit.modalities.video.videos import find_videos
from maskkit.printing import tell
from maskkit.ranges import Range


@dataclass(frozen=True, kw_only=True)
class Transcode:
    """Make videos smaller and seekable, so that training reads them faster.

    Sub-folders, and with them classes, are kept. Existing files are not written again, so the command can be repeated.
    Videos that cannot be read are named in OUT/skipped.txt.
    """

    source: Annotated[str, tyro.conf.Positional]
    """Folder, glob or list of videos."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write."""
    short_side: Annotated[int, Range(least=16, most=65_536)] = 320
    """Shorter side in pixels; smaller videos keep their size."""
    quality: Annotated[int, Range(least=0, most=51)] = 20
    """Quality of H.264, from 0 (best) to 51 (worst): FFmpeg's crf."""
    store: Literal["video", "frames"] = "video"
    """video (needs the program ffmpeg) or frames (folders of JPEGs, which need no program)."""
    workers: Annotated[int, Range(least=1, most=1024)] = os.cpu_count() or 1
    """Number of videos that are transcoded at a time."""

    def run(self) -> None:
        """Write the folder."""
        transcode(
            self.source,
            self.out,
            short_side=self.short_side,
            quality=self.quality,
            store=self.store,
            workers=self.workers,
        )


def transcode(
    source: str,
    out: Path,
    *,
    short_side: int = 320,
    quality: int = 20,
    store: str = "video",
    workers: int = os.cpu_count() or 1,
) -> None:
    """Write videos, smaller and seekable, to a folder. ``Transcode`` describes the arguments.

    Raises ValueError for settings that do not exist or cannot be used here.
    """
    if store not in ("video", "frames"):
        raise ValueError(f"store must be video or frames, got {store!r}")
    if store == "video" and shutil.which("ffmpeg") is None:
        raise ValueError("ffmpeg is not on the path; install it (apt install ffmpeg), or use --store frames")
    files = find_videos(source)
    paths = [files.path(index) for index in range(len(files))]
    root = source if os.path.isdir(source) else os.path.commonpath([os.path.dirname(os.path.abspath(p)) for p in paths])
    jobs = [_Job(path, _target(path, root, out, store), short_side, quality) for path in paths]
    _refuse_doubles(jobs)
    make_folder(out)
    with ThreadPoolExecutor(workers) as pool:  # the work is done by ffmpeg, or by Pillow without Python's lock
        failures = [failure for failure in pool.map(_Job.encode if store == "video" else _Job.unpack, jobs) if failure]
    skipped = out / "skipped.txt"
    if failures:
        skipped.write_text("".join(starmap(line_of, failures)), errors="surrogateescape")
    else:
        skipped.unlink(missing_ok=True)  # of an earlier call, whose files have been mended
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    tell(f"{out}: {len(jobs) - len(failures)} videos, {size / 1e6:.1f} MB, {len(failures)} left out")


@dataclass(frozen=True)
class _Job:
    path: str
    target: Path
    short_side: int
    quality: int

    def encode(self) -> tuple[str, str] | None:
        """Write a video of keyframes; complete or absent. Returns the path and a reason where it cannot be read."""
        if self.target.exists():
            return None
        self.target.parent.mkdir(parents=True, exist_ok=True)
        # No less than two pixels, and even numbers of them, as 4:2:0 colour wants.
        side = f"min({self.short_side},trunc(min(iw,ih)/2)*2)"
        scale = f"scale='if(lt(iw,ih),{side},-2)':'if(lt(iw,ih),-2,{side})'"
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *self._input(), "-an", "-sn"]
        command += ["-vf", scale, "-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1"]
        command += ["-g", "1", "-bf", "0", "-crf", str(self.quality), "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        command += ["-f", "mp4"]
        try:
            with whole_file(self.target) as aside:
                self._run([*command, str(aside)], aside)
        except BadSampleError as error:
            return self.path, error.reason
        return None

    def _run(self, command: list[str], written: Path) -> None:
        """Run FFmpeg. Raises BadSampleError with the last line that it printed."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        if done.returncode != 0 or not written.exists():
            raise BadSampleError(self.path, (done.stderr.strip().splitlines() or ["ffmpeg gave no reason"])[-1][:160])

    def unpack(self) -> tuple[str, str] | None:
        """Write a folder of JPEGs; complete or absent."""
        if self.target.exists():
            return None
        self.target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole_file(self.target) as aside:
                aside.mkdir()
                video = open_video(self.path, short_side=self.short_side)
                for number in range(len(video)):
                    Image.fromarray(video.read([number])[0]).save(aside / f"{number:06d}.jpg", quality=92)
        except BadSampleError as error:
            return self.path, error.reason
        return None

    def _input(self) -> list[str]:
        if os.path.isdir(self.path):
            raise ValueError(f"{self.path} is a folder of frames already; transcode it with --store frames")
        options = [word for name, value in OPTIONS.items() for word in (f"-{name}", value)]
        return [*options, "-i", os.path.abspath(self.path)]


def _target(path: str, root: str, out: Path, store: str) -> Path:
    """Return where a video goes: the same place below ``out`` as below ``root``."""
    inside = os.path.relpath(os.path.abspath(path), os.path.abspath(root))
    stem = out / (inside if os.path.isdir(path) else os.path.splitext(inside)[0])
    return stem if store == "frames" else stem.with_name(stem.name + ".mp4")


def _refuse_doubles(jobs: list[_Job]) -> None:
    targets: dict[Path, str] = {}
    for job in jobs:
        if job.target in targets:
            raise ValueError(
                f"{job.path} and {targets[job.target]} would both become {job.target}; rename one of the two"
            )
        targets[job.target] = job.path
