"""OFF: prefixes of its first line, polygons, and files that were cut off."""

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.reader import read_cloud

XYZ = np.random.default_rng(0).normal(size=(6, 3)).round(4)
FACES = "5 0 1 2 3 4 255 0 0\n3 0 1 2\n4 2 3 4 5 0.5 0.5 0.5\n"
FAN = [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 1, 2], [2, 3, 4], [2, 4, 5]]


def rows(*columns):
    return "\n".join(" ".join(map(str, row)) for row in np.concatenate(columns, axis=1).tolist()) + "\n"


@pytest.mark.parametrize("head", ["OFF\n6 3 0\n", "OFF 6 3 0\n", "OFF6 3 0\n", "OFF # by hand\n\n# counts\n6 3\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", " # a point\n"])
def test_polygons_of_any_size_are_fans(tmp_path, head, end):
    (tmp_path / "a.off").write_bytes((head + (rows(XYZ) + FACES).replace("\n", end)).encode())
    cloud = read_cloud(str(tmp_path / "a.off"))
    np.testing.assert_allclose(cloud.xyz, XYZ)
    assert cloud.triangles.tolist() == FAN


@pytest.mark.parametrize("colours", [np.arange(18).reshape(6, 3) * 15, np.arange(18).reshape(6, 3) / 17])
def test_colours_and_normals_of_vertices(tmp_path, colours):
    (tmp_path / "a.off").write_text("CNOFF\n6 0 0\n" + rows(XYZ, XYZ, colours, np.ones((6, 1))))
    features = read_cloud(str(tmp_path / "a.off")).features
    np.testing.assert_allclose(features["normals"], XYZ)
    np.testing.assert_allclose(features["colours"], colours / (255 if colours.max() > 1 else 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("OFF\n6 3 0\n" + rows(XYZ) + FACES[:20], "7 lines for 6 vertices and 3 faces"),
        ("OFF\n6 1 0\n" + rows(XYZ) + "3 0 1\n", "a face of 3 corners names 2"),
        ("COFF\n6 0 0\n" + rows(XYZ), "fewer numbers"),
        ("OFF BINARY\n\0\0\0", "binary OFF"),
        ("COF\n", "does not begin with OFF"),
        ("OFF\n0 0 0\n", "no vertices"),
    ],
)
def test_what_is_broken_is_named(tmp_path, text, reason):
    (tmp_path / "a.off").write_text(text)
    with pytest.raises(BadSampleError, match=reason):
        read_cloud(str(tmp_path / "a.off"))
