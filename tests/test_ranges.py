"""Every number in a setting or a flag has a range, and values outside of it are refused in one line."""

import dataclasses
import importlib
import math
from typing import get_args, get_type_hints

import pytest

from maskkit.cli import COMMANDS, main
from maskkit.commands.bench import BENCHMARKS
from maskkit.engine.settings import Pretrain
from maskkit.methods import methods_of
from maskkit.modality import find_modality, modality_names
from maskkit.optim import AdamW, Group
from maskkit.ranges import Range, check_ranges, ranges_of

MODALITIES = [find_modality(name) for name in modality_names()]
SETTINGS = {kind.__name__: kind for kind in (Pretrain, AdamW, Group)}
SETTINGS |= {f"{m.name}.{name}": kind for m in MODALITIES for name, kind in methods_of(m).items()}
SETTINGS |= {f"{m.name}.data": m.data for m in MODALITIES}
# words that a command needs beside the flag under test
NEEDED = {"probe": ["RUN", "--data", "D"], "embed": ["RUN", "--data", "D", "--out", "O.npz"], "pack": ["IN", "OUT"]}
NEEDED |= {"reconstruct": ["RUN", "IN", "--out", "O.png"], "transcode video": ["IN", "OUT"]}
COMMAND_SETTINGS = {
    name: getattr(importlib.import_module(f"maskkit.commands.{name}"), name.capitalize(), None) for name in COMMANDS
}
COMMAND_SETTINGS |= {f"bench {name}": getattr(importlib.import_module(m), k) for name, (m, k, _) in BENCHMARKS.items()}
COMMAND_SETTINGS |= {f"transcode {m.name}": m.transcode for m in MODALITIES}
COMMAND_SETTINGS = {name: kind for name, kind in COMMAND_SETTINGS.items() if dataclasses.is_dataclass(kind)}
ALL = SETTINGS | COMMAND_SETTINGS


def numeric(hint: object) -> bool:
    """Return whether a type holds an int or a float anywhere."""
    return hint in (int, float) or any(numeric(each) for each in get_args(hint))


def outside(allowed: Range) -> list[float]:
    """Return values just outside of a range, and those that are in no range."""
    inclusive = {allowed.least: -1, allowed.most: 1}
    ends = [end + step * max(1, abs(end)) * 1e-9 for end, step in inclusive.items() if end is not None]
    return [*ends, *(end for end in (allowed.above, allowed.below) if end is not None), math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("name", ALL)
def test_every_number_declares_its_range(name):
    kind = ALL[name]
    hints, declared = get_type_hints(kind), ranges_of(kind)
    numbers = {each.name for each in dataclasses.fields(kind) if numeric(hints[each.name])}
    assert numbers == set(declared)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_refuse_numbers_outside_of_their_ranges_when_they_are_made(name):
    kind = SETTINGS[name]
    needed: dict[str, object] = {"root": "x"} if name.endswith(".data") else {}
    needed |= {"names": ("*",)} if kind is Group else {}
    needed |= {"model": None, "data": None} if kind is Pretrain else {}
    kind(**needed)
    for field, allowed in ranges_of(kind).items():
        for value in outside(allowed):
            for given in (value, (value, value)):
                with pytest.raises(ValueError, match=f"^--{allowed.flag or field.replace('_', '-')} must "):
                    kind(**needed, **{field: given})


@pytest.mark.parametrize("name", COMMAND_SETTINGS)
def test_commands_refuse_numbers_outside_of_their_ranges(name, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for field, allowed in ranges_of(COMMAND_SETTINGS[name]).items():
        whole = allowed.least is not None and get_type_hints(COMMAND_SETTINGS[name])[field] is not float
        ends = [allowed.least - 1 if allowed.least is not None else allowed.above, allowed.most and allowed.most + 1]
        for value in [f"{end:.0f}" for end in ends if end is not None] + ([] if whole else ["nan", "inf"]):
            assert main([*name.split(), *NEEDED.get(name, []), f"--{field.replace('_', '-')}", value]) == 2
            said = capfd.readouterr().err.strip()
            assert said.startswith(f"maskkit: --{field.replace('_', '-')} must ") and "\n" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["--clip", "-1"],
        ["--clip", "0"],
        ["--max-bad", "nan"],
        ["--max-not-finite", "0"],
        ["--seed", "-1"],
        ["--epochs", "inf"],
        ["--lr", "nan"],
        ["--betas", "0.9", "1"],
        ["--image-size", "32", "0"],
        ["--batch", "999999999999"],
        ["--min-scale", "0"],
    ],
)
def test_pretrain_refuses_numbers_outside_of_their_ranges_before_it_reads_data(words, capfd, tmp_path):
    assert main(["pretrain", "image", "--data", "nowhere", "--out", str(tmp_path / "run"), *words]) == 2
    said = capfd.readouterr().err.strip()
    assert said.startswith(f"maskkit: {words[0]} must ") and "\n" not in said


def test_what_a_refusal_says():
    @dataclasses.dataclass
    class Settings:
        value: object

    for allowed, value, text in [
        (Range(least=1, most=9), 0, "must be at least 1, got 0"),
        (Range(least=1, most=9), 10, "must be at most 9, got 10"),
        (Range(least=1), math.nan, "must be at least 1, got nan"),
        (Range(least=1), math.inf, "must be finite, got inf"),
        (Range(above=0), 0, "must be positive, got 0"),
        (Range(above=0, below=1), 1.0, "must lie in (0, 1), got 1.0"),
        (Range(above=0, most=1), 2, "must lie in (0, 1], got 2"),
        (Range(), -math.inf, "must be finite, got -inf"),
    ]:
        assert not allowed.holds(value) and f"must {allowed.rule(value)}, got {value}" == text
    check_ranges(Settings(value=-1))  # what declares no range is not checked


def test_a_flag_of_another_name_than_its_field_is_named():
    with pytest.raises(ValueError, match="^--num-features must be at least 0, got -1"):
        find_modality("points").input_settings(features=-1)
