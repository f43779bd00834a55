"""LSMS: counts of the sheet, what words and padding may change, and Table 3's options."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from common.data.framing import RGB, Framing
from common.errors import InputError
from common.networks.guidance import Guidance
from common.networks.lsms.network import LSMS, PRESETS
from common.text.encoders import TextEncoder
from common.weights.checkpoints import load_trained, save_trained

WORDS = ["the", "lesion", "in", "left", "right", "lobe", "largest", "round", "smooth", "border"]
TINY_BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "vocabulary": WORDS,
}
TINY: dict[str, Any] = {
    "image_size": 64,
    "widths": (8, 16, 16, 32),
    "depths": (1, 1, 2, 1),
    "ffn_ratios": (2, 2, 1, 1),
    "ham_channels": 32,
    "align_channels": 32,
    "rank": 4,
}
TOKENS = 20  # of a sentence in the counts, as in SLViT


def tiny(*, language: bool = True, trainable: bool = False, **options: Any) -> LSMS:
    torch.manual_seed(0)
    text_encoder = None
    if language:
        text_encoder = TextEncoder(None, config=TINY_BERT, max_tokens=16, trainable=trainable)
        text_encoder.source = "somewhere"  # counts as pretrained: its weights stay out of checkpoints
    return LSMS(text_encoder=text_encoder, **(TINY | options)).eval()


def counted(preset: str, **options: Any) -> LSMS:
    """A preset without weights; its language model has BERT-base's width and is left out of counts."""
    settings = {name: value for name, value in PRESETS[preset].items() if not name.startswith("text_")}
    with torch.device("meta"):
        bert = TextEncoder(None, config={"model_type": "bert", "num_hidden_layers": 1})
        return LSMS(text_encoder=bert, **(settings | options)).to("meta").eval()


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def language_weights(network: nn.Module) -> int:
    return sum(value.numel() for name, value in network.named_parameters() if ".language." in name)


