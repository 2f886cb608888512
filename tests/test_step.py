"""What is known in a forward pass: shared between masks, refused before it is there, in the precision of the run."""

import pytest
import torch

from maskkit.maskers import Uniform
from maskkit.modalities import image
from maskkit.step import OneProcess, Result, Step, call, takes_step
from maskkit.types import Latent, Mask, Tokens


def step_of(batch=2):
    model = image.tiny()
    samples = image.sample(batch)
    return Step(model, samples, model.tokenizer(samples))


def mask_of(*hidden, weight=None):
    found = Mask.hide(torch.tensor([hidden]).expand(2, -1), num_tokens=16)
    return Mask(visible=found.visible, hidden=found.hidden, weight=weight)


def latent():
    return Latent(tokens=torch.zeros(2, 12, 4), prefix=torch.zeros(2, 1, 4))


def test_once_is_computed_once_for_all_masks_and_is_anew_in_the_next_pass():
    step, calls = step_of(), []

    def make():
        calls.append(1)
        return torch.rand(3)

    first, second = (step.under(mask_of(n), latent()) for n in (1, 2))
    found = first.once("key", make)
    assert second.once("key", make) is found and step.once("key", make) is found and len(calls) == 1
    assert second.once("other", make) is not found and len(calls) == 2
    assert step_of().once("key", make) is not found


def test_once_keeps_nothing_too():
    step, calls = step_of(), []
    for _ in range(2):
        assert step.once("nothing", lambda: calls.append(1)) is None
    assert len(calls) == 1


def test_views_share_metrics_and_not_results():
    step = step_of()
    first, second = (step.under(mask_of(n), latent()) for n in (1, 2))
    first.log("number", 1)
    second.log("number", torch.tensor(3.0, requires_grad=True))
    values = step.metrics["number"]
    assert [value.item() for value in values] == [1, 3]
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in values)
    first.results["a"] = Result(torch.zeros(()))
    assert not second.results and not step.results
    assert first.mask.hidden[0, 0] == 1 and second.mask.hidden[0, 0] == 2


@pytest.mark.parametrize("name", ["mask", "latent"])
def test_what_is_not_there_yet_cannot_be_read(name):
    with pytest.raises(ValueError, match=f"there is no {name} yet; a masker cannot read step.{name}"):
        getattr(step_of(), name)
    assert getattr(step_of().under(mask_of(1), latent()), name) is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, None])
def test_precision_is_that_with_which_the_pass_began(dtype):
    x = torch.ones(4, 4)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        step = step_of()
        with step.float32():
            assert (x @ x).dtype == torch.float32
            with step.under(mask_of(1), latent()).autocast():
                assert (x @ x).dtype == (dtype or torch.float32)
    with step.autocast():
        assert (x @ x).dtype == (dtype or torch.float32)


def test_only_parts_that_name_the_step_are_given_it():
    class Module(torch.nn.Module):
        def forward(self, x, *, step):
            return x, step

    class Plain:
        def __call__(self, x):
            return x

    step = step_of()
    assert takes_step(Module) and not takes_step(Plain) and not takes_step(Uniform)
    assert call(Module(), 1, step=step) == (1, step) and call(Plain(), 1, step=step) == 1


def test_a_mean_is_weighted_where_the_mask_has_weights():
    losses = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    weight = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    assert Result(losses).mean() == Result(losses, mask=mask_of(1, 2)).mean() == 2.75
    assert Result(losses, mask=mask_of(1, 2, weight=weight)).mean() == pytest.approx((1 + 1 + 5) / 2.5)
    assert Result(torch.tensor(4.0), mask=mask_of(1, 2, weight=weight)).mean() == 4


def test_one_process_sums_nothing_and_lets_no_gradient_through():
    x = torch.ones(3, requires_grad=True)
    world = OneProcess()
    assert (world.rank, world.size) == (0, 1)
    assert torch.equal(world.sum(x), x) and not world.sum(x).requires_grad


@pytest.mark.parametrize("name", ["loss", "lr", "loss/predict"])
def test_the_names_of_the_engines_own_numbers_are_refused(name):
    with pytest.raises(ValueError, match="the name of a number that the engine logs"):
        Step(model=None, batch=torch.zeros(1), tokens=Tokens(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))).log(name, 1.0)
