"""The command line: ``maskkit COMMAND ...``. Each command imports what it needs, when it is called."""

import errno
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

from maskkit.modality import find_modality, modality_names

if TYPE_CHECKING:
    from maskkit.modality import DataSettings, Modality
    from maskkit.model import MaskedModel

# Loader workers share the cores with a run on a CPU. OpenMP's threads spin while they wait, and take the time from the
# workers: one busy process turned a 516 ms step into 2463 ms, and into 877 ms when waiting threads sleep. OpenMP reads
# this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(importlib.metadata.version("maskkit"))
        return 0
    if words[0] not in COMMANDS:
        return _refuse(f"maskkit has no command {words[0]!r}; it has {', '.join(COMMANDS)}")
    try:
        return COMMANDS[words[0]](words[1:]) or 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 2
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        if debug:
            traceback.print_exc()
        return _refuse(_one_line(error))
    except KeyboardInterrupt:
        return _refuse("interrupted")


def run_recipe(body: Callable[[], object]) -> None:
    """Run a recipe's main part with the same one-line errors and exit codes as the commands."""
    try:
        body()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(_refuse(_one_line(error)))


def overview() -> str:
    """Return what ``maskkit --help`` prints."""
    lines = ["maskkit pretrains models by hiding part of an input and predicting it.", "", "commands"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<12} {(command.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "maskkit COMMAND --help says more; --debug after any command shows tracebacks."])


def pretrain(words: list[str]) -> int:
    """Pretrain a model on images, video, audio or point clouds."""
    from maskkit.commands.pretrain import run

    return run(words)


def methods(words: list[str]) -> int:
    """List the methods and the modalities that they run on."""
    from maskkit.commands.methods import run

    return run(words)


def reconstruct(words: list[str]) -> int:
    """Show what a trained model makes of inputs with parts hidden, as a picture."""

    def command(
        run: Annotated[Path, tyro.conf.Positional],
        inputs: Annotated[tuple[str, ...], tyro.conf.Positional],
        out: Path,
        seed: int = 0,
        limit: int = 16,
    ) -> None:
        """Show what a trained model makes of inputs with parts hidden.

        Args:
            run: Folder of a run.
            inputs: Files, folders, globs or arrays.
            out: Picture to write (.png).
            seed: Of the mask.
            limit: Most samples shown.

        """
        import torch

        from maskkit.batches import Sample, stack
        from maskkit.data.source import BadSampleError, Key
        from maskkit.seeds import generator

        if not inputs:
            raise ValueError("reconstruct needs at least one input: maskkit reconstruct RUN INPUT... --out PICTURE.png")
        if limit < 1:
            raise ValueError(f"--limit must be at least 1, got {limit}")
        model, modality, settings = _open_run(run)
        samples: list[Sample] = []
        for name in inputs:
            source = settings.at(name).open(model.tokenizer, train=False)
            for index in range(min(len(source), limit - len(samples))):
                try:
                    samples.append(source.read(Key.of(index), generator(0)))
                except BadSampleError as error:
                    _say(f"left out {error}")
        if not samples:
            raise ValueError(f"none of the inputs can be read: {', '.join(inputs)}")
        batch = stack(samples)
        with torch.no_grad():
            output = model.eval()(batch, rng=generator(seed))
        out.parent.mkdir(parents=True, exist_ok=True)
        modality.draw(batch, output, model, out)
        print(f"{out}: {len(samples)} samples, loss {output.loss.item():.4f}")

    tyro.cli(command, prog="maskkit reconstruct", args=words)
    return 0


def embed(words: list[str]) -> int:
    """Write the features of a data set to an .npz file."""

    def command(
        run: Annotated[Path, tyro.conf.Positional],
        data: str,
        out: Path,
        pool: Literal["mean", "prefix"] = "mean",
        batch: int = 64,
        device: str = "cpu",
    ) -> None:
        """Write features [n D], paths [n] and, where folders name classes, labels [n] to an .npz file.

        Args:
            run: Folder of a run.
            data: Folder, glob, list file or array.
            out: File to write (.npz).
            pool: Mean of all tokens, or the class token.
            batch: Samples at a time.
            device: cpu or cuda.

        """
        import numpy as np

        from maskkit.engine.device import check_device
        from maskkit.evaluate.features import embed as features_of

        check_device(device)
        model, _, settings = _open_run(run)
        source = settings.at(data).open(model.tokenizer, train=False)
        found = features_of(model, source, pool=pool, batch=batch, device=device)
        labels = np.array([found.classes[n] if n >= 0 else "" for n in found.labels])
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(out, features=found.features, paths=np.array(found.paths), labels=labels)
        print(f"{out}: features {list(found.features.shape)}, {len(found.classes)} classes, {found.skipped} left out")

    tyro.cli(command, prog="maskkit embed", args=words)
    return 0