def gmac(network: LSMS, *, text: bool = True) -> float:
    """Multiply-accumulates in units of 10^9, matrix products and the factorisation included."""
    words = Guidance(
        torch.empty(1, TOKENS, 768, device="meta"), torch.ones(1, TOKENS, dtype=torch.bool, device="meta")
    )
    image = torch.empty(1, 1, network.image_size, network.image_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = network(image, words if text else None)
    assert logits.shape == image.shape
    return counter.get_total_flops() / 2e9


# The sheet's readings A and T3. It counts a bias on each of the five 1 x 1 convolutions of a language
# branch; a softmax or a norm cancels all of these, so the network has none.
@pytest.mark.parametrize(
    ("preset", "millions", "head_millions", "billions", "channels_of_all_blocks"),
    [
        ("paper", 21.00, 0.44, 21.0, 3 * 64 + 3 * 128 + 5 * 320 + 2 * 512),
        ("paper_t", 8.10, 0.90, 8.67, 3 * 32 + 3 * 64 + 5 * 160 + 2 * 256),
    ],
)
def test_paper_presets_have_the_counts_of_the_sheet(
    preset: str, millions: float, head_millions: float, billions: float, channels_of_all_blocks: int
) -> None:
    network = counted(preset)
    assert (weights(network) + 5 * channels_of_all_blocks) / 1e6 == pytest.approx(millions, abs=0.005)
    assert weights(network) / 1e6 == pytest.approx(millions, rel=2e-3)
    assert weights(network.decoder) / 1e6 == pytest.approx(head_millions, abs=0.005)
    assert gmac(network) == pytest.approx(billions, rel=5e-3)


def test_language_branches_cost_what_the_sheet_says() -> None:
    """At the published widths, text projections 4.92 M and omega_v1, v2, f 3.30 M."""
    network = counted("paper")
    branches = {name: value.numel() for name, value in network.named_parameters() if ".language." in name}
    projections = sum(n for name, n in branches.items() if ".key." in name or ".value." in name)
    assert projections / 1e6 == pytest.approx(4.92, abs=0.005)
    assert (sum(branches.values()) - projections) / 1e6 == pytest.approx(3.30, abs=0.01)
    assert gmac(network) - gmac(network, text=False) > 2.7  # omega alone: 3 x 0.91
    with torch.device("meta"):
        without = LSMS(text_encoder=None, image_size=480)
    assert weights(without) == weights(network) - language_weights(network)


def test_compact_has_four_to_five_million_parameters_and_fits_in_12_mb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bert = {"model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "vocabulary": WORDS}
    asked = []

    def encoder(*given: object, **options: object) -> TextEncoder:
        asked.append((given, options))
        return TextEncoder(None, config=bert | {"num_hidden_layers": 1})

    monkeypatch.setattr("common.networks.lsms.network.TextEncoder", encoder)
    network = LSMS.from_preset("compact", image_size=None)
    options = {"revision": None, "trainable": False, "dtype": "float32", "max_tokens": 96}
    assert asked == [(("sentence-transformers/all-MiniLM-L6-v2",), options)]
    assert 4e6 <= weights(network) <= 5e6
    assert 2 * weights(network) < 12e6  # bytes in float16
    assert 128 <= network.image_size <= 192


def test_presets_take_another_language_model_with_its_own_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "common.networks.lsms.network.TextEncoder",
        lambda *given, **options: (
            asked.append((given[0], options["revision"])) or TextEncoder(None, config=TINY_BERT, max_tokens=8)
        ),
    )
    LSMS.from_preset("paper", **TINY)
    LSMS.from_preset("paper", text_model="some/bert", **TINY)
    LSMS.from_preset("paper", text_model="some/bert", text_revision="abc", **TINY)
    name, revision = asked[0]
    assert name == "google-bert/bert-base-uncased"
    assert len(revision) == 40
    assert asked[1:] == [("some/bert", None), ("some/bert", "abc")]
    assert LSMS.from_preset("paper", language=False, **TINY).text_encoder is None
    assert len(asked) == 3


@pytest.mark.parametrize("norm_order", ["post", "pre"])
def test_without_text_exactly_the_language_branches_drop_out(norm_order: str) -> None:
    network, without = tiny(norm_order=norm_order), tiny(norm_order=norm_order, language=False)
    keys = without.load_state_dict(network.state_dict(), strict=False)
    assert not keys.missing_keys
    assert keys.unexpected_keys
    assert all(".language." in key for key in keys.unexpected_keys)
    image = torch.rand(2, 1, 64, 64)
    assert torch.equal(network(image), without(image))
    encoded = network.encode_image(image)
    assert torch.equal(network.decode(encoded, Guidance(silent=2)), network(image))
    silence = network.decode(encoded, Guidance(silent=1).repeat(4))  # nothing is said of each image twice
    torch.testing.assert_close(silence, network(image).repeat_interleave(2, dim=0), rtol=1e-3, atol=1e-4)
    assert torch.equal(without(image, ["the left lesion", "lobe"]), without(image))  # prompts are not read
    assert not torch.allclose(network(image, ["the left lesion"] * 2), network(image), atol=1e-3)
    network.train()(image).square().mean().backward()
    silent = {
        name for name, value in network.named_parameters() if value.requires_grad and value.grad is None
    }
    assert silent == {name for name, _ in network.named_parameters() if ".language." in name}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_order": "pre", "projected": True, "decoder": "mlp_hamburger"},
        {"decoder_stages": (1, 2, 3)},
        {"decoder_stages": (2, 1), "align_stage": 2, "norm_order": "pre"},
    ],
)
def test_gradients_reach_all_trained_parameters(options: dict[str, Any]) -> None:
    network = tiny(**options).train()
    network(torch.rand(2, 1, 64, 64), ["the left lesion", "largest round lobe"]).square().mean().backward()
    for name, parameter in network.named_parameters():
        if name.startswith("text_encoder."):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            # A batch norm takes the bias before it away; what is left of its gradient is rounding.
            assert name.endswith("bias") or parameter.grad.abs().max() > 0, name


def test_language_model_is_frozen_unless_asked() -> None:
    prompts = ["the left lesion"]
    assert not tiny().train().encode_text(prompts).tokens.requires_grad
    network = tiny(trainable=True).train()
    network(torch.rand(2, 1, 64, 64), prompts * 2).square().mean().backward()
    trained = [name for name, value in network.text_encoder.named_parameters() if value.grad is not None]
    assert "model.embeddings.word_embeddings.weight" in trained
    assert any(key.startswith("text_encoder.") for key in network.state_dict())
    assert network.frozen_bases() == {}


def test_a_bank_cannot_stand_for_a_language_model_that_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="text_bank: found a bank and train_text"):
        LSMS.from_preset("compact", text_bank=str(tmp_path / "bank.npz"), train_text=True)


def test_checkpoint_holds_all_but_the_frozen_language_model() -> None:
    network = tiny()
    parameters = {name for name, value in network.named_parameters() if value.requires_grad}
    statistics = {name for name, _ in network.named_buffers() if ".running_" in name or "_tracked" in name}
    assert set(network.state_dict()) == parameters | statistics
    tiny().load_state_dict(network.state_dict(), strict=True)


