"""Probes find what is in features, and only that."""

import numpy as np
import pytest
import torch
from maskkit.modalities import image

from maskkit.evaluate.features import Features, embed
from maskkit.evaluate.probe import accuracy, compare, split
from maskkit.evaluate.reconstruction import errors


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    pixels, labels = image.digits()
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=pixels[:200], labels=labels[:200])
    return path


@pytest.mark.parametrize("kind", ["knn", "linear"])
def test_classes_apart_are_told_apart_and_noise_is_at_chance(kind):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    apart = (rng.normal(size=(400, 8)) + 6 * np.eye(8)[labels]).astype(np.float32)
    noise = rng.normal(size=(400, 8)).astype(np.float32)
    fit, test = split(labels)
    assert accuracy(kind, apart[fit], labels[fit], apart[test], labels[test]) > 0.97
    assert abs(accuracy(kind, noise[fit], labels[fit], noise[test], labels[test]) - 0.25) < 0.2


def test_a_split_takes_the_same_from_each_class_and_no_sample_twice():
    labels = np.array([0] * 30 + [1] * 50 + [-1] * 9)
    fit, test = split(labels, per_class=10, seed=3)
    assert np.bincount(labels[fit]).tolist() == [10, 10]
    assert set(fit) | set(test) == set(range(80)) and not set(fit) & set(test)
    assert not np.array_equal(fit, split(labels, per_class=10, seed=4)[0])
    with pytest.raises(ValueError, match="no sample is left to test on"):
        split(np.array([0, 1]), per_class=5)


def test_features_are_those_of_the_encoder_in_order(digits):
    model = image.tiny().eval()
    found = embed(model, image.open_images(digits, model.tokenizer), batch=64)
    pixels, labels = image.digits()
    with torch.no_grad():
        latent = model.encode(torch.from_numpy(pixels[:200]))
    assert np.allclose(found.features, latent.pooled, atol=1e-5)
    assert [found.classes[n] for n in found.labels] == [str(n) for n in labels[:200]]
    prefix = embed(model, image.open_images(digits, model.tokenizer), pool="prefix")
    assert np.allclose(prefix.features, latent.prefix[:, 0], atol=1e-5)
    raw = embed(None, image.open_images(digits, model.tokenizer))
    assert np.array_equal(raw.features, pixels[:200].reshape(200, 64))


def test_compare_draws_labels_anew_and_refuses_other_classes(digits):
    model = image.tiny()
    raw = embed(None, image.open_images(digits, model.tokenizer))
    scores = compare(raw, raw, per_class=5, draws=3)
    assert all(values.shape == (3,) and 0.6 < values.min() <= 1 for values in scores.values())
    with pytest.raises(ValueError, match="name them alike"):
        compare(raw, Features(raw.features, raw.paths, raw.labels, ("a", "b"), 0), per_class=5)
    with pytest.raises(ValueError, match="at least two classes"):
        accuracy("knn", raw.features[:1], raw.labels[:1], raw.features, raw.labels)


def test_the_error_of_a_perfect_model_is_zero_and_that_of_the_mean_is_by_hand():
    class Perfect(torch.nn.Module):
        def forward(self, latent, tokens, mask):
            self.hidden = mask.hidden
            return torch.stack([tokens.x[row, index] for row, index in enumerate(mask.hidden)])

    model = image.mae("tiny", image_size=8, patch_size=4, channels=1, norm_target=False, mask_ratio=0.5)
    model.decoder = Perfect()
    batch = torch.from_numpy(image.digits()[0][:5])
    ours, mean = errors(model, [batch])
    assert ours == 0
    x, by_hand = model.tokenizer(batch).x, []
    for row, hidden in enumerate(model.decoder.hidden.tolist()):
        visible = [n for n in range(4) if n not in hidden]
        by_hand.append((x[row, hidden] - x[row, visible].mean(dim=0)).square().mean().item())
    assert mean == pytest.approx(np.mean(by_hand), rel=1e-5)
