"""The loss for organs that are not annotated everywhere: analytic values, MONAI's own losses."""

import math

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn.functional import cross_entropy

from tools.study.marginal import MarginalDiceCE


def squares() -> torch.Tensor:
    """(1, 3, 4, 4): the first organ has 4 of 16 pixels, the second 4 others, the third none."""
    masks = torch.zeros(1, 3, 4, 4)
    masks[0, 0, :2, :2] = masks[0, 1, 2:, 2:] = 1
    return masks


def test_uniform_logits_have_the_values_of_a_guess_among_four() -> None:
    """Each pixel costs log 4. Dice of an organ with 4 of 16 pixels is 2 * 4 / 4 / (16 / 4 + 4) = 1/4."""
    known = torch.tensor([[True, True, True]])
    loss = MarginalDiceCE(batch_dice=True)(torch.zeros(1, 4, 4, 4), squares(), known)
    assert loss.item() == pytest.approx(math.log(4) + 3 / 4, abs=1e-5)


def test_an_unknown_organ_shares_the_background() -> None:
    """With the second and third organ unknown, 12 pixels may be any of three of four classes."""
    masks, known = squares(), torch.tensor([[True, False, False]])
    masks[0, 1] = 0  # as a batch has it that was not asked for this organ
    loss = MarginalDiceCE(batch_dice=True)(torch.zeros(1, 4, 4, 4), masks, known)
    entropy = (4 * math.log(4) + 12 * math.log(4 / 3)) / 16
    assert loss.item() == pytest.approx(entropy + 3 / 4, abs=1e-5)


def test_how_unknown_organs_and_background_share_a_pixel_is_free() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    masks = squares().expand(2, -1, -1, -1).clone()
    masks[:, 1] = 0
    known = torch.tensor([[True, False, True]] * 2)
    loss = MarginalDiceCE(batch_dice=False)
    swapped = logits.clone()
    outside = (masks[:, 0] == 0)[:, None]  # there the background and the unknown organ change places
    swapped[:, [0, 2]] = torch.where(outside, logits[:, [2, 0]], logits[:, [0, 2]])
    assert not torch.equal(swapped, logits)
    torch.testing.assert_close(loss(swapped, masks, known), loss(logits, masks, known))

    # Their gradients push both alike, in proportion to their probabilities: nothing flows between them.
    logits.requires_grad_()
    loss(logits, masks, known).backward()
    shares = logits.detach().softmax(dim=1)
    assert logits.grad is not None
    push = logits.grad / shares
    torch.testing.assert_close(push[:, 0][outside[:, 0]], push[:, 2][outside[:, 0]])
    # An annotated organ's absence is a fact: its own push differs, and is upwards on the loss.
    assert (logits.grad[:, 3] > 0).all()


def test_on_an_organ_an_unknown_one_is_wrong() -> None:
    logits = torch.zeros(1, 4, 4, 4, requires_grad=True)
    masks, known = squares(), torch.tensor([[True, False, True]])
    MarginalDiceCE(batch_dice=True)(logits, masks, known).backward()
    assert logits.grad is not None
    assert (logits.grad[0, 2, :2, :2] > 0).all()


@pytest.mark.parametrize("batch_dice", [True, False])
def test_where_all_is_annotated_it_is_dice_and_cross_entropy(batch_dice: bool) -> None:
    torch.manual_seed(1)
    classes = torch.randint(0, 4, (3, 1, 8, 8))
    logits = torch.randn(3, 4, 8, 8)
    masks = torch.cat([classes == organ for organ in (1, 2, 3)], dim=1).float()
    known = torch.ones(3, 3, dtype=torch.bool)
    dice = DiceLoss(
        softmax=True,
        to_onehot_y=True,
        include_background=False,
        batch=batch_dice,
        smooth_nr=0.0,
        smooth_dr=1e-5,
    )
    expected = dice(logits, classes) + cross_entropy(logits, classes[:, 0])
    torch.testing.assert_close(MarginalDiceCE(batch_dice=batch_dice)(logits, masks, known), expected)


def test_dice_of_a_batch_leaves_out_images_in_which_the_organ_is_unknown() -> None:
    torch.manual_seed(2)
    logits, masks = torch.randn(2, 4, 4, 4), squares().repeat(2, 1, 1, 1)
    known = torch.tensor([[True, True, True], [False, False, False]])
    loss = MarginalDiceCE(batch_dice=True)
    alone = loss(logits[:1], masks[:1], known[:1])
    both = loss(logits, masks, known)
    # The second image, of which nothing is known, adds nothing to either part but pixels to the mean.
    entropy = alone - loss._dice_loss(logits[:1].softmax(dim=1)[:, 1:], masks[:1] > 0, known[:1])
    torch.testing.assert_close(both, alone - entropy / 2)
