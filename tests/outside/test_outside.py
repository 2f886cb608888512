"""A package of its own beside maskkit: a modality, a method, a masker and a target, found by entry points."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).parent / "package"
HOME = "outside_maskkit"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as pip installs it, in a folder of its own: nothing of it is in the test's environment."""
    copy, folder = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, copy)
    words = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "--target", str(folder), str(copy)]
    subprocess.run([sys.executable, "-m", "pip", "install", *words], check=True)
    return folder


@pytest.fixture(scope="module")
def python(installed, tmp_path_factory):
    """Runs code in a new process, in an empty folder, with the package installed."""
    here = tmp_path_factory.mktemp("work")
    paths = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))

    def run(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": paths}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=here, check=False)

    run.folder = here
    return run


COMMANDS = """
import json, sys
from maskkit.cli import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    if code:
        sys.exit(code)
"""


@pytest.fixture(scope="module")
def maskkit(python):
    """Runs commands one after the other in a new process; all of them have to succeed unless ``check`` is False."""

    def run(*commands, check=True):
        done = python(COMMANDS, json.dumps([[str(word) for word in words] for words in commands]))
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def data(python):
    rng = np.random.default_rng(0)
    for number in range(40):
        file = python.folder / "signals" / "ab"[number % 2] / f"{number}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        time = np.linspace(0, 6.28, 150)
        np.save(file, np.sin(time * rng.uniform(1, 5) + rng.uniform(0, 6)))
    (python.folder / "signals" / "a" / "broken.npy").write_bytes(b"no array")
    np.savez(python.folder / "pictures.npz", images=rng.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8))
    return python.folder


@pytest.fixture(scope="module")
def runs(maskkit, data):
    """Runs of the outside modality with maskkit's method, and of a modality of maskkit's with the outside method."""
    flags = ["--steps", 2, "--batch", 4, "--workers", 0]
    signal = ["pretrain", "signal", "--data", "signals", "--max-bad", 0.5, *flags]
    maskkit(
        [*signal, "--out", "simmim", "--size", "tiny"],
        [*signal, "--out", "outside", "--method", "outside-method", "--dim", 16],
        ["pretrain", "image", "--data", "pictures.npz", "--out", "image", "--method", "outside-method", *flags],
    )
    return data


def test_each_part_costs_one_file_and_the_modality_is_short():
    folder = PACKAGE / HOME
    for name in ("masker", "target", "method", "signal"):
        text = (folder / f"{name}.py").read_text()
        assert len(text.splitlines()) < 75
        others = {"masker", "target", "method", "signal"} - {name}
        imported = {other for other in others if f"{HOME}.{other} import" in text}
        assert imported <= {"target", "method"}, "masker and target need no other file of the package"
    assert not [
        file for file in folder.glob("*.py") if file.stem not in ("__init__", "masker", "target", "method", "signal")
    ]


