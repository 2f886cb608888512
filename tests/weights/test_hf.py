"""Parity with transformers' ViTMAEForPreTraining: the same weights, input and mask give the same numbers."""

import re

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from maskkit import Mask, weights
from maskkit.modalities import image, video

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "image_size": 40,
    "patch_size": 8,
    "num_channels": 2,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 128,
    "mask_ratio": 0.6,
}


def theirs(**settings) -> ViTMAEForPreTraining:
    torch.manual_seed(0)
    # The authors' epsilon; transformers' default of 1e-12 is not what the checkpoints were trained with.
    model = ViTMAEForPreTraining(ViTMAEConfig(layer_norm_eps=1e-6, **settings)).eval()
    with torch.no_grad():  # biases and norms start at 0 and 1, where a mix-up would not show
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if "mask_token" in name:
                parameter.normal_(std=0.5)
    return model


def tiny(**settings) -> "image.MaskedModel":
    from maskkit.decoder import JointDecoder
    from maskkit.encoder import SparseEncoder
    from maskkit.positions import SinCos

    return image.mae(
        "tiny",
        image_size=40,
        patch_size=8,
        channels=2,
        mask_ratio=0.6,
        encoder=SparseEncoder(content=128, dim=48, depth=3, heads=4, positions=SinCos(dim=48, axes=2, order=(1, 0))),
        decoder=JointDecoder(
            latent=48, dim=32, depth=2, heads=2, output=128, positions=SinCos(dim=32, axes=2, order=(1, 0))
        ),
        **settings,
    )


def mask_of(noise: torch.Tensor, num_visible: int) -> Mask:
    order = noise.argsort(dim=1)
    return Mask(visible=order[:, :num_visible], hidden=order[:, num_visible:])


@pytest.mark.parametrize("norm_target", [True, False])
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_prediction_loss_and_gradient_agree(size, norm_target):
    reference = theirs(norm_pix_loss=norm_target, **(TINY if size == "tiny" else {}))
    model = (tiny if size == "tiny" else image.mae)(norm_target=norm_target).eval()
    report = weights.load(model, reference.state_dict(), layout="hf")
    assert not report.missing and not report.unused

    config = reference.config
    batch = torch.randn(2, config.num_channels, config.image_size, config.image_size)
    num_tokens = (config.image_size // config.patch_size) ** 2
    noise = torch.rand(2, num_tokens)
    mask = mask_of(noise, int(num_tokens * (1 - config.mask_ratio)))
    expected = reference(batch, noise=noise)
    out = model(batch, mask=mask)

    logits = expected.logits.gather(1, mask.hidden[..., None].expand(-1, -1, expected.logits.shape[-1]))
    assert (out.prediction - logits).abs().max() <= 1e-5
    assert (out.loss - expected.loss).abs() <= 1e-5
    expected.loss.backward()
    out.loss.backward()
    gradient = model.encoder.blocks[0].mlp.fc1.weight.grad
    first_mlp = re.compile(r"^vit\..*\.0\.(mlp\.fc1|intermediate\.dense)\.weight$")  # transformers 5.16, and before
    (layer,) = [weight.grad for name, weight in reference.named_parameters() if first_mlp.match(name)]
    assert (gradient - layer).abs().max() <= 1e-4 * layer.abs().max()


def test_what_we_write_transformers_opens(tmp_path):
    model = tiny().eval()
    folder = weights.save(model, tmp_path / "hf", layout="hf").parent
    reference, info = ViTMAEForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    batch, noise = torch.randn(2, 2, 40, 40), torch.rand(2, 25)
    expected = reference.eval()(batch, noise=noise)
    out = model(batch, mask=mask_of(noise, 10))
    assert (out.loss - expected.loss).abs() <= 1e-5


def test_what_transformers_writes_we_open(tmp_path):
    reference = theirs(**TINY)
    reference.save_pretrained(tmp_path)  # files keep the names of transformers 4, modules have those of 5
    model, other = tiny(), tiny()
    assert weights.load(model, tmp_path).layout == "hf"
    weights.load(other, reference.state_dict(), layout="hf")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_an_error_names_the_layout_that_was_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"layout hf has no place for encoder.mask_token; choose layout maskkit"):
        weights.save(image.model("simmim", "tiny", image_size=16, patch_size=4), tmp_path / "out", layout="hf")
    with pytest.raises(ValueError, match="layout hf has no place for encoder.mask_token"):
        weights.save(
            video.model("simmim", "tiny", frames=4, image_size=16, patch_size=8), tmp_path / "clip", layout="hf"
        )
