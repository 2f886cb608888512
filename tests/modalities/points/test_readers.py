"""Real files of every format, and broken ones, which are named and never end the run."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh
from maskkit.modalities import points
from maskkit.modalities.points.readers import import_open3d, open_files, read_cloud, sample_cloud
from maskkit.modalities.points.transforms import eval_transform, train_transform

from maskkit.data.source import BadSampleError, Key, Source

MESHES, CLOUDS = (".ply", ".obj", ".off", ".stl"), (".ply", ".pcd", ".xyz", ".npy", ".npz", ".las", ".pts")
XYZ = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)

PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def write(path, xyz=XYZ):
    """Write a cloud in the format of the suffix, by the library that owns it."""
    if path.suffix in (".ply", ".pcd"):
        o3d = import_open3d()
        o3d.io.write_point_cloud(str(path), o3d.geometry.PointCloud(o3d.utility.Vector3dVector(xyz)))
    elif path.suffix == ".npy":
        np.save(path, xyz)
    elif path.suffix == ".npz":
        np.savez(path, points=xyz)
    elif path.suffix == ".las":
        laspy = pytest.importorskip("laspy")
        las = laspy.create(point_format=3, file_version="1.2")
        las.header.scales = [1e-5] * 3
        las.x, las.y, las.z = xyz.T.astype(np.float64)
        las.intensity = np.full(len(xyz), 65535 // 5, dtype=np.uint16)
        las.write(path)
    else:
        np.savetxt(path, xyz, header=str(len(xyz)) if path.suffix == ".pts" else "", comments="")
    return str(path)


@pytest.mark.parametrize("suffix", CLOUDS)
def test_clouds_of_every_format(tmp_path, suffix):
    cloud = read_cloud(write(tmp_path / f"a{suffix}"))
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=2e-5)
    assert cloud.triangles is None
    if suffix == ".las":
        np.testing.assert_allclose(sample_cloud(cloud, ("intensity",), rng(), 0)[:, 3], 0.2, atol=1e-6)


@pytest.mark.parametrize("suffix", MESHES)
def test_meshes_are_sampled_evenly_by_area(tmp_path, suffix):
    trimesh.creation.box(extents=(1, 1, 8)).export(tmp_path / f"a{suffix}")
    cloud = read_cloud(str(tmp_path / f"a{suffix}"))
    assert len(cloud.triangles) == 12
    sampled = sample_cloud(cloud, ("normals",), rng(), 4000)
    ends = (sampled[:, 2].abs() > 4 - 1e-4).float().mean().item()
    assert sampled.shape == (4000, 6) and ends == pytest.approx(2 / 34, abs=0.015)  # 2 of 34 units of area
    on_surface = (sampled[:, :3].abs() - torch.tensor([0.5, 0.5, 4])).abs().amin(dim=1)
    assert on_surface.max() < 1e-5
    assert torch.equal(sampled, sample_cloud(cloud, ("normals",), rng(), 4000))


def test_an_off_file_whose_header_runs_together_as_in_modelnet40(tmp_path):
    (tmp_path / "a.off").write_text("OFF4 1 0\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n4 0 1 3 2\n")
    assert read_cloud(str(tmp_path / "a.off")).triangles.shape == (2, 3)


def test_features_of_a_ply(tmp_path):
    o3d = import_open3d()
    cloud = o3d.t.geometry.PointCloud(XYZ)
    cloud.point.colors = np.full((50, 3), 51, dtype=np.uint8)
    cloud.point.normals = np.tile(np.float32([0, 0, 1]), (50, 1))
    cloud.point.intensity = np.full((50, 1), 0.5, dtype=np.float32)
    o3d.t.io.write_point_cloud(str(tmp_path / "a.ply"), cloud)
    got = sample_cloud(read_cloud(str(tmp_path / "a.ply")), ("normals", "colours", "intensity"), rng(), 0)
    torch.testing.assert_close(got[0, 3:], torch.tensor([0, 0, 1, 0.2, 0.2, 0.2, 0.5]))
    with pytest.raises(ValueError, match="has no colours"):
        sample_cloud(read_cloud(write(tmp_path / "b.xyz")), ("colours",), rng(), 0)


UNIT = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
BYTES = np.random.default_rng(1).integers(0, 256, size=(50, 3))
LEVEL = np.random.default_rng(2).integers(-2048, 2048, size=(50, 1))


@pytest.mark.parametrize("suffix", [".xyz", ".npy"])
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([LEVEL], {"intensity": LEVEL}),
        ([UNIT.round(2)], {"normals": UNIT.round(2)}),
        ([BYTES], {"colours": BYTES / 255}),
        ([BYTES / 255], {"colours": BYTES / 255}),
        ([1000 * XYZ], {}),
        ([LEVEL, BYTES], {"intensity": LEVEL, "colours": BYTES / 255}),  # Leica's .pts
        ([LEVEL, UNIT], {"intensity": LEVEL}),
        ([UNIT, BYTES], {"normals": UNIT}),
    ],
)
def test_columns_without_a_name(tmp_path, suffix, columns, expected):
    cloud = read_cloud(write(tmp_path / f"a{suffix}", np.concatenate([XYZ, *columns], axis=1)))
    assert cloud.features.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(cloud.features[name], values, atol=1e-6)


def test_comments_in_any_encoding(tmp_path):
    for encoding in ("utf-8", "latin-1"):
        (tmp_path / "a.xyz").write_bytes("# aufgenommen in Köln, 3 µm\n0 0 0 # größte\n1 2 3\n".encode(encoding))
        np.testing.assert_array_equal(read_cloud(str(tmp_path / "a.xyz")).xyz, [[0, 0, 0], [1, 2, 3]])


def test_what_is_not_finite_is_left_out(tmp_path):
    bad = XYZ.copy()
    bad[3], bad[7, 1] = np.nan, np.inf
    cloud = read_cloud(write(tmp_path / "a.npy", bad))
    np.testing.assert_allclose(cloud.xyz, np.delete(XYZ, [3, 7], axis=0))


def test_large_coordinates_keep_their_digits(tmp_path):
    cloud = read_cloud(write(tmp_path / "a.npz", XYZ.astype(np.float64) + [5e6, 4e5, 0]))
    torch.testing.assert_close(
        sample_cloud(cloud, (), rng(), 0), torch.from_numpy(XYZ - XYZ.mean(0)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.ply", b"", "empty"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 4000000000\nproperty float x\nend_header\n1", "cannot hold"),
        ("a.ply", b"\x00\xff" * 500, "no PLY"),
        ("a.pcd", b"\x00\xff" * 500, "no PCD"),
        ("a.ply", PLY + b"0 0 0\n1 0 0\n0 1 0\n4 0 1 2 9\n", "names a point that is not there"),
        ("a.off", b"OFF\n99999999 1 0\n0 0 0", "broken, or no OFF"),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n4 0 1 2 9\n", "broken, or no OFF"),
        ("a.stl", b"\x00" * 80 + b"\xff\xff\xff\x7f" + b"1" * 50, "no triangles"),
        ("a.obj", b"\x00\x01garbage" * 50, "no triangles"),
        ("a.xyz", b"one two three\n", "cannot be read"),
        ("a.npy", b"\x93NUMPY garbage", "cannot be read"),
        ("a.las", b"LASFgarbage" * 40, "cannot be read"),
        ("a.xyz", b"1 2 3\n1 2 3\n", "one place"),
        ("a.xyz", b"nan 1 2\n", "finite"),
        ("a.gltf", b"{}", "suffix"),
    ],
)
def test_broken_files_are_named_with_a_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSampleError, match=reason) as error:
        read_cloud(str(tmp_path / name))
    assert error.value.path.endswith(name) and "\n" not in str(error.value)


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadSampleError, match="allow_pickle"):
        read_cloud(str(tmp_path / "a.npy"))


@pytest.mark.slow
def test_damaged_files_end_in_points_or_in_a_bad_sample(tmp_path):
    """Bytes flipped and cut off, each format 300 times, in a process that must survive."""
    for suffix in CLOUDS:
        write(tmp_path / f"cloud{suffix}")
    for suffix in MESHES:
        trimesh.creation.icosphere(1).export(tmp_path / f"mesh{suffix}")
    code = """
