"""The cache keeps the frames, makes them small, and lets any of them be read at once."""

import numpy as np
import pytest

from maskkit.cli import main
from maskkit.modalities.video.decoders import open_video
from tests.modalities.video.test_decoders import difference


@pytest.fixture
def source(files, bad_files, tmp_path):
    (tmp_path / "in" / "run").mkdir(parents=True)
    (tmp_path / "in" / "jump").mkdir()
    (tmp_path / "in" / "run" / "a.mp4").symlink_to(files["h264_b_frames.mp4"])
    (tmp_path / "in" / "jump" / "b.gif").symlink_to(files["animation.gif"])
    (tmp_path / "in" / "jump" / "c.mp4").symlink_to(files["variable_rate.mp4"])
    (tmp_path / "in" / "jump" / "bad.mp4").symlink_to(bad_files["text.mp4"])
    return tmp_path / "in"


@pytest.mark.parametrize("store", ["video", "frames"])
def test_frames_and_folders_are_kept(source, tmp_path, capsys, store):
    out = tmp_path / "out"
    words = ["transcode", "video", str(source), str(out), "--short-side", "32", "--store", store, "--workers", "2"]
    assert main(words) == 0
    assert "3 videos" in capsys.readouterr().out
    assert "jump/bad.mp4\t" in (out / "skipped.txt").read_text()
    for name, suffix in (("run/a", ".mp4"), ("jump/b", ".gif"), ("jump/c", ".mp4")):
        before = open_video(source / f"{name}{suffix}", short_side=32)
        after = open_video(out / (name + (".mp4" if store == "video" else "")))
        count = len(before.times())
        assert len(after.times()) == count
        # Frames of the test picture differ by far more than compression changes them.
        assert difference(after.read(range(count)), before.read(range(count))).max() < 16
        if store == "video":
            assert np.allclose(after.times() - after.times()[0], before.times() - before.times()[0], atol=0.011)
            assert len(after._keys) == count
            late = open_video(out / f"{name}.mp4").read([count - 2, 3])
            assert np.array_equal(late, after.read([count - 2, 3]))
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    first = (out / "run").stat().st_mtime_ns
    assert main(words) == 0 and (out / "run").stat().st_mtime_ns == first  # nothing is done twice
    (source / "jump" / "bad.mp4").unlink()
    assert main(words) == 0 and not (out / "skipped.txt").exists()  # nothing is bad any more


def test_what_cannot_be_is_refused(source, tmp_path, capsys, monkeypatch):
    assert main(["transcode", "nothing", "a", "b"]) == 2
    assert main(["transcode", "image", "a", "b"]) == 2 and "image files are not transcoded" in capsys.readouterr().err
    assert main(["transcode"]) == 0 and "maskkit transcode {" in capsys.readouterr().out
    (source / "run" / "a.avi").symlink_to(source / "run" / "a.mp4")
    assert main(["transcode", "video", str(source), str(tmp_path / "out")]) == 2
    assert "would both become" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["transcode", "video", str(source), str(tmp_path / "out")]) == 2
    assert "apt install ffmpeg" in capsys.readouterr().err
