"""Loader processes that die or stop: the run ends saved, with one line that names the reason and the file."""

import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace

import pytest
from processes import children, run_one, run_rank, run_ranks, start
from small import metrics, same_weights

from maskkit.data.source import Key, epoch_order
from maskkit.engine.loop import pretrain
from maskkit.modalities import image


class Deadly:
    """Digits, one of which does something to the process that reads it, once."""

    repeats = 1

    def __init__(self, source, what, flag):
        self.source, self.what, self.flag = source, what, flag
        self.victim = int(epoch_order(source, 0, 0)[100, 1])

    def __len__(self):
        return len(self.source)

    def read(self, key: Key, rng):
        if key.index == self.victim and not os.path.exists(self.flag):
            if self.what != "always":
                open(self.flag, "w").close()
            os.kill(os.getpid(), getattr(signal, "SIGKILL" if self.what == "always" else self.what))
            time.sleep(1000)
        return self.source.read(key, rng)

    def path(self, index):
        return "victim.png" if index == self.victim else f"{index}.png"

    def label(self, index):
        return None


@dataclass(frozen=True)
class DeadlyImages:
    """Settings of such data."""

    root: str
    what: str = "SIGKILL"
    flag: str = ""

    def at(self, root):
        return replace(self, root=root)

    def open(self, tokenizer, *, train):
        os.environ["MASKKIT_SAMPLE_SECONDS"] = "2"
        source = image.Data(root=self.root, min_scale=1, flip=False).open(tokenizer, train=train)
        return Deadly(source, self.what, self.flag) if train else source


def deadly(settings, tmp_path, what, **changes):
    data = DeadlyImages(settings.data.root, what, str(tmp_path / f"{what}.flag"))
    return replace(settings, data=data, out=tmp_path / what, workers=2, save_every=1000, picture_every=1000, **changes)


def run_telling(settings, file):
    """Pretrain in this process; what it says goes to a file."""
    with open(file, "w", buffering=1) as sys.stderr:
        run_one(settings)


def run_rank_telling(rank, size, port, settings, file):
    with open(f"{file}-{rank}", "w", buffering=1) as sys.stderr:
        run_rank(rank, size, port, settings)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("SIGKILL", "was killed while reading victim.png; most likely memory ran out: use fewer --workers"),
        ("SIGSEGV", "crashed (SIGSEGV) while reading victim.png; the file may be damaged: remove or convert it"),
        ("SIGBUS", "crashed (SIGBUS) while reading victim.png; a file was truncated while it was open"),
        ("always", "was killed"),
        ("SIGSTOP", "the loader processes gave nothing for 10 seconds while reading victim.png"),
    ],
)
def test_a_run_whose_loader_process_dies_ends_saved(settings, tmp_path, monkeypatch, what, reason):
    monkeypatch.delenv("MASKKIT_SAMPLE_SECONDS", raising=False)  # restored at the end
    whole = replace(settings, out=tmp_path / "whole", workers=0, picture_every=1000)
    pretrain(whole, image)
    run = deadly(settings, tmp_path, what)
    process = start(run_telling, run, str(tmp_path / "said"))
    process.join(120)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 3 and reason in said and "saved; continue with --resume" in said, said
    assert "Traceback" not in said and not children(process.pid)
    (tmp_path / f"{what}.flag").touch()
    pretrain(replace(run, resume=True), image)
    assert same_weights(run.out, whole.out) and metrics(run.out) == metrics(whole.out)


@pytest.mark.slow
def test_two_processes_end_saved_together(settings, tmp_path):
    run = deadly(settings, tmp_path, "SIGKILL")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    ranks = [start(run_rank_telling, rank, 2, port, run, str(tmp_path / "said")) for rank in range(2)]
    for process in ranks:
        process.join(120)
    said = "".join((tmp_path / f"said-{rank}").read_text() for rank in range(2))
    assert [process.exitcode for process in ranks] == [3, 3], said
    assert "was killed" in said and "saved; continue with --resume" in said and "Traceback" not in said
    assert run_ranks(2, replace(run, resume=True)) == [0, 0]
