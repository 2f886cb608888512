"""Raw float32 records of KITTI and nuScenes."""

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.reader import read_cloud

TABLE = np.random.default_rng(0).normal(size=(60, 5)).astype("<f4")


@pytest.mark.parametrize(("name", "columns"), [("000000.bin", 4), ("LIDAR_TOP.pcd.bin", 5)])
def test_records_of_float32(tmp_path, name, columns):
    TABLE[:, :columns].tofile(tmp_path / name)
    cloud = read_cloud(str(tmp_path / name))
    np.testing.assert_array_equal(cloud.xyz, TABLE[:, :3].astype(np.float64))
    np.testing.assert_array_equal(cloud.features["intensity"], TABLE[:, 3:4].astype(np.float64))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\x00" * 17, "not whole records"), (np.full(400, 1e30, "<f4").tobytes(), "beyond 100 km"), (b"", "empty")],
)
def test_other_files_are_named(tmp_path, content, reason):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(BadSampleError, match=reason):
        read_cloud(str(tmp_path / "a.bin"))


def test_five_numbers_are_told_by_intensities_that_are_not_negative(tmp_path):
    rng = np.random.default_rng(0)
    scan = np.concatenate([rng.normal(size=(40, 3)), rng.random((40, 1)), np.arange(40)[:, None] % 32], axis=1)
    scan.astype("<f4").tofile(tmp_path / "a.bin")
    cloud = read_cloud(str(tmp_path / "a.bin"))
    np.testing.assert_allclose(cloud.xyz, scan[:, :3], atol=1e-6)
    np.testing.assert_allclose(cloud.features["intensity"], scan[:, 3:4], atol=1e-6)
