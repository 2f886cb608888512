"""The table of methods, with those of installed packages."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from maskkit import methods
from maskkit.methods import GROUP, all_methods, find_method, methods_of
from maskkit.methods.simmim import SimMIM
from maskkit.modalities import image
from maskkit.optim import AdamW


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A method from another package."""

    name: ClassVar[str] = "extra"
    mask_ratio: float = 0.5
    build, optim = SimMIM.build, SimMIM.optim


def register(monkeypatch, *entries):
    known = [EntryPoint(name, f"{__name__}:{value}", GROUP) for name, value in entries]
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])
    monkeypatch.setattr(methods, "entry_points", lambda *, group: known if group == GROUP else [])


def test_published_methods_come_first_and_then_ours_and_then_others(monkeypatch):
    register(monkeypatch, ("extra", "Extra"))
    assert [*all_methods()] == ["simmim", "extra"]
    assert [*methods_of(image.MODALITY)] == ["mae", "simmim", "extra"]
    kind = find_method(image.MODALITY, "extra")
    settings = kind(image_size=8, mask_ratio=0.25)
    assert (settings.image_size, settings.mask_ratio, settings.name) == (8, 0.25, "extra")
    assert issubclass(kind, Extra) and issubclass(kind, image.Inputs)


def test_a_name_that_is_taken_is_refused(monkeypatch):
    register(monkeypatch, ("simmim", "Extra"))
    with pytest.raises(ValueError, match="method simmim of .*:Extra exists already; rename it in its package"):
        all_methods()


def test_a_method_that_calls_itself_otherwise_is_refused(monkeypatch):
    """Its runs would name a method that nobody finds, and could not go on."""
    register(monkeypatch, ("other", "Extra"))
    with pytest.raises(ValueError, match="is registered as method other but is named extra; use one name"):
        all_methods()


@pytest.mark.parametrize("modality_fields", [{"frames", "mels"}, {"image_size", "patch_size"}])
def test_a_method_has_the_settings_of_the_inputs_it_is_on(modality_fields):
    found = set(find_method(image.MODALITY, "simmim").__dataclass_fields__)
    assert (modality_fields <= found) == ("image_size" in modality_fields)
    assert isinstance(find_method(image.MODALITY, "simmim")().optim(64), AdamW)
