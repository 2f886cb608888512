"""Pretrain a small Audio-MAE on spoken words, and see whether it knows the words from voices it has never heard.

espeak-ng says fifteen words in seven voices, as WAV files; four other voices test. Without it, gliding resonances stand
for the words. Twenty labels a word are then shown to simple classifiers, which read the mean spectrum (the usual simple
feature), the encoder before training, or the encoder after it.

    python examples/04_audio.py --out demo-audio
"""

from pathlib import Path

import numpy as np
import torch
import tyro

from maskkit import MaskedModel
from maskkit.data.loader import read_all
from maskkit.data.skips import Skips
from maskkit.decoder import WindowDecoder
from maskkit.encoder import SparseEncoder
from maskkit.evaluate.features import Features
from maskkit.evaluate.probe import compare
from maskkit.layers import start_as_mae
from maskkit.modalities import audio
from maskkit.optim import AdamW
from maskkit.positions import SinCos
from maskkit.seeds import generator

WORDS = tuple("down eight five four go left nine no off on one right seven six stop".split())
VOICES = {"heard": ("m1", "m2", "m3", "m4", "f1", "f2", "f3"), "unheard": ("m7", "m8", "f4", "f5")}
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029")


def small() -> MaskedModel:
    """Return an Audio-MAE for clips of 0.8 s and 64 bands: patches of 40 ms, all bands; 1 million weights."""
    cut = audio.patches((4, 64), frames=80, mels=64, mean=-9.4, std=5.9)
    encoder = SparseEncoder(content=256, dim=128, depth=4, heads=4, positions=SinCos(dim=128, axes=2))
    decoder = WindowDecoder(latent=128, dim=64, depth=2, heads=4, output=256, positions=SinCos(dim=64, axes=2))
    return audio.audiomae(tokenizer=cut, mask_ratio=0.75, encoder=start_as_mae(encoder), decoder=start_as_mae(decoder))


@torch.no_grad()
def features(encoder: MaskedModel | None, clips: torch.Tensor, labels: list[int]) -> Features:
    """Return an encoder's features, or the mean spectrum over the frames that are there."""
    rows = clips.nanmean(dim=2).flatten(1) if encoder is None else encoder.eval().encode(clips).pooled
    return Features(rows.numpy(), (), np.array(labels), WORDS, 0)


def main(out: Path = Path("demo-audio"), steps: int = 800, seed: int = 0) -> None:
    """Speak, train, compare, draw."""
    torch.manual_seed(seed)
    untrained, model, sets = small(), small(), {}
    for name, voices in VOICES.items():
        for word, accent, voice in [(w, a, v) for w in WORDS for a in ACCENTS for v in voices]:
            audio.speak(word, out / name / word / f"{accent}-{voice}.wav", accent=accent, voice=voice)
        source = audio.open_audio(out / name, model.tokenizer)
        read = list(read_all(source, batch=64, skips=Skips(total=len(source))))
        labels = [WORDS.index(source.label(i)) for indices, _ in read for i in indices]
        sets[name] = torch.cat([clips for _, clips in read]), labels
    (heard, _), (clips, _), optimizer = *sets.values(), AdamW(lr=1e-3).build(model.train())
    for step in range(steps):
        loss = model(heard[torch.randint(len(heard), (48,))]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    print(f"\n20 labels a word, {len(clips)} words in voices never heard; mean and deviation over 5 draws")
    for name, encoder in {"mean spectrum": None, "untrained encoder": untrained, "pretrained encoder": model}.items():
        scores = compare(*(features(encoder, *each) for each in sets.values()), per_class=20, draws=5)
        print(f"  {name:<20}" + "  ".join(f"{kind} {s.mean():6.1%} ± {s.std():.1%}" for kind, s in scores.items()))
    with torch.no_grad():
        audio.draw(clips[::48], model(clips[::48], rng=generator(seed)), model, out / "words.png")
    print(f"picture {out / 'words.png'}, of voices it has not heard")


if __name__ == "__main__":
    tyro.cli(main)
