"""Data sets of videos: found, listed, sampled, repeated, and told about."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from maskkit.data.arrays import ArraySource
from maskkit.data.source import BadSampleError, Key, num_items
from maskkit.modalities import video
from maskkit.modalities.video.clips import open_clips
from maskkit.modalities.video.decoders import open_video
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.survey import survey
from maskkit.modalities.video.videos import Videos, find_videos
from maskkit.seeds import generator


def as_it_is(clip, rng):
    return clip


def source_of(where, **settings) -> Videos:
    settings = {"sampling": Sampling(frames=4, stride=2), "transform": as_it_is, **settings}
    return open_clips(where, **settings)


@pytest.fixture
def folder(files, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "one.mp4").symlink_to(files["h264.mp4"])
    (tmp_path / "b" / "two.gif").symlink_to(files["animation.gif"])
    return tmp_path


def test_a_folder_of_classes(folder, files):
    source = source_of(folder, random=False)
    assert [source.label(index) for index in range(len(source))] == ["a", "b"]
    sample = source.read(Key.of(0), generator(0))
    numbers = Sampling(frames=4, stride=2)(np.arange(75) / 25, None)
    wanted = open_video(files["h264.mp4"]).read(numbers)
    assert sample.dtype == torch.uint8 and np.array_equal(sample.numpy(), wanted.transpose(3, 0, 1, 2))
    grey = source_of(folder, random=False, channels=1).read(Key.of(0), generator(0))
    assert grey.shape == (1, 4, 64, 96) and (grey[0].float() - sample.float().mean(0)).abs().mean() < 40
    assert source.path(1).endswith("two.gif")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("one.mp4 7\ntwo.gif 12\n", ["7", "12"]),
        ("one.mp4 75 7\ntwo.gif 75 12\n", ["7", "12"]),
        ("one.mp4,7\ntwo.gif,12\n", ["7", "12"]),
        ("path,label\none.mp4,jump\ntwo.gif,run\n", ["jump", "run"]),
        ("frames 6 3\ntwo.gif 75 3\n", ["3", "3"]),
        ("one.mp4\ntwo.gif\n", [None, None]),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_the_authors_lists(files, tmp_path, text, labels, suffix):
    (tmp_path / "one.mp4").symlink_to(files["h264.mp4"])
    (tmp_path / "two.gif").symlink_to(files["animation.gif"])
    (tmp_path / "frames").mkdir()
    for number in range(6):
        Image.new("RGB", (40, 30), (40 * number, 0, 0)).save(tmp_path / "frames" / f"{number:05d}.png")
    (tmp_path / f"list{suffix}").write_text(text)
    source = source_of(tmp_path / f"list{suffix}")
    assert [source.label(index) for index in range(len(source))] == labels
    assert all(source.read(Key.of(index), generator(0)).shape[:2] == (3, 4) for index in range(len(source)))


def test_folders_of_frames_are_videos(tmp_path):
    for name in ("run/one", "run/two", "jump/three"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (20, 16), (50 * number, 0, 0)).save(tmp_path / name / f"img_{number}.jpg")
    files = find_videos(tmp_path)
    assert [files.label(index) for index in range(len(files))] == ["jump", "run", "run"]
    sample = source_of(tmp_path, random=False, sampling=Sampling(frames=5, fps=25)).read(Key.of(0), generator(0))
    assert (sample[0, :, 8, 10] - torch.tensor([0, 50, 100, 150, 200])).abs().max() <= 3
    alone = find_videos(tmp_path / "run" / "one")
    assert len(alone) == 1 and alone.label(0) is None
    with pytest.raises(ValueError, match="none of its 1 files ends in"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").write_text("x")
        find_videos(tmp_path / "other")


def test_a_clip_depends_on_its_generator_alone(folder):
    source = source_of(folder)
    first = source.read(Key.of(0), generator(3))
    source.read(Key.of(1), generator(0))
    assert torch.equal(source.read(Key.of(0), generator(3)), first)
    assert torch.equal(pickle.loads(pickle.dumps(source)).read(Key.of(0), generator(3)), first)
    assert any(not torch.equal(source.read(Key.of(0), generator(seed)), first) for seed in range(4, 9))


@pytest.mark.parametrize("several", [True, False])
def test_repeats_count_as_samples_and_share_one_decode(folder, monkeypatch, several):
    opened = []

    def counting(path, **settings):
        opened.append(path)
        return open_video(path, **settings)

    monkeypatch.setattr("maskkit.modalities.video.videos.open_video", counting)
    source = source_of(folder, repeats=3, several_clips=several)
    assert len(source) == 6 and num_items(source) == 2 and source.label(1) == "b"
    keys = [Key(*key) for key in source.order(seed=0, epoch=4).tolist()]
    assert {key.epoch for key in keys} == {4} and sorted(key[1:] for key in keys) == [
        (index, repeat) for index in range(2) for repeat in range(3)
    ]
    samples = {key[1:]: source.read(key, generator(0, key.epoch, key.index)) for key in keys}
    assert len(opened) == 2  # one a video
    assert torch.equal(samples[0, 0], samples[0, 1]) != several
    # A process that sees one of them only, after a restart or in another worker, makes the same.
    alone = pickle.loads(pickle.dumps(source)).read(Key(4, 0, 2), generator(0, 4, 0))
    assert torch.equal(alone, samples[0, 2])
    orders = [source.order(seed=0, epoch=epoch)[:, 1].tolist() for epoch in range(8)]
    assert orders[4] == [key.index for key in keys] and [0, 0, 0, 1, 1, 1] in orders and [1, 1, 1, 0, 0, 0] in orders
    again = {key: source.read(Key(5, *key), generator(0, 5, key[0])) for key in samples}
    assert any(not torch.equal(again[key], samples[key]) for key in samples)  # a new epoch, new clips
    other = source.read(Key(4, 0, 0), generator(1, 4, 0)), source.read(Key(4, 1, 0), generator(1, 4, 1))
    assert any(not torch.equal(clip, samples[index, 0]) for index, clip in enumerate(other))  # a new seed, new clips


def test_times_are_asked_for_only_where_they_matter(folder, monkeypatch):
    """They may cost the decoding of a whole video."""
    asked = []

    class Asking:
        def __init__(self, video):
            self.video, self.read, self.close = video, video.read, video.close

        def __len__(self):
            return len(self.video)

        def times(self):
            asked.append(self.video)
            return self.video.times()

    monkeypatch.setattr(
        "maskkit.modalities.video.videos.open_video", lambda path, **settings: Asking(open_video(path, **settings))
    )
    for repeats in (1, 2):
        for sampling, times in ((Sampling(frames=4, stride=2), 0), (Sampling(frames=4, fps=5), 1)):
            asked.clear()
            source_of(folder, sampling=sampling, repeats=repeats).read(Key.of(0), generator(0))
            assert len(asked) == times


def test_what_pillow_reads_needs_no_decoder(files, tmp_path, monkeypatch):
    for place in ("gifs", "frames/one", "both"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "gifs" / "two.gif").symlink_to(files["animation.gif"])
    Image.new("RGB", (20, 16)).save(tmp_path / "frames" / "one" / "0.png")
    for name, file in (("one.mp4", "h264.mp4"), ("two.gif", "animation.gif")):
        (tmp_path / "both" / name).symlink_to(files[file])
    monkeypatch.setattr("maskkit.modalities.video.decoders.table.find_spec", lambda name: None)
    for place in ("gifs", "frames"):
        assert source_of(tmp_path / place).read(Key.of(0), generator(0)).shape[:2] == (3, 4)
        assert survey(tmp_path / place).decoder == "Pillow"
    with pytest.raises(ImportError, match="no decoder for video files"):
        source_of(tmp_path / "both")


def test_a_bad_file_is_a_bad_sample(bad_files, tmp_path):
    (tmp_path / "bad.mp4").symlink_to(bad_files["text.mp4"])
    with pytest.raises(BadSampleError) as caught:
        source_of(tmp_path).read(Key.of(0), generator(0))
    assert caught.value.path.endswith("bad.mp4")
    with pytest.raises(ValueError, match="none of 1 samples can be read; the first: .*bad.mp4: not a video"):
        survey(tmp_path)


@pytest.mark.parametrize("axis", [None, 1, 2, 4])
def test_arrays_of_clips(tmp_path, axis):
    clips, labels = video.moving_digits(5, frames=6, size=16)
    stored = clips[:, 0] if axis is None else np.moveaxis(clips, 1, axis)
    np.savez(tmp_path / "clips.npz", videos=stored, labels=labels)
    source = source_of(tmp_path / "clips.npz", sampling=Sampling(frames=6, stride=1), random=False, channels=None)
    assert isinstance(source, ArraySource) and source.shape == (6, 1, 16, 16) and source.label(3) == str(labels[3])
    # V9: the very last frame is not stepped onto
    assert torch.equal(source.read(Key.of(2), generator(0))[:, :5], torch.from_numpy(clips[2, :, :5]))
    colour = source_of(tmp_path / "clips.npz", channels=3)
    assert colour.read(Key.of(0), generator(0)).shape == (3, 4, 16, 16)


def test_arrays_are_not_repeated(tmp_path):
    np.save(tmp_path / "clips.npy", np.zeros((2, 1, 5, 8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match="clips.npy: clips of an array cannot be repeated, got repeats 4; set"):
        source_of(tmp_path / "clips.npy", channels=1, repeats=4)


def test_arrays_of_floats_are_normalised(tmp_path):
    np.save(tmp_path / "clips.npy", np.full((2, 1, 5, 8, 8), 3.0))
    source = source_of(tmp_path / "clips.npy", channels=1, mean=(1.0,), std=(4.0,))
    assert source.read(Key.of(0), generator(0)).unique().tolist() == [0.5]
    np.save(tmp_path / "bad.npy", np.full((2, 1, 5, 8, 8), np.nan))
    with pytest.raises(BadSampleError, match="NaN"):
        source_of(tmp_path / "bad.npy", channels=1).read(Key.of(0), generator(0))
    np.save(tmp_path / "flat.npy", np.zeros((4, 5)))
    with pytest.raises(ValueError, match="is not N clips"):
        source_of(tmp_path / "flat.npy")


def test_a_survey(folder):
    facts = survey(folder)
    assert (facts.count, facts.frames, facts.height, facts.width, facts.channels) == (2, 75, 64, 96, 3)
    assert facts.rate == pytest.approx(25, rel=0.01) and facts.decoder == "pyav"
