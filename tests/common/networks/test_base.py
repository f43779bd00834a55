"""The contract of all networks: features beside logits, and which encoders a checkpoint holds."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from common.data.framing import RGB, Framing
from common.errors import InputError
from common.layers.adapters import add_query_value_lora
from common.losses import WeightedSum
from common.networks.base import Prediction, TextSegmenter
from common.networks.guidance import Guidance
from common.text.encoders import TextEncoder
from common.weights.checkpoints import load_trained, read_model_json, read_tensors, save_trained
from common.weights.pretrained import FrozenBase
from tests.common.training.parts import Tiny, WordsNearZero

BERT = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocabulary": ["liver", "left"],
}


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_the_gradient_of_a_loss_on_a_feature_passes_through_distributed_data_parallel() -> None:
    """`predict` is called inside `forward`, where the hooks are: what it alone uses gets its gradient."""
    network = Tiny()
    image, target = torch.rand(2, 1, 16, 16), torch.ones(4, 1, 16, 16)
    loss = WeightedSum({"bce": nn.BCEWithLogitsLoss(), "near": WordsNearZero()})
    prompts = ["liver", "spleen"] * 2
    found = DistributedDataParallel(network)(image, guidance=prompts, features=True)
    assert isinstance(found, Prediction)
    loss(found, target).backward()
    through = {name: parameter.grad for name, parameter in network.named_parameters()}
    network.zero_grad()
    loss(network(image, prompts, features=True), target).backward()
    assert through["side.weight"] is not None
    assert through["side.weight"].abs().min() > 0
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(through[name], parameter.grad, msg=name)


def test_logits_are_the_same_with_features_and_without() -> None:
    network, image = Tiny(), torch.rand(2, 1, 16, 16)
    found = network(image, ["liver", "spleen"], features=True)
    assert isinstance(found, Prediction)
    assert found.features.keys() == {"words"}
    assert torch.equal(found.logits, network(image, ["liver", "spleen"]))


def test_prompts_their_guidance_and_the_default_prompt_are_ways_to_ask_the_same() -> None:
    network, image = Tiny(), torch.rand(3, 1, 16, 16)
    assert torch.equal(network(image), network(image, ["liver"] * 3))
    prompts = ["left", "liver"]
    together = network(image, network.encode_text(prompts).repeat(3))
    assert torch.equal(together, network(image, prompts * 3))
    for row in range(6):  # row i belongs to image i // P
        alone = network(image[row // 2 : row // 2 + 1], [prompts[row % 2]])
        torch.testing.assert_close(together[row : row + 1], alone)


def test_a_field_has_the_channels_of_the_framing() -> None:
    assert Tiny().field_shape == (1, 16, 16)
    assert Tiny(Framing(channels=RGB)).field_shape == (3, 16, 16)


def test_the_threshold_is_a_probability_and_logits_know_it() -> None:
    network = Tiny()
    assert network.logit_threshold == 0.0
    network.threshold = 0.8
    assert torch.tensor(network.logit_threshold).sigmoid().item() == pytest.approx(0.8)
    for wrong in (0.0, 1.0):
        network.threshold = wrong
        with pytest.raises(InputError, match=f"threshold: found {wrong}, expected a probability between 0 a"):
            _ = network.logit_threshold


@pytest.mark.parametrize("wrong", [0.0, 1.0, -2.0, float("nan")])
def test_a_network_whose_threshold_is_no_probability_is_not_built(wrong: float) -> None:
    """Not after a training, when the first mask is made."""
    sort = type("Wrong", (Tiny,), {"threshold": wrong})
    with pytest.raises(InputError, match=f"threshold: found {wrong}, expected a probability between 0 and 1"):
        sort()


class Reader(TextSegmenter):
    """Takes a pretrained language model's first number for the logits."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__(image_size=4, default_prompt="liver")
        self.text_encoder = encoder
        self.scale = nn.Parameter(torch.ones(1))

    def encode_image(self, image: Tensor) -> Tensor:
        return image

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        encoded = self.text_encoder(prompts)
        return Guidance(encoded.tokens, encoded.mask)

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        assert guidance.tokens is not None
        return image_features * self.scale * guidance.tokens[:, :1, :1, None]


