"""Teachers: what their values are, what the optimiser must not reach, and how they follow."""

import pytest
import torch

from maskkit import weights
from maskkit.decoder import JointDecoder
from maskkit.encoder import DenseEncoder, SparseEncoder
from maskkit.modalities import image
from maskkit.positions import SinCos
from maskkit.step import Step
from maskkit.teachers import FrozenTeacher, Teacher
from maskkit.testing import check_model
from maskkit.types import take


def model_with(teacher, kind=SparseEncoder, **settings):
    torch.manual_seed(0)
    tokenizer = image.patches(2, 1, mean=(0.5,), std=(0.5,), image_size=8)
    places = {"encoder": SinCos(dim=16, axes=2), "decoder": SinCos(dim=16, axes=2)}
    encoder = kind(content=4, dim=16, depth=3, heads=2, positions=places["encoder"], **settings)
    decoder = JointDecoder(latent=16, dim=16, depth=1, heads=2, output=16, positions=places["decoder"])
    model = image.mae(tokenizer=tokenizer, norm_target=False, encoder=encoder, decoder=decoder, target=teacher)
    return model.eval()


def values_of(model):
    batch = image.sample(3)
    step = Step(model, batch, model.tokenizer(batch))
    return model.target.values(step.tokens, step), step


NORMS = {"layer": -1, "instance": 1}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layers", [(), (2,), (1, 2, 3)])
def test_values_have_mean_0_and_deviation_1(norm, layers):
    """A token each by "layer", a channel each by "instance"; the mean of several levels once more, a token each."""
    values, _ = values_of(model_with(Teacher(norm=norm, layers=layers)))
    axis = -1 if len(layers) > 1 else NORMS[norm]
    assert values.dtype == torch.float32 and not values.requires_grad
    assert values.mean(dim=axis).abs().max() < 1e-5
    assert (values.var(dim=axis, correction=0) - 1).abs().max() < 0.02


def test_without_a_norm_values_are_the_latents_themselves():
    model = model_with(Teacher(norm="none"))
    values, step = values_of(model)
    assert torch.equal(values, model.encoder(step.tokens).tokens)
    several = model_with(Teacher(norm="none", layers=(1, 3)), prefix_tokens=2)
    values, step = values_of(several)
    several.encoder.blocks.keep = (1, 3)
    levels = several.encoder(step.tokens).levels
    assert torch.allclose(values, (levels[0] + levels[1])[:, 2:] / 2, atol=1e-6)


def test_a_pass_takes_the_values_of_what_is_hidden_and_trains_nothing_of_the_teacher():
    model = model_with(Teacher())
    check_model(model, image.sample(3))
    model.train()
    out = model(image.sample(3))
    assert not out.value.requires_grad
    out.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    assert all(p.grad is not None for p in model.encoder.parameters() if p.requires_grad)
    every, _ = values_of(model)
    assert torch.allclose(take(every, out.mask.hidden), out.value, atol=1e-6)


def test_it_stays_in_evaluation_mode_so_that_nothing_is_dropped():
    model = model_with(Teacher(), drop_path=0.5)
    model.train()
    assert model.encoder.training and not any(module.training for module in model.target.encoder.modules())
    first, _ = values_of(model)
    assert torch.equal(first, values_of(model)[0])
    assert model.target.train().encoder.training is False


@pytest.mark.parametrize(("progress", "decay"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_it_moves_by_a_decay_that_grows_over_the_run(progress, decay):
    model = model_with(Teacher(start=0.9, end=1.0))
    before = [p.clone() for p in model.target.encoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, model.encoder.parameters(), strict=True))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1)
    model.after_step(progress)
    for old, now in zip(before, model.target.encoder.parameters(), strict=True):
        assert torch.allclose(now, old + (1 - decay), atol=1e-5)


def test_buffers_are_copied():
    class Normed(torch.nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x).transpose(1, 2)).transpose(1, 2)

    teacher = Teacher()
    model = model_with(teacher)
    model.encoder.embed = Normed(torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16))
    model.setup()
    model.train()(image.sample(4))
    assert not torch.equal(teacher.encoder.embed[1].running_mean, model.encoder.embed[1].running_mean)
    model.after_step(0.0)
    assert torch.equal(teacher.encoder.embed[1].running_mean, model.encoder.embed[1].running_mean)
    assert teacher.encoder.embed[1].num_batches_tracked == 1


