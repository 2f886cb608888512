"""Checkpoints are whole or absent, whatever kills the process; what is damaged is refused, named, and not needed."""

import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import alive, children, run_one, start
from safetensors.torch import load_file, save_file
from small import metrics, run_settings, same_weights

from maskkit import weights
from maskkit.engine import checkpoints as checkpoints_module
from maskkit.engine import manifest as manifest_module
from maskkit.engine.checkpoints import Checkpoints, TrainState, all_checkpoints, read_model, read_newest_model
from maskkit.engine.distributed import World
from maskkit.engine.loop import pretrain
from maskkit.engine.manifest import MANIFEST, find_damage, read_progress, seal
from maskkit.modalities import image

KILLS = 20


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True])
def test_a_run_killed_twenty_times_is_one_that_never_stopped(settings, tmp_path, background):
    """SIGKILL at random moments; with a checkpoint at every other step, most of them fall into one."""
    settings = replace(settings, steps=160, save_every=2, ema=0.9, batch=16, keep=3, keep_every=40)
    broken = replace(settings, out=tmp_path / "broken", resume=True, save_in_background=background)
    process = start(run_one, settings)
    process.join()
    assert process.exitcode == 0
    rng, kills, workers = random.Random(0), 0, [0, 1, 4]
    while True:
        process = start(run_one, replace(broken, workers=workers[kills % 3]))
        if kills < KILLS:
            _live(process, broken.out / "checkpoints", rng)
        else:
            process.join(120)
        if process.exitcode is not None:
            assert process.exitcode == 0
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
        for place in all_checkpoints(broken.out / "checkpoints"):
            assert find_damage(place) is None
    assert kills >= KILLS, f"the run was over after {kills} kills"
    assert metrics(broken.out) == metrics(settings.out)
    assert same_weights(broken.out, settings.out)
    assert [path.name for path in all_checkpoints(broken.out / "checkpoints")] == [
        f"step-{step:08d}" for step in (40, 80, 120, 156, 158, 160)
    ]
    assert not list((broken.out / "checkpoints").glob(".*"))


def _live(process, checkpoints, rng):
    """Wait for a random moment: before the first step, or one or two checkpoints later, inside a step or a save.

    Counted in checkpoints, not in seconds: a fast machine would be through with the run before the last kill.
    """
    count, before = rng.randrange(3), {path.name for path in checkpoints.glob("step-*")}
    if count == 0:
        process.join(rng.uniform(0.1, 1))
    while process.exitcode is None and len({path.name for path in checkpoints.glob("step-*")} - before) < count:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05))


def test_loader_processes_end_with_the_process_that_is_killed(settings):
    process = start(run_one, replace(settings, workers=3, steps=10_000))
    deadline = time.monotonic() + 60
    while len(loaders := children(process.pid)) < 3:
        assert time.monotonic() < deadline and process.exitcode is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30  # torch's workers look every five seconds
    while any(alive(pid) for pid in loaders):
        assert time.monotonic() < deadline, "loader processes are left behind"
        time.sleep(0.2)


@pytest.mark.parametrize("moment", ["written", "sealed", "renamed", "dropping"])
def test_killed_at_the_worst_moments(settings, tmp_path, moment):
    """Between writing, sealing, renaming and cleaning up, at the third checkpoint."""
    settings = replace(settings, save_every=1, keep=1)
    broken = replace(settings, out=tmp_path / "broken", resume=True)
    pretrain(settings, image)
    process = start(run_until, broken, moment)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    places = all_checkpoints(broken.out / "checkpoints")
    assert places and all(find_damage(place) is None for place in places)
    pretrain(broken, image)
    assert metrics(broken.out) == metrics(settings.out) and same_weights(broken.out, settings.out)
    assert [path.name for path in (broken.out / "checkpoints").iterdir()] == ["step-00000006"]


def run_until(settings, moment):
    owner, name = {
        "written": (checkpoints_module, "seal"),
        "sealed": (manifest_module, "sync"),
        "renamed": (checkpoints_module, "_drop"),
        "dropping": (shutil, "rmtree"),
    }[moment]
    real = getattr(owner, name)

    def deadly(path, *arguments, **options):
        third = "step-00000003" in str(path) or (moment in ("renamed", "dropping") and "step-00000002" in str(path))
        if third and moment == "dropping" and str(path).endswith(".dropped") and os.path.exists(path):
            os.unlink(os.path.join(path, MANIFEST))
            os.kill(os.getpid(), signal.SIGKILL)
        if third and moment != "dropping" and (moment != "sealed" or os.path.isdir(path)):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, *arguments, **options)

    setattr(owner, name, deadly)
    run_one(settings)


