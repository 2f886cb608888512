"""Names of columns, whatever program wrote them: all readers know the same."""

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.reader import read_cloud

XYZ = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
NORMALS = (XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)).astype(np.float32)
BYTES = np.random.default_rng(1).integers(0, 256, size=(20, 3)).astype(np.uint8)
BYTES[0] = 255
LEVEL = np.linspace(0, 3, 20, dtype=np.float32)
WIDE = BYTES.astype(np.uint16) * 257
NAMES = [  # of coordinates, normals, colours and intensity, and the type of colours
    ("x y z nx ny nz red green blue intensity", BYTES),
    ("X Y Z Normal_X Normal_Y Normal_Z R G B Intensity", WIDE),
    ("x y z normal_x normal_y normal_z diffuse_red diffuse_green diffuse_blue scalar_Intensity", BYTES),
    ("x y z nx ny nz r g b reflectance", WIDE),
]


def table(names, colours):
    kinds = ["<f4"] * 6 + [colours.dtype.str] * 3 + ["<f4"]
    records = np.zeros(20, dtype=list(zip(names.split(), kinds, strict=True)))
    for place, values in enumerate([*XYZ.T, *NORMALS.T, *colours.T, LEVEL]):
        records[records.dtype.names[place]] = values
    return records


def ply(path, records, faces=b""):
    kinds = {"<f4": "float", "|u1": "uchar", "<u2": "ushort"}
    head = "".join(f"property {kinds[records.dtype[name].str]} {name}\n" for name in records.dtype.names)
    head += "element face 1\nproperty list uchar int vertex_indices\n" if faces else ""
    # The end of a header is a line of its own, and may have a blank after it.
    head = f"ply\nformat binary_little_endian 1.0\ncomment end_header is below\nelement vertex 20\n{head}end_header \n"
    path.write_bytes(head.encode() + records.tobytes() + faces)


def mesh(path, records):
    ply(path, records, b"\3" + np.arange(3, dtype="<i4").tobytes())


def pcd(path, records):
    kinds = [records.dtype[name] for name in records.dtype.names]
    lines = [f"COLUMNS {' '.join(records.dtype.names)}", f"SIZE {' '.join(str(kind.itemsize) for kind in kinds)}"]
    lines += [f"TYPE {' '.join(kind.kind for kind in kinds)}", "POINTS 20", "DATA binary\n"]
    path.write_bytes("\n".join(lines).encode() + records.tobytes())


def text(path, records):
    rows = [";".join(str(value).replace(".", ",") for value in row) for row in records.tolist()]
    path.write_text("\r\n".join([";".join(records.dtype.names), *rows]), encoding="utf-16")


WRITERS = {"a.ply": ply, "mesh.ply": mesh, "a.pcd": pcd, "a.txt": text, "a.npy": np.save}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("names", "colours"), NAMES)
def test_every_reader_knows_the_names(tmp_path, name, names, colours):
    WRITERS[name](tmp_path / name, table(names, colours))
    cloud = read_cloud(str(tmp_path / name))
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=1e-6)
    np.testing.assert_allclose(cloud.features["normals"], NORMALS, atol=1e-6)
    np.testing.assert_allclose(cloud.features["colours"], BYTES / 255, atol=1e-6)
    np.testing.assert_allclose(cloud.features["intensity"], LEVEL[:, None], atol=1e-6)


def test_features_of_an_npz_stand_in_arrays_of_their_own(tmp_path):
    np.savez(tmp_path / "a.npz", points=XYZ, Colors=BYTES, normals=NORMALS, intensity=LEVEL)
    features = read_cloud(str(tmp_path / "a.npz")).features
    np.testing.assert_allclose(features["colours"], BYTES / 255)
    np.testing.assert_allclose(features["normals"], NORMALS)
    np.testing.assert_allclose(features["intensity"], LEVEL[:, None])


def test_of_two_columns_of_one_name_the_first_counts(tmp_path):
    body = np.concatenate([XYZ, XYZ[:, :1] + 9], axis=1).tobytes()
    (tmp_path / "a.pcd").write_bytes(b"FIELDS x y z x\nSIZE 4 4 4 4\nTYPE F F F F\nPOINTS 20\nDATA binary\n" + body)
    names = "".join(f"property float {name}\n" for name in "xyzx")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex 20\n{names}end_header\n"
    (tmp_path / "a.ply").write_bytes(head.encode() + body)
    for name in ("a.pcd", "a.ply"):
        np.testing.assert_allclose(read_cloud(str(tmp_path / name)).xyz, XYZ, atol=1e-6)


def test_numbers_that_windows_writes_for_nan_leave_their_points_out(tmp_path):
    rows = "0 0 0\n-nan(ind) nan -nan(ind)\n1 2 3\n1.#QNAN 1.#QNAN 1.#QNAN\n"
    (tmp_path / "a.txt").write_text(rows)
    (tmp_path / "a.pcd").write_text("FIELDS x y z\nPOINTS 4\nDATA ascii\n" + rows)
    for name in ("a.txt", "a.pcd"):
        assert read_cloud(str(tmp_path / name)).xyz.tolist() == [[0, 0, 0], [1, 2, 3]]


def test_an_array_with_a_column_for_each_point_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", XYZ.T)
    with pytest.raises(BadSampleError, match="transpose it"):
        read_cloud(str(tmp_path / "a.npy"))
