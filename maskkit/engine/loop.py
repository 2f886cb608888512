"""The training loop, in one function."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch

from maskkit import weights
from maskkit.data.loader import Batch, Stream, load
from maskkit.data.skips import Skips
from maskkit.data.source import Source, num_items
from maskkit.data.workers import LoaderDiedError
from maskkit.engine.checkpoints import Checkpoints, TrainState
from maskkit.engine.device import check_device, keep_freed_memory, total_memory
from maskkit.engine.distributed import World, distribute, full_tensor, init_distributed
from maskkit.engine.figures import Draw, draw_some
from maskkit.engine.forecast import forecast, plan
from maskkit.engine.log import Log, NullLog, report, report_nothing
from maskkit.engine.lost import stop_if_lost
from maskkit.engine.manifest import Progress
from maskkit.engine.meters import Meters
from maskkit.engine.nonfinite import NonFinite, copy_buffers, restore_buffers
from maskkit.engine.run import RunFolder
from maskkit.engine.settings import DataSettings, ModelSettings, Pretrain
from maskkit.engine.signals import Stopped, interruptible
from maskkit.engine.step import accumulate, gradient_norm, update
from maskkit.modality import Modality, as_modality
from maskkit.model import MaskedModel
from maskkit.optim import EMA, Schedule, WarmupCosine
from maskkit.parts import build_as, describe
from maskkit.seeds import seed_of

Settings = Pretrain[ModelSettings, DataSettings]


def pretrain(settings: Settings, modality: Modality | object) -> Path:
    """Build the model, open the data, train, and return the folder of the run. Raises ValueError for wrong settings."""
    found = as_modality(modality)
    torch.manual_seed(settings.seed)
    model = settings.model.build()
    source = settings.data.open(model.tokenizer, train=True)
    check = settings.data.open(model.tokenizer, train=False)
    train(model, source, settings, modality=found.name, draw=found.draw, pictures_from=check)
    return settings.out


def train(
    model: MaskedModel,
    source: Source,
    settings: Settings,
    *,
    modality: str,
    draw: Draw | None = None,
    pictures_from: Source | None = None,
) -> None:
    """Train ``model`` in place on ``source`` and keep the run in ``settings.out``.

    Under torchrun, every process has the same arguments, and the model stays sharded. Raises ValueError for no samples.
    """
    check_device(settings.device)
    if len(source) == 0:
        raise ValueError("the data set is empty; give a path with at least one sample")
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0:  # torchrun has restarted the run
        settings = replace(settings, resume=True)
    with stop_if_lost(settings.out), init_distributed(settings.device, settings.sharding) as world:
        with RunFolder(settings.out).locked(world):
            run = Run.begin(model, source, settings.completed(len(source)), world, modality)
            figures = Figures(draw, pictures_from)
            with interruptible() as interrupted:  # a signal waits for the models, too
                with run.log, run.checkpoints:
                    loop(run, figures, interrupted)
                run.save_models()


@dataclass
class Figures:
    """The drawing function of figures during training, and its samples."""

    draw: Draw | None
    source: Source | None


@dataclass
class Run:
    """The state and the files of a run during training."""

    settings: Settings
    model: MaskedModel
    source: Source
    world: World
    folder: RunFolder
    record: object
    """Description of the model, from which it can be built again."""
    state: TrainState
    schedule: Schedule
    checkpoints: Checkpoints
    progress: Progress
    skips: Skips
    nonfinite: NonFinite
    log: Log | NullLog
    meters: Meters
    autocast: torch.autocast
    died: str = ""
    """Why a loader process died, if one did."""

    @classmethod
    def begin(cls, model: MaskedModel, source: Source, settings: Settings, world: World, modality: str) -> "Run":
        """Open the folder, forecast the cost, shard the model, and load the last checkpoint when resuming."""
        device = world.device
        if device.type == "cpu":
            keep_freed_memory()
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
        folder, record = RunFolder(settings.out), describe(model)
        folder.open_in_all(settings, model, modality, world)
        steps, warmup = settings.length(len(source))
        model.to(device).train()
        expected = forecast(model, source, device, autocast, settings.micro_batch or settings.batch or 1)
        model.world = world  # not before, since processes may need another number of passes for the forecast
        settings.optim.freeze(model)
        distribute(model, world, recompute=settings.recompute, compiled=settings.compile)
        optimizer = settings.optim.build(model)
        state = TrainState(model, optimizer, EMA(model, settings.ema) if settings.ema is not None else None)
        checkpoints = Checkpoints(
            folder.checkpoints,
            world,
            settings.keep,
            keep_every=settings.keep_every,
            background=settings.save_in_background,
        )
        say = report if world.is_main else report_nothing
        found = checkpoints.resume(state, say) if settings.resume else None
        progress = found or Progress(samples=len(source))
        progress = replace(progress, micro_batch=settings.micro(world.size, progress.micro_batch))
        if not settings.recompute:
            expected.check_memory(progress.micro_batch, total_memory(device))
        if progress.samples != len(source):
            say(
                f"the data set has {len(source)} samples, {progress.samples} when the run was saved: "
                "their order changes here"
            )
        batch, workers = settings.batch or 1, settings.workers
        for line in plan(expected, state.step, steps, batch, world.size, workers, resumes=settings.resume):
            say(line)
        assert settings.optim.lr is not None and settings.min_lr is not None and settings.batch is not None
        rates = WarmupCosine(peak=settings.optim.lr, steps=steps, warmup=warmup, min_lr=settings.min_lr)
        board = folder.path / "tensorboard"
        return cls(
            settings=settings,
            model=model,
            source=source,
            world=world,
            folder=folder,
            record=record,
            state=state,
            schedule=Schedule(optimizer, settings.optim, rates),
            checkpoints=checkpoints,
            progress=progress,
            skips=_skips(source, folder, settings, progress, world),
            nonfinite=_nonfinite(folder, settings, state.step, world),
            log=Log(folder.metrics, board, steps=steps, start=state.step, keep_bytes=progress.metrics_bytes)
            if world.is_main
            else NullLog(),
            meters=Meters(settings.batch, device, expected, world.size, state.step),
            autocast=autocast,
        )

    @property
    def num_micro_batches(self) -> int:
        """The number of micro-batches of a step, over all processes."""
        return (self.settings.batch or 1) // self.progress.micro_batch

    @property
    def run_seed(self) -> int:
        """The seed of all random choices. It changes each time the run returns to a checkpoint."""
        seed, rewinds = self.settings.seed, self.progress.rewinds
        return seed_of(seed, rewinds) if rewinds else seed

    def batches(self) -> Iterator[Batch]:
        """Yield this process's share of the micro-batches from the current step on.

        If a loader process dies, ``died`` says why, and a new one reads the rest of the step, so that all processes of
        the run can save the same step. Raises LoaderDiedError if the new one dies, too.
        """
        first = self.state.step * self.num_micro_batches + self.world.rank
        stream = Stream(self.source, self.progress.micro_batch, self.run_seed, first=first, stride=self.world.size)
        done = 0
        try:
            for batch in load(self.source, stream, workers=self.settings.workers):
                done += 1
                yield batch
        except LoaderDiedError as error:
            self.died = str(error)
        rest = replace(stream, first=first + done * self.world.size)
        yield from load(self.source, rest, workers=1)

    def rewind(self) -> Iterator[Batch]:
        """Return to the last checkpoint, and yield the data in a new order from there."""
        bad = self.state.step
        self.checkpoints.finish()
        found = self.checkpoints.resume(self.state, self.say)
        if found is None:
            raise FloatingPointError(
                f"the loss is not finite and there is no checkpoint to return to at step {bad}; "
                f"{self.nonfinite.file} names the samples; lower --lr (in a recipe: --optim.lr), set --clip 1, "
                "or use --precision fp32"
            )
        self.progress = replace(found, rewinds=self.progress.rewinds + 1)
        self.say(
            f"the loss was not finite {self.nonfinite.limit} times in a row: back from step {bad} to {found.step}, "
            "in other order"
        )
        self.log.rewind(self.state.step, found.metrics_bytes)
        self.meters.restart(self.state.step)
        return self.batches()

    def say(self, text: str) -> None:
        """Print a line about the run, in the main process only."""
        if self.world.is_main:
            self.log.say(text)

    def save(self) -> None:
        """Write a checkpoint."""
        self.progress = replace(
            self.progress,
            step=self.state.step,
            metrics_bytes=self.log.bytes(),
            skipped_bytes=self.skips.bytes(),
            samples=len(self.source),
        )
        self.checkpoints.save(self.state, self.progress)
        if self.checkpoints.saved == 1:
            seconds = self.checkpoints.seconds
            self.say(f"a checkpoint takes {seconds:.2f} s (see --save-every, --save-in-background)")

    def stop(self, steps: int) -> NoReturn:
        """End a run that was saved, with exit code 3."""
        self.checkpoints.finish()
        for reason in filter(None, self.world.gather(self.died)):
            self.say(reason)
        self.say(f"stopped at step {self.state.step} of {steps} and saved; continue with --resume")
        raise Stopped(3)

    def stop_unfinished(self, steps: int) -> None:
        """Save and end a run whose step cannot be finished. Several processes cannot save without each other."""
        if self.world.size == 1:
            self.state.optimizer.zero_grad()
            self.save()
            self.stop(steps)

    def save_models(self) -> None:
        """Write the final model, and its average if there is one, to files that can be used without the run folder."""
        finished = {self.folder.model: self.model.state_dict()}
        if self.state.average is not None:
            average = self.model.state_dict() | self.state.average.weights
            finished[self.folder.path / "ema.safetensors"] = average
        for path, tensors in finished.items():
            whole = {name: full_tensor(tensor.detach()).cpu() for name, tensor in tensors.items()}
            if self.world.is_main:
                alone = build_as(MaskedModel, self.record)  # the model itself may be sharded
                alone.load_state_dict(whole)
                weights.save(alone, path)


def loop(run: Run, figures: Figures, interrupted: Callable[[], bool]) -> None:
    """Train from the current step to the last."""
    settings, world, model, state, log = run.settings, run.world, run.model, run.state, run.log
    steps, batches = run.schedule.run.steps, run.batches()
    run.meters.restart(state.step)
    while state.step < steps:
        rate = run.schedule.set(state.step)
        model.progress = state.step / steps
        buffers = copy_buffers(model)
        try:
            done = accumulate(
                model, batches, run.num_micro_batches, run.run_seed, state.step, world=world, autocast=run.autocast
            )
        except LoaderDiedError:
            restore_buffers(buffers)
            run.stop_unfinished(steps)
            raise
        run.meters.waited += done.waited

        norm = gradient_norm(model)
        broken = [batch.bad for batch in done.seen]
        loss, unread, stop = world.total([done.loss.item(), sum(map(len, broken)), bool(run.died) or interrupted()])
        if unread:
            run.skips.add(pair for each in world.gather(broken) for bad in each for pair in bad)
        if norm.isfinite():  # the same number in every process
            update(state.optimizer, norm, settings.clip)
            run.nonfinite.good()
            world.average_statistics(model)
            model.after_step((state.step + 1) / steps)
            if state.average is not None:
                state.average.update(model)
        else:
            restore_buffers(buffers)
            paths = world.gather([run.source.path(index) for batch in done.seen for index in batch.indices])
            run.nonfinite.bad(state.step, loss, norm.item(), sum(paths, []))
        state.optimizer.zero_grad()
        if run.nonfinite.must_rewind(run.progress.rewinds):
            batches = run.rewind()
            continue
        state.step += 1

        last = state.step == steps or stop > 0
        if state.step % settings.log_every == 0 or last:
            samples = state.step * (settings.batch or 1)
            log.write(
                {
                    **done.means(world),
                    "step": state.step,
                    "epoch": round(samples / len(run.source), 4),
                    "samples": samples,
                    "loss": loss,
                    "lr": rate,
                    "grad_norm": norm.item(),
                    **run.meters.read(state.step),
                    "skipped": len(run.skips),
                    "not_finite": run.nonfinite.count,
                    "rewinds": run.progress.rewinds,
                    "checkpoint_seconds": run.checkpoints.seconds,
                }
            )
        # Nothing is saved between consecutive bad steps, because returning to such a checkpoint would not help.
        if (state.step % settings.save_every == 0 and not run.nonfinite.in_a_row) or last:
            run.save()
        if figures.draw is not None and (state.step % settings.picture_every == 0 or last):
            path = run.folder.pictures / f"step-{state.step:08d}.png"
            draw_some(
                model, figures.source, path, figures.draw if world.is_main else None, run.autocast, log, state.step
            )
        if stop and state.step < steps:
            run.stop(steps)


def _skips(source: Source, folder: RunFolder, settings: Settings, progress: Progress, world: World) -> Skips:
    # A broken video counts once, regardless of its repeats.
    skips = Skips(total=num_items(source), limit=settings.max_bad, file=folder.skipped if world.is_main else None)
    skips.take_up(folder.skipped, progress.skipped_bytes, report if world.is_main else report_nothing)
    return skips


def _nonfinite(folder: RunFolder, settings: Settings, step: int, world: World) -> NonFinite:
    found = NonFinite(folder.not_finite, world.is_main, settings.max_not_finite, settings.max_rewinds)
    found.take_up(step)
    return found
