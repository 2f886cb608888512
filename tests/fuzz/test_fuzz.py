"""Damaged files of all modalities are samples or bad samples; and the fuzzer finds every kind of fault."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import features

from maskkit.modality import find_modality
from tests.fuzz.__main__ import REGRESSIONS, keep
from tests.fuzz.campaign import Result, damaged, reader
from tests.fuzz.minimise import minimised
from tests.fuzz.outcome import Outcome
from tests.fuzz.seeds import WRITERS, seeds, settings_for
from tests.fuzz.watch import ROOT, Case, Reader

FILES = {"image": 500, "video": 250, "audio": 400, "points": 500, "tar": 200}
SEED = 20  # of the fixed portion


@pytest.mark.parametrize("modality", WRITERS)
def test_damaged_files_are_samples_or_bad_samples(modality, tmp_path):
    """The fixed portion, and all files that once failed. Undamaged files are read before, and are samples."""
    if modality in ("video", "audio", "points"):
        pytest.importorskip({"video": "av", "audio": "soundfile", "points": "trimesh"}[modality])
    files = sorted(path for path in REGRESSIONS.glob(f"{modality}/*") if path.is_file())
    kept = [Case(path.name, path.read_bytes(), s) for path in files for s in settings_for(modality, path.name)]
    result = Result()
    with reader(modality, tmp_path) as child:
        for case in (*kept, *itertools.islice(damaged(modality, SEED), FILES[modality])):
            result.add(case, child.read(case))
    assert not result.failures, [(case.name, case.setting, outcome) for case, outcome in result.failures]
    fine = {kind for _, kind in result.counts}
    assert result.total >= FILES[modality] and {"sample", "bad sample"} <= fine


@pytest.mark.parametrize("modality", ["image", "video", "audio", "points"])
def test_every_suffix_has_a_seed(modality):
    names = tuple(seeds(modality))
    claimed = {*find_modality(modality).suffixes, ".npy", ".npz"}
    claimed -= set() if features.check("avif") else {".avif"}  # Pillow writes it from 11.3 on
    assert not [suffix for suffix in claimed if not any(name.endswith(suffix) for name in names)]
    assert any(name.endswith((".h5", ".hdf5")) for name in names)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    undamaged = [Case("a.txt", b"nothing", "train")]
    folder = tmp_path_factory.mktemp("faulty")
    with Reader("faulty", folder, undamaged, subjects="tests.fuzz.faulty", seconds=1) as child:
        yield child


@pytest.mark.parametrize(
    ("fault", "kind", "detail"),
    [
        ("abort", "abort", "SIGABRT"),
        ("exit", "abort", "exit code 3"),
        ("KeyError", "exception", "KeyError: 'frames'"),
        ("ImportError", "exception", "ImportError: no such library"),
        ("hang", "hang", "takes longer than 1 seconds"),
        ("freeze", "hang", "no answer for 3 s"),
        ("NaN", "not finite", "holds numbers that are not finite"),
        ("inf", "not finite", "holds numbers that are not finite"),
        ("lines", "reason", "2 lines"),
        ("long", "reason", "400 characters"),
        ("reserve", "memory", "asks for more than there is"),
        ("allocate", "memory", "took 20"),
    ],
)
def test_each_kind_of_fault_is_found_and_the_next_file_is_read(faulty, fault, kind, detail):
    outcome = faulty.read(Case("a.txt", f"some {fault} here".encode(), "train"))
    assert outcome.kind == kind and detail in outcome.detail and outcome.failed
    assert faulty.read(Case("a.txt", b"nothing", "train")) == Outcome("sample")


def test_failures_are_kept_as_small_files(faulty, tmp_path, capsys):
    result = Result()
    for content in (b"nothing", b"far too much before abort and after", b"another abort", b"the long one"):
        case = Case("a.txt", content, "train")
        result.add(case, faulty.read(case))
    keep(faulty, "faulty", result.failures, tmp_path)
    assert sorted(path.read_bytes() for path in (tmp_path / "faulty").iterdir()) == [b"abort", b"long"]
    assert "2 x .txt as train, abort SIGABRT" in capsys.readouterr().out
    assert result.table().splitlines()[-1].split() == ["all", "1", "0", "0", "2", "1"]


def test_the_same_seed_makes_the_same_files():
    first, again, other = (list(itertools.islice(damaged("points", seed), 50)) for seed in (1, 1, 2))
    assert first == again and sum(a != b for a, b in zip(first, other, strict=True)) > 40


def test_the_smallest_file_that_fails():
    assert (
        minimised(b"x" * 300 + b"ab" + b"y" * 300 + b"c", lambda content: b"ab" in content and b"c" in content)
        == b"abc"
    )


def test_the_command_prints_counts(tmp_path):
    words = ["--modality", "tar", "--files", "8", "--keep", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "tar: 8 files, 0 failures" in done.stdout, done.stdout + done.stderr
    assert not list(Path(tmp_path).iterdir())
