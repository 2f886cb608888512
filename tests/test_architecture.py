"""The house keeps its walls: who imports whom, what an import costs, what a wheel holds."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ["av", "decord", "torchcodec", "open3d", "torchaudio", "soundfile", "transformers", "sklearn", "matplotlib"]


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("file", files("maskkit"), ids=lambda f: str(f.relative_to(ROOT)))
def test_the_core_knows_no_modality(file):
    names = imports(file)
    assert not {name for name in names if name.startswith(("maskkit.modalities", "modalities", "recipes", "examples"))}


def test_modalities_do_not_import_each_other_or_recipes():
    for file in files("modalities"):
        own = file.relative_to(ROOT / "modalities").parts[0]
        for name in imports(file):
            if name.startswith("maskkit.modalities."):
                assert name.split(".")[2] == own, f"{file} imports {name}"
            assert not name.startswith(("recipes", "modalities"))


def test_only_the_model_knows_all_six_parts():
    parts = {f"maskkit.{name}" for name in ("tokenizers", "maskers", "encoder", "decoder", "targets", "losses")}
    users = {file.name for file in files("maskkit") if len(parts & imports(file)) == 6}
    assert users <= {"model.py"}


def test_only_sharding_and_state_know_of_other_processes():
    for file in files("maskkit"):
        if any(name.startswith("torch.distributed") for name in imports(file)):
            assert file.relative_to(ROOT / "maskkit").as_posix() in ("engine/distributed.py", "engine/checkpoints.py")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return set(json.loads(result.stdout))


def test_importing_maskkit_loads_no_modality_and_nothing_heavy():
    everything = "import maskkit\nfor name in maskkit.__all__: getattr(maskkit, name)"
    loaded = loaded_by(everything)
    assert "torch" in loaded
    assert not loaded & set(HEAVY)
    assert not {name for name in loaded if name.startswith("maskkit.modalities")}
    assert "torch" not in loaded_by("import maskkit")


def test_the_bare_name_of_the_folder_is_refused():
    result = subprocess.run(
        [sys.executable, "-c", "import modalities"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 1 and "import maskkit.modalities, not modalities" in result.stderr


@pytest.mark.slow
def test_every_module_of_the_wheel_imports(tmp_path):
    """Built from a clean copy, put in front of the path, in a process that cannot see the source tree."""
    copy = tmp_path / "copy"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run(build, check=True, cwd=copy)
    (wheel,) = tmp_path.glob("maskkit-*.whl")
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(place)
        names = opened.namelist()
    assert "maskkit/py.typed" in names
    assert not any(name.startswith(("modalities", "tests", "recipes")) for name in names)
    modules = [name[:-3].replace("/", ".").removesuffix(".__init__") for name in names if name.endswith(".py")]
    source = {
        f"maskkit.{f.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}" for f in files("modalities")
    }
    assert {name.removesuffix(".__init__") for name in source} <= set(modules)
    code = (
        f"import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        f"sys.path.insert(0, {str(place)!r})\nimport importlib\n"
        f"for name in {modules!r}:\n    module = importlib.import_module(name)\n"
        f"    assert module.__file__.startswith({str(place)!r}), module.__file__\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
