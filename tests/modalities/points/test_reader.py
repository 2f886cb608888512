"""Real files of every format, and broken ones, which are named and never end the run."""

import concurrent.futures
import importlib.util
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.cloud import sample_cloud
from maskkit.modalities.points.formats.with_open3d import import_open3d
from maskkit.modalities.points.reader import read_cloud

MESHES, CLOUDS = (".ply", ".obj", ".off", ".stl"), (".ply", ".pcd", ".xyz", ".npy", ".npz", ".las", ".laz", ".pts")
XYZ = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)

PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("suffix", CLOUDS)
def test_clouds_of_every_format(tmp_path, suffix, write_cloud):
    if suffix == ".laz":
        pytest.importorskip("lazrs")
    cloud = read_cloud(write_cloud(tmp_path / f"a{suffix}"))
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=2e-5)
    assert cloud.triangles is None
    if suffix in (".las", ".laz"):
        np.testing.assert_allclose(sample_cloud(cloud, ("intensity",), rng(), 0)[:, 3], 0.2, atol=1e-6)


@pytest.mark.parametrize("suffix", CLOUDS)
def test_a_forked_loader_process_reads_what_its_parent_has_read(tmp_path, suffix, write_cloud):
    """The threads of a library, such as lazrs, are not in the fork."""
    if suffix == ".laz":
        pytest.importorskip("lazrs")
    path = write_cloud(tmp_path / f"a{suffix}")
    read_cloud(path)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        future = pool.submit(read_cloud, path)
        try:
            assert len(future.result(timeout=60).xyz) == len(XYZ)
        finally:
            for process in list((pool._processes or {}).values()):
                process.kill()


@pytest.mark.parametrize(("kind", "version"), [(3, "1.2"), (6, "1.4"), (7, "1.4"), (8, "1.4")])
def test_laz_files_of_several_chunks_and_layers(tmp_path, kind, version):
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    las = laspy.create(point_format=kind, file_version=version)
    las.add_extra_dim(laspy.ExtraBytesParams("echo", "u2"))  # each byte has a layer of its own
    las.header.scales = [1e-3] * 3
    xyz = np.random.default_rng(0).normal(size=(3, 110_000))
    las.x, las.y, las.z = xyz
    las.write(tmp_path / "a.laz")
    np.testing.assert_allclose(read_cloud(str(tmp_path / "a.laz")).xyz, xyz.T, atol=1e-3)


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


def test_features_of_a_ply(tmp_path, write_cloud):
    pytest.importorskip("open3d")
    o3d = import_open3d()
    cloud = o3d.t.geometry.PointCloud(XYZ)
    cloud.point.colors = np.full((50, 3), 51, dtype=np.uint8)
    cloud.point.normals = np.tile(np.float32([0, 0, 1]), (50, 1))
    cloud.point.intensity = np.full((50, 1), 0.5, dtype=np.float32)
    o3d.t.io.write_point_cloud(str(tmp_path / "a.ply"), cloud)
    got = sample_cloud(read_cloud(str(tmp_path / "a.ply")), ("normals", "colours", "intensity"), rng(), 0)
    torch.testing.assert_close(got[0, 3:], torch.tensor([0, 0, 1, 0.2, 0.2, 0.2, 0.5]))
    with pytest.raises(ValueError, match="has no colours"):
        sample_cloud(read_cloud(write_cloud(tmp_path / "b.xyz")), ("colours",), rng(), 0)


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
def test_columns_without_a_name(tmp_path, suffix, columns, expected, write_cloud):
    cloud = read_cloud(write_cloud(tmp_path / f"a{suffix}", np.concatenate([XYZ, *columns], axis=1)))
    assert cloud.features.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(cloud.features[name], values, atol=1e-6)


def test_comments_in_any_encoding(tmp_path):
    for encoding in ("utf-8", "latin-1"):
        (tmp_path / "a.xyz").write_bytes("# aufgenommen in Köln, 3 µm\n0 0 0 # größte\n1 2 3\n".encode(encoding))
        np.testing.assert_array_equal(read_cloud(str(tmp_path / "a.xyz")).xyz, [[0, 0, 0], [1, 2, 3]])


def test_what_is_not_finite_is_left_out(tmp_path, write_cloud):
    bad = XYZ.copy()
    bad[3], bad[7, 1] = np.nan, np.inf
    cloud = read_cloud(write_cloud(tmp_path / "a.npy", bad))
    np.testing.assert_allclose(cloud.xyz, np.delete(XYZ, [3, 7], axis=0))


