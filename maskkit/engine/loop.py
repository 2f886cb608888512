"""The training loop. One function, top to bottom; everything it calls is a few lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from maskkit import weights
from maskkit.data.loader import Batch, Stream, load
from maskkit.data.samples import first_samples
from maskkit.data.skips import Skips
from maskkit.data.source import Source
from maskkit.engine.checkpoints import Checkpoints, TrainState
from maskkit.engine.device import check_device, keep_freed_memory, peak_memory
from maskkit.engine.distributed import World, communicate, distribute, open_world, whole
from maskkit.engine.forecast import forecast
from maskkit.engine.log import Log, Silence
from maskkit.engine.manifest import Place
from maskkit.engine.nonfinite import NotFinite, copy_buffers, restore_buffers
from maskkit.engine.optim import Average, WarmupCosine
from maskkit.engine.run import Pretrain, RunFolder
from maskkit.engine.signals import Stopped, interruptible
from maskkit.model import MaskedModel
from maskkit.parts import build, describe
from maskkit.seeds import generator, seed_of
from maskkit.types import Output, stack

# (batch, output, model, path): draws input, masked input and reconstruction
Draw = Callable[[Any, Output, MaskedModel, Path], None]

NUM_PICTURES = 8

MASKS = 2**31  # names the stream of random numbers that masks come from; no epoch reaches this number


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
) -> None:
    """Train ``model`` in place on ``source`` and keep the run in ``settings.out``.

    Under torchrun, every process calls this with the same arguments; the model then stays spread over them.
    """
    check_device(settings.device)
    if len(source) == 0:
        raise ValueError("the data set is empty; give a path with at least one sample")
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0:  # torchrun brought a broken run back
        settings = replace(settings, resume=True)
    with open_world(settings.device, settings.sharding) as world:
        _train(model, source, settings, world, modality, draw, pictures_from)


def _train(
    model: MaskedModel,
    source: Source,
    settings: Pretrain[Any, Any],
    world: World,
    modality: str,
    draw: Draw | None,
    pictures_from: Source | None,
) -> None:
    device = world.device
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
    run = RunFolder(settings.out)
    open_folder(run, settings, model, modality, world)
    steps, warmup = settings.length(len(source))
    schedule = WarmupCosine(peak=settings.optim.lr, steps=steps, warmup=warmup, min_lr=settings.min_lr)

    record = describe(model)
    model.to(device).train()
    expected = forecast(model, source, device, autocast, settings.micro_batch or settings.batch)
    distribute(model, world, recompute=settings.recompute, compiled=settings.compile)
    optimizer = settings.optim.build(model)
    average = Average(model, settings.ema) if settings.ema is not None else None
    state = TrainState(model, optimizer, average)
    checkpoints = Checkpoints(
        run.checkpoints, world, settings.keep, keep_every=settings.keep_every, background=settings.save_in_background
    )
    say = speak if world.is_main else hush
    place = (checkpoints.resume(state, say) if settings.resume else None) or Place(samples=len(source))
    place = replace(place, micro_batch=settings.micro(world.size, place.micro_batch))
    if place.samples != len(source):
        say(f"the data set has {len(source)} samples, {place.samples} when the run was saved: their order changes here")
    parts = settings.batch // place.micro_batch
    files = len(source) // getattr(source, "repeats", 1)  # a broken video is one, however often it is sampled
    skips = Skips(total=files, limit=settings.max_bad, file=run.skipped if world.is_main else None)
    skips.take_up(run.skipped, place.skipped_bytes)
    trouble = NotFinite(run.not_finite, world.is_main, settings.max_not_finite, settings.max_rewinds)
    trouble.take_up(state.step)
    for line in expected.lines(steps=steps, batch=settings.batch, processes=world.size, workers=settings.workers):
        say(line)
    log: Log | Silence = Silence()
    if world.is_main:
        log = Log(run.metrics, run.path / "tensorboard", steps=steps, start=state.step, keep_bytes=place.metrics_bytes)
    order = order_of(settings.seed, place.rewinds)
    batches = read_from(source, state.step * parts, place, order, world, settings.workers)

    with log, checkpoints, interruptible() as interrupted:
        began, waited, logged = time.perf_counter(), 0.0, state.step
        while state.step < steps:
            rate = schedule(state.step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            buffers, seen, loss = copy_buffers(model), list[Batch](), torch.zeros((), device=device)
            for part in range(world.rank, parts, world.size):
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                torch.manual_seed(seed_of(order, state.step, part))  # dropout depends on the micro-batch alone, as
                rng = generator(order, MASKS, state.step, part)  # masks do: on neither the processes nor the past
                communicate(model, now=part + world.size >= parts)
                with autocast:
                    out = model(batch.samples.to(device, non_blocking=True), rng=rng)
                (out.loss * world.size / parts).backward()  # the mean over processes is taken when they communicate
                loss += out.loss.detach() / parts
                seen.append(batch)

            norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
            norm = whole(norm)
            mean, unread, stop = world.total([loss.item(), sum(len(b.bad) for b in seen), interrupted()])
            if unread:
                skips.add(pair for batches_ in world.gather([b.bad for b in seen]) for bad in batches_ for pair in bad)
            if norm.isfinite():  # the same number in every process
                if settings.clip is not None:
                    torch.nn.utils.clip_grads_with_norm_(model.parameters(), settings.clip, norm)
                optimizer.step()
                trouble.good()
            else:
                restore_buffers(model, buffers)
                paths = world.gather([source.path(index) for batch in seen for index in batch.indices])
                trouble.bad(state.step, mean, norm.item(), sum(paths, []))
            optimizer.zero_grad()
            if trouble.must_rewind(place.rewinds):
                place = replace(rewind(checkpoints, state, trouble, say), rewinds=place.rewinds + 1)
                order = order_of(settings.seed, place.rewinds)
                batches = read_from(source, state.step * parts, place, order, world, settings.workers)
                log.rewind(state.step, place.metrics_bytes)
                began, waited, logged = time.perf_counter(), 0.0, state.step
                continue
            state.step += 1
            world.average_statistics(model)
            model.after_step(state.step / steps)
            if average is not None:
                average.update(model)

            last = state.step == steps or stop > 0
            if state.step % settings.log_every == 0 or last:
                seconds = time.perf_counter() - began
                pace = (state.step - logged) * settings.batch / seconds
                log.write(
                    {
                        "step": state.step,
                        "epoch": round(state.step * settings.batch / len(source), 4),
                        "samples": state.step * settings.batch,
                        "loss": mean,
                        "lr": rate,
                        "grad_norm": norm.item(),
                        "samples_per_second": pace,
                        "data_wait": waited / seconds,
                        "mfu": expected.flops * pace / world.size / expected.peak,
                        "memory": peak_memory(device),
                        "skipped": len(skips),
                        "not_finite": trouble.count,
                        "rewinds": place.rewinds,
                        "checkpoint_seconds": checkpoints.seconds,
                    }
                )
                began, waited, logged = time.perf_counter(), 0.0, state.step
            # In the middle of a row of bad steps nothing is saved: to go back there would not lead out of it.
            if (state.step % settings.save_every == 0 and not trouble.in_a_row) or last:
                numbers = {"metrics_bytes": log.bytes(), "skipped_bytes": skips.bytes(), "samples": len(source)}
                checkpoints.save(state, replace(place, step=state.step, **numbers))
                if checkpoints.saved == 1:
                    log.say(f"a checkpoint takes {checkpoints.seconds:.2f} s (see --save-every, --save-in-background)")
            if draw is not None and pictures_from is not None and (state.step % settings.picture_every == 0 or last):
                path = run.pictures / f"step-{state.step:08d}.png"
                try:
                    draw_some(model, pictures_from, path, draw if world.is_main else None, autocast)
                    log.picture(path, state.step)
                except ValueError as error:  # samples that cannot be masked or drawn are no reason to end a run
                    log.say(f"no picture: {error}")
            if stop and state.step < steps:
                checkpoints.finish()
                log.say(f"stopped at step {state.step} of {steps} and saved; go on with --resume")
                raise Stopped(3)
    save_models(run, model, record, average, world)


def open_folder(run: RunFolder, settings: Pretrain[Any, Any], model: MaskedModel, modality: str, world: World) -> None:
    """Let the first process open the run's folder; what is wrong with it stops all of them."""
    problem = None
    if world.is_main:
        try:
            run.open(settings, model, modality)
        except OSError as error:
            problem = f"{error.filename or run.path}: {error.strerror or error}; choose another --out"
        except ValueError as error:
            problem = str(error)
    for text in world.gather(problem):
        if text:
            raise ValueError(text)


