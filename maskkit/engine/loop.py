"""The training loop. One function, top to bottom; everything it calls is a few lines elsewhere."""

import contextlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from maskkit import weights
from maskkit.engine.data import Skips, Source, generator, load
from maskkit.engine.log import Log
from maskkit.engine.memory import keep_freed_memory
from maskkit.engine.optim import Average, WarmupCosine
from maskkit.engine.run import Pretrain, RunFolder
from maskkit.engine.state import TrainState, all_checkpoints
from maskkit.model import MaskedModel
from maskkit.types import Output

# (batch, output, model, path): draws input, masked input and reconstruction
Draw = Callable[[Any, Output, MaskedModel, Path], None]

NUM_PICTURES = 8
MASKS = 2**31  # names the stream of random numbers that masks come from; no epoch reaches this number


class Stopped(SystemExit):  # noqa: N818  # not an error: the run was saved and can go on
    """A signal stopped the run after it was saved; exit code 3."""


def pretrain(settings: Pretrain[Any, Any], modality: ModuleType) -> Path:
    """Build the model, open the data, train, and return the run's folder."""
    torch.manual_seed(settings.seed)
    model = settings.model.build()
    source = settings.data.open(model.tokenizer, train=True)
    check = settings.data.open(model.tokenizer, train=False)
    train(model, source, settings, modality=modality.NAME, draw=modality.draw, pictures_from=check)
    return settings.out


def train(
    model: MaskedModel,
    source: Source,
    settings: Pretrain[Any, Any],
    *,
    modality: str,
    draw: Draw | None = None,
    pictures_from: Source | None = None,
) -> MaskedModel:
    """Train ``model`` on ``source`` and keep the run in ``settings.out``; returns the model, trained."""
    device = settings.where()
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
    run = RunFolder(settings.out)
    run.open(settings, model, modality)
    steps, warmup = settings.length(len(source))
    schedule = WarmupCosine(peak=settings.optim.lr, steps=steps, warmup=warmup, min_lr=settings.min_lr)

    model.to(device).train()
    optimizer = settings.optim.build(model)
    average = Average(model, settings.ema) if settings.ema is not None else None
    state = TrainState(model, optimizer, average, generator(settings.seed, MASKS))
    keep_bytes = resume(state, run) if settings.resume else None
    if settings.compile:
        compile_blocks(model)
    skips = Skips(total=len(source), limit=settings.max_bad, file=run.skipped)
    position = state.step * settings.batch
    micro = settings.batch // settings.accumulate
    batches = load(source, batch=micro, seed=settings.seed, skips=skips, position=position, workers=settings.workers)
    log = Log(run.metrics, run.path / "tensorboard", steps=steps, start=state.step, keep_bytes=keep_bytes)

    with log, interruptible() as interrupted:
        while state.step < steps:
            began, waited, loss = time.perf_counter(), 0.0, torch.zeros((), device=device)
            rate = schedule(state.step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            for _ in range(settings.accumulate):
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                with autocast:
                    out = model(batch.samples.to(device, non_blocking=True), rng=state.mask_rng)
                (out.loss / settings.accumulate).backward()
                loss += out.loss.detach() / settings.accumulate
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip or torch.inf)
            if not torch.isfinite(norm):
                raise FloatingPointError(
                    f"loss is {loss.item()} and the gradient {norm.item()} at step {state.step}; lower --optim.lr, "
                    "set --clip 1, or use --precision fp32"
                )
            optimizer.step()
            optimizer.zero_grad()
            state.step += 1
            model.after_step(state.step / steps)
            if average is not None:
                average.update(model)

            last = state.step == steps or interrupted()
            if state.step % settings.log_every == 0 or last:
                seconds = time.perf_counter() - began
                log.write(
                    {
                        "step": state.step,
                        "epoch": round(state.step * settings.batch / len(source), 4),
                        "samples": state.step * settings.batch,
                        "loss": loss.item(),
                        "lr": rate,
                        "grad_norm": norm.item(),
                        "samples_per_second": settings.batch / seconds,
                        "data_wait": waited / seconds,
                        "memory": peak_memory(device),
                        "skipped": len(skips),
                    }
                )
            if draw is not None and pictures_from is not None and (state.step % settings.picture_every == 0 or last):
                path = run.pictures / f"step-{state.step:08d}.png"
                draw_some(model, pictures_from, path, draw, autocast)
                log.picture(path, state.step)
            if state.step % settings.save_every == 0 or last:
                state.save(run.checkpoints, keep=settings.keep, metrics_bytes=log.bytes())
            if interrupted() and state.step < steps:
                log.say(f"stopped at step {state.step} of {steps} and saved; go on with --resume")
                raise Stopped(3)
    weights.save(model, run.model)
    if average is not None:
        model.load_state_dict(average.weights)
        weights.save(model, run.path / "ema.safetensors")
    return model


def resume(state: TrainState, run: RunFolder) -> int:
    """Take up the newest checkpoint; returns the length of the metrics file to keep."""
    places = all_checkpoints(run.checkpoints)
    return state.load(places[-1]) if places else 0


def compile_blocks(model: MaskedModel) -> None:
    """Compile block by block: one small graph serves all blocks, and the rest stays as it is."""
    for part in (model.encoder, model.decoder):
        for block in getattr(part, "blocks", ()):
            block.compile()


@torch.no_grad()
def draw_some(model: MaskedModel, source: Source, path: Path, draw: Draw, autocast: torch.autocast) -> None:
    """Draw the first few samples, always under the same mask, so that pictures compare over time."""
    samples: list[torch.Tensor] = []
    for index in range(min(len(source), 4 * NUM_PICTURES)):
        with contextlib.suppress(ValueError):  # broken files are counted where they are trained on
            samples.append(source.read(index, generator(0, index)))
        if len(samples) == NUM_PICTURES:
            break
    batch = torch.stack(samples).to(next(model.parameters()).device)
    was_training = model.training
    model.eval()
    with autocast:
        output = model(batch, rng=generator(0, MASKS))
    path.parent.mkdir(exist_ok=True)
    draw(batch, output, model, path)
    model.train(was_training)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let SIGINT, SIGTERM and SIGUSR1 finish the step; a second one stops at once."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        print(f"\n{signal.Signals(number).name}: saving after this step", file=sys.stderr)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    except ValueError:  # not in the main thread: the caller deals with signals
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def peak_memory(device: torch.device) -> int:
    """Return the largest memory used so far in bytes: the device's, or this process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