def test_large_coordinates_keep_their_digits(tmp_path, write_cloud):
    cloud = read_cloud(write_cloud(tmp_path / "a.npz", XYZ.astype(np.float64) + [5e6, 4e5, 0]))
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
        ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n4 0 1 2 9\n", "broken, or no OFF|names a point that is not there"),
        ("a.stl", b"\x00" * 80 + b"\xff\xff\xff\x7f" + b"1" * 50, "no triangles"),
        ("a.obj", b"\x00\x01garbage" * 50, "no OBJ file"),
        ("a.xyz", b"one two three\n", "cannot be read"),
        ("a.npy", b"\x93NUMPY garbage", "cannot be read"),
        ("a.las", b"LASFgarbage" * 40, "cannot be read"),
        ("a.xyz", b"1 2 3\n1 2 3\n", "are equal"),
        ("a.xyz", b"nan 1 2\n", "finite"),
        ("a.gltf", b"{}", "suffix"),
    ],
)
def test_broken_files_are_named_with_a_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSampleError, match=reason) as error:
        read_cloud(str(tmp_path / name))
    assert error.value.path.endswith(name) and "\n" not in str(error.value)


def test_what_is_no_file_is_named_as_everywhere(tmp_path):
    (tmp_path / "a.ply").mkdir()
    with pytest.raises(BadSampleError, match=r"a\.ply: a folder, not a point cloud$"):
        read_cloud(str(tmp_path / "a.ply"))
    with pytest.raises(BadSampleError, match="no such file or directory$"):
        read_cloud(str(tmp_path / "b.ply"))


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadSampleError, match="allow_pickle"):
        read_cloud(str(tmp_path / "a.npy"))


@pytest.mark.slow
def test_damaged_files_end_in_points_or_in_a_bad_sample(tmp_path, write_cloud):
    """Bytes flipped and cut off, each format 300 times, in a process that must survive."""
    for suffix in (suffix for suffix in CLOUDS if suffix != ".laz" or importlib.util.find_spec("lazrs")):
        write_cloud(tmp_path / f"cloud{suffix}")
    for suffix in MESHES:
        trimesh.creation.icosphere(1).export(tmp_path / f"mesh{suffix}")
    code = """
import sys, pathlib, numpy as np
from maskkit.modalities.points.reader import read_cloud
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


MESHIO = "ply\ncomment made by meshio\nformat ascii 1.0\nelement vertex 4\n"
AXES = "property float x\nproperty float y\nproperty float z\n"
CORNERS = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n"


def test_a_ply_may_have_a_comment_before_its_format(tmp_path):
    """Nschloe/meshio#906."""
    (tmp_path / "a.ply").write_text(f"{MESHIO}{AXES}end_header\n{CORNERS}")
    assert read_cloud(str(tmp_path / "a.ply")).xyz.shape == (4, 3)
    faces = "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "a.ply").write_text(f"{MESHIO}obj_info x\n{AXES}{faces}{CORNERS}3 0 1 2\n3 1 2 3\n")
    assert read_cloud(str(tmp_path / "a.ply")).triangles.tolist() == [[0, 1, 2], [1, 2, 3]]


@pytest.mark.parametrize("suffix", [".ply", ".off", ".obj"])
def test_meshes_without_faces_are_clouds(tmp_path, suffix):
    heads = {".ply": f"ply\nformat ascii 1.0\nelement vertex 4\n{AXES}end_header\n", ".off": "OFF\n4 0 0\n", ".obj": ""}
    lines = "".join(f"{'v ' if suffix == '.obj' else ''}{line}\n" for line in CORNERS.splitlines())
    (tmp_path / f"a{suffix}").write_text(heads[suffix] + lines)
    cloud = read_cloud(str(tmp_path / f"a{suffix}"))
    assert sample_cloud(cloud, (), rng(), 100).shape == (4, 3)


@pytest.mark.parametrize("suffix", [".npy", ".pcd", ".ply", ".xyz"])
def test_only_features_that_are_asked_for_must_be_finite(tmp_path, suffix):
    nothing = np.full((50, 3), np.nan, dtype=np.float32)
    nothing[:5] = UNIT[:5]
    table = np.concatenate([XYZ, nothing], axis=1)
    heads = {
        ".ply": f"ply\nformat ascii 1.0\nelement vertex 50\n{AXES}"
        "property float nx\nproperty float ny\nproperty float nz\nend_header",
        ".pcd": "VERSION 0.7\nFIELDS x y z normal_x normal_y normal_z\nSIZE 4 4 4 4 4 4\nTYPE F F F F F F\n"
        "COUNT 1 1 1 1 1 1\nWIDTH 50\nHEIGHT 1\nPOINTS 50\nDATA ascii",
    }
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, table)
    else:
        np.savetxt(path, table, header=heads.get(suffix, ""), comments="")
    assert len(read_cloud(str(path)).xyz) == 50
    assert len(read_cloud(str(path), features=("normals",)).xyz) == 5