def damages():
    def truncate(file):
        os.truncate(file, file.stat().st_size // 2)

    def flip(file):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    return {"truncated": truncate, "flipped": flip, "deleted": lambda file: file.unlink()}


@pytest.mark.parametrize("damage", damages())
def test_damage_to_any_file_is_named_and_the_checkpoint_before_is_used(settings, tmp_path, damage, capsys):
    settings = replace(settings, ema=0.9)
    pretrain(settings, image)
    names = sorted(path.name for path in (settings.out / "checkpoints" / "step-00000006").iterdir())
    assert len(names) == 2 and MANIFEST in names
    for number, name in enumerate(names):
        hurt = tmp_path / f"hurt {number}"
        shutil.copytree(settings.out, hurt)
        damages()[damage](hurt / "checkpoints" / "step-00000006" / name)
        capsys.readouterr()
        pretrain(replace(settings, out=hurt, resume=True), image)
        said = capsys.readouterr().err
        assert "checkpoint step-00000006 is damaged and not used" in said and name in said
        assert metrics(hurt) == metrics(settings.out) and same_weights(hurt, settings.out)


def test_every_flipped_bit_of_a_manifest_shows(settings):
    pretrain(replace(settings, steps=1), image)
    (place,) = all_checkpoints(settings.out / "checkpoints")
    whole = (place / MANIFEST).read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        (place / MANIFEST).write_bytes(flipped)
        assert MANIFEST in find_damage(place), position


def test_nothing_whole_to_go_on_with_is_an_error(settings):
    pretrain(settings, image)
    for place in all_checkpoints(settings.out / "checkpoints"):
        (place / MANIFEST).unlink()
    with pytest.raises(ValueError, match="no checkpoint is whole; restore one from a copy, or start in another --out"):
        pretrain(replace(settings, resume=True), image)


def test_a_checkpoint_runs_no_code_and_holds_the_model(settings):
    pretrain(settings, image)
    last = all_checkpoints(settings.out / "checkpoints")[-1]
    assert {path.suffix for path in last.iterdir()} == {".safetensors", ".json"}
    assert read_progress(last).step == 6 and read_progress(last).samples == 1400
    model = settings.model.build()
    model.load_state_dict(read_model(last))
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in load_file(settings.out / "model.safetensors").items())


def test_a_background_checkpoint_is_the_same(settings, tmp_path):
    pretrain(settings, image)
    other = replace(settings, out=tmp_path / "other", save_in_background=True, save_every=1)
    pretrain(other, image)
    one, two = (all_checkpoints(s.out / "checkpoints")[-1] for s in (settings, other))
    assert all(torch.equal(tensor, read_model(two)[name]) for name, tensor in read_model(one).items())


def test_a_data_set_that_grew_is_said(settings, tmp_path, capsys):
    pixels = image.digits()[0]
    np.savez(tmp_path / "growing.npz", images=pixels[:200])
    settings = replace(settings, data=replace(settings.data, root=str(tmp_path / "growing.npz")))
    pretrain(replace(settings, steps=3), image)
    np.savez(tmp_path / "growing.npz", images=pixels[:300])
    pretrain(replace(settings, resume=True), image)
    assert "has 300 samples, 200 when the run was saved: their order changes here" in capsys.readouterr().err


def reseal(path, change):
    """Change a manifest and write it with a checksum that is right, as a program might that does not know the rules."""
    record = json.loads((path / MANIFEST).read_text())
    change(record)
    (path / MANIFEST).write_text(manifest_module._manifest(record["place"], record["files"]))


def written_by_another(path):
    (file,) = path.glob("*.safetensors")
    save_file({"model.x": torch.zeros(2)}, file, metadata={"DCP_SHARDING_INFO": "[" * 2000})
    seal(path, read_progress(path))


