"""Nothing about figures stops a run: one line says what went wrong."""

import json
from dataclasses import replace

import pytest
import torch
from contracts import Contract
from small import Small

from maskkit.data.source import BadSampleError
from maskkit.engine.figures import NUM_SAMPLES, draw_some
from maskkit.engine.loop import train
from maskkit.modalities import image


class Broken:
    """Digits, the first of which cannot be read."""

    repeats = 1

    def __init__(self, count=0, samples=100):
        self.pixels, self.count = torch.from_numpy(image.digits()[0][:samples]), count

    def __len__(self):
        return len(self.pixels)

    def read(self, key, rng):
        if key.index < self.count:
            raise BadSampleError(self.path(key.index), "broken on purpose")
        return self.pixels[key.index]

    def path(self, index):
        return f"digit {index}"

    def label(self, index):
        return None


class Failing(Broken):
    """A source that lacks a library, which is no error of a sample."""

    def read(self, key, rng):
        raise ImportError("a library is missing")


class Said:
    """A log that keeps what it is told."""

    def __init__(self):
        self.lines, self.figures = [], []

    def say(self, text):
        self.lines.append(text)

    def picture(self, path, step):
        self.figures.append((path, step))


def drawn(tmp_path, source, *, model=None, draw=None, autocast=False):
    log, path = Said(), tmp_path / "pictures" / "step.png"
    model = Small().build().train() if model is None else model
    context = torch.autocast("cpu", torch.bfloat16, enabled=autocast)
    draw_some(model, source, path, image.draw if draw is None else draw, context, log, 3)
    assert model.training
    return log, path


@pytest.mark.parametrize("broken", [0, 32, 90])
def test_the_first_samples_that_can_be_read_are_drawn(tmp_path, broken):
    seen = []

    def draw(batch, output, model, path):
        seen.append(batch)
        assert not model.training and not output.loss.requires_grad
        image.draw(batch, output, model, path)

    source = Broken(broken)
    log, path = drawn(tmp_path, source, draw=draw)
    assert not log.lines and log.figures == [(path, 3)] and path.stat().st_size > 0
    assert torch.equal(seen[0], source.pixels[broken : broken + NUM_SAMPLES])


def test_figures_compare_over_time_since_the_mask_stays(tmp_path):
    masks = []
    for _ in range(2):
        torch.rand(7)
        drawn(tmp_path, Broken(), draw=lambda batch, output, model, path: masks.append(output.mask) or 1 / 0)
    assert torch.equal(masks[0].hidden, masks[1].hidden)


def refuse(*_):
    raise ValueError("nothing\n to draw")


def fail(*_):
    raise KeyError


@pytest.mark.parametrize(
    ("source", "draw", "line"),
    [
        (Broken(100), None, "no figure: none of the first samples can be read"),
        (None, None, "no figure: none of the first samples can be read"),
        (Broken(), refuse, "no figure: nothing to draw"),
        (Broken(), fail, "no figure: KeyError"),
        (Failing(), fail, "no figure: a library is missing"),
        (Broken(), lambda *_: None, "no figure: [Errno 2] No such file or directory"),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path, source, draw, line):
    log, _ = drawn(tmp_path, source, draw=draw or image.draw)
    if draw is None or draw in (refuse, fail):
        assert log.lines == [line]
    else:
        assert log.lines == [] and log.figures  # the log of a real run opens the figure


def test_samples_that_do_not_stack_are_one_line(tmp_path):
    source = Broken()
    source.pixels = [torch.zeros(1, 8, 8 + 8 * (number % 2), dtype=torch.uint8) for number in range(10)]
    log, path = drawn(tmp_path, source)
    assert len(log.lines) == 1 and log.lines[0].startswith("no figure: tensors 'sample' of one batch have different sh")
    assert not path.exists()


def test_a_process_that_does_not_draw_computes_all_the_same(tmp_path):
    model, calls = Small().build().train(), []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    log = Said()
    path = tmp_path / "pictures" / "step.png"
    draw_some(model, Broken(), path, None, torch.autocast("cpu", enabled=False), log, 3)
    assert calls and not log.figures and not log.lines and not path.parent.exists()


KINDS = {
    "a target without contents": (
        Contract("two masks, one teacher"),
        Broken(),
        image.draw,
        "Teacher predicts no contents",
    ),
    "broken samples at the start": (Small(), Broken(40), image.draw, None),
    "nothing that can be read": (Small(), Broken(100), image.draw, "none of the first samples can be read"),
    "a draw that raises": (Small(), Broken(), refuse, "nothing to draw"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_with_one_line_a_figure(settings, capsys, kind):
    model, shown, draw, line = KINDS[kind]
    settings = replace(settings, steps=4, picture_every=2, model=model)
    built = model.build()
    source = settings.data.open(built.tokenizer, train=True)
    train(built, source, settings, modality="image", draw=draw, pictures_from=shown)
    said = [text for text in capsys.readouterr().err.splitlines() if "no figure" in text]
    assert len(said) == (0 if line is None else 2) and all(text.startswith(f"no figure: {line}") for text in said)
    steps = [json.loads(row)["step"] for row in (settings.out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4] and (settings.out / "model.safetensors").exists()
    assert len([*settings.out.glob("pictures/*.png")]) == (2 if line is None else 0)
