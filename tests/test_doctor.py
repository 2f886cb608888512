"""The report: what every modality says, what is broken, and an exit code that a script can use."""

import importlib.metadata
import sys

import pytest

from maskkit import doctor


def test_it_says_of_each_modality_what_reads_its_files(capsys):
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    for line in ("reads audio", "Pillow", "point clouds", "reads meshes", "files are read by", "reads LAS"):
        assert line in said
    assert "everything that maskkit needs is installed" in said


def test_it_knows_no_package_of_a_modality_itself():
    source = open(doctor.__file__).read()
    names = ("soundfile", "open3d", "trimesh", "decord", "torchaudio", "laspy", "maskkit[")
    assert not [name for name in names if name in source]


@pytest.mark.parametrize("modality", ["audio", "image", "points", "video"])
def test_findings_name_what_is_wrong_and_the_command_that_mends_it(monkeypatch, modality):
    """With every optional package hidden, what is missing has one command."""
    (entry,) = importlib.metadata.entry_points(group="maskkit.modalities", name=modality)
    module = entry.load()
    assert module.findings()
    hidden = {"av", "decord", "torchcodec", "soundfile", "torchaudio", "open3d", "trimesh", "laspy", "fpsample"}
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in hidden else found(name, *rest))
    for subject, fine, text, mend in module.findings():
        assert subject and text and "\n" not in text
        if subject in hidden - {"decord", "torchcodec"}:
            assert not fine and mend.startswith("pip install 'maskkit["), (subject, mend)


def test_a_broken_package_is_reported_with_its_error(monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("raise OSError('libfoo.so.1: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    subject, fine, text, mend = doctor.package("broken_package", "reads nothing", "pip install it")
    assert (subject, fine, mend) == ("broken_package", False, "pip install it")
    assert text == "installed, but fails: OSError: libfoo.so.1: cannot open shared object file"


def test_a_modality_that_does_not_load_is_a_finding(monkeypatch):
    class Entry:
        name = "smell"

        def load(self):
            raise RuntimeError("no nose")

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Entry()])
    (finding,) = doctor.modalities()
    assert not finding.fine and finding.text == "fails: RuntimeError: no nose"


def test_something_needed_that_is_missing_is_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "REQUIRED", ("torch", "nowhere_to_be_found"))
    assert doctor.main([]) == 2
    said = capsys.readouterr().out
    assert "broken: nowhere_to_be_found" in said and "NO  nowhere_to_be_found" in said


def test_open3d_without_libusb_names_the_package_that_has_it(monkeypatch):
    from maskkit.modalities.points import requirements

    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    specs = {"open3d": object(), "libusb_package": None}
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: specs.get(name))
    monkeypatch.setattr(requirements.os, "name", "posix")
    reports = {subject: (fine, text, mend) for subject, fine, text, mend in requirements.findings()}
    assert reports["open3d"][0] is False and reports["open3d"][2] == "pip install libusb-package"


def test_it_takes_no_arguments(capsys):
    assert doctor.main(["--verbose"]) == 2 and doctor.main(["--help"]) == 0
    assert "takes no arguments" in capsys.readouterr().out and "maskkit.modalities.audio" in sys.modules
