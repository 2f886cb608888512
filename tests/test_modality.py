"""A modality is one object, found by entry point."""

import subprocess
import sys
import types
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch

from maskkit import modality as registry
from maskkit.modalities import audio, image, points, video
from maskkit.modality import as_modality, find_modality, modality_names
from maskkit.testing import check_modality

GROUP = "maskkit.modalities"


def register(monkeypatch, *entries):
    """Make the entry points of the group those given, as (name, value)."""
    known = [EntryPoint(name, value, GROUP) for name, value in entries]

    def entry_points(*, group, name=None):
        assert group == GROUP
        return [entry for entry in known if name in (None, entry.name)]

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", entry_points)


@pytest.mark.parametrize("module", [audio, image, points, video], ids=lambda module: module.__name__)
def test_each_modality_is_one_object_that_keeps_the_laws(module):
    found = find_modality(module.MODALITY.name)
    assert found is module.MODALITY and found is as_modality(module)
    check_modality(found)


def test_the_four_are_registered():
    assert {"audio", "image", "points", "video"} <= set(modality_names())


def test_names_are_known_without_torch_and_without_importing_a_modality():
    code = (
        "import sys; from maskkit.modality import modality_names; assert 'image' in modality_names();"
        "assert 'torch' not in sys.modules and 'maskkit.modalities' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_a_modality_imports_no_benchmark():
    code = (
        "import sys; from maskkit.modality import find_modality, modality_names\n"
        "for name in ('audio', 'image', 'points', 'video'): find_modality(name)\n"
        "assert not [name for name in sys.modules if 'bench' in name and name.startswith('maskkit')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_entry_may_name_the_module(monkeypatch):
    register(monkeypatch, ("image", "maskkit.modalities.image"), ("audio", "maskkit.modalities.audio:MODALITY"))
    assert find_modality("image") is image.MODALITY
    assert modality_names() == ["audio", "image"]


def test_what_is_registered_wrongly_is_said(monkeypatch):
    register(
        monkeypatch,
        ("smell", "maskkit.modalities.image"),
        ("maths", "math"),
        ("image", "maskkit.modalities.image"),
        ("image", "other:MODALITY"),
    )
    with pytest.raises(ValueError, match="there is no modality 'taste'; installed are image, maths, smell"):
        find_modality("taste")
    with pytest.raises(ValueError, match="registered as modality smell but is named image"):
        find_modality("smell")
    with pytest.raises(ValueError, match="math is no modality; give a maskkit.modality.Modality"):
        find_modality("maths")
    with pytest.raises(ValueError, match="image is registered twice, as maskkit.modalities.image and as other"):
        find_modality("image")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"name": "My Data"}, "must be a word in lower case"), ({"suffixes": ("png",)}, "must begin with a dot")],
)
def test_a_wrong_modality_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(image.MODALITY, **changes)


def test_check_modality_takes_bare_modules_and_sees_what_is_broken():
    bare = types.ModuleType("bare")
    with pytest.raises(AssertionError, match="broken law: bare has NAME"):
        check_modality(bare)
    bare.NAME, bare.sample, bare.tiny = "bare", image.sample, image.tiny
    check_modality(bare)
    mute = replace(image.MODALITY, draw=lambda *_: None)
    with pytest.raises(AssertionError, match="draw of image writes a picture"):
        check_modality(mute)
    with pytest.raises(AssertionError, match="findings of image are"):
        check_modality(replace(image.MODALITY, findings=lambda: [("decoder", "yes", "", "")]))
    with pytest.raises(AssertionError, match="data of image has at"):
        check_modality(replace(image.MODALITY, data=torch.Tensor))
    with pytest.raises(ValueError, match="is no modality"):
        check_modality("image")
