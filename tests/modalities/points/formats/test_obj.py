"""OBJ: indices, fans, colours, comments, and files without faces."""

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.reader import read_cloud


def read(tmp_path, text):
    (tmp_path / "a.obj").write_text(text)
    return read_cloud(str(tmp_path / "a.obj"))


def test_negative_indices_count_from_their_own_line(tmp_path):
    """Mikedh/trimesh#2364: counted from the end of the file, all six triangles are the last one."""
    text = "".join(f"v {x} 0 0\nv {x} 1 0\nv {x + 1} 0 1\nf -3 -2 -1\n" for x in range(0, 60, 10))
    cloud = read(tmp_path, text)
    np.testing.assert_allclose(cloud.xyz[cloud.triangles].mean(axis=1)[:, 0], np.arange(0, 60, 10) + 1 / 3)


def test_polygons_are_fans_whatever_their_corners_name(tmp_path):
    corners = "v 0 0 0\nv 1 0 0 # a comment\nv 1 1 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\n"
    for face in ("f 1 2 3 4", "f 1/1 2/1 3/1 4/1", "f 1//1 2//1 3//1 4//1", "f 1/1/1 2/1/1 \\\n 3/1/1 -1/1/1"):
        assert read(tmp_path, f"{corners}{face}\n").triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_colours_of_vertices(tmp_path):
    cloud = read(tmp_path, "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 0.5\nf 1 2 3\n")
    assert cloud.features["colours"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0.5]]
    weighted = read(tmp_path, "v 0 0 0 1\nv 1 0 0 1\nv 0 1 0 1\nf 1 2 3\n")
    assert not weighted.features


def test_vertices_without_faces_are_a_cloud(tmp_path):
    cloud = read(tmp_path, "v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    assert cloud.xyz.shape == (3, 3) and not cloud.is_mesh


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "names a point that is not there"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -9 2 3\n", "names a point that is not there"),
        ("v 0 0 0\nv 1 0 0\nf 0 1 2\n", "counted from 1"),
        ("v 0 0 0\nv 1 0\n", "fewer than three"),
        ("v 0 0 x\n", "could not convert"),
    ],
)
def test_broken_files_are_named(tmp_path, text, reason):
    with pytest.raises(BadSampleError, match=reason):
        read(tmp_path, text)


@pytest.mark.parametrize("mark", ["\ufeff", "# a\u2028v 9 9 9\x0cv 9 9 9\n"])
def test_marks_and_odd_breaks_of_lines_neither_add_nor_hide_a_vertex(tmp_path, mark):
    (tmp_path / "a.obj").write_text(mark + "v 0 0 0\nv 1 0 0\nv 0 1 0\nfo 1 2 3\n", encoding="utf-8")
    cloud = read_cloud(str(tmp_path / "a.obj"))
    assert cloud.xyz.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]] and cloud.triangles.tolist() == [[0, 1, 2]]


def test_a_cloud_has_normals_and_colours_after_a_weight(tmp_path):
    (tmp_path / "a.obj").write_text("vn 0 0 1\nv 0 0 0 1 1 0 0\nvn 0 1 0\nv 1 0 0 1 0 1 0\n")
    features = read_cloud(str(tmp_path / "a.obj")).features
    assert features["normals"].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert features["colours"].tolist() == [[1, 0, 0], [0, 1, 0]]
