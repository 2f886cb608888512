"""Checkpoints as other programs write them: types, wrappers, keys, halves, damage."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from maskkit import weights
from maskkit.modalities import image


def tiny(seed=0):
    torch.manual_seed(seed)
    return image.mae("tiny", image_size=32, patch_size=8)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_table_in_half_precision_is_still_sine_cosine(dtype):
    """In 8 bits sines differ by 0.004; read as a learned table, features at another size are 0.27 off."""
    state = {name: x.to(dtype) for name, x in weights.convert(tiny(), layout="mae").items()}
    model = tiny(1)
    report = weights.load(model, state)
    assert report.layout == "mae" and type(model.encoder.positions).__name__ == "SinCos" and not report.notes
    wide = torch.rand(1, 3, 48, 64)
    assert (model.eval().encode(wide).tokens - tiny().eval().encode(wide).tokens).abs().max() < 0.1


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.replace("blocks.0.", "blocks.0._orig_mod."),
        lambda name: name.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."),
        lambda name: f"model.{name}",
        lambda name: f"net.module.{name}",
        lambda name: f"_forward_module.student._orig_mod.{name}",
        lambda name: "_fsdp_wrapped_module." + name.replace("blocks.0.", "blocks.0._fsdp_wrapped_module._orig_mod."),
    ],
)
@pytest.mark.parametrize("layout", ["maskkit", "mae"])
def test_wrappers_anywhere_in_a_name_are_taken_off(wrap, layout):
    state = {wrap(name): x for name, x in weights.convert(tiny(), layout=layout).items()}
    model = tiny(1)
    weights.load(model, state)
    assert equal(model, tiny())


@pytest.mark.parametrize(
    "key", ["model", "state_dict", "model_state", "model_ema", "state_dict_ema", "model_state_dict"]
)
def test_weights_are_found_under_the_keys_of_other_trainers(tmp_path, key):
    torch.save({"epoch": 3, key: weights.convert(tiny(), layout="mae")}, tmp_path / "a.pth")
    model = tiny(1)
    weights.load(model, tmp_path / "a.pth")
    assert equal(model, tiny())


def test_the_counter_of_an_average_is_no_weight():
    state = {"n_averaged": torch.tensor(3)} | {f"module.{name}": x for name, x in weights.convert(tiny()).items()}
    model = tiny(1)
    weights.load(model, state)
    assert equal(model, tiny())


@pytest.mark.parametrize(("written", "name"), [("a.safetensors", "a.pth"), ("a.safetensors", "A.SAFETENSORS")])
def test_renamed_files_are_known_by_their_contents(tmp_path, written, name):
    weights.save(tiny(), tmp_path / written).rename(tmp_path / name)
    model = tiny(1)
    assert weights.load(model, tmp_path / name).layout == "maskkit" and equal(model, tiny())


def test_unknown_keys_are_named(tmp_path):
    torch.save({"epoch": 3, "generator": weights.convert(tiny()), "critic": {}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="no weights under a known key; it holds generator, critic; load it yourself"):
        weights.load(tiny(), tmp_path / "a.pth")


def test_the_half_that_a_source_lacks_is_named():
    encoder = weights.convert(tiny(), layout="timm", part="encoder")
    model = tiny(1)
    report = weights.load(model, encoder)
    assert all(name.startswith("decoder.") for name in report.missing) and report.missing
    assert "the source has no decoder, which keeps its weights" in report.notes
    assert not weights.load(model, encoder, part="encoder").missing
    assert not weights.load(model, weights.convert(tiny())).missing


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: x * torch.nan, "holds NaN or infinite numbers"),
        (lambda x: (x * 100).to(torch.int8), "is int8; weights must be floats"),
        (lambda x: x.to(torch.complex64), "is complex64; weights must be floats"),
        (lambda x: x.to(torch.float8_e4m3fn), "is float8_e4m3fn; weights must be floats"),
        (lambda x: x.double() + 1e300, "holds NaN or infinite numbers"),
        (lambda x: x.to_sparse(), "is a sparse tensor"),
        (lambda x: x.to("meta"), "is a meta tensor"),
        (lambda x: torch.nested.nested_tensor([x, x]), "is a nested tensor"),
        (lambda x: x[:1].expand(2**40), "holds another architecture"),
        (lambda x: x.tolist(), "is a list, not a tensor"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(damage, message):
    state, model = weights.convert(tiny()), tiny(1)
    state["encoder.norm.weight"] = damage(state["encoder.norm.weight"])
    with pytest.raises(ValueError, match=message):
        weights.load(model, state)
    assert equal(model, tiny(1))


@pytest.mark.parametrize(("state", "message"), [({}, "it holds nothing$"), ({3: torch.ones(1)}, "3 is no name")])
def test_a_dict_that_is_no_state_dict(state, message):
    with pytest.raises(ValueError, match=message):
        weights.load(tiny(), state)


def test_a_dict_that_holds_itself_ends(tmp_path):
    endless = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="not a state dict"):
        weights.load(tiny(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model": torch.nn.Linear(2, 2)}, "it holds torch.nn.modules.linear.Linear, which is no tensor"),
        ({"model": np.ones(2)}, "it holds numpy.* which is no tensor"),
        (b"<html>", "it is damaged, or no file of torch.save"),
        (b"", "EOFError"),
    ],
)
def test_what_a_pickle_holds_is_named_without_torchs_advice_to_run_it(tmp_path, content, reason):
    if isinstance(content, bytes):
        (tmp_path / "a.pth").write_bytes(content)
    else:
        torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"a.pth is no checkpoint .*: {reason}$"):
        weights.load(tiny(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "../b.safetensors"}}', "[" * 99999]
)
def test_a_broken_index_is_one_line(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match="is no index of weights|names no files in its own folder"):
        weights.load(tiny(), tmp_path)


def test_sharded_weights_are_read(tmp_path):
    state = weights.convert(tiny())
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: state[name] for name in some}, tmp_path / file)
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    model = tiny(1)
    weights.load(model, tmp_path)
    assert equal(model, tiny())
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ValueError, match="b.safetensors is missing, though an index names it"):
        weights.load(model, tmp_path)


def test_damaged_pickles_raise_one_line(tmp_path):
    torch.save({"model": weights.convert(tiny())}, tmp_path / "a.pth")
    whole = bytearray((tmp_path / "a.pth").read_bytes())
    rng = torch.Generator().manual_seed(0)
    for _ in range(60):
        broken = bytearray(whole)
        for place in torch.randint(len(whole), (20,), generator=rng).tolist():
            broken[place] ^= 255
        (tmp_path / "b.pth").write_bytes(broken[: int(torch.randint(1, len(whole), (), generator=rng))])
        with pytest.raises(ValueError) as error:
            weights.load(tiny(), tmp_path / "b.pth")
        assert "\n" not in str(error.value)