def probe(words: list[str]) -> int:
    """Measure frozen features with k nearest neighbours and a linear classifier."""

    def command(
        run: Annotated[Path, tyro.conf.Positional],
        data: str,
        test_data: str | None = None,
        kind: Literal["all", "knn", "linear"] = "all",
        per_class: int | None = None,
        pool: Literal["mean", "prefix"] = "mean",
        baselines: bool = False,
        seed: int = 0,
        out: Path | None = None,
        batch: int = 64,
        device: str = "cpu",
    ) -> None:
        """Measure frozen features with k nearest neighbours and a linear classifier.

        Args:
            run: Folder of a run.
            data: Folder whose sub-folders name the classes, list with labels, or .npz with labels.
            test_data: The same, to test on; without it a fifth of each class of --data.
            kind: Which probe.
            per_class: Labels per class to fit to; all others are tested on.
            pool: Mean of all tokens, or the class token.
            baselines: Also measure raw contents and the encoder before training.
            seed: Of the split.
            out: JSON file to write.
            batch: Samples at a time.
            device: cpu or cuda.

        """
        from maskkit.engine.device import check_device
        from maskkit.evaluate.features import embed as features_of
        from maskkit.evaluate.probe import Kind, accuracy, split
        from maskkit.model import MaskedModel
        from maskkit.parts import build_as, describe

        check_device(device)
        model, _, settings = _open_run(run)
        rows: dict[str, MaskedModel | None] = {"pretrained": model}
        if baselines:
            untrained = build_as(MaskedModel, describe(model))
            rows = {"raw contents": None, "untrained": untrained} | rows
        kinds: tuple[Kind, ...] = ("knn", "linear") if kind == "all" else (kind,)
        results: dict[str, dict[str, float]] = {}
        for name, encoder in rows.items():
            options: dict[str, Any] = {"pool": pool, "batch": batch, "device": device}
            fit = features_of(encoder, settings.at(data).open(model.tokenizer, train=False), **options)
            if not fit.classes:
                raise ValueError(
                    f"{data} names no classes; put each class into a sub-folder, or give a list with labels"
                )
            if test_data is None:
                a, b = split(fit.labels, per_class=per_class, seed=seed)
                x, y, test_x, test_y = fit.features[a], fit.labels[a], fit.features[b], fit.labels[b]
            else:
                test = features_of(encoder, settings.at(test_data).open(model.tokenizer, train=False), **options)
                if test.classes != fit.classes:
                    raise ValueError(
                        f"{test_data} has classes {test.classes}, {data} has {fit.classes}; name them alike"
                    )
                x, y, test_x, test_y = fit.features, fit.labels, test.features, test.labels
            results[name] = {each: accuracy(each, x, y, test_x, test_y) for each in kinds}
        for name, scores in results.items():
            print(f"{name:<14}" + "".join(f"{each} {score:7.2%}   " for each, score in scores.items()))
        if out is not None:
            record = {
                "run": str(run),
                "data": data,
                "classes": len(fit.classes),
                "fitted": len(y),
                "tested": len(test_y),
            }
            out.write_text(json.dumps(record | {"accuracy": results}, indent=2) + "\n")

    tyro.cli(command, prog="maskkit probe", args=words)
    return 0


def export(words: list[str]) -> int:
    """Write a run's weights for timm, transformers or the authors' code."""

    def command(
        run: Annotated[Path, tyro.conf.Positional],
        out: Path,
        layout: Literal["maskkit", "timm", "hf", "mae", "videomae", "audiomae", "point-mae"] = "maskkit",
        part: Literal["model", "encoder"] = "model",
    ) -> None:
        """Write a run's weights in another layout.

        Args:
            run: Folder of a run.
            out: File (.safetensors or .pth); for hf a folder, which from_pretrained opens.
            layout: maskkit, timm (the encoder), hf (ViTMAEForPreTraining, VideoMAEForPreTraining) or the authors':
                mae, videomae, audiomae, point-mae.
            part: The whole model or the encoder alone.

        """
        from maskkit import weights

        if out.resolve() == (run / "model.safetensors").resolve():
            raise ValueError(f"{out} is the run's own model; choose another --out")
        model, _, _ = _open_run(run)
        print(weights.save(model, out, layout=layout, part=part))

    tyro.cli(command, prog="maskkit export", args=words)
    return 0


