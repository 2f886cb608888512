"""One process of several is gone: the other one ends with one line that says where the run goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import alive, children

from maskkit.engine.checkpoints import all_checkpoints

pytestmark = pytest.mark.slow


def torchrun(*words):
    """Start two processes; what each prints goes to a file of its own in ``logs`` beside the run."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["--redirects", "3", "--log-dir", str(words[1].parent / "logs"), str(Path(__file__).parent / "ranks.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *map(str, words)], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def end(process):
    """Wait for torchrun, whose processes must end by themselves; returns their exit codes."""
    try:
        errors = process.communicate(timeout=100)[1]
        return set(re.findall(r"exitcode\s*: (-?\d+)", errors))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def lines_of(folder):
    """Return the lines on stderr of both processes, but for warnings of torch."""
    lines = []
    for file in sorted((folder / "logs").rglob("stderr.log")):
        assert "Traceback" not in file.read_text(), file.read_text()
        lines += [line for line in file.read_text().splitlines() if re.match("process |maskkit: ", line)]
    return lines


def gone(folder):
    last = int(all_checkpoints(folder / "run" / "checkpoints")[-1].name[5:])
    return rf"process [01]: another process of the run is gone \(.*\); saved at step {last}; continue with --resume"


@pytest.mark.parametrize("kind", ["save", "background"])
def test_a_killed_process_is_one_line_of_the_other(digits, tmp_path, kind):
    process = torchrun(digits, tmp_path / "run", kind)
    deadline = time.monotonic() + 100
    while len(all_checkpoints(tmp_path / "run" / "checkpoints")) < 2:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)
    os.kill([pid for pid in children(process.pid) if alive(pid)][-1], signal.SIGKILL)
    codes = end(process)
    (line,) = lines_of(tmp_path)
    assert re.fullmatch(gone(tmp_path), line) and codes <= {"-9", "3", "-15"}  # torchrun signals it, too


def test_a_process_whose_data_are_bad_ends_the_other_one_too(digits, tmp_path):
    """Its own line says why, as it would alone."""
    assert end(torchrun(digits, tmp_path / "run", "bad")) <= {"2", "3", "-15"}
    other, own = sorted(lines_of(tmp_path), reverse=True)
    assert re.fullmatch(gone(tmp_path), other) and own.startswith("maskkit: 100 samples in a row cannot be read")