import sys, pathlib, numpy as np
from maskkit.modalities.points.readers import read_cloud
from maskkit.data.source import BadSampleError
rng, ends = np.random.default_rng(0), {"read": 0, "bad": 0}
for whole in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    target = pathlib.Path(sys.argv[1]) / f"broken{whole.suffix}"
    for _ in range(300):
        damaged = content[: rng.integers(1, len(content) + 1)].copy() if rng.random() < 0.4 else content.copy()
        for _ in range(rng.integers(1, 9)):
            damaged[rng.integers(len(damaged) if rng.random() < 0.5 else min(300, len(damaged)))] = rng.integers(256)
        target.write_bytes(damaged.tobytes())
        print(whole.name, file=sys.stderr, flush=True)
        try:
            assert np.isfinite(read_cloud(str(target)).xyz).all()
            ends["read"] += 1
        except BadSampleError:
            ends["bad"] += 1
    target.unlink()
print(ends["read"], ends["bad"])
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
    assert result.returncode == 0, (result.returncode, result.stderr[-600:])
    read, bad = map(int, result.stdout.split()[-2:])
    assert read > 50 and bad > 50


def test_a_folder_with_classes(tmp_path):
    for number, kind in enumerate(("sphere", "box", "sphere")):
        (tmp_path / kind).mkdir(exist_ok=True)
        write(tmp_path / kind / f"{number}.ply")
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