@pytest.fixture
def bert(tmp_path: Path) -> str:
    """A folder of pretrained weights."""
    torch.manual_seed(0)
    encoder = TextEncoder(None, config=BERT, max_tokens=8)
    encoder.model.save_pretrained(tmp_path / "bert")
    encoder.tokenizer.save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


def moved(network: Reader) -> Reader:
    """Everything that is trained, elsewhere."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return network.eval()


@pytest.mark.parametrize(
    ("kind", "inside"), [("trained", True), ("frozen", False), ("lora", False), ("random", True)]
)
def test_a_checkpoint_holds_a_pretrained_encoder_only_if_it_was_trained(
    kind: str, inside: bool, bert: str, tmp_path: Path
) -> None:
    """A frozen one stands in a file of its own; adapters inside it are in the checkpoint all the same."""

    def built() -> Reader:
        source = None if kind == "random" else bert
        torch.manual_seed(2)
        encoder = TextEncoder(source, config=BERT, max_tokens=8, trainable=kind == "trained")
        if kind == "lora":
            add_query_value_lora(encoder.model)
        return Reader(encoder)

    network = moved(built())
    path = tmp_path / "model.pt"
    save_trained(network, path, half=False)
    names = {name for name in read_tensors(path) if name.startswith("text_encoder.")}
    own = {name for name in names if ".lora_" not in name}
    every = {f"text_encoder.{name}" for name in network.text_encoder.state_dict()}
    assert own == (every if inside else set())
    assert len(names - own) == (4 if kind == "lora" else 0)
    assert read_model_json(path).keys() == (set() if inside else {"text_encoder"})
    again = built().eval()
    image = torch.rand(1, 1, 4, 4)
    assert not torch.equal(again(image), network(image))
    load_trained(again, path)
    assert torch.equal(again(image), network(image))


class Normed(nn.Module):
    """A pretrained encoder with a batch norm and dropout, which does not look after its mode itself."""

    def __init__(self, source: str | None) -> None:
        super().__init__()
        self.source = source
        self.norm, self.dropout = nn.BatchNorm2d(1), nn.Dropout(0.5)
        self.requires_grad_(False)

    def base(self) -> FrozenBase | None:
        return None if self.source is None else FrozenBase(self.source, None, "0" * 64)

    def forward(self, image: Tensor) -> Tensor:
        normed: Tensor = self.dropout(self.norm(image))
        return normed


class Seer(Tiny):
    """`Tiny` behind an encoder of the image."""

    def __init__(self, encoder: Normed) -> None:
        super().__init__()
        self.image_encoder = encoder

    def encode_image(self, image: Tensor) -> Tensor:
        return super().encode_image(self.image_encoder(image))


def test_training_changes_nothing_in_a_frozen_pretrained_encoder() -> None:
    """Its statistics are in no checkpoint: with other ones, a loaded network would give other masks."""
    network, image = Seer(Normed("org/pretrained")), torch.rand(2, 1, 16, 16)
    before = {name: value.clone() for name, value in network.image_encoder.state_dict().items()}
    assert network.train() is network
    trained = network(image, ["liver"] * 2)
    assert network.training
    for name, value in network.image_encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(trained, network.eval()(image, ["liver"] * 2))
    network.image_encoder.requires_grad_(True)
    assert network.train().image_encoder.norm.training  # it is trained now, and a checkpoint holds it
    random = Seer(Normed(None)).train()
    assert random.image_encoder.norm.training  # frozen, but a checkpoint holds it whole


def test_a_checkpoint_without_the_trained_encoder_is_refused(bert: str, tmp_path: Path) -> None:
    save_trained(Reader(TextEncoder(bert, max_tokens=8)), tmp_path / "model.pt", half=False)
    trained = Reader(TextEncoder(bert, max_tokens=8, trainable=True))
    with pytest.raises(InputError, match=r"do not fit Reader: \d+ missing \(text_encoder\.model\."):
        load_trained(trained, tmp_path / "model.pt")
    state = trained.state_dict()
    del state["text_encoder.model.embeddings.word_embeddings.weight"]
    with pytest.raises(RuntimeError, match="Missing key"):
        trained.load_state_dict(state, strict=True)
