"""What pyproject.toml asks for: bounds, extras, the platforms that get decord; and the core imports nothing else."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from maskkit.doctor import REQUIRED

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
PLATFORMS = {
    "Linux x86_64": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux aarch64": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "macOS arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "platform_machine": "AMD64"},
}
# Where a module has another name than its distribution.
MODULES = {"PIL": "pillow", "sklearn": "scikit-learn"}


def wanted(extra, platform="Linux x86_64"):
    """Return the names that an extra installs on a platform, those of the extras that it includes, too."""
    names = set()
    for requirement in EXTRAS[extra]:
        if requirement.marker and not requirement.marker.evaluate(PLATFORMS[platform]):
            continue
        included = requirement.extras if requirement.name == "maskkit" else ()
        names |= {requirement.name}.union(*(wanted(name, platform) for name in included))
    return names - {"maskkit"}


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("Linux x86_64", True), ("Windows", True), ("Linux aarch64", False), ("macOS arm64", False)],
)
def test_decord_is_asked_for_where_it_has_a_wheel(platform, expected):
    for extra in ("video", "all", "test"):
        assert ("decord" in wanted(extra, platform)) is expected
        assert "av" in wanted(extra, platform)


def test_the_upper_bound_of_torch_is_torchaudios_alone():
    bounded = [name for name, group in {"": CORE, **EXTRAS}.items() for r in group if _upper(r) and r.name == "torch"]
    assert bounded == ["audio"]
    assert [r.name for r in CORE if _upper(r)] == []


def _upper(requirement):
    return any(clause.operator in ("<", "<=", "==", "~=") for clause in requirement.specifier)


def test_open3d_is_an_extra_of_its_own_and_is_tested():
    assert "open3d" not in wanted("points") and "open3d" in wanted("open3d")
    for extra in ("all", "test"):
        assert {"open3d", "decord", "torchaudio", "trimesh", "laspy", "soundfile", "av"} <= wanted(extra)


def test_what_modules_import_at_once_is_in_the_core():
    """Packages of extras are imported inside functions, so that a modality without its extra still loads."""
    core = {canonicalize_name(requirement.name) for requirement in CORE}
    for file in [*(ROOT / "maskkit").rglob("*.py"), *(ROOT / "modalities").rglob("*.py")]:
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in {name.split(".")[0] for name in names} - {"maskkit", "triton"} - sys.stdlib_module_names:
                assert canonicalize_name(MODULES.get(name, name)) in core, f"{file} imports {name}"


def test_doctor_looks_at_the_core():
    core = {canonicalize_name(requirement.name) for requirement in CORE}
    assert {MODULES.get(name, name) for name in REQUIRED} <= core


def test_the_lowest_versions_are_those_of_the_bounds():
    command = [sys.executable, str(ROOT / ".ci" / "lowest.py")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    pins = dict(line.split("==") for line in lines)
    for requirement in [*CORE, *EXTRAS["points"], *EXTRAS["open3d"], *EXTRAS["audio"]]:
        assert requirement.specifier.contains(Version(pins[requirement.name])), requirement
    assert all(Version(pins[r.name]) == min(Version(c.version) for c in r.specifier) for r in CORE)