@pytest.mark.parametrize("kind", [SparseEncoder, DenseEncoder])
def test_it_sees_the_whole_sample_also_where_the_encoder_is_dense(kind):
    values, step = values_of(model_with(Teacher(layers=(3,)), kind))
    assert values.shape == (3, 16, 16)
    changed = step.tokens.replace(x=step.tokens.x.clone())
    changed.x[:, 15] += 1
    model = step.model
    assert not torch.allclose(model.target.values(changed, step)[:, 0], values[:, 0], atol=1e-6)


def test_setup_again_after_weights_were_replaced():
    model = model_with(Teacher())
    with torch.no_grad():
        model.encoder.embed.weight.zero_()
    assert model.target.encoder.embed.weight.any()
    model.setup()
    assert not model.target.encoder.embed.weight.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 1.1}, r"start and end are decays in \[0, 1\], got 1.1 and 1.0"),
        ({"end": -0.1}, r"start and end are decays in \[0, 1\]"),
        ({"norm": "batch"}, "norm must be layer, instance or none, got 'batch'"),
    ],
)
def test_settings_that_make_no_teacher_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Teacher(**settings)


def test_layers_of_an_encoder_that_keeps_none_are_refused():
    class Plain(torch.nn.Module):
        dim = 16

    model = model_with(Teacher())
    model.encoder, model.target = Plain(), Teacher(layers=(1,))
    with pytest.raises(ValueError, match="Plain keeps no levels; leave the teacher's layers out"):
        model.setup()


@pytest.mark.parametrize("layers", [(4,), (1, -1)])
def test_layers_that_the_encoder_does_not_have_are_refused(layers):
    with pytest.raises(ValueError, match="layers of a teacher lie between 0 and its 3 blocks, got"):
        model_with(Teacher(layers=layers))


def frozen(tmp_path, **settings):
    """A model that learns the latents of a trained one, which comes from a file."""
    trained = model_with(Teacher(), DenseEncoder)
    with torch.no_grad():
        for parameter in trained.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    file = weights.save(trained, tmp_path / "trained.safetensors")
    teacher = FrozenTeacher(weights.open_model(file).encoder, **settings)
    file.unlink()
    return model_with(teacher), trained


@pytest.mark.parametrize("layers", [(), (1, 3)])
def test_a_frozen_teacher_gives_the_latents_of_the_encoder_in_the_file(tmp_path, layers):
    model, trained = frozen(tmp_path, norm="none", layers=layers)
    check_model(model, image.sample(3))
    values, step = values_of(model)
    trained.encoder.blocks.keep = layers
    latent = trained.encoder(step.tokens)
    expected = (latent.levels[0] + latent.levels[1])[:, latent.prefix.shape[1] :] / 2 if layers else latent.tokens
    assert torch.allclose(values, expected, atol=1e-6)


def test_a_frozen_teacher_neither_trains_nor_moves_and_is_written_with_the_model(tmp_path):
    model, _ = frozen(tmp_path)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.target.state_dict().items()}
    out = model(image.sample(3))
    out.loss.backward()
    model.after_step(0.5)
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    assert all(torch.equal(tensor, model.target.state_dict()[name]) for name, tensor in before.items())
    assert not any(module.training for module in model.target.encoder.modules())
    again = weights.open_model(weights.save(model, tmp_path / "model.safetensors"))
    assert torch.equal(values_of(again.eval())[0], values_of(model.eval())[0])
    assert not any(p.requires_grad for p in again.target.parameters())


def test_a_frozen_teacher_refuses_what_it_cannot_keep(tmp_path):
    with pytest.raises(ValueError, match="layers of a teacher lie between 0 and its 3 blocks, got"):
        frozen(tmp_path, layers=(4,))
    with pytest.raises(ValueError, match="norm must be layer, instance or none, got 'batch'"):
        frozen(tmp_path, norm="batch")


def test_instance_norm_leaves_padding_out():
    model = model_with(Teacher(norm="instance", layers=(1, 2)))
    whole = model.tokenizer(image.sample(2))
    alone = whole.replace(x=whole.x[:, :10], pos=whole.pos[:, :10], grid=None)
    valid = torch.zeros(2, 16, dtype=torch.bool)
    valid[:, :10] = True
    step = Step(model, image.sample(2), whole)
    padded = model.target.values(whole.replace(valid=valid, grid=None), step)
    torch.testing.assert_close(padded[:, :10], model.target.values(alone, step), rtol=1e-4, atol=1e-5)
