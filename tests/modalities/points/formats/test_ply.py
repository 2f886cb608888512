"""PLY clouds: every layout gives the same points, and what open3d reads of a file is what we read."""

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.formats import ply, with_open3d
from maskkit.modalities.points.reader import read_cloud

RNG = np.random.default_rng(0)
KINDS = {"f4": "float", "f8": "double", "u1": "uchar", "u2": "ushort", "i4": "int"}
UNIT = RNG.normal(size=(40, 3))
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)
COLUMNS = {
    **{name: ("f4", values) for name, values in zip("xyz", RNG.normal(size=(3, 40)), strict=True)},
    **{name: ("f4", values) for name, values in zip(("nx", "ny", "nz"), UNIT.T, strict=True)},
    **{
        name: ("u1", values)
        for name, values in zip(("red", "green", "blue"), RNG.integers(0, 256, (3, 40)), strict=True)
    },
    "intensity": ("f4", RNG.random(40)),
    "label": ("i4", np.arange(40)),
}


def write(path, columns=COLUMNS, order="<", before=b"", elements="", newline="\n"):
    """Write a PLY file; ``order`` is < or > for binary, or empty for ASCII."""
    record = np.zeros(40, dtype=[(name, order + kind) for name, (kind, _) in columns.items()])
    for name, (_, values) in columns.items():
        record[name] = values
    form = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    lines = ["ply", f"format {form} 1.0", "comment element vertex 9", *elements.splitlines(), "element vertex 40"]
    lines += [f"property {KINDS[kind]} {name}" for name, (kind, _) in columns.items()] + ["end_header", ""]
    body = record.tobytes() if order else "\n".join(" ".join(repr(v.item()) for v in row) for row in record).encode()
    path.write_bytes(newline.join(lines).encode() + before + body)
    return str(path)


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_every_layout_gives_the_same_points_and_features(tmp_path, order):
    cloud = read_cloud(write(tmp_path / "a.ply", order=order))
    np.testing.assert_allclose(cloud.xyz, np.stack([COLUMNS[name][1] for name in "xyz"], 1), rtol=1e-6)
    np.testing.assert_allclose(cloud.features["colours"][:, 1], COLUMNS["green"][1] / 255)
    np.testing.assert_allclose(cloud.features["normals"][:, 2], COLUMNS["nz"][1], rtol=1e-6)
    np.testing.assert_allclose(cloud.features["intensity"][:, 0], COLUMNS["intensity"][1], rtol=1e-6)
    assert cloud.features.keys() == {"colours", "normals", "intensity"} and cloud.triangles is None


@pytest.mark.parametrize("order", ["", "<", ">"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_open3d_reads_the_same(tmp_path, order, kind):
    pytest.importorskip("open3d")
    columns = {name: (kind if name in "xyz" else own, values) for name, (own, values) in COLUMNS.items()}
    path = write(tmp_path / "a.ply", columns, order)
    ours, theirs = ply.read(path), with_open3d.read(path)
    asked = read_cloud(path, backend="open3d")
    # open3d parses ASCII numbers as the property's type, as we do.
    for cloud in (theirs, asked):
        np.testing.assert_array_equal(ours.xyz, cloud.xyz)
        assert ours.features.keys() == cloud.features.keys()
        for name, values in ours.features.items():
            np.testing.assert_array_equal(values, cloud.features[name])


def test_doubles_keep_their_digits(tmp_path):
    far = {name: ("f8", values + 5e6) for name, (_, values) in list(COLUMNS.items())[:3]}
    cloud = read_cloud(write(tmp_path / "a.ply", far))
    np.testing.assert_array_equal(cloud.xyz, np.stack([values for _, values in far.values()], 1))


def test_windows_line_ends_and_elements_before_the_vertices(tmp_path):
    expected = read_cloud(write(tmp_path / "a.ply")).xyz
    np.testing.assert_array_equal(read_cloud(write(tmp_path / "b.ply", newline="\r\n")).xyz, expected)
    camera = "element camera 2\nproperty double view_x\nproperty uchar id"
    other = write(tmp_path / "c.ply", elements=camera, before=b"\x07" * 18)
    np.testing.assert_array_equal(read_cloud(other).xyz, expected)
    text = write(tmp_path / "d.ply", order="", elements=camera, before=b"0.5 1\n0.25 2\n")
    np.testing.assert_allclose(read_cloud(text).xyz, expected)


def test_16_bit_colours_run_to_65535(tmp_path):
    columns = dict(list(COLUMNS.items())[:3]) | {name: ("u2", 65535) for name in ("red", "green", "blue")}
    np.testing.assert_array_equal(read_cloud(write(tmp_path / "a.ply", columns)).features["colours"], 1.0)


def test_lists_among_the_vertices_are_open3ds(tmp_path, monkeypatch):
    head = (
        "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
        "property list uchar int near\nend_header\n"
    )
    (tmp_path / "a.ply").write_text(head + "0 0 0 1 7\n1 2 3 2 8 9\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'maskkit\[open3d\]'"):
        read_cloud(str(tmp_path / "a.ply"))
    monkeypatch.undo()
    pytest.importorskip("open3d")
    np.testing.assert_array_equal(read_cloud(str(tmp_path / "a.ply")).xyz, [[0, 0, 0], [1, 2, 3]])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"vertex 40", b"vertex 41", "truncated: 41 elements vertex of 35 bytes"),
        (b"vertex 40", b"vertex 4000000000", "cannot hold"),
        (b"vertex 40", b"vertex 0", "counts no vertices"),
        (b"property float x", b"property floot x", "unknown type floot"),
        (b"property float x", b"property float a", "no x, y and z"),
        (b"binary_little", b"binary_middle", "unknown format binary_middle_endian"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "open3d"])
def test_a_header_that_cannot_be_true_is_refused_before_open3d_sees_it(
    tmp_path, monkeypatch, old, new, reason, backend
):
    monkeypatch.setattr(with_open3d, "import_open3d", lambda: pytest.fail("open3d was handed this header"))
    path = write(tmp_path / "a.ply")
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes().replace(old, new))
    with pytest.raises(BadSampleError, match=reason):
        read_cloud(path, backend)


def test_ascii_that_ends_early_or_holds_words(tmp_path):
    path = tmp_path / "a.ply"
    write(path, order="")
    whole = path.read_bytes()
    for broken in (whole[:-200], whole.replace(b" 39", b" forty"), whole[:-1] + b"\xff"):
        path.write_bytes(broken)
        with pytest.raises(BadSampleError, match="cannot be read"):
            read_cloud(str(path))


@pytest.mark.parametrize("line", ["comment " + "a" * 3000, "obj_info" + " b" * 2000, "property float " + "c" * 1100])
def test_long_lines_of_a_header_are_not_given_to_open3d(tmp_path, line):
    """Its parser would end the process."""
    pytest.importorskip("open3d")
    head = f"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n{line}\n"
    rows = "1 2 3 0\n4 5 6 0\n" if line.startswith("prop") else "1 2 3\n4 5 6\n"
    (tmp_path / "a.ply").write_text(f"{head}end_header\n{rows}")
    assert read_cloud(str(tmp_path / "a.ply"), backend="open3d").xyz.tolist() == [[1, 2, 3], [4, 5, 6]]
    (tmp_path / "b.ply").write_text(f"{head}property list uchar int some\nend_header\n{rows}")
    with pytest.raises(BadSampleError, match="a line of its header has .* characters, too many for open3d"):
        read_cloud(str(tmp_path / "b.ply"))
