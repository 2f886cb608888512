"""Memory stays flat over many samples: the process and its loaders together."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import children, run_one, start
from small import Small

from maskkit.modalities import image

SAMPLES, WARM = 20_000, 6_000


def resident(pid):
    """Bytes that a process and its children hold, shared pages counted once."""
    total = 0
    for each in (pid, *children(pid)):
        lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


@pytest.mark.slow
def test_memory_is_flat_over_twenty_thousand_pictures(settings, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(400):
        picture = rng.integers(0, 255, (rng.integers(12, 40), rng.integers(12, 40), 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.{('jpg', 'png', 'webp')[number % 3]}")
    settings = replace(
        settings,
        model=Small(image_size=8, patch_size=4, channels=3),
        data=image.Data(root=str(folder)),
        batch=100,
        steps=SAMPLES // 100 + 5,
        log_every=1,
        save_every=20,
        workers=2,
    )
    process = start(run_one, settings)
    seen, deadline = {}, time.monotonic() + 280
    while process.is_alive() and time.monotonic() < deadline:
        lines = settings.out.joinpath("metrics.jsonl")
        if lines.exists() and (text := lines.read_text()) and text.endswith("\n"):
            samples = json.loads(text.splitlines()[-1])["samples"]
            if WARM <= samples < SAMPLES:
                seen[samples] = resident(process.pid)
        time.sleep(0.02)
    process.join(60)
    assert process.exitcode == 0
    first, last = (np.median([seen[s] for s in sorted(seen)[part]]) for part in (slice(0, 10), slice(-10, None)))
    assert max(seen) - min(seen) > 0.8 * (SAMPLES - WARM)
    assert last / first < 1.05, f"{first / 1e6:.1f} MB became {last / 1e6:.1f} MB"
