"""PCD clouds: three encodings of the same points, and what open3d reads of a file is what we read."""

import struct

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.formats import lzf, pcd, with_open3d
from maskkit.modalities.points.formats.with_open3d import import_open3d
from maskkit.modalities.points.reader import read_cloud

RNG = np.random.default_rng(0)
XYZ = RNG.normal(size=(60, 3)).astype(np.float32)
COLOURS = RNG.integers(0, 256, size=(60, 3)).astype(np.uint32)
PACKED = COLOURS[:, 0] << 16 | COLOURS[:, 1] << 8 | COLOURS[:, 2]


def head(
    data, fields="x y z _ rgb intensity", sizes="4 4 4 1 4 4", types="F F F U F F", counts="1 1 1 4 1 1", points=60
):
    return (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {types}\nCOUNT {counts}\n"
        f"WIDTH {points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {data}\n"
    ).encode()


def records():
    """Records as PCL writes them: with padding, and with colours as the float that has their bits."""
    kind = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("_", "u1", 4), ("rgb", "<f4"), ("intensity", "<f4")]
    record = np.zeros(60, dtype=kind)
    record["x"], record["y"], record["z"] = XYZ.T
    record["rgb"], record["intensity"] = PACKED.view(np.float32), np.arange(60)
    return record


def stored(block):
    """Pack bytes as LZF does where nothing repeats: in literal runs of up to 32."""
    runs = [block[place : place + 32] for place in range(0, len(block), 32)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def compressed(record):
    block = b"".join(np.ascontiguousarray(record[name]).tobytes() for name in record.dtype.names)
    packed = stored(block)
    return struct.pack("<II", len(packed), len(block)) + packed


def files(folder):
    record = records()
    names = [("x", "y", "z"), ("intensity",)]
    lines = [
        " ".join([*(f"{record[name][row]:.9g}" for name in names[0]), "0 0 0 0", f"{record['rgb'][row]:.9g}", f"{row}"])
        for row in range(60)
    ]
    content = {"ascii": "\n".join(lines).encode(), "binary": record.tobytes(), "binary_compressed": compressed(record)}
    for data, body in content.items():
        (folder / f"{data}.pcd").write_bytes(head(data) + body)
    return [str(folder / f"{data}.pcd") for data in content]


def test_three_encodings_give_the_same_points_and_features(tmp_path):
    for path in files(tmp_path):
        cloud = read_cloud(path)
        np.testing.assert_array_equal(cloud.xyz.astype(np.float32), XYZ)
        # Colours written as text are rounded to nine digits, which a float keeps.
        np.testing.assert_array_equal(cloud.features["colours"], COLOURS / 255)
        np.testing.assert_array_equal(cloud.features["intensity"][:, 0], np.arange(60))


@pytest.mark.parametrize("ascii_", [True, False])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_open3d_writes_is_read_as_it_reads_it(tmp_path, ascii_, packed, kind):
    pytest.importorskip("open3d")
    o3d = import_open3d()
    # Half of the points lie on a grid, so that the compressor finds repeats, near and overlapping.
    xyz = np.concatenate([XYZ.astype(kind), np.repeat(np.arange(20.0), 9).reshape(60, 3).astype(kind)])
    cloud = o3d.t.geometry.PointCloud(xyz)
    cloud.point.colors = np.concatenate([COLOURS, np.full((60, 3), 9)]).astype(np.uint8)
    cloud.point.normals = np.tile(np.array([0, 0.6, 0.8], kind), (120, 1))
    cloud.point.intensity = np.concatenate([RNG.random((60, 1)), np.zeros((60, 1))]).astype(np.float32)
    path = str(tmp_path / "a.pcd")
    assert o3d.t.io.write_point_cloud(path, cloud, write_ascii=ascii_, compressed=packed)
    ours, theirs, asked = pcd.read(path), with_open3d.read(path), read_cloud(path, backend="open3d")
    for other in (theirs, asked):
        np.testing.assert_array_equal(ours.xyz, other.xyz)
        assert ours.features.keys() == other.features.keys() == {"normals", "colours", "intensity"}
        for name, values in ours.features.items():
            np.testing.assert_array_equal(values, other.features[name])


def test_open3d_reads_ours_of_padding_and_packed_colours(tmp_path):
    pytest.importorskip("open3d")
    for path in files(tmp_path)[1:2]:
        np.testing.assert_array_equal(pcd.read(path).xyz, with_open3d.read(path).xyz)
        np.testing.assert_array_equal(pcd.read(path).features["colours"], with_open3d.read(path).features["colours"])


def test_points_that_are_missing_in_an_organised_cloud_are_left_out(tmp_path):
    body = "\n".join(["nan nan nan", "0 0 0", "1 2 3", "nan nan nan"]).encode()
    content = head("ascii", "x y z", "4 4 4", "F F F", "1 1 1", 4).replace(b"WIDTH 4\nHEIGHT 1", b"WIDTH 2\nHEIGHT 2")
    (tmp_path / "a.pcd").write_bytes(content + body)
    np.testing.assert_array_equal(read_cloud(str(tmp_path / "a.pcd")).xyz, [[0, 0, 0], [1, 2, 3]])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"POINTS 60", b"POINTS 61", "WIDTH times HEIGHT is not POINTS"),
        (b"WIDTH 60\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 60", b"POINTS 61", "truncated: 61 points of 24 bytes"),
        (b"60", b"6000000000", "cannot hold"),
        (b"60", b"-60", "not a number"),
        (b"SIZE 4 4 4 1", b"SIZE 4 4 4 3", "unknown TYPE U and SIZE 3"),
        (b"SIZE 4", b"SIZE 0", "SIZE that is no small number"),
        (b"COUNT 1 1 1 4 1 1", b"COUNT 1 1 1 4 1", "differ in number"),
        (b"FIELDS x", b"FIELDS a", "no x, y and z"),
        (b"DATA binary", b"DATA brotli", "unknown DATA brotli"),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(tmp_path, old, new, reason):
    path = tmp_path / "a.pcd"
    path.write_bytes(head("binary").replace(old, new) + records().tobytes())
    with pytest.raises(BadSampleError, match=reason):
        read_cloud(str(path))


def test_damaged_compressed_data(tmp_path):
    path, whole = tmp_path / "a.pcd", compressed(records())
    claims = struct.pack("<II", len(whole) - 8, 1 << 30)
    beyond = struct.pack("<II", 1 << 30, 60 * 24)
    back = whole[:8] + b"\xff\xff\xff" + whole[11:]
    for body, reason in ((whole[:6], "truncated"), (claims, "claim"), (beyond, "truncated"), (back, "before them")):
        path.write_bytes(head("binary_compressed") + body + whole[8:])
        if body == whole[:6]:
            path.write_bytes(head("binary_compressed") + body)
        with pytest.raises(BadSampleError, match=reason):
            read_cloud(str(path))


def test_lzf_repeats_what_it_has_just_written():
    assert lzf.decompress(b"\x01ab" + bytes([0x20 | 0, 1]), 5) == b"ababa"
    assert lzf.decompress(b"\x02abc" + bytes([0xE0, 9, 2]), 3 + 18) == b"abc" * 7
    for data in (b"\x05ab", b"\x20", b"\xe0"):
        with pytest.raises(ValueError, match="compressed data"):
            lzf.decompress(data, 9)
