"""Own checkpoints: what comes back is what was saved, and what does not fit is named."""

import json
import logging
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from common.data.framing import Framing
from common.errors import InputError
from common.weights.checkpoints import (
    check_bases,
    check_settings,
    load_checkpoint,
    load_trained,
    read_model_json,
    save_checkpoint,
    save_trained,
    write_model_json,
)
from common.weights.known import KNOWN_BASES, MINILM
from common.weights.pretrained import FrozenBase
from tests.common.training.parts import Tiny

SIZE = 128


def network(*, seed: int = 0, width: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


@pytest.fixture(params=["model.pt", "model.safetensors"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_full_precision_comes_back_exactly(path):
    saved, loaded = network(seed=1), network(seed=2)
    save_checkpoint(saved, path, half=False)
    load_checkpoint(loaded, path)
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_half_precision_is_half_the_bytes_and_keeps_the_network_in_float32(path):
    saved, loaded = network(seed=1, width=4000), network(seed=2, width=4000)
    save_checkpoint(saved, path, half=True)
    content = 2 * sum(value.numel() for value in saved.state_dict().values())
    assert content < path.stat().st_size < 1.2 * content
    load_checkpoint(loaded, path)
    for name, value in saved.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(expected, loaded.state_dict()[name]), name
        assert loaded.state_dict()[name].dtype == value.dtype


def test_the_file_is_a_flat_dict_that_plain_torch_reads(tmp_path):
    saved = network()
    save_checkpoint(saved, tmp_path / "model.pt", half=False)
    network(seed=3).load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True), strict=True)


def test_views_do_not_drag_their_storage_along(tmp_path):
    layer = nn.Linear(10, 10, bias=False)
    layer.weight = nn.Parameter(torch.zeros(1000, 1000)[:10, :10])
    save_checkpoint(layer, tmp_path / "model.pt", half=False)
    assert (tmp_path / "model.pt").stat().st_size < 10_000


def test_values_beyond_float16_are_refused_and_the_old_file_stays(path):
    saved = network()
    save_checkpoint(saved, path, half=True)
    before = path.read_bytes()
    with torch.no_grad():
        saved[2].bias[0] = 70_000.0
    with pytest.raises(InputError, match=r"2\.bias has values beyond float16's 65,504; save with half=False"):
        save_checkpoint(saved, path, half=True)
    assert path.read_bytes() == before


def test_a_missing_file(tmp_path):
    with pytest.raises(
        InputError, match=rf"there is no such checkpoint \(looked for {tmp_path}/model.pt\); train"
    ):
        load_checkpoint(network(), tmp_path / "model.pt")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_file_cut_short(path, part):
    save_checkpoint(network(width=100), path, half=False)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(InputError, match=rf"^{path}: cannot be read as a dict of tensors \(cut short, or no"):
        load_checkpoint(network(width=100), path)


def test_pickled_objects_are_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    torch.save({"weight": Trap()}, tmp_path / "model.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("model.pt", "raw.pt"):
        with pytest.raises(InputError, match=r"\(it holds Python objects\); fetch it again, or save it with"):
            load_checkpoint(network(), tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_a_git_lfs_pointer(tmp_path):
    (tmp_path / "model.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(InputError, match="found a Git LFS pointer, not the weights; run git lfs pull"):
        load_checkpoint(network(), tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("page", ["<!DOCTYPE html>\n<p>404", "\ufeff <!-- a proxy -->\n<HTML lang='en'>"])
def test_a_web_page_that_was_saved_as_checkpoint(tmp_path, name, page):
    (tmp_path / name).write_text(page, encoding="utf-8")
    with pytest.raises(
        InputError, match=rf"{name}: found a web page \(HTML\), expected a checkpoint: a login"
    ):
        load_checkpoint(network(), tmp_path / name)


def test_a_nested_dict(tmp_path):
    torch.save({"network": network().state_dict(), "epoch": 3}, tmp_path / "model.pt")
    with pytest.raises(
        InputError, match=r"expected a flat dict of tensors, found a dict with network, epoch; save"
    ):
        load_checkpoint(network(), tmp_path / "model.pt")
    torch.save([torch.zeros(1)], tmp_path / "model.pt")
    with pytest.raises(InputError, match="expected a flat dict of tensors, found no dict"):
        load_checkpoint(network(), tmp_path / "model.pt")


def test_unsuited_weights_are_named_and_nothing_is_loaded(tmp_path):
    tensors = network(seed=1, width=5).state_dict()
    del tensors["2.bias"]
    tensors["3.weight"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "model.pt")
    target = network(seed=2)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_checkpoint(target, tmp_path / "model.pt")
    text = str(caught.value)
    assert "do not fit Sequential: 1 missing (2.bias); 1 unexpected (3.weight); 7 of another shape" in text
    assert "0.weight is (5, 3), expected (4, 3)" in text
    assert "and 4 more" in text
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_hooks_that_leave_a_frozen_base_out_are_followed(path):
    class Adapted(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.base, self.head = nn.Linear(2, 2), nn.Linear(2, 1)
            self.register_state_dict_post_hook(lambda module, state, prefix, local: drop_base(state))
            self.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())

    def drop_base(state) -> None:
        for name in [name for name in state if name.startswith("base.")]:
            del state[name]

    saved, loaded = Adapted(1), Adapted(2)
    base = loaded.base.weight.clone()
    save_checkpoint(saved, path, half=False)
    load_checkpoint(loaded, path)
    assert torch.equal(loaded.head.weight, saved.head.weight)
    assert torch.equal(loaded.base.weight, base)


BASES = {
    "text": FrozenBase("org/bert", "0" * 40, "a" * 64),
    "image": FrozenBase("vit-folder", None, "b" * 64),
}


def test_model_json_comes_back_and_says_what_a_reader_needs(tmp_path):
    write_model_json(tmp_path / "model.pt", BASES, settings={"network_def": {"image_size": SIZE}})
    assert read_model_json(tmp_path / "model.pt") == BASES
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["frozen_bases"]["text"] == {"model": "org/bert", "revision": "0" * 40, "sha256": "a" * 64}
    check_bases(tmp_path / "model.pt", BASES)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (
            {**BASES, "text": FrozenBase("org/other", None, "c" * 64)},
            r"trained with org/bert \(revision 0+, sha256 a+",
        ),
        ({"text": BASES["text"]}, r"trained with vit-folder .* as image, but no frozen base is in use; give"),
        ({**BASES, "more": BASES["text"]}, r"trained with no frozen base as more, but org/bert"),
    ],
)
def test_another_base_is_refused(tmp_path, now, text):
    write_model_json(tmp_path / "model.pt", BASES, settings={"network_def": {"image_size": SIZE}})
    with pytest.raises(InputError, match=text):
        check_bases(tmp_path / "model.pt", now)


FRAMING = {"crop": "whole", "window": (-160.0, 240.0), "mirrored": True}
SETTINGS = {
    "network_def": {"image_size": SIZE, "framing": FRAMING, "scale": "text", "decoder_stages": (2, 3)},
}


def recorded(folder):
    """The record of `SETTINGS` as it is read back."""
    write_model_json(folder / "model.pt", BASES, settings=SETTINGS)
    return json.loads((folder / "model.json").read_text())


def changed(**values):
    return {"network_def": SETTINGS["network_def"] | values}


def framed(**values):
    return changed(framing=FRAMING | values)


@pytest.mark.parametrize("now", [SETTINGS, framed(window=[-160, 240]), changed(decoder_stages=[2, 3])])
def test_the_same_settings_pass_in_silence(tmp_path, caplog, now):
    check_settings("model.pt", recorded(tmp_path), now)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("now", "found", "ids"),
    [
        (
            changed(image_size=64),
            "network_def#image_size 128 (64 is in use)",
            "network_def#image_size",
        ),
        (
            framed(window=(-1000.0, 400.0), mirrored=False),
            "network_def#framing#window [-160.0, 240.0] ([-1000.0, 400.0] is in use), "
            "network_def#framing#mirrored true (false is in use)",
            "network_def#framing#window, network_def#framing#mirrored",
        ),
        (
            changed(scale="channels"),
            'network_def#scale "text" ("channels" is in use)',
            "network_def#scale",
        ),
    ],
)
def test_other_settings_are_refused_and_only_said_in_training(tmp_path, caplog, now, found, ids):
    record = recorded(tmp_path)
    with pytest.raises(InputError) as caught:
        check_settings("model.pt", record, now)
    assert str(caught.value) == (
        f"model.pt: trained with {found}; override {ids} with the checkpoint's values (network_def#preset "
        "decides those that the config does not list), or give another "
        "checkpoint."
    )
    check_settings("model.pt", record, now, to_train=True)
    assert caplog.messages == [f"model.pt: trained with {found}; training continues with what is in use."]


def test_a_record_of_before_is_taken_and_what_it_does_not_say_is_named(tmp_path, caplog):
    before = {"network_def": {"image_size": SIZE, "framing": {"crop": "whole"}}}
    write_model_json(tmp_path / "model.pt", BASES, settings=before)
    record = json.loads((tmp_path / "model.json").read_text())
    check_settings("model.pt", record, SETTINGS)
    assert caplog.messages == [
        "model.pt: its record does not give the settings network_def#framing#window, "
        "network_def#framing#mirrored, network_def#scale, network_def#decoder_stages of its "
        "training, so they are not compared."
    ]
    with pytest.raises(InputError, match=r'network_def#framing#crop "whole" \("body" is in use\)'):
        check_settings("model.pt", record, framed(crop="body"))


def test_a_setting_that_is_unknown_here_is_refused(tmp_path):
    record = recorded(tmp_path)
    record["network_def"]["later"] = 3
    with pytest.raises(InputError, match=r"trained with network_def#later 3 \(null is in use\); override"):
        check_settings("model.pt", record, SETTINGS)


def test_the_settings_of_a_network_are_all_that_its_tensors_do_not_show(tmp_path):
    """And its record has the same, as JSON; another threshold or normalisation is another network."""
    net = Tiny(Framing(window=(0, 100), channels=("red", {"window": [0, 50], "offset_mm": 3}), images=True))
    net.threshold, net.normalisation = 0.25, "imagenet"
    save_trained(net, tmp_path / "model.pt", half=False)
    record = json.loads((tmp_path / "model.json").read_text())
    assert record["network_def"] == {
        "image_size": 16,
        "framing": {
            "crop": "body",
            "window": [0.0, 100.0],
            "channels": [
                {"colour": "red", "window": None, "offset_mm": 0.0},
                {"colour": "grey", "window": [0.0, 50.0], "offset_mm": 3},
            ],
            "mirrored": False,
            "images": True,
        },
        "normalisation": "imagenet",
        "threshold": 0.25,
    }
    load_trained(net, tmp_path / "model.pt")
    net.threshold = 0.5
    with pytest.raises(
        InputError,
        match=r"trained with network_def#threshold 0\.25 \(0\.5 is in use\); no override sets network_d",
    ):
        load_trained(net, tmp_path / "model.pt")


KNOWN = KNOWN_BASES[MINILM]
PUBLISHED = {"text": FrozenBase(MINILM, KNOWN.revision, str(KNOWN.sha256))}
ROUNDED = {"text": FrozenBase("text_encoder", None, str(KNOWN.half_sha256))}


@pytest.mark.parametrize(("then", "now"), [(PUBLISHED, ROUNDED), (ROUNDED, PUBLISHED)])
def test_the_known_float16_copy_of_a_base_is_taken_and_said(tmp_path, caplog, then, now):
    write_model_json(tmp_path / "model.pt", then, settings={"network_def": {"image_size": SIZE}})
    with caplog.at_level(logging.INFO):
        check_bases(tmp_path / "model.pt", now)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"text: {now['text'].model} (revision")
    assert caplog.messages[0].endswith("is in use, the same weights in another precision")
    caplog.clear()
    check_bases(tmp_path / "model.pt", then)
    assert caplog.messages == []


def test_another_float16_copy_is_refused(tmp_path):
    write_model_json(tmp_path / "model.pt", PUBLISHED, settings={"network_def": {"image_size": SIZE}})
    with pytest.raises(InputError, match=r"but text_encoder \(revision None, sha256 d{12}\.\.\.\) is in use"):
        check_bases(tmp_path / "model.pt", {"text": FrozenBase("text_encoder", None, "d" * 64)})


@pytest.mark.parametrize("content", [None, "", "[]", '{"frozen_bases": {"text": {"model": "x"}}}'])
def test_model_json_that_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "model.json").write_text(content)
    with pytest.raises(
        InputError, match=r"model.json: cannot be read as the record of .* together with model.pt"
    ):
        check_bases(tmp_path / "model.pt", BASES)


def test_safetensors_holds_the_same_names(tmp_path):
    saved = network()
    save_checkpoint(saved, tmp_path / "model.safetensors", half=False)
    assert safetensors.torch.load_file(tmp_path / "model.safetensors").keys() == saved.state_dict().keys()
