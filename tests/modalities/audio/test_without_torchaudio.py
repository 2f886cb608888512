"""Audio needs no torchaudio, and its features do not depend on it: the same process with and without it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from maskkit.modalities.audio.sample import tone

soundfile = pytest.importorskip("soundfile")

CODE = """
import sys
blocked, folder, run = sys.argv[1] == "blocked", *sys.argv[2:]
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchaudio":
            raise ModuleNotFoundError(name)
if blocked:
    import importlib.util
    sys.meta_path.insert(0, Blocked())
    found = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "torchaudio" else found(name, *rest)
import json, torch
from maskkit.cli import main
from maskkit.modalities import audio
wave = audio.read_recording(folder + "/a.wav")
energies = audio.fbank(wave)
missing = [finding[3] for finding in audio.findings() if finding[0] == "torchaudio" and not finding[1]]
sound = audio.waveform(energies[:40])
code = main(["pretrain", "audio", "--data", folder, "--out", run, "--steps", "1", "--workers", "0"])
print(json.dumps({"energies": energies[::50].tolist(), "missing": missing, "sound": sound.abs().max().item()}))
sys.exit(code)
"""


def test_a_run_and_its_features_are_the_same(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name, rate in (("a", 44_100), ("b", 16_000)):
        soundfile.write(folder / f"{name}.wav", tone(1, frames=200).clamp(-1, 1).numpy(), rate)
    told = {}
    for how in ("blocked", "here"):
        words = [sys.executable, "-c", CODE, how, str(folder), str(tmp_path / how)]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        told[how] = json.loads(result.stdout.splitlines()[-1])
    assert told["blocked"]["missing"] == ["pip install 'maskkit[audio]'"]
    assert told["blocked"]["sound"] == pytest.approx(0.9)
    np.testing.assert_array_equal(told["blocked"]["energies"], told["here"]["energies"])
    rows = [(tmp_path / how / "metrics.jsonl").read_text().splitlines() for how in told]
    losses = [[json.loads(row)["loss"] for row in run if "loss" in json.loads(row)] for run in rows]
    assert losses[0] and losses[0] == losses[1]
