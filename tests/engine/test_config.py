"""A config.json that somebody edited: one line that names the file and the key, whichever value was changed."""

import copy
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from commands import settings_of
from small import Small

from maskkit.cli import main
from maskkit.commands.run_settings import configured
from maskkit.engine.config import from_plain
from maskkit.engine.loop import train
from maskkit.engine.restore import restore_settings
from maskkit.engine.run import RunFolder
from maskkit.modalities import image

DROP = object()
MUTATIONS = {
    "drop": DROP,
    "null": None,
    "list": [1, "x"],
    "text": "x",
    "object": {"colour": "red"},
    "negative": -7,
    "huge": 10**400,
    "nan": float("nan"),
}
IGNORED = ("maskkit", "command", "git", "versions")  # for readers of the file, not for commands


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with the settings of a method and a smaller model, which is built in no time."""
    folder = tmp_path_factory.mktemp("config")
    np.savez(folder / "d.npz", images=image.digits()[0][:32])
    settings = settings_of(image, "--data", folder / "d.npz", "--out", folder / "run", "--workers", 0, "--batch", 4)
    model = Small().build()
    source = settings.data.open(model.tokenizer, train=True)
    train(model, source, replace(settings, steps=1, precision="fp32"), modality="image")
    return folder / "run"


def places(value, path=()):
    """Yield the path of every key and item."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if not (not path and key in IGNORED):
            yield (*path, key)
            if isinstance(item, dict | list):
                yield from places(item, (*path, key))


def changed(record, path, value):
    """Return a copy of a record with another value at a path, or without it."""
    record = copy.deepcopy(record)
    owner = record
    for key in path[:-1]:
        owner = owner[key]
    if value is DROP:
        del owner[path[-1]]
    else:
        owner[path[-1]] = value
    return record


def by_resume(run):
    return restore_settings(RunFolder(run), image.MODALITY)


def by_config(run):
    return configured(image.MODALITY, run / "config.json")


def by_evaluation(run):
    """What embed, probe, reconstruct and export read, without the weights."""
    folder = RunFolder(run)
    record = folder.record()
    return from_plain(image.Data, record["settings"]["data"], "settings.data"), folder.build(record)


READERS = (by_resume, by_config, by_evaluation)


def refusal(read, run):
    """Return the line with which a reader of the configuration refuses it, or None."""
    try:
        read(run)
    except ValueError as error:
        assert "\n" not in str(error)
        return str(error)
    return None


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_key_of_a_config_with_another_value(run, tmp_path, mutation):
    """No value ends in another error than one line, and a wrong type is told with its key."""
    record, value = json.loads((run / "config.json").read_text()), MUTATIONS[mutation]
    for path in places(record):
        (tmp_path / "config.json").write_text(json.dumps(changed(record, path, value)))
        readers = {1: READERS, 2: READERS[:2]}.get(len(path), READERS[:1] if path[0] == "settings" else READERS[2:])
        for read in readers:
            said = refusal(read, tmp_path)
            names = [key for key in path if isinstance(key, str)]
            if said is not None:
                assert str(tmp_path) in said and len(said) < 700, said
                assert any(name in said.replace("-", "_") for name in names[-2:]) or "a run on x" in said, (path, said)
            if mutation in ("object", "nan", "huge") and len(path) > 2:
                assert said and "must be" in said and names[-1] in said, path


@pytest.mark.parametrize("owner", [("settings",), ("settings", "data"), ("settings", "model"), ("settings", "optim")])
def test_a_setting_that_does_not_exist(run, tmp_path, owner):
    record = json.loads((run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(changed(record, (*owner, "colour"), 1)))
    said = refusal(by_resume, tmp_path)
    assert f"config.json: {'.'.join(owner)}: " in said and "has no setting colour" in said


TEXTS = {
    "an object": "{}",
    "a list": "[]",
    "nothing": "",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "a key twice": '{"modality": "image", "modality": "video"}',
    "deep": '{"settings": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "deeper than models": '{"settings": ' + "[" * 300 + "]" * 300 + "}",
    "endless digits": '{"settings": ' + "9" * 10_000 + "}",
    "ends": '{"modality": "image",',
    "null": "null",
}
WORDS = {
    "resume": ["pretrain", "image", "--data", "DATA", "--out", "RUN", "--resume"],
    "config": ["pretrain", "image", "--data", "DATA", "--out", "NEW", "--config", "RUN/config.json"],
    "embed": ["embed", "RUN", "--data", "DATA", "--out", "NEW.npz"],
    "probe": ["probe", "RUN", "--data", "DATA"],
    "reconstruct": ["reconstruct", "RUN", "DATA", "--out", "NEW.png"],
    "export": ["export", "RUN", "--out", "NEW.safetensors"],
}


@pytest.mark.parametrize("command", WORDS)
def test_commands_refuse_an_edited_config_in_one_line(run, tmp_path, command, capsys):
    """By the real command line: whole files, and a few of the changed values."""
    record = json.loads((run / "config.json").read_text())
    parts = changed(record, ("model_parts", "encoder", "depth"), "many")
    texts = TEXTS | {
        "a data setting": json.dumps(changed(record, ("settings", "data", "root"), 5)),
        "a part": json.dumps(parts) if "pretrain" not in WORDS[command] else "{}",
    }
    shutil.copytree(run, tmp_path / "run")
    names = {"RUN": str(tmp_path / "run"), "NEW": str(tmp_path / "new"), "DATA": str(run.parent / "d.npz")}
    (tmp_path / "run" / "model.safetensors").unlink()
    for name, text in texts.items():
        (tmp_path / "run" / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        words = [re.sub("RUN|NEW|DATA", lambda found: names[found[0]], word) for word in WORDS[command]]
        assert main(words) == 2, name
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and "config.json" in lines[0] and len(lines[0]) < 700, (name, lines)
    assert not (tmp_path / "new").exists()
