import os
import threading

import numpy as np
import pytest
from small import run_settings

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
    return run_settings(digits, tmp_path / "run")
