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
def settings(digits, tmp_path):
    return run_settings(digits, tmp_path / "run")
