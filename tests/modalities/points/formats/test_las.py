"""LAZ without its backends: a process that can import neither lazrs nor laszip."""

import subprocess
import sys

import pytest

CODE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("lazrs", "laszip"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
from maskkit.modalities.points.formats import las
assert len(las.read(sys.argv[1]).xyz) == 50
las.read(sys.argv[2])
"""


def test_laz_without_a_backend_names_what_unpacks_it(tmp_path, write_cloud):
    pytest.importorskip("lazrs")  # writes the file
    paths = [write_cloud(tmp_path / name) for name in ("a.las", "b.laz")]
    done = subprocess.run([sys.executable, "-c", CODE, *paths], capture_output=True, text=True, check=False)
    wanted = "b.laz: LAZ files are unpacked by lazrs; pip install 'laspy[lazrs]' or 'maskkit[points]'"
    assert done.stderr.strip().endswith(wanted)


def test_packed_points_under_another_suffix_name_it_too(tmp_path, write_cloud):
    """The header tells that points are packed, whatever the suffix."""
    pytest.importorskip("lazrs")
    packed = tmp_path / "a.laz"
    write_cloud(packed)
    renamed = packed.rename(tmp_path / "b.las")
    plain = write_cloud(tmp_path / "a.las")
    done = subprocess.run([sys.executable, "-c", CODE, plain, renamed], capture_output=True, text=True, check=False)
    assert "b.las: LAZ files are unpacked by lazrs" in done.stderr.strip().splitlines()[-1]
