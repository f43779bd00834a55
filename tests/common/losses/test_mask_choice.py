"""Choice among masks against torch's cross-entropy, and what it asks that the competition does not."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import MaskChoice, PromptCompetition

H, W = 6, 5


def rows(maps: Tensor) -> Tensor:
    """(B, K, H, W) as a batch of prompts has it: (B * K, 1, H, W)."""
    return maps.flatten(0, 1)[:, None]


def bands(*heights: int) -> Tensor:
    """(1, K, H, W), masks one below the other."""
    masks, top = torch.zeros(1, len(heights), H, W), 0
    for mask, height in zip(masks[0], heights, strict=True):
        mask[top : top + height] = 1
        top += height
    return masks


def means_on(logits: Tensor, masks: Tensor) -> Tensor:
    """Of each prompt's map (K, H, W) on each mask (K, H, W)."""
    return torch.stack([torch.stack([prompt[mask > 0].mean() for mask in masks]) for prompt in logits])


def test_equals_cross_entropy_of_mean_logits_however_small_a_mask_is() -> None:
    torch.manual_seed(0)
    masks = torch.cat([bands(1, 4, 1), bands(2, 1, 3)])
    logits = 4 * torch.randn(2, 3, H, W)
    means = torch.cat([means_on(*image) for image in zip(logits, masks, strict=True)])
    loss = MaskChoice(3)(rows(logits), rows(masks))
    torch.testing.assert_close(loss, F.cross_entropy(means, torch.tensor([0, 1, 2, 0, 1, 2])))


def test_a_lesion_that_is_asked_for_twice_is_one_choice() -> None:
    """Prompts 0 and 2 mean one lesion: all three choose among two."""
    torch.manual_seed(0)
    masks = bands(2, 1)[:, [0, 1, 0]]
    logits = 4 * torch.randn(1, 3, H, W)
    means = means_on(logits[0], masks[0, :2])
    loss = MaskChoice(3)(rows(logits), rows(masks))
    torch.testing.assert_close(loss, F.cross_entropy(means, torch.tensor([0, 1, 0])))


def test_a_prompt_whose_mask_is_empty_neither_chooses_nor_can_its_mask_be_chosen() -> None:
    torch.manual_seed(0)
    masks, logits = bands(2, 0, 3), 4 * torch.randn(1, 3, H, W)
    loss = MaskChoice(3)(rows(logits), rows(masks))
    means = means_on(logits[0, [0, 2]], masks[0, [0, 2]])
    torch.testing.assert_close(loss, F.cross_entropy(means, torch.tensor([0, 1])))


def test_one_mask_is_no_choice_and_none_costs_nothing() -> None:
    logits = torch.randn(4, 1, H, W, requires_grad=True)
    empty, alone = (
        MaskChoice(2)(logits, target) for target in (torch.zeros(4, 1, H, W), torch.ones(4, 1, H, W))
    )
    assert (empty.item(), alone.item()) == (0.0, pytest.approx(0.0, abs=1e-6))
    (empty + alone).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits))


def test_it_sees_that_one_lesion_is_liked_whatever_is_said() -> None:
    """Both prompts prefer lesion 0 by 10, and each prefers its own by 4 more than the other prompt does.

    The competition finds that nearly perfect; half of the masks are on the wrong lesion.
    """
    masks = bands(2, 2)
    logits = torch.zeros(1, 2, H, W)
    logits[0, 0, :2], logits[0, 0, 2:4] = 12.0, -2.0
    logits[0, 1, :2], logits[0, 1, 2:4] = 8.0, 2.0
    which = PromptCompetition(2, background=False)(rows(logits), rows(masks))
    assert which.item() == pytest.approx(math.log1p(math.exp(-4)), rel=1e-4)
    choice = MaskChoice(2)(rows(logits), rows(masks))
    assert choice.item() == pytest.approx((math.log1p(math.exp(-14)) + math.log1p(math.exp(6))) / 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_areas_are_compared_in_full_precision_under_autocast(dtype: torch.dtype) -> None:
    """2501 and 1001 pixels are no half precision numbers; a mask that seems no copy of itself costs inf."""
    masks = torch.zeros(1, 2, 64, 64).flatten(2)
    masks[0, 0, :2501], masks[0, 1, 2501:3502] = 1, 1
    logits = torch.randn(1, 2, 64 * 64, generator=torch.Generator().manual_seed(0))
    means = means_on(logits[0], masks[0])
    with torch.autocast("cpu", dtype=dtype):
        loss = MaskChoice(2)(rows(logits.view(1, 2, 64, 64)), rows(masks.view(1, 2, 64, 64)))
    torch.testing.assert_close(loss, F.cross_entropy(means, torch.tensor([0, 1])))
