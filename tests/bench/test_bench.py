"""Benchmarks run and report what they say they measure; what they take is not asserted."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from maskkit.bench.data import throughput
from maskkit.bench.loop import Loop
from maskkit.bench.revisions import Worker, alternate_workers, checkout, compare, find_presets
from maskkit.bench.step import Step
from maskkit.bench.timing import alternate, count_flops, training_step, write_record
from maskkit.bench.workload import Preset, Workload, find_workload
from maskkit.commands.bench import BENCHMARKS, main
from maskkit.modalities import image
from maskkit.modality import find_modality, modality_names

TINY = Preset(
    name="image.tiny",
    module="maskkit.modalities.image",
    function="mae",
    arguments={"size": "tiny", "image_size": 8, "patch_size": 2, "channels": 1},
    shape=(4, 1, 8, 8),
)


@pytest.fixture
def tiny(monkeypatch):
    """Make the image workload a model that takes milliseconds."""

    def ours(dtype, device):
        model = TINY.build()
        return training_step(lambda: model(TINY.batch()).loss, torch.optim.SGD(model.parameters()), dtype, device)

    workload = Workload(title="a tiny model", ours=ours, peer=ours, peer_name="itself", presets=(TINY,))
    for place in ("step", "memory", "loop", "data", "revisions"):
        monkeypatch.setattr(f"maskkit.bench.{place}.find_workload", lambda name: workload)
    monkeypatch.setattr("maskkit.engine.forecast.matrix_peak", lambda dtype, device: 1e11)
    return workload


def test_runs_alternate_and_two_rounds_warm_up():
    calls = []
    seconds = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, "cpu")
    assert calls == ["a", "b"] * 5 and set(seconds) == {"a", "b"}


def test_a_training_step_changes_the_weights_and_clears_the_gradient():
    weight = torch.nn.Parameter(torch.ones(3))
    training_step(lambda: weight.square().sum(), torch.optim.SGD([weight], lr=0.1), torch.float32, "cpu")()
    assert torch.allclose(weight, torch.full((3,), 0.8)) and weight.grad is None


def test_operations_of_a_product_are_counted():
    assert count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 5)) == 2 * 2 * 3 * 5


def test_step_writes_both_and_their_ratio(tiny, tmp_path, capsys):
    Step(precision="fp32", repeats=2, out=tmp_path / "a" / "step.json").run()
    record = json.loads((tmp_path / "a" / "step.json").read_text())["fp32"]
    assert record["ratio"] == record["seconds"]["maskkit"] / record["seconds"]["peer"]
    assert record["flops"] > 1e6 and "of the time of itself" in capsys.readouterr().out


def test_loop_says_what_it_adds(tiny, capsys):
    Loop(batch=4, steps=2, rounds=1).run()
    out = capsys.readouterr().out
    assert out.startswith("image.tiny, batch 4, fp32: bare step") and "the loop adds" in out


def test_throughput_counts_samples_and_says_what_is_broken(tmp_path, capsys):
    for number in range(6):
        pixels = np.full((8, 8), number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"")
    source = image.open_images(tmp_path, image.tiny().tokenizer)
    assert throughput(source, 0, batch=4, seconds=0.2) > 0
    assert "0 workers: 1 broken samples replaced" in capsys.readouterr().out


@pytest.mark.slow
def test_memory_is_measured_in_a_new_process(capsys):
    """With the modality's own workload, since a new process does not see a patched one."""
    assert main(["memory", "--work", "points", "--precision", "fp32", "--no-peer"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("fp32: maskkit") and 100 < float(line.split()[-2]) < 20_000


def test_imports_are_timed_for_every_modality(capsys):
    assert main(["import", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert all(f"modality {name}" in out for name in modality_names())


@pytest.mark.parametrize("name", ["audio", "image", "points", "video"])
def test_every_modality_has_a_workload_whose_presets_build(name):
    workload = find_workload(name)
    assert workload.title and workload.presets
    for preset in workload.presets:
        assert preset.name.startswith(f"{name}.") and preset.batch().shape == preset.shape
        assert callable(getattr(sys.modules[preset.module], preset.function))
        json.dumps(dict(preset.arguments))  # it crosses to another process


def test_presets_are_chosen_by_method():
    assert {preset.function for preset in find_presets(None, None)} == {
        *("mae", "videomae", "mae_st", "audiomae", "point_mae")
    }
    assert [preset.name for preset in find_presets("video", "mae_st")] == ["video.mae_st"]
    with pytest.raises(ValueError, match="--method mae is none of the presets videomae, mae_st"):
        find_presets("video", "mae")


def test_a_modality_without_a_benchmark_is_said(monkeypatch):
    from dataclasses import replace

    none = replace(find_modality("image"), bench=None)
    wrong = replace(none, bench="math")
    monkeypatch.setattr("maskkit.bench.workload.find_modality", {"none": none, "wrong": wrong}.get)
    with pytest.raises(ValueError, match="modality none has no benchmark"):
        find_workload("none")
    with pytest.raises(ValueError, match="math has no WORKLOAD"):
        find_workload("wrong")


def test_the_table_names_classes_that_run():
    for module, name, _ in BENCHMARKS.values():
        kind = getattr(__import__(module, fromlist=[name]), name)
        assert callable(kind.run) and kind.__doc__


def test_a_record_is_written_only_where_asked_for(tmp_path):
    write_record(None, {"a": 1})
    write_record(tmp_path / "deep" / "a.json", {"a": 1})
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"a": 1}


@pytest.fixture
def clone():
    """Skip where the tests are not in a git repository."""
    if subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no git repository")


def test_another_revision_runs_beside_this_one(tiny, clone, capsys):
    row = compare("HEAD", work="image", method=None, repeats=3, precision="fp32", device="cpu")["image.tiny"]
    assert len(row["ratios"]) == 3 and row["ratio"] == sorted(row["ratios"])[1]
    assert row["loss_here"] == row["loss_there"] > 0
    assert "image.tiny" in capsys.readouterr().out


def test_each_worker_imports_its_own_sources(clone):
    with checkout("HEAD") as tree:
        file = tree / "maskkit" / "modalities" / "image" / "__init__.py"
        file.write_text(file.read_text() + "\n\ndef mae(*_, **__):\n    raise SystemExit('the other sources')\n")
        with pytest.raises(ValueError, match="the process of image.tiny there ended: the other sources"):
            Worker(TINY, tree, "fp32", "cpu")
        with Worker(TINY, None, "fp32", "cpu") as here, Worker(TINY, None, "fp32", "cpu") as again:
            assert here.loss == again.loss and here.parameters == again.parameters
            assert alternate_workers(here, again, 2)["here"] > 0


def test_models_of_other_sizes_are_not_compared(tiny, clone, monkeypatch):
    class Other(Worker):
        def __init__(self, preset, tree, precision, device):
            super().__init__(preset, None, precision, device)
            self.parameters += tree is not None

    monkeypatch.setattr("maskkit.bench.revisions.Worker", Other)
    with pytest.raises(ValueError, match=r"image.tiny has \d+ weights here and \d+ at HEAD"):
        compare("HEAD", work="image", method=None, repeats=1, precision="fp32", device="cpu")


def test_a_revision_that_is_not_there_is_one_line(clone):
    with pytest.raises(ValueError, match="revision no-such-thing cannot be read from"), checkout("no-such-thing"):
        pass
