"""Parts remember how they were made; files name parts, never code, and old names are understood."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
from torch import nn

from maskkit import parts
from maskkit.decoder import JointDecoder
from maskkit.maskers import BlockMasker, Uniform
from maskkit.parts import build, build_as, describe, find, name_of, part, replace_part
from maskkit.positions import SinCos
from maskkit.targets import Contents


@pytest.fixture
def registry(monkeypatch):
    """Parts that a test defines are forgotten after it."""
    monkeypatch.setattr(parts, "_PARTS", dict(parts._PARTS))


def keywords(registry=None):
    @part
    class Keywords(nn.Module):
        def __init__(self, *, size=1, name="a", **more):
            super().__init__()
            self.more = more

    return Keywords


def test_arguments_are_recorded_with_their_defaults(registry):
    made = keywords()(size=3, depth=2, inner=SinCos(dim=8, axes=1))
    assert made.more.keys() == {"depth", "inner"}
    described = describe(made)
    assert {key: value for key, value in described.items() if key not in ("part", "inner")} == {
        "size": 3,
        "name": "a",
        "depth": 2,
    }
    assert described["inner"]["part"] == "SinCos" and described["inner"]["temperature"] == 1e4
    again = build(json.loads(json.dumps(described)))
    assert describe(again) == described and again.more["depth"] == 2


def test_arguments_given_by_position_are_recorded_by_name(registry):
    @part
    class Positional:
        def __init__(self, first, second=2):
            pass

    assert describe(Positional(1)) == {"part": f"{__name__}:{Positional.__qualname__}", "first": 1, "second": 2}


def test_star_arguments_are_refused(registry):
    @part
    class Starred:
        def __init__(self, *sizes, name="a"):
            pass

    assert describe(Starred(name="b"))["name"] == "b"
    with pytest.raises(TypeError, match=r"Starred is a part, so it takes its arguments by name, got \(1, 2\)"):
        Starred(1, 2)


def test_a_name_outside_carries_its_module_and_one_of_ours_does_not(registry):
    @part
    @dataclass(frozen=True)
    class Uniform:  # noqa: F811  # the name of one of ours, which is no conflict
        ratio: float = 0.5

    assert name_of(Uniform) == f"{__name__}:{Uniform.__qualname__}" and find(name_of(Uniform)) is Uniform
    assert find("Uniform") is not Uniform and name_of(find("Uniform")) == "Uniform"
    assert build(describe(Uniform(0.25))) == Uniform(0.25)


def test_a_name_that_is_taken_is_refused(registry):
    other = type("SinCos", (), {"__module__": "maskkit.elsewhere"})
    with pytest.raises(ValueError, match="a part named SinCos exists already in maskkit.positions; rename one of"):
        part(other)


OLD = {
    "part": "JointDecoder",
    **{"latent": 8, "dim": 8, "depth": 1, "heads": 2, "output": 4, "positions_again": True},
    "positions": {"part": "SinCos", "dim": 8, "axes": 1},
}


def test_old_names_of_parts_and_arguments_are_understood():
    ball = build({"part": "Ball", "ratio": 0.4, "rounding": "hide"})
    assert ball == BlockMasker(ratio=0.4, rounding="hide") and describe(ball)["part"] == "BlockMasker"
    decoder = build(OLD)
    assert isinstance(decoder, JointDecoder) and decoder.pos_every_block
    described = describe(decoder)
    assert described["pos_every_block"] is True and "positions_again" not in described


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"part": "NoSuchPart"}, "names a part 'NoSuchPart' that is not loaded; import the module that defines it"),
        (
            {"part": "some.module:Part"},
            "'some.module:Part' that is not loaded; import some.module first (--import some.m",
        ),
        ({"part": "Uniform", "ration": 1}, "the configuration of part Uniform does not fit this version of maskkit: "),
        ({"part": "Uniform", "ratio": 3}, "mask ratio must lie in (0, 1), got 3"),
        ({"part": "os.system", "command": "true"}, "names a part 'os.system' that is not loaded"),
    ],
)
def test_what_cannot_be_built_is_one_line(description, message):
    with pytest.raises(ValueError) as caught:
        build({"part": "Several", "maskers": [description]} if description.get("ratio") == 3 else description)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_description_of_another_part_is_refused():
    with pytest.raises(ValueError, match="the configuration describes a Uniform, not a SinCos"):
        build_as(SinCos, describe(Uniform()))


@pytest.mark.parametrize("value", [object(), {1, 2}, nn.Linear(2, 2), b"bytes"])
def test_what_is_no_part_cannot_be_written(value):
    with pytest.raises(TypeError, match="cannot be written into a configuration; mark its class with @part"):
        describe({"a": [value]})


def test_a_part_put_in_the_place_of_another_is_described():
    target = build(describe(Contents()))
    model = find("PerBlock")(decoder=build(OLD))
    replace_part(model, decoder=target)
    assert model.decoder is target and describe(model)["decoder"]["part"] == "Contents"


def test_a_fresh_process_finds_our_parts_without_importing_their_modules():
    """Those of each room, of the methods, and of each modality."""
    known = [
        "Uniform",
        "SinCos",
        "CrossDecoder",
        "Teacher",
        "Classify",
        "Groups",
        "Patches",
        "CrossEntropy",
        "MaskedModel",
    ]
    code = (
        "import sys; from maskkit.parts import find\n"
        "helpers = {'maskkit.parts', 'maskkit.files', 'maskkit.hints'}\n"
        "assert not [name for name in sys.modules if name.startswith('maskkit.') and name not in helpers]\n"
        f"print([find(name).__name__ for name in {known}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(known)
