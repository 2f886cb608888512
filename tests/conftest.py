import os
import threading

import numpy as np
import pytest
from small import Small

from maskkit.engine.optim import AdamW
from maskkit.engine.run import Pretrain
from maskkit.modalities import image


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    pixels, labels = image.digits()
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=pixels[:1400], labels=labels[:1400])
    return path


@pytest.fixture
def other_file(tmp_path):
    """A pipe ``other.mp4``, for files that name it; the event is set once somebody has opened it."""
    pipe, opened = tmp_path / "other.mp4", threading.Event()
    os.mkfifo(pipe)

    def give():
        with open(pipe, "wb"):
            opened.set()

    thread = threading.Thread(target=give)
    thread.start()
    yield opened
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    thread.join()
    os.close(reader)


@pytest.fixture
def settings(digits, tmp_path):
    return Pretrain(
        model=Small(),
        data=image.Data(root=str(digits), min_scale=1, flip=False),
        out=tmp_path / "run",
        batch=32,
        steps=6,
        warmup_epochs=50,
        optim=AdamW(lr=1e-3),
        precision="fp32",
        workers=0,
        log_every=1,
        save_every=3,
        picture_every=100,
    )