def test_arrays_and_the_authors_list(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.stack([XYZ] * 4), labels=np.array(list("aabb")))
    source = open_files(tmp_path / "a.npz", transform=eval_transform(20))
    assert len(source) == 4 and source.label(3) == "b" and source.read(Key.of(2), rng()).shape == (20, 3)
    for folder in ("shapenet_pc", "ShapeNet-55"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "shapenet_pc" / "02691156-1a04e3.npy")
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
        open_files(tmp_path / "a.npz", transform=eval_transform(20))
    assert "\n" not in str(error.value)
    if len(arrays) == 1:
        with pytest.raises(ValueError, match="a.npy: .*are no clouds|a.npy: .*holds no points"):
            open_files(tmp_path / "a.npy", transform=eval_transform(20))


def test_an_array_reads_the_same_in_a_spawned_worker(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.stack([XYZ] * 4), labels=np.array(list("aabb")))
    source = open_files(tmp_path / "a.npz", transform=eval_transform(20))
    again = pickle.loads(pickle.dumps(source))
    assert torch.equal(again.read(Key.of(2), rng()), source.read(Key.of(2), rng())) and again.label(3) == "b"


def test_a_folder_of_small_and_large_clouds_trains(tmp_path):
    """Through reader, padding and masks, with features; a cloud of next to no points is skipped and named."""
    for number, count in enumerate((40, 300, 16, 100, 15)):
        normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng(number)), dim=1)
        np.save(tmp_path / f"{number}.npy", torch.cat([normals * 3, normals], dim=1).numpy())
    model = points.point_mae(num_points=256, num_groups=64, group_size=8, features=3, dim=48, depth=1, heads=3)
    source = points.open_clouds(tmp_path, model.tokenizer, train=True, rotate="all", features=("normals",))
    with pytest.raises(BadSampleError, match="4.npy: holds 15 points"):
        source.read(Key.of(4), rng())
    batch = torch.stack([source.read(Key.of(index), rng(index)) for index in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(30):
        out = model(batch, rng=rng(step))
        assert out.tokens.valid.sum(dim=1).tolist() == [40, 64, 16, 64]
        assert out.mask.hidden.shape == (4, 9) and out.mask.visible.shape == (4, 7)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(out.loss.item())
    assert all(np.isfinite(losses)) and losses[-1] < 0.8 * losses[0]
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


class TestTransforms:
    cloud = torch.from_numpy(XYZ) * 7 + 3

    def test_the_authors_order_and_ranges(self):
        """Random subset, then the unit sphere, then a stretch and a shift of each axis (docs/official.md P6)."""
        for seed in range(20):
            changed, plain = (train_transform(30, augment=a)(self.cloud, rng(seed)) for a in (True, False))
            assert plain.mean(dim=0).abs().max() < 1e-5 and plain.norm(dim=1).max() == pytest.approx(1, abs=1e-5)
            factor = (changed[1:] - changed[0]) / (plain[1:] - plain[0])
            torch.testing.assert_close(factor, factor.median(dim=0).values.expand(29, 3), atol=2e-3, rtol=2e-3)
            assert (factor.median(dim=0).values > 0.666).all() and (factor.median(dim=0).values < 1.501).all()
            assert (changed - plain * factor.median(dim=0).values).abs().max() < 0.201

    def test_moving_and_scaling_a_cloud_change_nothing_after_the_unit_sphere(self):
        one, other = (eval_transform(50)(c, rng()) for c in (self.cloud, self.cloud * 5 - 100))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)

    def test_small_clouds_keep_every_point_and_are_filled_up_with_nan(self):
        cloud = torch.cat([self.cloud, torch.arange(50.0)[:, None]], dim=1)
        for transform in (eval_transform(64), train_transform(64, rotate="all")):
            got = transform(cloud, rng())
            assert got.shape == (64, 4) and got[50:].isnan().all() and len(got[:50, 3].unique()) == 50
        with pytest.raises(ValueError, match="15 points, fewer than 16"):
            eval_transform(64)(cloud[:15], rng())
        assert eval_transform(8)(cloud[:8], rng()).shape == (8, 4)

    @pytest.mark.parametrize("at", [3, 6])
    def test_normals_stay_upright_on_what_is_turned_and_stretched(self, at):
        """Of points on a sphere, stretched to an ellipsoid: there the normal is known, wherever its columns are."""
        sphere = torch.nn.functional.normalize(torch.randn(2000, 3, generator=rng()), dim=1)
        columns = {3: [sphere, sphere, torch.rand(2000, 3)], 6: [sphere, torch.rand(2000, 3), sphere]}[at]
        for rotate in ("none", "all"):
            changed = train_transform(2000, rotate=rotate, normals_at=at)(torch.cat(columns, dim=1), rng(1))
            xyz, normals = changed[:, :3], changed[:, at : at + 3]
            torch.testing.assert_close(normals.norm(dim=1), torch.ones(2000))
            near = torch.cdist(xyz, xyz).topk(6, largest=False).indices[:, 1:]
            away = torch.nn.functional.normalize(xyz[near] - xyz[:, None], dim=2)
            assert (away * normals[:, None]).sum(dim=2).abs().mean() < 0.06  # neighbours lie in the tangent plane
            assert ((xyz - xyz.mean(dim=0)) * normals).sum(dim=1).min() > 0  # they point outwards

    @pytest.mark.parametrize("axis", ["x", "y", "z", "all"])
    def test_rotations_keep_distances_and_turn_normals_along(self, axis):
        both = torch.cat([self.cloud, self.cloud, torch.ones(50, 1)], dim=1)
        turned = points.settings.train_transform(50, augment=False, rotate=axis, normals_at=3)(both, rng())
        plain = points.settings.train_transform(50, augment=False)(both, rng())
        torch.testing.assert_close(
            torch.cdist(turned[:, :3], turned[:, :3]), torch.cdist(plain[:, :3], plain[:, :3]), atol=2e-3, rtol=0
        )
        turn = torch.linalg.lstsq(plain[:, :3], turned[:, :3]).solution
        torch.testing.assert_close(plain[:, 3:6] @ turn, turned[:, 3:6], atol=1e-3, rtol=1e-3)
        assert torch.linalg.det(turn) == pytest.approx(1, abs=1e-3) and not torch.allclose(
            turn, torch.eye(3), atol=0.01
        )
        if axis != "all":
            still = "xyz".index(axis)
            torch.testing.assert_close(turned[:, still], plain[:, still], atol=1e-5, rtol=0)
