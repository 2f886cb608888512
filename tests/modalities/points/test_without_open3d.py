"""Point clouds need no open3d: a process in which it cannot be imported reads, trains and is told what is missing."""

import subprocess
import sys

CODE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("open3d", "libusb_package"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("open3d", "libusb_package") else found(name, *rest)
from maskkit.cli import main
from maskkit.modalities import points
from maskkit.modalities.points.reader import read_cloud
folder, run = sys.argv[1:]
assert len(read_cloud(folder + "/a.ply").xyz) == len(read_cloud(folder + "/b.pcd").xyz) == 50
try:
    read_cloud(folder + "/a.ply", backend="open3d")
except ImportError as error:
    assert "pip install 'maskkit[open3d]'" in str(error)
else:
    raise AssertionError("open3d was not blocked")
(missing,) = [finding for finding in points.findings() if finding[0] == "open3d"]
assert missing[1] is False and missing[3] == "pip install 'maskkit[open3d]'", missing
words = ["--num-points", "32", "--preset", "point-mae-tiny", "--steps", "1", "--workers", "0"]
code = main(["pretrain", "points", "--data", folder, "--out", run, *words])
assert "open3d" not in sys.modules
sys.exit(code)
"""


def test_points_work_without_open3d(tmp_path, write_cloud):
    (tmp_path / "clouds").mkdir()
    for name in ("a.ply", "b.pcd"):
        write_cloud(tmp_path / "clouds" / name)
    words = [sys.executable, "-c", CODE, str(tmp_path / "clouds"), str(tmp_path / "run")]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "run" / "model.safetensors").is_file()
