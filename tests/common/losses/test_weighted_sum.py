"""A sum of losses: MONAI's own where there is one, and what each part is given."""

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from common.errors import InputError
from common.losses import PromptCompetition, WeightedSum
from common.networks.base import Prediction


def logits_and_target() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 1, 8, 8, generator=generator)
    return logits, (torch.rand(4, 1, 8, 8, generator=generator) > 0.5).float()


def test_parts_sum_to_monais_loss_and_can_be_read() -> None:
    logits, target = logits_and_target()
    parts = {"dice": DiceLoss(sigmoid=True, smooth_nr=0.0), "bce": nn.BCEWithLogitsLoss()}
    loss = WeightedSum(parts)
    expected = DiceCELoss(sigmoid=True, smooth_nr=0.0)(logits, target)
    torch.testing.assert_close(loss(logits, target), expected, rtol=1e-6, atol=0)
    assert loss.values["bce"] == nn.functional.binary_cross_entropy_with_logits(logits, target)
    weighted = WeightedSum(parts, {"bce": 0.25})(logits, target)
    assert weighted.item() == pytest.approx(float(loss.values["dice"] + 0.25 * loss.values["bce"]), rel=1e-6)
    with pytest.raises(InputError, match="loss_weights: found ce, expected some of dice, bce; correct"):
        WeightedSum(parts, {"ce": 1.0})


class Asking(nn.Module):
    """A loss on features of these names, which keeps what it was given."""

    def __init__(self, *features: str) -> None:
        super().__init__()
        self.features = features
        self.given: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, target: Tensor, **given: Tensor) -> Tensor:
        self.given = given
        return logits.mean() + sum((value.sum() for value in given.values()), start=torch.zeros(()))


def test_each_part_gets_the_features_that_it_asks_for_and_no_other() -> None:
    logits, target = logits_and_target()
    parts = {"a": Asking("words"), "b": Asking("words", "pixels"), "bce": nn.BCEWithLogitsLoss()}
    loss = WeightedSum(parts, {"bce": 0.5})
    assert loss.features == ("words", "pixels")
    features = {"words": torch.ones(3), "pixels": torch.full((2,), 5.0), "unasked": torch.zeros(1)}
    value = loss(Prediction(logits, features), target)
    assert {name: set(parts[name].given) for name in "ab"} == {"a": {"words"}, "b": {"words", "pixels"}}
    assert parts["b"].given["pixels"] is features["pixels"]
    expected = (
        2 * logits.mean()
        + 3
        + (3 + 10)
        + 0.5 * nn.functional.binary_cross_entropy_with_logits(logits, target)
    )
    torch.testing.assert_close(value, expected)


def test_a_feature_that_the_network_does_not_give_is_named() -> None:
    logits, target = logits_and_target()
    loss = WeightedSum({"a": Asking("words", "pixels"), "bce": nn.BCEWithLogitsLoss()})
    with pytest.raises(InputError) as caught:
        loss(Prediction(logits, {"words": torch.ones(1), "boxes": torch.ones(1)}), target)
    assert str(caught.value) == (
        "loss: found words, boxes from the network, expected pixels, which a part of the loss needs; leave "
        "that part out or choose a network that has it."
    )
    with pytest.raises(InputError, match="loss: found no features from the network, expected words, which"):
        loss(logits, target)


def test_with_one_prompt_an_image_the_bundles_loss_is_dice_and_cross_entropy() -> None:
    """Nobody competes: the competition would be the binary cross-entropy once more."""
    logits, target = logits_and_target()
    parts = {
        "dice": DiceLoss(sigmoid=True, smooth_nr=0.0),
        "bce": nn.BCEWithLogitsLoss(),
        "competition": PromptCompetition(1),
        "which": PromptCompetition(1, background=False),
    }
    loss = WeightedSum(parts)
    torch.testing.assert_close(
        loss(logits, target), DiceCELoss(sigmoid=True, smooth_nr=0.0)(logits, target), rtol=1e-6, atol=0
    )
    assert (loss.values["competition"].item(), loss.values["which"].item()) == (0.0, 0.0)
