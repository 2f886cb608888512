"""What evaluation reads, one by one: in order, with bad samples named, the same as a batch of the evaluation holds."""

import wave

import numpy as np
import pytest
import torch
from PIL import Image

from maskkit.data.loader import read_all
from maskkit.data.skips import Skips
from maskkit.modalities import audio, image, video


def picture(path, number):
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (12, 10, 3), dtype=np.uint8)).save(path)


def recording(path, number):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.random.default_rng(number).integers(-9999, 9999, 16_000, dtype=np.int16).tobytes())


def clip(path, number):
    frames = np.random.default_rng(number).integers(0, 255, (12, 16, 16), dtype=np.uint8)
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=40)


CASES = {
    "image": (image, picture, ".png", lambda: image.mae("tiny", image_size=8, patch_size=2, channels=1), {}),
    "audio": (audio, recording, ".wav", audio.tiny, {"excerpt": "random"}),
    "video": (video, clip, ".gif", video.tiny, {"stride": 1, "crop": "centre"}),
}


@pytest.mark.parametrize("name", CASES)
def test_all_that_can_be_read_comes_in_order_and_the_rest_is_named(tmp_path, name):
    modality, write, suffix, make, settings = CASES[name]
    for number in range(5):
        write(tmp_path / f"{number}{suffix}", number)
    (tmp_path / f"3{suffix}").write_bytes(b"nothing that can be decoded")
    errors = [("earlier", "stays")]
    model = make()
    found = list(modality.samples(tmp_path, model, errors=errors, **settings))
    assert [path for path, _ in found] == [f"{tmp_path}/{number}{suffix}" for number in (0, 1, 2, 4)]
    assert errors[0] == ("earlier", "stays") and len(errors) == 2
    assert errors[1][0] == f"{tmp_path}/3{suffix}" and errors[1][1] and "\n" not in errors[1][1]
    source = modality.Data(root=str(tmp_path), **settings).open(model.tokenizer, train=False)
    ((_, batch),) = read_all(source, batch=9, skips=Skips(total=5, limit=0.5))
    torch.testing.assert_close(torch.stack([sample for _, sample in found]), batch, rtol=0, atol=0, equal_nan=True)
    with torch.no_grad():
        assert model.eval().encode(batch).tokens.shape[0] == 4
    assert len(list(modality.samples(str(tmp_path), model))) == 4  # without a list, and with default settings


def test_what_is_wrong_with_the_path_or_a_setting_is_raised_at_once(tmp_path):
    model = image.tiny()
    with pytest.raises(ValueError, match="no such file or folder"):
        image.samples(tmp_path / "nothing", model)
    with pytest.raises(TypeError, match="colour"):
        image.samples(tmp_path, model, colour=True)