OTHERS: dict[str, Any] = {
    "widths": (8, 16, 16, 64),
    "depths": (1, 1, 1, 1),
    "ffn_ratios": (2, 2, 2, 1),
    "norm_order": "pre",
    "projected": True,
    "kernels": (7, 11),
    "pixel_map": False,
    "scale": "channels",
    "decoder": "mlp",
    "decoder_stages": (4, 2, 3),
    "align_stage": 2,
    "ham_channels": 64,
    "align_channels": 64,
    "rank": 8,
    "coordinates": True,
}


def random(**options: Any) -> LSMS:
    """With a language model that is of no file, so it stands in checkpoints."""
    network = tiny(**options)
    network.text_encoder.source = None
    return network


def test_a_checkpoint_or_its_record_shows_every_argument(tmp_path: Path) -> None:
    arguments = set(inspect.signature(LSMS).parameters)
    assert arguments == OTHERS.keys() | {"text_encoder", "image_size", "default_prompt", "framing"}
    save_trained(random(), tmp_path / "model.pt", half=False)
    load_trained(random(), tmp_path / "model.pt")
    recorded = set()
    for name, value in OTHERS.items():
        with pytest.raises(InputError) as caught:
            load_trained(random(**{name: value}), tmp_path / "model.pt")
        message = str(caught.value)
        if "these weights do not fit LSMS" not in message:
            assert f"trained with network_def#{name} " in message
            recorded.add(name)
    assert recorded == {"scale", "rank", "decoder_stages", "align_stage", "coordinates"}


def test_a_checkpoint_of_another_framing_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def framed(**changes: Any) -> LSMS:
        return random(framing=Framing(**({"crop": "whole", "mirrored": True} | changes)))

    save_trained(framed(), tmp_path / "model.pt", half=False)
    load_trained(framed(), tmp_path / "model.pt")
    for name, value in {"crop": "body", "window": (-1000, 400), "channels": RGB, "mirrored": False}.items():
        with pytest.raises(
            InputError, match=f"model.pt: trained with network_def#framing#{name} .* is in use.; override"
        ):
            load_trained(framed(**{name: value}), tmp_path / "model.pt")
    load_trained(framed(window=(-1000, 400)), tmp_path / "model.pt", to_train=True)
    said = "trained with network_def#framing#window [-160.0, 240.0] ([-1000.0, 400.0] is in use); training"
    assert said in caplog.text


def test_many_prompts_share_the_embedding_block() -> None:
    network = tiny()
    calls: list[int] = []
    network.stem.register_forward_hook(lambda *_: calls.append(1))
    image = torch.rand(2, 1, 64, 64)
    prompts = ["lesion", "the left lesion", "the largest lesion in the right lobe"]
    features = network.encode_image(image)
    rows = [network.decode(features, network.encode_text([prompt] * 2)) for prompt in prompts]
    together = network.decode(features, network.encode_text(prompts * 2))
    assert len(calls) == 1
    assert together.shape == (6, 1, 64, 64)
    torch.testing.assert_close(together.view(2, 3, 1, 64, 64), torch.stack(rows, dim=1), rtol=1e-3, atol=1e-4)


def test_padding_does_not_change_a_mask() -> None:
    network = tiny()
    image = torch.rand(1, 1, 64, 64)
    alone = network(image, ["the left lesion"])
    beside_a_longer_one = network(image, ["the left lesion", "the largest round lesion in the right lobe"])[
        :1
    ]
    torch.testing.assert_close(alone, beside_a_longer_one, rtol=1e-3, atol=1e-4)


def test_an_empty_prompt_has_no_words_whatever_stands_beside_it() -> None:
    """Its special tokens are read, which neither words nor the mode without text are like."""
    network = tiny()
    image = torch.rand(1, 1, 64, 64)
    alone = network(image, [""])
    beside_words = network(image, ["", "the left lesion"])
    torch.testing.assert_close(beside_words[:1], alone, rtol=1e-3, atol=1e-4)
    for other in (beside_words[1:], network(image)):
        assert (other - alone).abs().max() > 1e-2


def test_evaluation_repeats_to_the_bit() -> None:
    network = tiny()
    image, prompts = torch.rand(2, 1, 64, 64), ["the left lesion", "lobe"]
    first = network(image, prompts)
    torch.manual_seed(99)
    assert torch.equal(network(image, prompts), first)


@pytest.mark.parametrize(("height", "width"), [(33, 33), (50, 71), (64, 96)])
def test_takes_images_of_any_size_from_33_pixels(height: int, width: int) -> None:
    assert tiny()(torch.rand(1, 1, height, width), ["lesion"]).shape == (1, 1, height, width)
    with pytest.raises(InputError, match="image: 32 x 64 pixels, expected sides of at least 33; resize it"):
        tiny()(torch.rand(1, 1, 32, 64), ["lesion"])


