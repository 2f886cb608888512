"""The command line on real files, in processes of its own where the exit code matters."""

import contextlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from maskkit.cli import main
from maskkit.modalities import image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Digits as PNG files, in a folder a class."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels, labels = image.digits()
    for number, (picture, label) in enumerate(zip(pixels[:300, 0], labels[:300], strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / str(label) / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    words = ["pretrain", "image", "--data", pictures, "--out", out, "--steps", "3", "--batch", "8", "--workers", "0"]
    assert main([str(word) for word in words]) == 0
    return out


def said(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_lists_every_command_without_torch():
    code = "import sys; from maskkit.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("pretrain", "reconstruct", "embed", "probe", "export", "pack", "transcode", "bench", "doctor"):
        assert f"  {name} " in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["pretrain", "image"],
        ["reconstruct"],
        ["embed"],
        ["probe"],
        ["export"],
        ["pack"],
        ["transcode", "video"],
        ["bench", "step"],
    ],
)
def test_every_command_has_help(command, capsys):
    code, out, _ = said(capsys, *command, "--help")
    assert code == 0 and "usage:" in out


def test_defaults_fit_the_data_and_are_said(run):
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["model"]["image_size"] == [8, 8] and settings["model"]["channels"] == 1
    assert settings["model"]["patch_size"] == 1 and settings["model"]["norm_target"] is False
    assert settings["data"] == {"root": settings["data"]["root"], "min_scale": 1.0, "flip": False, "measure": False}


def test_reconstruct_writes_a_picture(run, pictures, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    code, out, err = said(
        capsys, "reconstruct", run, f"{pictures}/3/*.png", broken, "--out", tmp_path / "r.png", "--limit", 4
    )
    assert code == 0 and "4 samples, loss" in out
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.width > 3 * 128 and len(picture.getcolors(2**24)) > 10


def test_embed_writes_features_paths_and_labels(run, pictures, tmp_path, capsys):
    code, _, _ = said(capsys, "embed", run, "--data", pictures, "--out", tmp_path / "f.npz")
    found = np.load(tmp_path / "f.npz")
    assert code == 0 and found["features"].shape == (300, 192) and np.isfinite(found["features"]).all()
    assert all(path.split("/")[-2] == label for path, label in zip(found["paths"], found["labels"], strict=True))


def test_probe_measures_with_baselines(run, pictures, tmp_path, capsys):
    code, out, _ = said(capsys, "probe", run, "--data", pictures, "--baselines", "--out", tmp_path / "p.json")
    record = json.loads((tmp_path / "p.json").read_text())
    assert code == 0 and "raw contents" in out
    assert record["classes"] == 10 and record["fitted"] + record["tested"] == 300
    assert record["accuracy"]["raw contents"]["linear"] > 0.7  # digits are easy for pixels: the probes work
    assert set(record["accuracy"]) == {"raw contents", "untrained", "pretrained"}


@pytest.mark.parametrize("layout", ["maskkit", "timm", "hf", "mae", "audiomae"])
def test_export_writes_every_layout(run, tmp_path, capsys, layout):
    code, out, _ = said(capsys, "export", run, "--layout", layout, "--out", tmp_path / "weights.safetensors")
    assert code == 0 and (tmp_path / "weights.safetensors").stat().st_size > 1e6


def test_resume_goes_on_with_the_settings_of_the_run(run, pictures, capsys):
    words = ["pretrain", "image", "--data", pictures, "--out", run, "--resume", "--steps", 5, "--batch", 8]
    code, _, err = said(capsys, *words, "--preset", "mae-tiny", "--image-size", 4, "--lr", 7, "--save-every", 1)
    assert "not used: --image-size (the run has 8 8), --lr (the run has 0.0005)\n" in err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert code == 0 and lines[-1]["step"] == 5 and lines[-1]["samples"] == 40


def test_resume_in_another_place_of_the_data_and_with_another_modality(run, pictures, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(pictures, moved)
    code, _, err = said(capsys, "pretrain", "image", "--data", moved, "--out", run, "--resume", "--steps", 6)
    assert code == 0 and f"data: {moved}, where the run had {pictures}" in err
    code, _, err = said(capsys, "pretrain", "points", "--data", pictures, "--out", run, "--resume")
    assert code == 2 and "holds a run on image; resume it as that, not as points" in err


def test_a_run_that_failed_at_its_start_may_begin_anew(pictures, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(pictures, broken)
    for number in range(200):
        (broken / f"{number}.png").write_bytes(b"")
    words = ["pretrain", "image", "--data", broken, "--out", tmp_path / "run", "--steps", 2, "--batch", 64]
    code, _, err = said(capsys, *words)
    assert code == 2 and "fix the data or raise --max-bad" in err
    assert said(capsys, *words, "--max-bad", 0.5)[0] == 0
    assert len((tmp_path / "run" / "skipped.txt").read_text().splitlines()) > 5


def test_a_run_keeps_its_own_model(run, capsys):
    code, _, err = said(capsys, "export", run, "--layout", "mae", "--out", run / "model.safetensors")
    assert code == 2 and "is the run's own model; choose another --out" in err


def test_a_folder_with_a_run_is_refused(run, pictures, capsys):
    code, _, err = said(capsys, "pretrain", "image", "--data", pictures, "--out", run)
    assert code == 2 and "already holds a run" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frobnicate"], "maskkit has no command 'frobnicate'; it has pretrain"),
        (["pretrain", "smells", "--data", "x"], "cannot pretrain on 'smells'"),
        (["pretrain", "image", "--data", "no/such/place", "--out", "OUT"], "no/such/place: no such file or folder"),
        (["pretrain", "image", "--data", "EMPTY", "--out", "OUT"], "EMPTY"),
        (
            ["pretrain", "image", "--data", "DATA", "--out", "OUT", "--mask-ratio", "1.5"],
            "--mask-ratio must lie in (0, 1)",
        ),
        (
            ["pretrain", "image", "--data", "DATA", "--out", "OUT", "--patch-size", "3"],
            "8x8 is not divisible by patch 3x3",
        ),
        (
            ["pretrain", "image", "--data", "DATA", "--out", "OUT", "--patch-size", "4", "--mask-ratio", "0.9"],
            "mask ratio 0.9 of 4 tokens leaves no visible token",
        ),
        (["pretrain", "image", "--data", "DATA", "--out", "OUT", "--steps", "0"], "steps must be at least 1, got 0"),
        (
            ["pretrain", "image", "--data", "DATA", "--out", "OUT", "--image-size", "0"],
            "image-size must be at least 1",
        ),
        (["pretrain", "image", "--data", "DATA", "--out", "OUT", "--workers", "-1"], "--workers must be at least 0"),
        (
            ["pretrain", "video", "--data", "DATA", "--out", "OUT", "--frames", "0"],
            "frames must be at least 1, got 0",
        ),
        (
            ["pretrain", "points", "--data", "DATA", "--out", "OUT", "--num-points", "64", "--group-size", "65"],
            "--group-size 65 is more than the 64 points of a cloud",
        ),
        (
            ["pretrain", "image", "--data", "DATA", "--out", "OUT", "--device", "abacus"],
            "--device abacus cannot be",
        ),
        (
            ["pretrain", "image", "--data", "DATA", "--out", "OUT", "--device", "meta"],
            "--device meta cannot be used here (a meta device does not train models)",
        ),
        (
            ["pretrain", "image", "--data", "DATA", "--out", "OUT", "--image-size", "65536", "--patch-size", "65536"],
            "there is not enough memory; choose a smaller",
        ),
        (
            ["embed", "RUN", "--data", "DATA", "--out", "OUT", "--device", "abacus"],
            "--device abacus cannot be",
        ),
        (["probe", "RUN", "--data", "DATA", "--device", "abacus"], "--device abacus cannot be"),
        (["pretrain", "image", "--data", "DATA", "--out", "FILE"], "choose another --out"),
        (["export", "RUN", "--out", "weights.xyz"], "weights.xyz must end in .safetensors or"),
        (
            ["bench", "data", "--work", "imge", "--path", "DATA"],
            "there is no modality 'imge'; installed are audio",
        ),
        (["reconstruct", "RUN", "DATA", "--limit", "0", "--out", "OUT"], "--limit must be at least 1, got 0"),
        (["reconstruct", "DATA", "x", "--out", "OUT"], "holds no run: it has no config.json"),
        (["probe", "RUN", "--data", "FLAT"], "has no classes; put each class into a sub-folder"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(words, message, run, pictures, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {
        "DATA": pictures,
        "OUT": tmp_path / "out",
        "EMPTY": tmp_path / "empty",
        "RUN": run,
        "FLAT": pictures / "3",
        "FILE": next(pictures.glob("3/*.png")),
    }
    code, _, err = said(capsys, *[places.get(word, word) for word in words])
    last = err.strip().splitlines()[-1]
    assert code == 2
    assert last.startswith("maskkit: ") and (message in last or str(places.get(message)) in last)
    assert "Traceback" not in err


def test_debug_shows_the_traceback(capsys):
    code, _, err = said(capsys, "pretrain", "image", "--data", "no/such/place", "--out", "x", "--debug")
    assert code == 2 and "Traceback" in err


def test_channels_that_do_not_match_the_run(run, tmp_path, capsys):
    np.savez(tmp_path / "many.npz", images=np.zeros((4, 8, 8, 5), np.uint8))
    code, _, err = said(capsys, "reconstruct", run, tmp_path / "many.npz", "--out", tmp_path / "r.png")
    assert code == 2 and "channels" in err and len(err.strip().splitlines()) == 1


def test_doctor_says_what_is_here(capsys):
    code, out, _ = said(capsys, "doctor")
    assert code == 0 and "everything that maskkit needs is installed" in out
    assert "fix: pip install 'maskkit[points]'" in out or "reads point clouds" in out


def test_doctor_says_why_something_broken_fails(tmp_path):
    (tmp_path / "decord").mkdir()
    (tmp_path / "decord" / "__init__.py").write_text("raise OSError('libfoo.so.1: cannot open shared object file')\n")
    result = subprocess.run(
        [sys.executable, "-m", "maskkit.cli", "doctor"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        check=False,
    )
    assert "installed, but fails: OSError: libfoo.so.1: cannot open shared object file" in result.stdout
    assert "fix: pip install 'maskkit[video]'" in result.stdout


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch, run, tmp_path):
    def broken(*_, **__):
        raise TypeError("a defect")

    monkeypatch.setattr("maskkit.weights.save", broken)
    with pytest.raises(TypeError):
        main(["export", str(run), "--out", str(tmp_path / "x.safetensors")])


def test_mean_and_deviation_are_measured_with_one_flag(pictures, tmp_path, capsys):
    words = [
        "pretrain",
        "image",
        "--data",
        pictures,
        "--out",
        tmp_path / "run",
        "--steps",
        1,
        "--batch",
        4,
        "--workers",
        0,
    ]
    code, _, err = said(capsys, *words, "--measure")
    pixels = image.digits()[0][:300] / 255
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["model"]
    assert code == 0 and "measured mean" in err
    assert settings["mean"] == pytest.approx([pixels.mean()], abs=1e-3)
    assert settings["std"] == pytest.approx([pixels.std()], abs=1e-3)


def test_float_arrays_of_many_channels_train_and_draw(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "bands.npy", rng.normal(300, 40, (20, 5, 24, 24)).astype(np.float32))
    words = [
        "pretrain",
        "image",
        "--data",
        tmp_path / "bands.npy",
        "--out",
        tmp_path / "run",
        "--steps",
        2,
        "--workers",
        0,
    ]
    code, _, err = said(capsys, *words, "--batch", 4)
    assert code == 0 and "5 channels" in err
    assert "measured mean 300" in err or "measured mean 299" in err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 3  # of normalised contents
    with Image.open(tmp_path / "run" / "pictures" / "step-00000002.png") as picture:
        assert len(picture.getcolors(2**24)) > 50


def test_a_run_survives_the_end_of_whoever_reads_its_words(digits, tmp_path):
    words = ["pretrain", "image", "--data", str(digits), "--out", str(tmp_path / "run"), "--steps", "4", "--batch", "8"]
    words += ["--size", "tiny", "--workers", "0", "--device", "cpu"]
    code = f"import sys; from maskkit.cli import main; sys.exit(main({words}))"
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    running.stdout.close()
    assert running.wait() == 0 and (tmp_path / "run" / "model.safetensors").exists()


def test_a_run_survives_a_full_disk_of_its_words(digits, tmp_path):
    words = ["pretrain", "image", "--data", str(digits), "--out", str(tmp_path / "run"), "--steps", "1", "--batch", "8"]
    words += ["--size", "tiny", "--workers", "0", "--device", "cpu"]
    full = open("/dev/full", "w")  # noqa: SIM115  # closing it fails, too
    with contextlib.redirect_stderr(full):
        assert main(words) == 0
    with contextlib.suppress(OSError):
        full.close()


def test_resume_says_which_settings_of_a_new_run_it_does_not_use(digits, tmp_path, capsys):
    words = ["pretrain", "image", "--data", str(digits), "--out", str(tmp_path / "run"), "--batch", "8"]
    words += ["--workers", "0", "--device", "cpu"]
    assert main([*words, "--size", "tiny", "--steps", "1"]) == 0
    capsys.readouterr()
    assert main([*words, "--resume", "--config", "no.json", "--steps", "2"]) == 0
    assert "not used: --config no.json" in capsys.readouterr().err
    assert main([*words, "--resume", "--preset", "simmim-tiny", "--steps", "3"]) == 0
    assert "not used: --preset simmim-tiny" in capsys.readouterr().err


def test_an_exit_with_words_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("maskkit.commands.doctor.main", lambda words: sys.exit("install foo first"))
    assert main(["doctor"]) == 2 and capsys.readouterr().err == "maskkit: install foo first\n"
    monkeypatch.setattr("maskkit.commands.doctor.main", lambda words: sys.exit())
    assert main(["doctor"]) == 0


def test_a_run_that_was_killed_before_its_first_row_keeps_its_settings(digits, tmp_path, capsys):
    words = ["pretrain", "image", "--data", str(digits), "--out", str(tmp_path / "run"), "--batch", "8"]
    words += ["--workers", "0", "--device", "cpu", "--size", "tiny", "--steps", "2", "--save-every", "100"]
    assert main(words) == 0
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    capsys.readouterr()
    assert main(["pretrain", "image", "--out", str(tmp_path / "run"), "--resume"]) == 0
    said = capsys.readouterr().err
    assert "continues at step 0 of 2" in said and "2 steps of 8 samples" in said
    assert main(["pretrain", "image", "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert "the run is complete: 2 of 2 steps; raise --steps" in capsys.readouterr().err


def test_files_of_another_kind_are_refused(run, pictures, tmp_path, capsys):
    for command, out, wanted in (("embed", "x.csv", ".npz"), ("reconstruct", "x.txt", ".png")):
        data = ["--data", str(pictures)] if command == "embed" else [str(pictures)]
        assert main([command, str(run), *data, "--out", str(tmp_path / out)]) == 2
        assert f"--out must end in {wanted}" in capsys.readouterr().err
    assert main(["embed", str(run), "--out", "x.npz", "--import", "my_parts.py", "--data", "x"]) == 2
    assert "name the module without .py: my_parts" in capsys.readouterr().err


def test_a_pattern_that_the_shell_expanded_is_recognised(pictures, tmp_path, capsys):
    paths = sorted(str(path) for path in pictures.rglob("*.png"))[:4]
    assert main(["pretrain", "image", "--out", str(tmp_path / "run"), "--data", *paths]) == 2
    assert "3 paths follow" in capsys.readouterr().err
