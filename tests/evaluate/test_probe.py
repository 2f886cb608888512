"""Probes find what is in features, and only that."""

import numpy as np
import pytest
import torch

from maskkit.data.source import BadSampleError
from maskkit.evaluate.features import Features, embed, embed_all, pick_device
from maskkit.evaluate.probe import Halves, accuracy, compare, halves, principal_axes, split
from maskkit.evaluate.reconstruction import errors
from maskkit.modalities import image, points


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


class Numbers:
    """Ten samples, some of them broken; counts what is read."""

    def __init__(self, broken=(), size=10):
        self.broken, self.size, self.read_so_far = set(broken), size, []

    def __len__(self):
        return self.size

    repeats = 1

    def read(self, key, rng):
        index = key.index
        self.read_so_far.append(index)
        if index in self.broken:
            raise BadSampleError(str(index), "is broken")
        return torch.full((1, 8, 8), index, dtype=torch.uint8)

    def path(self, index):
        return str(index)

    def label(self, index):
        return "even" if index % 2 == 0 else "odd"


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_read_all_in_order_and_leave_out_what_is_broken(workers):
    found = embed(None, Numbers(broken=[0, 4, 9]), batch=3, workers=workers)
    assert found.paths == ("1", "2", "3", "5", "6", "7", "8") and found.skipped == 3
    assert found.features[:, 0].tolist() == [1, 2, 3, 5, 6, 7, 8] and found.features.dtype == np.float32
    assert [found.classes[label] for label in found.labels] == ["odd", "even", "odd", "odd", "even", "odd", "even"]


def test_whole_batches_of_broken_samples_and_empty_sources():
    found = embed(None, Numbers(broken=[0, 1, 2]), batch=3)
    assert found.paths == tuple("3456789") and found.features.shape == (7, 64)
    assert embed(None, Numbers(size=0)).features.shape == (0, 0)
    with pytest.raises(ValueError, match="more than the limit of 50%"):
        embed(None, Numbers(broken=range(6)))


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_that_do_not_stack_are_one_line(workers):
    class Odd(Numbers):
        def read(self, key, rng):
            return torch.zeros(1, 8, 8 + key.index % 2)

    with pytest.raises(ValueError, match="different shapes") as error:
        embed(None, Odd(), workers=workers)
    assert "\n" not in str(error.value)


def test_each_sample_is_read_once_for_all_encoders():
    source, model, other = Numbers(), image.tiny(), image.tiny()
    found = embed_all({"raw": None, "one": model, "other": other}, source, batch=4)
    assert source.read_so_far == list(range(10)) and list(found) == ["raw", "one", "other"]
    for name, encoder in (("raw", None), ("one", model), ("other", other)):
        alone = embed(encoder, Numbers(), batch=4)
        assert np.array_equal(found[name].features, alone.features)


def test_a_class_token_that_is_not_there_is_said():
    model = points.tiny()

    class Clouds(Numbers):
        def read(self, key, rng):
            return points.sample(1)[0]

    with pytest.raises(ValueError, match="no class token, which --pool prefix reads"):
        embed(model, Clouds(), pool="prefix")


def test_the_device_is_chosen_or_refused():
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="--device abacus cannot be used here"):
        pick_device("abacus")


def test_components_come_from_the_samples_fitted_to_alone():
    rng = np.random.default_rng(0)
    fit, test = rng.normal(size=(60, 400)).astype(np.float32), rng.normal(size=(20, 400)).astype(np.float32)
    pair = Halves(fit, np.arange(60) % 2, test, np.arange(20) % 2, ("a", "b"))
    small, note = pair.projected(16)
    assert small.features.shape == (60, 16) and small.test_features.shape == (20, 16)
    assert note.startswith("(400 numbers, by PCA 16: ")
    elsewhere, _ = Halves(fit, pair.labels, test + 100, pair.test_labels, pair.classes).projected(16)
    assert np.allclose(small.features, elsewhere.features)
    centred = fit - fit.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:16]
    assert np.allclose(np.abs(small.features), np.abs(centred @ axes.T), atol=1e-3)
    same, note = pair.projected(400)
    assert same is pair and note == ""
    assert pair.projected()[0].features.shape == (60, 59)  # around their mean, samples span one dimension less
    constant = Halves(np.ones((9, 400), np.float32), pair.labels[:9], test, pair.test_labels, pair.classes)
    flat = constant.projected()[0]
    assert flat.features.shape[1] >= 1 and not flat.features.any() and np.isfinite(flat.test_features).all()


def test_many_samples_are_thinned_out_and_the_axes_stay():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(300, 3)))[0].T * np.array([[30], [20], [10]])
    features = (rng.normal(size=(500, 3)) @ directions + 0.1 * rng.normal(size=(500, 300))).astype(np.float32)
    _, all_axes, share = principal_axes(features, 3)
    _, few_axes, _ = principal_axes(features, 3, most=100)
    assert share > 0.99 and np.allclose(np.abs(all_axes.T @ all_axes), np.eye(3), atol=1e-4)
    assert np.allclose(np.linalg.svd(all_axes.T @ few_axes)[1], 1, atol=1e-2)  # the same subspace


def test_halves_are_one_set_split_or_two_sets():
    labels = np.array([0, 1] * 10 + [-1])
    one = Features(np.arange(21, dtype=np.float32)[:, None], ("x",) * 21, labels, ("a", "b"), 0)
    pair = halves(one, None, per_class=3)
    assert len(pair.labels) == 6 and len(pair.test_labels) == 14
    assert not set(pair.features[:, 0]) & set(pair.test_features[:, 0]) and (pair.labels >= 0).all()
    pair = halves(one, one)
    assert len(pair.labels) == len(pair.test_labels) == 20
    pair = halves(one, one, per_class=10)  # nothing of the first set is left over, and nothing need be
    assert len(pair.labels) == 20 and len(pair.test_labels) == 20