def speak(text: str) -> None:
    """Say something about the run as a whole."""
    print(text, file=sys.stderr, flush=True)


def hush(text: str) -> None:
    """Say nothing: another process does."""


def order_of(seed: int, rewinds: int) -> int:
    """Return the seed of everything random in a run: another one after each time that it went back."""
    return seed_of(seed, rewinds) if rewinds else seed


def read_from(source: Source, first: int, place: Place, order: int, world: World, workers: int) -> Iterator[Batch]:
    """Read from micro-batch ``first`` of the run on: this process's share of them."""
    stream = Stream(source, place.micro_batch, order, first=first + world.rank, stride=world.size)
    return load(source, stream, workers=workers)


def rewind(checkpoints: Checkpoints, state: TrainState, trouble: NotFinite, say: Callable[[str], None]) -> Place:
    """Go back to the last checkpoint."""
    bad = state.step
    checkpoints.finish()
    place = checkpoints.resume(state, say)
    if place is None:
        raise FloatingPointError(
            f"the loss is not finite and there is no checkpoint to go back to at step {bad}; {trouble.file} names the "
            "samples; lower --optim.lr, set --clip 1, or use --precision fp32"
        )
    say(f"the loss was not finite {trouble.limit} times in a row: back from step {bad} to {place.step}, in other order")
    return place


def save_models(
    run: RunFolder, model: MaskedModel, record: dict[str, Any], average: Average | None, world: World
) -> None:
    """Write the last model, and its average where there is one, as files that need no run folder."""
    finished = {run.model: model.state_dict()}
    if average is not None:
        finished[run.path / "ema.safetensors"] = average.weights
    for path, tensors in finished.items():
        state = {name: whole(tensor.detach()).cpu() for name, tensor in tensors.items()}
        if world.is_main:
            alone = build(record)  # the model itself may be spread over many processes
            alone.load_state_dict(state)
            weights.save(alone, path)


@torch.no_grad()
def draw_some(model: MaskedModel, source: Source, path: Path, draw: Draw | None, autocast: torch.autocast) -> None:
    """Draw the first few samples, always under the same mask, so that pictures compare over time.

    Every process computes, since each may hold a part of the weights; one draws.
    """
    batch = stack(first_samples(source, NUM_PICTURES)).to(next(model.parameters()).device)
    was_training = model.training
    model.eval()
    with autocast:
        output = model(batch, rng=generator(0, MASKS))
    if draw is not None:
        path.parent.mkdir(exist_ok=True)
        draw(batch, output, model, path)
    model.train(was_training)
