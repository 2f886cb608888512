"""``maskkit pretrain MODALITY``: train with settings from flags, a configuration file or an earlier run."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, cast

from maskkit.commands.flags import take_flags
from maskkit.commands.words import import_modules
from maskkit.modality import find_modality, modality_names
from maskkit.printing import say


class UnbrokenText:
    """A text stream that drops what cannot be written: the reader, such as ``head``, has ended, or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or drop what it holds."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def main(words: Sequence[str]) -> int:
    """Parse the arguments of ``maskkit pretrain MODALITY ...``, train and return the exit code."""
    names = modality_names()
    wanted = f"maskkit pretrain {{{','.join(names)}}} --data PATH --out RUN"
    if not words or words[0] in ("-h", "--help"):
        print(f"{wanted}\n\nmaskkit pretrain {names[0]} --help lists the settings, maskkit methods the methods.")
        return 0
    if words[0] not in names:
        raise ValueError(f"maskkit cannot pretrain on {words[0]!r}; use {wanted}")
    from maskkit.commands.run_settings import parse, save_settings
    from maskkit.engine.loop import pretrain

    rest, taken = take_flags(words[1:], ("--method", "--preset", "--config", "--save-config"))
    while "--import" in [word.partition("=")[0] for word in rest]:
        rest, module = take_flags(rest, ("--import",))
        import_modules((module["--import"] or "",))
    modality = find_modality(words[0])
    with contextlib.redirect_stderr(cast(TextIO, UnbrokenText(sys.stderr))):
        settings = parse(modality, rest, taken)
        if taken["--save-config"] is not None:
            save_settings(settings, modality, Path(taken["--save-config"]))
            return 0
        out = pretrain(settings, modality)
        say(f"done: model {out / 'model.safetensors'}, pictures {out / 'pictures'}, metrics {out / 'metrics.jsonl'}")
    return 0
