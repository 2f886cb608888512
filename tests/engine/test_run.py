"""The folder of a run: what it holds, what it refuses, and settings as plain JSON and back."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from small import Small

from maskkit.cli import main
from maskkit.decoder import JointDecoder
from maskkit.engine import distributed
from maskkit.engine.distributed import Sharding
from maskkit.engine.run import Pretrain, RunFolder, from_plain, plain
from maskkit.modalities import image
from maskkit.optim import AdamW, Group

SETTINGS = Pretrain(model=Small(), data=image.Data(root="x"), batch=8)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "run")


def open_it(folder, **changes):
    settings = replace(SETTINGS, **changes)
    folder.open(settings, settings.model.build(), "image")


def test_what_a_killed_process_left_half_written_or_half_deleted_is_deleted(folder):
    """Temporary files lie beside the files that they become, in any folder of the run."""
    (folder.pictures / ".step-00000001.png.9.part").mkdir(parents=True)
    (folder.path / ".model.safetensors.9.part").write_bytes(b"half")
    (folder.checkpoints / ".step-00000002.dropped").mkdir(parents=True)
    (folder.path / "my.part").write_bytes(b"the user's")
    with folder.locked(distributed.World(torch.device("cpu"))):
        pass
    assert sorted(path.name for path in folder.path.rglob("*")) == ["checkpoints", "my.part", "pictures"]


def train(folder):
    """Leave what a first logged step leaves."""
    folder.metrics.write_text('{"step": 1}\n')


def test_a_folder_says_how_the_run_came_about(folder):
    open_it(folder)
    record = folder.record()
    assert record["modality"] == "image" and record["model_parts"]["part"] == "MaskedModel"
    assert record["settings"]["model"] == plain(Small()) and record["settings"]["batch"] == 8
    assert {"maskkit", "method", "command", "git", "versions"} <= record.keys()
    assert [file.name for file in folder.path.iterdir()] == ["config.json"]
    assert json.loads((folder.path / "config.json").read_text()) == record


def test_a_folder_is_a_run_only_once_something_was_computed(folder):
    assert not folder.started
    open_it(folder)
    assert not folder.started
    open_it(folder, batch=4)  # a run that failed at its start begins anew
    assert folder.record()["settings"]["batch"] == 4
    folder.metrics.touch()
    assert not folder.started
    train(folder)
    assert folder.started
    folder.metrics.unlink()
    (folder.checkpoints / "step-00000001").mkdir(parents=True)
    assert folder.started


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_whose_settings_were_deleted_is_not_written_over(folder, resume):
    open_it(folder)
    train(folder)
    folder.config.unlink()
    with pytest.raises(ValueError, match="holds a run without its config.json; restore it from a copy, or choose"):
        open_it(folder, resume=resume)
    words = ["pretrain", "image", "--out", str(folder.path), *(["--resume"] if resume else ["--data", "x"])]
    assert main(words) == 2 and not folder.config.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "already holds a run; choose another --out, or continue it with --resume"),
        (
            {"resume": True, "model": Small(mask_ratio=0.5)},
            "holds a run of another model; resume it with the settings in",
        ),
        ({"resume": True, "batch": 16}, "holds a run with batch 8, not 16; resume it with the same"),
    ],
)
def test_another_run_is_refused(folder, changes, message):
    open_it(folder)
    train(folder)
    before = (folder.path / "config.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        open_it(folder, **changes)
    open_it(folder, resume=True)
    assert (folder.path / "config.json").read_bytes() == before


def test_a_model_that_cannot_be_built_again_is_refused_before_it_trains(folder):
    model = Small().build()
    model.decoder._arguments["depth"] = "many"
    with pytest.raises(ValueError, match="its description does not build the model, which could not be saved"):
        folder.open(SETTINGS, model, "image")
    assert not folder.path.exists() and isinstance(model.decoder, JointDecoder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "it has no config.json"),
        ("{", "its config.json is not JSON"),
        ("[1]", "its config.json lacks modality, settings, model_parts"),
        ('{"model_type": "vit", "settings": 1}', "its config.json of a Hugging Face model lacks modality, model_parts"),
        ('{"modality": "image", "settings": {}, "model_parts": {}}', "its config.json has no data settings"),
    ],
)
def test_a_folder_without_a_run_says_why(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError) as caught:
        RunFolder(tmp_path).record()
    assert str(caught.value).startswith(f"{tmp_path} holds no run: {message}") and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="there is no such folder; give the --out folder of maskkit pretrain"):
        RunFolder(tmp_path / "nowhere").record()


class World:
    """One of two processes, whose gathering a test holds."""

    def __init__(self, is_main, heard=()):
        self.is_main, self.heard = is_main, heard

    def gather(self, value):
        return [value, *self.heard]


def test_what_is_wrong_in_the_first_process_is_an_error_in_all(folder):
    folder.path.parent.mkdir()
    folder.path.write_text("a file in the way")
    with pytest.raises(ValueError, match="File exists; choose another --out"):
        folder.open_in_all(SETTINGS, Small().build(), "image", World(is_main=True))
    with pytest.raises(ValueError, match="broken there"):
        folder.open_in_all(SETTINGS, Small().build(), "image", World(is_main=False, heard=["broken there"]))
    folder.path.unlink()
    folder.open_in_all(SETTINGS, Small().build(), "image", World(is_main=False, heard=[None]))
    assert not folder.path.exists()  # only the first one writes


@dataclass(frozen=True)
class Nested:
    number: float = 1.0
    sizes: tuple[int, ...] = (1, 2)
    path: Path = Path("a")
    optim: AdamW = AdamW()  # noqa: RUF009  # frozen
    pairs: tuple[tuple[int, int], ...] = ()
    sharding: Sharding = "full"
    maybe: tuple[float, ...] | None = None


@pytest.mark.parametrize(
    "settings",
    [
        Nested(),
        Nested(2.5, (), Path("b/c"), AdamW(lr=1e-3, betas=(0.1, 0.2)), ((1, 2), (3, 4)), "none", (0.5,)),
        Nested(optim=AdamW(groups=(Group(names=("a", "b"), lr=0.5, betas=(0.1, 0.2)), Group(names=("c",))))),
    ],
)
def test_settings_go_to_json_and_back(settings):
    record = json.loads(json.dumps(plain(settings)))
    assert from_plain(Nested, record) == settings


def test_a_field_that_is_left_out_has_its_default_and_one_too_many_is_refused():
    assert from_plain(Nested, {"number": 3}) == Nested(3)
    assert from_plain(Nested, {"sizes": [5], "optim": {}}, optim=AdamW(lr=7.0)) == Nested(
        sizes=(5,), optim=AdamW(lr=7.0)
    )
    with pytest.raises(ValueError, match="Nested has no setting more, much; was it written by another version?"):
        from_plain(Nested, {"more": 1, "much": 2})
    with pytest.raises(ValueError, match="AdamW has no setting rate"):
        from_plain(Nested, {"optim": {"rate": 2}})


def test_a_model_that_was_changed_after_it_was_built_is_refused_before_it_trains(folder):
    model = Small().build()
    model.decoder.head = torch.nn.Linear(model.decoder.head.in_features, 4, bias=False)
    with pytest.raises(ValueError, match="changed after it was built and could not be saved: decoder.head.bias"):
        folder.open(SETTINGS, model, "image")
    assert not folder.path.exists()
