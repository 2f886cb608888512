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


# The rooms of the core from the bottom up: a module imports from its own layer and from those above it in this list.
LAYERS = (
    (
        *("maskkit.seeds", "maskkit.progress", "maskkit.files", "maskkit.hints", "maskkit.parts", "maskkit.cached"),
        *("maskkit.ranges", "maskkit.batches", "maskkit.types", "maskkit.printing"),
    ),
    ("maskkit.kernels",),
    ("maskkit.step",),
    (
        *("maskkit.tokenizers", "maskkit.positions", "maskkit.maskers", "maskkit.layers", "maskkit.windows"),
        *("maskkit.encoder", "maskkit.decoder", "maskkit.targets", "maskkit.losses"),
    ),
    ("maskkit.terms", "maskkit.spans"),
    ("maskkit.model",),
    ("maskkit.teachers", "maskkit.optim"),
    ("maskkit.data",),
    ("maskkit.modality",),
    ("maskkit.methods",),
    ("maskkit.weights",),
    ("maskkit.engine",),
    ("maskkit.drawing",),
    ("maskkit.evaluate",),
    ("maskkit.bench", "maskkit.testing", "maskkit.doctor"),
    ("maskkit.commands",),
    ("maskkit.cli",),
)
SOURCES = ("maskkit", "modalities", "recipes", "examples")
PARTS = ("tokenizers", "maskers", "encoder", "decoder", "targets", "losses")
LONGEST_FILE, LONGEST_FUNCTION = 350, 60
# The training loop is one function, read from top to bottom.
LONGER = {"maskkit/engine/loop.py:loop": 90}
# What was too long when these limits were set. Take out what is mended; put nothing in.
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()


def imports(file: Path) -> set[str]:
    """Return all names that a file imports, at its top and inside functions, and modules that its strings name.

    What is imported for type checkers alone is left out, since nothing runs.
    """
    found = set()
    tree = ast.parse(file.read_text())
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found |= {name} if name in MODULES else {name, node.module}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} & set(MODULES) - {"maskkit", "maskkit.modalities"}  # words with other uses
    return found


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def module_of(file: Path) -> str:
    name = file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    return f"maskkit.{name}" if name.startswith("modalities") else name


MODULES = {module_of(file): file for folder in ("maskkit", "modalities") for file in files(folder)}


def graph() -> dict[str, set[str]]:
    """Return which modules of the core each one imports; importing a name from a package means the module so called."""
    core = {name: file for name, file in MODULES.items() if not name.startswith("maskkit.modalities")}
    edges = {}
    for name, file in core.items():
        edges[name] = imports(file) & set(core) - {name}
    return edges


def layer(name: str) -> int:
    """Return how high a module stands."""
    for number, rooms in enumerate(LAYERS):
        if any(name == room or name.startswith(f"{room}.") for room in rooms):
            return number
    raise AssertionError(f"{name} stands in no layer; say in LAYERS where")


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle, or nothing."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(edges.get(name, ())):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in edges if (found := walk(name, []))), [])


@pytest.mark.parametrize("file", files("maskkit"), ids=lambda f: str(f.relative_to(ROOT)))
def test_the_core_knows_no_modality(file):
    names = imports(file)
    assert not {name for name in names if name.startswith(("maskkit.modalities", "modalities", "recipes", "examples"))}
    strings = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    strings += [ast.unparse(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.JoinedStr)]
    named = [text for text in strings if isinstance(text, str) and "maskkit.modalities." in text]
    assert not named, f"{file} names a modality, or makes its name"


def test_imports_run_in_no_circle():
    assert not circle(graph())
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_no_import_runs_upward():
    upward = {
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if name != "maskkit" and other != "maskkit" and layer(other) > layer(name)
    }
    assert not upward


def too_long() -> tuple[set[str], set[str]]:
    """Return files and functions of the sources that are over the limits."""
    long_files, long_functions = set(), set()
    for file in [file for folder in SOURCES for file in files(folder)]:
        name, text = file.relative_to(ROOT).as_posix(), file.read_text()
        if len(text.splitlines()) > LONGEST_FILE:
            long_files.add(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                most = LONGER.get(f"{name}:{node.name}", LONGEST_FUNCTION)
                if (node.end_lineno or 0) - node.lineno + 1 > most:
                    long_functions.add(f"{name}:{node.name}")
    return long_files, long_functions


def test_files_and_functions_are_short():
    long_files, long_functions = too_long()
    assert long_files <= LONG_FILES and long_functions <= LONG_FUNCTIONS


def test_the_lists_of_what_is_too_long_only_shrink():
    long_files, long_functions = too_long()
    assert long_files >= LONG_FILES and long_functions >= LONG_FUNCTIONS, "take out what has been mended"


def test_modalities_do_not_import_each_other_or_recipes():
    for file in files("modalities"):
        own = file.relative_to(ROOT / "modalities").parts[0]
        for name in imports(file):
            if name.startswith("maskkit.modalities."):
                assert name.split(".")[2] == own, f"{file} imports {name}"
            assert not name.startswith(("recipes", "modalities"))


def test_only_the_model_knows_all_six_parts():
    """A file that knows five of them is on its way to being a second model."""
    parts = {f"maskkit.{name}" for name in PARTS}
    known = {file.relative_to(ROOT).as_posix(): len(parts & imports(file)) for file in files("maskkit")}
    assert {name for name, count in known.items() if count >= 5} <= {"maskkit/model.py"}


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
