"""Pretrain a small Audio-MAE on spoken words, and see whether it knows the words from voices it has never heard.

espeak-ng says twenty words in seven voices, as WAV files; four other voices test. Without espeak-ng the words are
synthesised from gliding tones. Labels of five recordings a word are then shown to two simple classifiers, which read
the mean spectrum (the usual simple feature), the encoder before training, or the encoder after it.

    python examples/04_audio.py --out demo-audio
"""

import shutil
import subprocess
import wave
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from maskkit.modalities import audio

from maskkit import MaskedModel
from maskkit.cli import run_recipe
from maskkit.decoder import WindowDecoder
from maskkit.encoder import SparseEncoder
from maskkit.engine.data import Skips, generator, read_all
from maskkit.engine.optim import AdamW, WarmupCosine
from maskkit.evaluate.features import Features, embed
from maskkit.evaluate.probe import compare
from maskkit.layers import start_as_mae
from maskkit.positions import SinCos

WORDS = "zero one two three four five six seven eight nine yes no up down left right stop go on off".split()
HEARD, UNHEARD = ("m1", "m2", "m3", "m4", "f1", "f2", "f3"), ("m7", "m8", "f4", "f5")
ACCENTS, DRAWS = ("en-us", "en-gb", "en-gb-scotland", "en-029"), 5


@dataclass(frozen=True)
class Small:
    """Audio-MAE for clips of 0.8 s and 64 bands: patches of 80 ms by 8 bands, 0.6 million weights."""

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""
        cut = audio.patches(8, frames=80, mels=64, mean=-9.4, std=5.9)
        places = [SinCos(dim=width, axes=2, order=(1, 0)) for width in (128, 64)]
        encoder = SparseEncoder(content=64, dim=128, depth=4, heads=4, positions=places[0])
        decoder = WindowDecoder(latent=128, dim=64, depth=2, heads=4, output=64, positions=places[1])
        parts = {"encoder": start_as_mae(encoder), "decoder": start_as_mae(decoder)}
        return audio.audiomae(tokenizer=cut, mask_ratio=0.7, **parts)


def say(word: str, accent: str, voice: str, file: Path) -> None:
    """Write a WAV of a word, at a pitch and speed of its own."""
    pitch, speed = np.random.default_rng(sum(map(ord, str(file.name) + word))).integers((25, 130), (75, 190)).tolist()
    file.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("espeak-ng"):
        options = ["-v", f"{accent}+{voice}", "-p", str(pitch), "-s", str(speed), "-w", str(file)]
        subprocess.run(["espeak-ng", *options, word], check=True)
        return
    time = np.arange(int(0.6 * 16000 * 160 / speed)) / 16000  # a word is a path of two resonances, a voice its pitch
    start, end = np.random.default_rng(WORDS.index(word)).uniform((300, 900), (900, 3000), (2, 2))
    partials = np.arange(1, 40)[:, None] * (80 + 2.5 * pitch + 7 * (HEARD + UNHEARD).index(voice))
    place = start + (end - start) * (time / time[-1])[:, None]
    loud = sum(np.exp(-(((partials - place[:, n]) / 150) ** 2)) for n in range(2))
    sound = (loud * np.sin(2 * np.pi * partials * time)).sum(0) * np.hanning(len(time))
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes((20000 * sound / abs(sound).max()).astype("<i2").tobytes())


def mean_spectrum(found: Features) -> Features:
    """Average raw spectrograms over the frames that are there."""
    frames = found.features.reshape(len(found.features), 80, 64)
    there = (frames != 0).any(axis=2, keepdims=True)
    return replace(found, features=(frames * there).sum(axis=1) / there.sum(axis=1))


def main(out: Path = Path("demo-audio"), steps: int = 500, seed: int = 0) -> None:
    """Speak, train, compare, draw."""
    for name, voices in (("heard", HEARD), ("unheard", UNHEARD)):
        for word in () if (out / name).exists() else WORDS:
            for accent in ACCENTS:
                for voice in voices:
                    say(word, accent, voice, out / name / word / f"{accent}-{voice}.wav")
    torch.manual_seed(seed)
    untrained, model = Small().build(), Small().build()
    sources = [audio.open_audio(out / name, model.tokenizer) for name in ("heard", "unheard")]
    heard, unheard = (
        torch.cat([samples for _, samples in read_all(source, batch=64, skips=Skips(total=len(source)))])
        for source in sources
    )
    optimizer, rate = AdamW(lr=3e-3).build(model.train()), WarmupCosine(peak=3e-3, steps=steps, warmup=steps // 10)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss = model(heard[torch.randint(len(heard), (48,))]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}")
    rows = {"mean spectrum": None, "untrained encoder": untrained, "pretrained encoder": model}
    print(f"\n5 labels a word, {len(unheard)} words in voices never heard; mean and deviation over {DRAWS} draws")
    for name, encoder in rows.items():
        fit, test = (embed(encoder, each) if encoder else mean_spectrum(embed(None, each)) for each in sources)
        scores = compare(fit, test, per_class=5, draws=DRAWS)
        print(f"  {name:<20}" + "  ".join(f"{kind} {s.mean():6.1%} ± {s.std():.1%}" for kind, s in scores.items()))
    batch = unheard[::64]
    with torch.no_grad():
        audio.draw(batch, model(batch, rng=generator(seed)), model, out / "words.png")
    print(f"picture {out / 'words.png'}, of voices it has not heard")


if __name__ == "__main__":
    run_recipe(lambda: tyro.cli(main))