@pytest.mark.slow
def test_everything_is_found_by_name_and_keeps_the_laws(python):
    code = """
import json, maskkit.maskers
from maskkit.methods import methods_of
from maskkit.modality import find_modality
from maskkit.parts import describe, find
from maskkit.testing import check_masker, check_modality
masker = maskkit.maskers.make("outside-masker", ratio=0.25)
signal = find_modality("signal")
check_modality(signal)
check_masker(masker, signal.tiny().tokenizer(signal.sample(4)))
for method in methods_of(signal).values():
    assert method().build().tokenizer.input_size == (128,)
try:
    maskkit.maskers.make("outside-masker", ration=1)
except ValueError as error:
    refusal = str(error)
print(json.dumps([
    maskkit.maskers.NAMES[-1], describe(masker), find("outside_maskkit.target:Mean").__name__,
    [*methods_of(signal)], refusal,
]))
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    name, masker, target, methods, refusal = json.loads(done.stdout)
    assert name == "outside-masker" and masker == {"part": f"{HOME}.masker:Stretch", "ratio": 0.25}
    assert target == "Mean" and methods == ["simmim", "outside-method"]
    assert refusal.startswith("masker 'outside-masker': ") and "ration" in refusal


def test_the_table_of_methods_has_both(maskkit):
    done = maskkit(["methods", "signal", "--json"], ["methods", "--json"]).stdout
    of_signal, end = json.JSONDecoder().raw_decode(done)
    table = json.loads(done[end:])
    assert of_signal == [{"method": name, "modalities": ["signal"]} for name in ("simmim", "outside-method")]
    assert {"method": "outside-method", "modalities": ["audio", "image", "points", "signal", "video"]} in table


def parts_of(description):
    """Return the names of all parts in a description."""
    if isinstance(description, list):
        return {name for each in description for name in parts_of(each)}
    if not isinstance(description, dict):
        return set()
    inside = {name for each in description.values() for name in parts_of(each)}
    return inside | ({description["part"]} if "part" in description else set())


@pytest.mark.slow
def test_runs_name_their_parts_with_their_modules(runs):
    for name, modality, method in (
        ("simmim", "signal", "simmim"),
        ("outside", "signal", "outside-method"),
        ("image", "image", "outside-method"),
    ):
        record = json.loads((runs / name / "config.json").read_text())
        assert (record["modality"], record["method"]) == (modality, method)
        parts = {part for part in parts_of(record["model_parts"]) if ":" in part}
        assert parts == (set() if method == "simmim" else {f"{HOME}.masker:Stretch", f"{HOME}.target:Mean"})


@pytest.mark.slow
@pytest.mark.parametrize(("run", "where"), [("outside", "signals"), ("image", "pictures.npz")])
def test_a_run_is_used_and_goes_on_in_new_processes(maskkit, runs, run, where):
    done = maskkit(
        ["embed", run, "--data", where, "--out", f"{run}.npz", "--workers", 0],
        ["reconstruct", run, where, "--out", f"{run}.png", "--limit", 2],
        ["export", run, "--out", f"{run}.safetensors"],
    )
    assert "1 left out" in done.stdout or run == "image"
    found = np.load(runs / f"{run}.npz")
    assert found["features"].shape == (40, 16 if run == "outside" else 32)
    assert sorted(set(found["labels"])) == (["a", "b"] if run == "outside" else [""])
    assert (runs / f"{run}.png").stat().st_size > 1000 and (runs / f"{run}.safetensors").exists()
    modality = "signal" if run == "outside" else "image"
    before = (runs / run / "model.safetensors").read_bytes()
    maskkit(["pretrain", modality, "--data", where, "--out", run, "--resume", "--steps", 4])
    steps = [json.loads(line)["step"] for line in (runs / run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4] and (runs / run / "model.safetensors").read_bytes() != before


OPEN = """
import sys
from maskkit import weights
assert not [name for name in sys.modules if name.startswith("outside")]
for name in sys.argv[1:]:
    model = weights.open_model(name)
    print(type(model.masker).__module__, type(model.target).__module__)
"""


@pytest.mark.slow
def test_a_model_file_opens_without_importing_the_package_first(python, runs):
    done = python(OPEN, "outside/model.safetensors", "image/model.safetensors")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{HOME}.masker {HOME}.target"] * 2


@pytest.mark.slow
def test_without_the_package_its_parts_are_named_in_one_line(runs):
    command = [sys.executable, "-m", "maskkit.cli", "export", "image", "--out", "x.safetensors"]
    done = subprocess.run(command, cwd=runs, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert f"a part '{HOME}." in done.stderr and "is not loaded; import outside_maskkit." in done.stderr


PLAIN = """
from outside_maskkit.masker import Stretch
from maskkit.maskers import Uniform
from maskkit.parts import part
from dataclasses import dataclass

@part
@dataclass(frozen=True)
class Plain:
    ratio: float = 0.5
    def __call__(self, tokens, rng=None):
        return Uniform(ratio=self.ratio)(tokens, rng)
"""
MAKE = """
import plain_parts
from maskkit import weights
from maskkit.parts import replace_part
model = weights.open_model("outside/model.safetensors")
replace_part(model, masker=plain_parts.Plain())
weights.save(model, "outside/model.safetensors")
"""


@pytest.mark.slow
def test_a_part_that_no_package_announces_needs_import(python, maskkit, runs):
    (runs / "plain_parts.py").write_text(PLAIN)
    shutil.copytree(runs / "outside", runs / "plain")
    made = python(MAKE.replace("outside/", "plain/"))
    assert made.returncode == 0, made.stderr
    words = ["export", "plain", "--out", "plain.safetensors"]
    alone = maskkit(words, check=False)
    wanted = "a part 'plain_parts:Plain' that is not loaded; import plain_parts first (--import plain_parts)"
    assert alone.returncode == 2 and wanted in alone.stderr and len(alone.stderr.strip().splitlines()) == 1
    maskkit(
        [*words, "--import", "plain_parts"], ["embed", "plain", "--data", "signals", "--out", "p.npz", "--workers", 0]
    )
    assert (runs / "plain.safetensors").exists()
