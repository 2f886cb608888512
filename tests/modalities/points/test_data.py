"""Data sets of clouds: folders, arrays, the authors' lists, and a run through all of it."""

import os
import pickle

import numpy as np
import pytest
import torch

from maskkit.data.loader import Stream, load
from maskkit.data.source import BadSampleError, Key, Source
from maskkit.modalities import points
from maskkit.modalities.points.data import open_files
from maskkit.modalities.points.transforms import eval_transform
from maskkit.types import Mask

XYZ = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_folder_with_classes(tmp_path, write_cloud):
    for number, kind in enumerate(("sphere", "box", "sphere")):
        (tmp_path / kind).mkdir(exist_ok=True)
        write_cloud(tmp_path / kind / f"{number}.ply")
    (tmp_path / "box" / "broken.ply").write_bytes(b"ply")
    source = open_files(tmp_path, transform=eval_transform(64))
    assert isinstance(source, Source) and [source.label(i) for i in range(4)] == ["box", "box", "sphere", "sphere"]
    samples = []
    for index in range(4):
        try:
            samples.append(source.read(Key.of(index), rng()))
        except BadSampleError as error:
            assert "broken.ply" in error.path
    assert torch.stack(samples).shape == (3, 64, 3)


def test_arrays_and_the_authors_list(tmp_path, write_cloud):
    np.savez(tmp_path / "a.npz", points=np.stack([XYZ] * 4), labels=np.array(list("aabb")))
    source = open_files(tmp_path / "a.npz", transform=eval_transform(20))
    assert len(source) == 4 and source.label(3) == "b" and source.read(Key.of(2), rng()).shape == (20, 3)
    for folder in ("shapenet_pc", "ShapeNet-55"):
        (tmp_path / folder).mkdir()
    write_cloud(tmp_path / "shapenet_pc" / "02691156-1a04e3.npy")
    (tmp_path / "ShapeNet-55" / "train.txt").write_text("02691156-1a04e3.npy\n")
    source = open_files(tmp_path / "ShapeNet-55" / "train.txt", transform=eval_transform(20))
    assert source.label(0) == "02691156" and source.read(Key.of(0), rng()).shape == (20, 3)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"points": np.zeros((2, 3, 4, 5))}, "are no clouds"),
        ({"points": np.zeros((0, 20, 3))}, r"\[0, 20, 3\] holds no points"),
        ({"points": np.zeros((4, 20, 3)), "labels": np.array(1)}, r"labels of shape \[\] for 4 samples"),
        ({"points": np.zeros((4, 20, 3)), "labels": np.zeros((4, 2))}, r"labels of shape \[4, 2\] for 4 samples"),
        ({"points": np.zeros((4, 20, 3)), "labels": np.zeros(3)}, r"labels of shape \[3\] for 4 samples"),
        ({"a": np.zeros((4, 20, 3)), "b": np.zeros(4)}, "holds a, b; call the samples 'points'"),
    ],
)
def test_arrays_that_are_no_clouds(tmp_path, arrays, reason):
    np.savez(tmp_path / "a.npz", **arrays)
    np.save(tmp_path / "a.npy", arrays.get("points", np.zeros(3)))
    with pytest.raises(ValueError, match=f"a.npz: .*{reason}") as error:
        open_files(tmp_path / "a.npz", transform=eval_transform(20)).label(0)
    assert "\n" not in str(error.value)
    if len(arrays) == 1:
        with pytest.raises(ValueError, match="a.npy: .*are no clouds|a.npy: .*holds no points"):
            open_files(tmp_path / "a.npy", transform=eval_transform(20))


def test_an_array_reads_the_same_in_a_spawned_worker(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.stack([XYZ] * 4), labels=np.array(list("aabb")))
    source = open_files(tmp_path / "a.npz", transform=eval_transform(20))
    again = pickle.loads(pickle.dumps(source))
    assert torch.equal(again.read(Key.of(2), rng()), source.read(Key.of(2), rng())) and again.label(3) == "b"


def test_a_small_cloud_takes_nothing_from_the_others_of_its_batch(tmp_path):
    """Through the loader, which names it: the others hide 38 of 64 groups, and lose what each does alone."""
    for number, count in enumerate((1024, 1024, 16, 1024)):
        np.save(tmp_path / f"{number}.npy", np.random.default_rng(number).normal(size=(count, 3)))
    model = points.point_mae(dim=48, depth=1, heads=3).eval()
    source = points.open_clouds(tmp_path, model.tokenizer, train=True)
    batch = next(load(source, Stream(source, 4, 0)))
    assert {(os.path.basename(path), reason[:15]) for path, reason in batch.bad} == {("2.npy", "holds 16 points")}
    out = model(batch.samples, rng=rng())
    assert out.mask.hidden.shape == (4, 38) and out.mask.visible.shape == (4, 26)
    for row in range(4):
        mask = Mask(visible=out.mask.visible[row : row + 1], hidden=out.mask.hidden[row : row + 1])
        alone = model(batch.samples[row : row + 1], mask)
        torch.testing.assert_close(alone.losses[0], out.losses[row], rtol=1e-4, atol=1e-6)


def test_a_folder_of_small_and_large_clouds_trains(tmp_path):
    """Through reader, padding and masks, with features. Clouds of fewer points than groups are skipped and named."""
    for number, count in enumerate((64, 300, 70, 100, 16, 15)):
        normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng(number)), dim=1)
        np.save(tmp_path / f"{number}.npy", torch.cat([normals * 3, normals], dim=1).numpy())
    model = points.point_mae(num_points=256, num_groups=64, group_size=8, features=3, dim=48, depth=1, heads=3)
    source = points.open_clouds(tmp_path, model.tokenizer, train=True, rotate="all", features=("normals",))
    for index, count in ((4, 16), (5, 15)):
        with pytest.raises(
            BadSampleError, match=f"holds {count} points, fewer than 64; .* or set a lower --num-groups"
        ):
            source.read(Key.of(index), rng())
    assert points.open_clouds(tmp_path, model.tokenizer, features=("normals",)).read(Key.of(4), rng()).shape == (256, 6)
    batch = torch.stack([source.read(Key.of(index), rng(index)) for index in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(30):
        out = model(batch, rng=rng(step))
        assert out.tokens.valid is None
        assert out.mask.hidden.shape == (4, 38) and out.mask.visible.shape == (4, 26)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(out.loss.item())
    assert all(np.isfinite(losses)) and losses[-1] < 0.8 * losses[0]
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