def test_grey_images_enter_as_imagenet_colours() -> None:
    network = tiny()
    grey = torch.rand(1, 1, 64, 64)
    colours = zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    pixels = torch.cat([(grey - mean) / std for mean, std in colours], dim=1)
    torch.testing.assert_close(network.encode_image(grey).features, network.stem(pixels))


def test_coordinates_enter_as_columns_and_rows() -> None:
    network = tiny(coordinates=True)
    grey = torch.rand(2, 1, 40, 64)
    pixels = (grey.repeat(1, 3, 1, 1) - 0.485) / 0.229
    for column in range(64):
        pixels[:, 1, :, column] = -1 + 2 * column / 63
    for row in range(40):
        pixels[:, 2, row] = -1 + 2 * row / 39
    torch.testing.assert_close(network.encode_image(grey).features, network.stem(pixels))


@pytest.mark.parametrize(
    "options",
    [
        {"kernels": (5,)},
        {"kernels": (7, 11)},
        {"kernels": (7, 11, 21), "pixel_map": False},
        {"decoder": "none"},
        {"decoder": "mlp", "decoder_stages": (1, 2, 3, 4)},
        {"decoder": "mlp_hamburger", "decoder_stages": (1, 2, 3, 4)},
        {"decoder_stages": (4,)},
        {"decoder_stages": (1, 2, 3)},
        {"decoder_stages": (3, 4), "align_stage": 2},
    ],
)
def test_options_of_table_3_segment(options: dict[str, Any]) -> None:
    logits = tiny(**options)(torch.rand(1, 1, 64, 64), ["the left lesion"])
    assert logits.shape == (1, 1, 64, 64)
    assert logits.isfinite().all()


def test_options_of_table_3_cost_their_weights() -> None:
    blocks = list(zip((8, 16, 16, 32), (1, 1, 2, 1), strict=True))
    channels = sum(width * depth for width, depth in blocks)
    full = weights(tiny())
    assert full - weights(tiny(kernels=(7, 11))) == channels * (2 * 21 + 2)
    assert full - weights(tiny(pixel_map=False)) == sum(width**2 * depth for width, depth in blocks)
    assert weights(tiny(decoder_stages=(1, 2, 3, 4))) - full == 8 * 32
    assert full - weights(tiny(decoder_stages=(4,))) == (16 + 16) * 32
    assert weights(tiny(align_stage=2)) == full
    # Without stage 4: its down block with norm, its one block, and 32 - 8 channels less into the decoder.
    network = tiny()
    last = weights(network.downs[2]) + weights(network.stages[3])
    assert full - weights(tiny(decoder_stages=(1, 2, 3))) == last + (32 - 8) * 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": (7, 8)}, r"kernels: found \[7, 8\], expected different odd lengths"),
        ({"widths": (8, 16, 32)}, r"widths: found \[8, 16, 32\], expected 4 numbers above 0"),
        ({"decoder": "unet"}, "decoder: found 'unet', expected one of hamburger, mlp, mlp_hamburger, none"),
        ({"decoder_stages": (0, 4)}, r"decoder_stages: found \[0, 4\], expected different numbers"),
        (
            {"decoder_stages": (1, 2), "align_stage": 3},
            r"align_stage: found 3, expected a stage from 1 to 2, the last of decoder_stages \[1, 2\]",
        ),
        ({"ham_channels": 48}, "ham_channels, align_channels: found 48 and 32, expected multiples of 32"),
        ({"rank": 0}, "rank: found 0, expected 1 or more columns"),
        ({"pixel_map": "none"}, "pixel_map: found 'none', expected True or False"),
        ({"image_size": 32}, "image_size: found 32, expected 33 pixels or more"),
        ({"norm_order": "none"}, "norm_order: found 'none', expected one of post, pre"),
        ({"scale": "words"}, "scale: found 'words', expected one of text, channels"),
    ],
)
def test_refuses_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**options)


def test_refuses_a_preset_that_is_none() -> None:
    with pytest.raises(InputError, match="preset: found 'huge', expected one of paper, paper_t, compact"):
        LSMS.from_preset("huge")


def test_slices_are_whole_and_mirrored_and_images_taken_unless_a_config_says_otherwise() -> None:
    network = LSMS.from_preset("compact", language=False, **TINY)
    assert network.framing == Framing(crop="whole", mirrored=True, images=True)
    changed = LSMS.from_preset("compact", language=False, framing={"window": [-1000, 400]}, **TINY)
    assert changed.framing == Framing(crop="whole", mirrored=True, images=True, window=(-1000.0, 400.0))
    assert network.field_shape == (1, 64, 64)
    with pytest.raises(InputError, match="framing: found 'windows', expected some of crop, window, channels"):
        LSMS.from_preset("compact", language=False, framing={"windows": [-1000, 400]}, **TINY)