STRANGE = {
    "a stray file": lambda path: (path / "notes.safetensors").write_bytes(b"x" * 50),
    "a stray of macOS": lambda path: (path / "._shard.safetensors").write_bytes(b"\0\5\26\7"),
    "a stray folder": lambda path: (path / "old.safetensors").mkdir(),
    "a folder as manifest": lambda path: (path / MANIFEST).unlink() or (path / MANIFEST).mkdir(),
    "a deep manifest": lambda path: (path / MANIFEST).write_text("[" * 100_000),
    "a list": lambda path: (path / MANIFEST).write_text("[]"),
    "not UTF-8": lambda path: (path / MANIFEST).write_bytes(b"\xff\xfe{"),
    "a list of files": lambda path: reseal(path, lambda record: record.update(files=[])),
    "a number of files": lambda path: reseal(path, lambda record: record.update(files=3)),
    "a text as step": lambda path: reseal(path, lambda record: record["place"].update(step="six")),
    "a negative step": lambda path: reseal(path, lambda record: record["place"].update(step=-1)),
    "an unknown key": lambda path: reseal(path, lambda record: record["place"].update(colour=1)),
    "no progress": lambda path: reseal(path, lambda record: record.update(place=None)),
    "no facts": lambda path: reseal(path, lambda record: record["files"].update(dict.fromkeys(record["files"], None))),
    "a path": lambda path: reseal(path, lambda record: record["files"].update({"../x": {"bytes": 1, "sha256": ""}})),
    "files of another program": written_by_another,
}


@pytest.fixture(scope="module")
def six_steps(digits, tmp_path_factory):
    """A run of six steps with checkpoints at the third and the last."""
    out = tmp_path_factory.mktemp("six") / "run"
    pretrain(run_settings(digits, out), image)
    return out / "checkpoints"


@pytest.mark.parametrize("strange", STRANGE)
def test_a_strange_checkpoint_is_named_and_the_one_before_is_used(six_steps, settings, tmp_path, strange):
    """By training and by what evaluates; and once there is no other, one line says so."""
    shutil.copytree(six_steps, folder := tmp_path / "checkpoints")
    (folder / "step-00000006 copy").mkdir()  # a user's own, which is none
    STRANGE[strange](folder / "step-00000006")
    model, said = settings.model.build(), []
    state = TrainState(model, settings.optim.build(model), None)
    checkpoints = Checkpoints(folder, World(torch.device("cpu")))
    newest = read_newest_model(folder, said.append)
    assert checkpoints.resume(state, said.append).step == 3
    assert all(torch.equal(tensor, newest[name]) for name, tensor in model.state_dict().items())
    start = "checkpoint step-00000006 is damaged and not used: "
    assert len(said) == 2 and all(line.startswith(start) for line in said)
    STRANGE[strange](folder / "step-00000003")
    for use in (lambda: read_newest_model(folder, said.append), lambda: checkpoints.resume(state, said.append)):
        with pytest.raises(ValueError, match="no checkpoint is whole; restore one from a copy"):
            use()


HEADERS = {
    "deep": "[" * 2000,
    "not JSON": "{",
    "a list": "[1]",
    "another part": '{"part": "SinCos", "dim": 8, "axes": 1}',
}
HEADERS |= {"an ill-typed part": '{"part": "SinCos", "dim": "x", "axes": 1}', "no name": '{"part": 5}'}


@pytest.mark.parametrize("header", HEADERS)
def test_a_model_with_strange_metadata_is_one_line(tmp_path, header):
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"maskkit": HEADERS[header]})
    with pytest.raises(ValueError, match="model.safetensors: its metadata describe no model: ") as caught:
        weights.open_model(tmp_path / "model.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_evaluation_beside_a_run_that_drops_checkpoints(settings, caplog):
    """A real run that saves every step and keeps one checkpoint, which is often deleted while it is read."""
    process = start(run_one, replace(settings, steps=100_000, save_every=1, keep=1))
    folder, said = settings.out / "checkpoints", []
    try:
        deadline = time.monotonic() + 60
        while not all_checkpoints(folder):
            assert time.monotonic() < deadline and process.exitcode is None
        for _ in range(30):
            assert all(tensor.isfinite().all() for tensor in read_newest_model(folder, said.append).values())
    finally:
        process.kill()
        process.join()
    assert not said and not [record for record in caplog.records if record.name == "root"]  # torch's tracebacks
