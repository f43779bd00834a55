"""What a network is asked, moved, chosen from and repeated."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from common.networks.guidance import Guidance


def words(prompts: int = 3) -> Guidance:
    """Prompt p says p, in p + 1 word pieces."""
    tokens = torch.arange(prompts, dtype=torch.float32).view(-1, 1, 1).expand(-1, prompts, 2)
    return Guidance(tokens, torch.arange(prompts) <= torch.arange(prompts)[:, None])


def said(guidance: Guidance) -> list[tuple[int, int]]:
    """(what is said, word pieces) of each row."""
    assert guidance.tokens is not None
    assert guidance.mask is not None
    rows = zip(guidance.tokens, guidance.mask, strict=True)
    return [(int(tokens[0, 0]), int(mask.sum())) for tokens, mask in rows]


def test_repeated_for_images_row_i_belongs_to_image_i_by_the_number_of_prompts() -> None:
    """The prompts of an image follow one another, as `decode` wants them."""
    repeated = words(3).repeat(2)
    assert repeated.count == 6
    assert said(repeated) == [(0, 1), (1, 2), (2, 3)] * 2
    assert said(words(1).repeat(4)) == [(0, 1)] * 4
    assert said(words(2).repeat(1)) == said(words(2))


def test_rows_are_chosen_in_the_order_that_is_asked_for() -> None:
    chosen = words(4).rows([3, 0, 3])
    assert said(chosen) == [(3, 4), (0, 1), (3, 4)]
    assert chosen.count == 3
    assert words(2).rows([]).count == 0


def test_all_that_is_a_tensor_moves() -> None:
    moved = words(2).to(torch.device("meta"))
    assert moved.tokens is not None
    assert moved.mask is not None
    assert moved.tokens.device.type == moved.mask.device.type == "meta"
    assert (moved.count, moved.silent) == (2, 0)


def test_silence_is_counted_and_has_no_words() -> None:
    silence = Guidance(silent=3)
    assert (silence.count, silence.tokens, silence.mask) == (3, None, None)
    assert silence.rows([2, 0]) == Guidance(silent=2)
    assert silence.repeat(4) == Guidance(silent=12)
    assert silence.to(torch.device("meta")) == silence
    assert words(3).rows([0]).silent == words(3).repeat(5).silent == 0


@dataclass(frozen=True)
class WithBoxes(Guidance):
    """What a network that takes more than words is asked."""

    boxes: Tensor | None = None


@pytest.mark.parametrize("step", ["to", "rows", "repeat"])
def test_what_another_network_adds_goes_along(step: str) -> None:
    asked = WithBoxes(words(2).tokens, words(2).mask, boxes=torch.tensor([[1.0], [2.0]]))
    given = {"to": torch.device("cpu"), "rows": [1], "repeat": 2}[step]
    found = getattr(asked, step)(given)
    assert isinstance(found, WithBoxes)
    assert found.boxes is not None
    assert found.boxes.flatten().tolist() == {"to": [1, 2], "rows": [2], "repeat": [1, 2, 1, 2]}[step]
