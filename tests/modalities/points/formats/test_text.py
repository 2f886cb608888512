"""Text: headers, separators, names of columns."""

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.reader import read_cloud

XYZ = np.random.default_rng(0).normal(size=(20, 3)).round(4)
UNIT = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
BYTES = np.random.default_rng(1).integers(0, 256, size=(20, 3))


def read(tmp_path, head, table, separator=" ", suffix=".txt", tail=""):
    lines = [separator.join(f"{value:.6g}" for value in row) + tail for row in table]
    (tmp_path / f"a{suffix}").write_text(head + "\n".join(lines) + "\n")
    return read_cloud(str(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("suffix", [".txt", ".xyz", ".asc", ".pts"])
@pytest.mark.parametrize("separator", [" ", ",", ";", "\t", ", "])
@pytest.mark.parametrize("head", ["", "20\n", "//X Y Z\n20\n", "x,y,z\n", "# made by hand\n\n", "Scan of May\n\n\n"])
def test_lines_before_the_points_are_left_out(tmp_path, head, separator, suffix):
    np.testing.assert_allclose(read(tmp_path, head, XYZ, separator, suffix).xyz, XYZ, atol=1e-6)


def test_modelnet40_has_normals_after_commas(tmp_path):
    cloud = read(tmp_path, "", np.concatenate([XYZ, UNIT], axis=1), ",")
    np.testing.assert_allclose(cloud.features["normals"], UNIT, atol=1e-5)


@pytest.mark.parametrize("tail", ["", ",", " "])
def test_names_of_columns_say_what_they_are(tmp_path, tail):
    table = np.concatenate([BYTES, XYZ[:, [2, 1, 0]], np.arange(20)[:, None]], axis=1)
    head = "//R,G,B,Z,Y,X,Scalar_field\n" if tail == "," else "// R G B Z Y X Scalar_field\n"
    cloud = read(tmp_path, head, table, "," if tail == "," else " ", tail=tail)
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=1e-6)
    np.testing.assert_allclose(cloud.features["colours"], BYTES / 255, atol=1e-6)
    named = read(tmp_path, "x y z Intensity nx ny nz\n", np.concatenate([XYZ, XYZ[:, :1], UNIT], axis=1))
    np.testing.assert_allclose(named.features["intensity"], XYZ[:, :1], atol=1e-6)
    np.testing.assert_allclose(named.features["normals"], UNIT, atol=1e-5)


def test_a_byte_order_mark_is_no_number(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"\xef\xbb\xbf" + b"0 0 0\n1 2 3\n")
    assert read_cloud(str(tmp_path / "a.xyz")).xyz.tolist() == [[0, 0, 0], [1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a list of words\n", "no point in its first"), ("1 2 3\n1 2\n", "column"), ("1 2\n3 4\n", "no point")],
)
def test_text_without_points_is_named(tmp_path, text, reason):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(BadSampleError, match=reason) as error:
        read_cloud(str(tmp_path / "a.txt"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("separator", [";", "\t", " ", "; "])
@pytest.mark.parametrize("head", ["", "X;Y;Z\n"])
def test_a_comma_may_stand_before_decimals(tmp_path, head, separator):
    rows = [separator.join(str(value).replace(".", ",") for value in row) for row in XYZ.tolist()]
    (tmp_path / "a.txt").write_text(head + "\n".join(rows))
    np.testing.assert_allclose(read_cloud(str(tmp_path / "a.txt")).xyz, XYZ, atol=1e-6)


@pytest.mark.parametrize("between", ["x y z\n20\n", "// second scan\n", "20\n"])
def test_scans_may_be_joined(tmp_path, between):
    rows = "".join(f"{x} {y} {z}\n" for x, y, z in XYZ.tolist())
    (tmp_path / "a.pts").write_text(f"x y z\n20\n{rows}{between}{rows}")
    np.testing.assert_allclose(read_cloud(str(tmp_path / "a.pts")).xyz, np.concatenate([XYZ, XYZ]), atol=1e-6)
