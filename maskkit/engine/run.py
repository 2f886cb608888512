"""The folder of a run."""

import contextlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout

from maskkit.engine.config import MEND_CONFIG, from_plain, plain, read_config
from maskkit.engine.distributed import World
from maskkit.engine.settings import DataSettings, ModelSettings, Pretrain
from maskkit.files import delete_path, whole_file
from maskkit.hints import HintError
from maskkit.model import MaskedModel
from maskkit.parts import build_as, describe

__all__ = ["Pretrain", "RunFolder", "from_plain", "git_revision", "plain"]


@dataclass(frozen=True)
class RunFolder:
    """The files of a run. ``config.json`` holds its settings, versions and command."""

    path: Path

    @contextmanager
    def locked(self, world: World) -> Iterator[None]:
        """Hold the folder against other runs. The lock ends with this process, however it ends.

        All processes raise ValueError if another run holds it.
        """
        lock = FileLock(self.path / ".lock")
        problem = None
        if world.is_main:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
            except Timeout:
                problem = f"{self.path} is in use by another run; wait until it ends, or choose another --out"
            except OSError as error:
                problem = f"{error.filename or self.path}: {error.strerror or error}; choose another --out"
        for text in world.gather(problem):
            if text:
                raise ValueError(text)
        if world.is_main:
            # Left by a process that was killed while it wrote a file, or while it deleted a checkpoint.
            for left in [*self.path.rglob(".*.part"), *self.checkpoints.glob(".*.dropped")]:
                delete_path(left)
        try:
            yield
        finally:
            if world.is_main:
                with contextlib.suppress(OSError):
                    Path(lock.lock_file).unlink()
                lock.release()
                with contextlib.suppress(OSError):
                    self.path.rmdir()  # empty, if nothing came of the run

    def open_in_all(
        self, settings: Pretrain[ModelSettings, DataSettings], model: MaskedModel, modality: str, world: World
    ) -> None:
        """Open the folder in the first process. All processes raise ValueError if that fails."""
        problem = None
        if world.is_main:
            try:
                self.open(settings, model, modality)
            except OSError as error:
                problem = f"{error.filename or self.path}: {error.strerror or error}; choose another --out"
            except ValueError as error:
                problem = str(error)
        for text in world.gather(problem):
            if text:
                raise ValueError(text)

    def open(self, settings: Pretrain[ModelSettings, DataSettings], model: MaskedModel, modality: str) -> None:
        """Create the folder and write ``config.json``. Raises ValueError for a folder that holds another run."""
        description = describe(model)
        self.check_settings()
        if self.started:
            self._check_same(settings, description)
            return
        try:  # checked now, because otherwise the model could not be written at the end of the run
            alone = build_as(MaskedModel, json.loads(json.dumps(description)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"its description does not build the model, which could not be saved: {error}") from None
        _check_same_weights(model, alone)
        self.path.mkdir(parents=True, exist_ok=True)
        record = {
            "maskkit": importlib.metadata.version("maskkit"),
            "modality": modality,
            "method": getattr(settings.model, "name", None),
            "command": sys.argv,
            "git": git_revision(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "timm", "numpy")},
            "settings": plain(settings),
            "model_parts": description,
        }
        with whole_file(self.config) as aside:
            aside.write_text(json.dumps(record, indent=2) + "\n")

    def _check_same(self, settings: Pretrain[ModelSettings, DataSettings], description: object) -> None:
        """Raise ValueError if the folder holds another run."""
        if not settings.resume:
            raise ValueError(f"{self.path} already holds a run; choose another --out, or continue it with --resume")
        before = self.record()
        if describe(self.build(before)) != json.loads(json.dumps(description)):
            raise ValueError(
                f"{self.path} holds a run of another model; resume it with the settings in its config.json"
            )
        batch = cast(Mapping[str, object], before["settings"]).get("batch")
        if batch != settings.batch:
            raise ValueError(
                f"{self.path} holds a run with batch {batch}, not {settings.batch}; resume it with the same"
            )

    def record(self) -> dict[str, object]:
        """Return the contents of ``config.json``. Raises ValueError if it is missing or not that of a run."""
        if not self.config.is_file():
            raise ValueError(self._no_run("it has no config.json" if self.path.exists() else "there is no such folder"))
        try:
            return read_config(self.config, ("modality", "settings", "model_parts"))
        except HintError as error:
            raise ValueError(f"{self.config}: {error}; {MEND_CONFIG}") from None
        except ValueError as error:
            raise ValueError(self._no_run(f"its config.json {error}")) from None

    def build(self, record: Mapping[str, object]) -> MaskedModel:
        """Build the model that ``config.json`` describes. Raises ValueError if it describes none."""
        try:
            return build_as(MaskedModel, record["model_parts"], "model_parts")
        except ValueError as error:
            raise ValueError(f"{self.config}: the model cannot be built: {error}; {MEND_CONFIG}") from error

    def _no_run(self, reason: str) -> str:
        return f"{self.path} holds no run: {reason}; give the --out folder of maskkit pretrain"

    @property
    def config(self) -> Path:
        """The settings of the run and the description of its model."""
        return self.path / "config.json"

    @property
    def started(self) -> bool:
        """True if the folder holds a run that has begun to train. A run that failed at its start may start again."""
        return self.config.exists() and self._trained

    @property
    def _trained(self) -> bool:
        return any(self.checkpoints.glob("step-*")) or (self.metrics.exists() and self.metrics.stat().st_size > 0)

    def check_settings(self) -> None:
        """Raise ValueError for a run whose ``config.json`` was deleted, which a new run would write over."""
        if self._trained and not self.config.exists():
            raise ValueError(
                f"{self.path} holds a run without its config.json; restore it from a copy, or choose another --out"
            )

    @property
    def has_settings(self) -> bool:
        """Whether the folder holds the settings of a run, even if it has not begun to train."""
        return self.config.is_file()

    @property
    def metrics(self) -> Path:
        """The metrics, one JSON object per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints, one folder each."""
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        """The figures of reconstructions during training."""
        return self.path / "pictures"

    @property
    def skipped(self) -> Path:
        """The unreadable samples, one per line."""
        return self.path / "skipped.txt"

    @property
    def not_finite(self) -> Path:
        """The skipped steps, one JSON object per line."""
        return self.path / "not_finite.jsonl"

    @property
    def model(self) -> Path:
        """The final model."""
        return self.path / "model.safetensors"


def git_revision() -> str | None:
    """Return the git revision of the working folder, marked if files were changed; None without a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    result = subprocess.run([git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def _check_same_weights(model: MaskedModel, described: MaskedModel) -> None:
    """Raise ValueError if a model was changed after it was built, so that its description has other weights."""
    mine, theirs = ({name: x.shape for name, x in each.state_dict().items()} for each in (model, described))
    changed = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    if changed:
        raise ValueError(
            f"the model was changed after it was built and could not be saved: {', '.join(changed[:3])} "
            "are not what its description builds; replace parts by replace_part, or pass them to the model"
        )