def test_nan_in_the_fourth_column_matters_where_intensity_is_asked_for(tmp_path):
    np.save(tmp_path / "a.npy", np.concatenate([XYZ, np.full((50, 1), np.nan)], axis=1))
    assert len(read_cloud(str(tmp_path / "a.npy")).xyz) == 50
    with pytest.raises(BadSampleError, match="a.npy: "):
        sample_cloud(read_cloud(str(tmp_path / "a.npy"), features=("intensity",)), ("intensity",), rng(), 50)


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_and_intensities_of_las_run_to_1(tmp_path, bits):
    laspy = pytest.importorskip("laspy")
    las = laspy.create(point_format=2, file_version="1.2")
    las.x, las.y, las.z = XYZ.T.astype(np.float64)
    full = 2**bits - 1
    las.red = las.green = las.intensity = np.linspace(0, full, 50).round().astype(np.uint16)
    las.write(tmp_path / "a.las")
    cloud = read_cloud(str(tmp_path / "a.las"))
    expected = np.linspace(0, full, 50).round() / full
    np.testing.assert_allclose(cloud.features["colours"][:, 0], expected)
    np.testing.assert_allclose(cloud.features["intensity"][:, 0], expected)


def test_float_colours_up_to_255_run_to_1(tmp_path):
    colours = "property float red\nproperty float green\nproperty float blue\n"
    head = f"ply\nformat ascii 1.0\nelement vertex 50\n{AXES}{colours}end_header"
    np.savetxt(tmp_path / "a.ply", np.concatenate([XYZ, BYTES], axis=1), header=head, comments="")
    np.testing.assert_allclose(read_cloud(str(tmp_path / "a.ply")).features["colours"], BYTES / 255, atol=1e-6)


ODD = [  # fields, sizes, types, counts of files that open3d writes beyond its memory for (isl-org/Open3D#6437)
    ("x y z _ intensity ring _", "4 4 4 1 4 2 1", "F F F U F U U", "1 1 1 4 1 1 10"),
    ("x y z normal_x", "4 4 4 4", "F F F F", "1 1 1 1"),
    ("x y z normal_z normal_y", "4 4 4 4 4", "F F F F F", "1 1 1 1 1"),
    ("x y z i i", "4 4 4 4 4", "F F F F F", "1 1 1 1 1"),
]


def test_pcd_files_that_open3d_dies_of_are_read(tmp_path):
    for number, (fields, sizes, kinds, counts) in enumerate(ODD):
        widths = [int(size) * int(count) for size, count in zip(sizes.split(), counts.split(), strict=True)]
        records = np.zeros((50, sum(widths)), dtype=np.uint8)
        records[:, :12] = XYZ.view(np.uint8)
        head = f"VERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {kinds}\nCOUNT {counts}\nWIDTH 50\nHEIGHT 1\n"
        path = tmp_path / f"{number}.pcd"
        path.write_bytes(f"{head}POINTS 50\nDATA binary\n".encode() + records.tobytes())
        np.testing.assert_array_equal(read_cloud(str(path)).xyz, XYZ.astype(np.float64))
    pytest.importorskip("open3d")
    code = (  # in a process of its own, because open3d would end this one
        "import sys, numpy; from maskkit.modalities.points.reader import read_cloud; "
        "numpy.save(sys.argv[1], [read_cloud(path, 'open3d').xyz for path in sys.argv[2:]])"
    )
    paths = sorted(tmp_path.glob("*.pcd"))
    subprocess.run([sys.executable, "-c", code, tmp_path / "out.npy", *paths], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.stack([XYZ.astype(np.float64)] * len(ODD)))


def test_textures_and_materials_of_other_files_are_not_opened(tmp_path, other_file):
    (tmp_path / "a.obj").write_text("mtllib other.mp4\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n")
    mesh = trimesh.creation.box().export(file_type="ply", encoding="ascii").decode()
    (tmp_path / "b.ply").write_text(mesh.replace("format", "comment TextureFile other.mp4\nformat", 1))
    (tmp_path / "c.ply").write_text(mesh.replace("element", "comment TextureFile other.mp4\nelement", 1))
    for path in tmp_path.glob("*.[op]*[jy]"):
        assert len(read_cloud(str(path)).triangles)
    assert not other_file.is_set()