def shard(words: list[str]) -> int:
    """Pack files into tar shards, for data that outgrows a disk."""

    def command(
        folder: Annotated[str, tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.Positional],
        only: str | None = None,
        size_mb: int = 256,
        seed: int = 0,
    ) -> None:
        """Pack files, as they are and in random order, into shard-000000.tar and so on, and counts.json.

        Args:
            folder: Folder, glob, list file or other shards.
            out: Folder for the shards.
            only: Modality whose files are packed (image ...); all that is known otherwise.
            size_mb: About how large a shard gets, in 10^6 bytes.
            seed: Of the order.

        """
        names = modality_names()
        if only is not None and only not in names:
            raise ValueError(f"--only must be one of {', '.join(names)}, got {only!r}")
        if size_mb < 1:
            raise ValueError(f"--size-mb must be at least 1, got {size_mb}")
        chosen = [find_modality(name) for name in ([only] if only else names)]
        suffixes = {suffix for modality in chosen for suffix in modality.suffixes}
        if not suffixes:
            raise ValueError(f"{', '.join(names)}: says no SUFFIXES, by which its files are known; name another --only")

        from maskkit.data.find import find_files
        from maskkit.data.shards.pack import pack

        packed = pack(find_files(folder, suffixes), suffixes, out, size=size_mb * 10**6, seed=seed, say=_say)
        last = f"{packed.shards - 1:06d}"
        place = out / ("shard-000000.tar" if packed.shards == 1 else f"shard-{{000000..{last}}}.tar")
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in packed.samples.most_common())
        print(f"{place}: {packed.samples.total():,} samples ({kinds}), {packed.left_out:,} left out")

    tyro.cli(command, prog="maskkit shard", args=words)
    return 0


def cache(words: list[str]) -> int:
    """Store a data set in a form that training reads faster."""
    names = modality_names()
    asked = bool(words) and words[0] not in ("-h", "--help")
    if asked and words[0] in names:
        transcode = find_modality(words[0]).transcode
        if transcode is None:
            return _refuse(f"{words[0]} has no cache; only modalities whose files are slow to read have one")
        return transcode(words[1:])
    wanted = f"maskkit cache {{{','.join(names)}}} SRC OUT"
    if asked:
        return _refuse(f"maskkit cannot cache {words[0]!r}; use {wanted}")
    print(wanted)
    return 0


def bench(words: list[str]) -> int:
    """Time this machine: a training step beside a peer's, kernels, imports."""
    from maskkit.bench.__main__ import main as run

    return run(words)


def doctor(words: list[str]) -> int:
    """Say what is installed, what is missing or broken, and how to mend it."""
    from maskkit.doctor import main as run

    return run(words)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "pretrain": pretrain,
    "methods": methods,
    "reconstruct": reconstruct,
    "embed": embed,
    "probe": probe,
    "export": export,
    "shard": shard,
    "cache": cache,
    "bench": bench,
    "doctor": doctor,
}


def _open_run(path: Path) -> "tuple[MaskedModel, Modality, DataSettings]":
    """Open a run's last model, or its newest checkpoint where it has not ended; with the run's settings of data."""
    from maskkit import weights
    from maskkit.engine.checkpoints import all_checkpoints, read_model
    from maskkit.engine.run import RunFolder, from_plain
    from maskkit.model import MaskedModel
    from maskkit.parts import build_as

    run = RunFolder(path)
    record = run.record()
    modality = find_modality(str(record["modality"]))
    settings = cast("dict[str, object]", record["settings"])
    data = from_plain(modality.data, cast("dict[str, object]", settings["data"]))
    if run.model.exists():
        return weights.open_model(run.model), modality, data
    paths = all_checkpoints(run.checkpoints)
    if not paths:
        raise ValueError(f"{path} holds no model yet: no checkpoint was written")
    model = build_as(MaskedModel, record["model_parts"])
    weights.load(model, read_model(paths[-1]), layout="maskkit")
    return model, modality, data


def _one_line(error: BaseException) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}" + ("; free some space" if error.errno == errno.ENOSPC else "")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk of the run; free some space, then go on with --resume"
    return " ".join(str(error).split()) or type(error).__name__


def _refuse(message: str) -> int:
    print(f"maskkit: {message}", file=sys.stderr)
    return 2


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
