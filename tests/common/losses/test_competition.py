"""Competition of prompts against torch's cross-entropy and against the formula."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import PromptCompetition

H, W = 6, 5


def rows(maps: Tensor) -> Tensor:
    """(B, K, H, W) as a batch of prompts has it: (B * K, 1, H, W)."""
    return maps.flatten(0, 1)[:, None]


@pytest.mark.parametrize("prompts", [2, 4])
def test_equals_cross_entropy_where_masks_are_disjoint(prompts: int) -> None:
    torch.manual_seed(0)
    classes = torch.randint(0, prompts + 1, (3, H, W))  # 0 is the background
    masks = F.one_hot(classes, prompts + 1).movedim(-1, 1)[:, 1:].double()
    logits = 4 * torch.randn(3, prompts, H, W, dtype=torch.float64)
    with_background = torch.cat([torch.zeros(3, 1, H, W, dtype=torch.float64), logits], dim=1)
    loss = PromptCompetition(prompts)(rows(logits), rows(masks))
    torch.testing.assert_close(loss, F.cross_entropy(with_background, classes))


def test_an_organ_that_is_asked_for_twice_may_go_to_either_prompt() -> None:
    """Prompts 0 and 2 ask for one organ, prompt 1 for another: -log of the right ones' summed softmax."""
    torch.manual_seed(0)
    masks = torch.zeros(1, 3, H, W)
    masks[0, [0, 2], :3], masks[0, 1, 3:5] = 1, 1
    logits = 2 * torch.randn(1, 3, H, W)
    shares = torch.cat([torch.zeros(1, 1, H, W), logits], dim=1).softmax(dim=1)[0]
    right = torch.cat([shares[1, :3] + shares[3, :3], shares[2, 3:5], shares[0, 5:]])
    loss = PromptCompetition(3)(rows(logits), rows(masks))
    torch.testing.assert_close(loss, -right.log().mean())


def test_empty_masks_push_every_prompt_down() -> None:
    """Without any mask the loss is log(1 + sum exp), whose gradient is the softmax's own share."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, H, W, requires_grad=True)
    loss = PromptCompetition(3)(rows(logits), torch.zeros(6, 1, H, W))
    torch.testing.assert_close(loss, (1 + logits.exp().sum(dim=1)).log().mean())
    loss.backward()
    shares = (logits.exp() / (1 + logits.exp().sum(dim=1, keepdim=True))).detach()
    torch.testing.assert_close(logits.grad, shares / (2 * H * W))


@pytest.mark.parametrize("size", [-200.0, 200.0])
def test_stays_finite_for_logits_that_exp_cannot_hold(size: float) -> None:
    masks = torch.zeros(1, 2, H, W)
    masks[0, 0, :2] = 1
    logits = torch.full((1, 2, H, W), size, requires_grad=True)
    loss = PromptCompetition(2)(rows(logits), rows(masks))
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    # Far below 0 the background wins: wrong by -size on 2 of 6 rows. Far above it loses: 4 rows are wrong by
    # size, and everywhere two prompts of one logit share a pixel, which costs log 2.
    expected = -size * 2 / 6 if size < 0 else size * 4 / 6 + math.log(2)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_mask_for_the_wrong_words_costs_the_right_ones() -> None:
    """Two organs, both prompts on the union of both: each mask alone is half right, together they are not."""
    masks = torch.zeros(1, 2, H, W)
    masks[0, 0, :2], masks[0, 1, 2:4] = 1, 1
    told_apart = 20 * masks - 10
    union = (20 * masks.amax(dim=1, keepdim=True) - 10).expand(-1, 2, -1, -1)
    competition = PromptCompetition(2)
    assert competition(rows(told_apart), rows(masks)).item() < 1e-3
    assert competition(rows(union), rows(masks)).item() == pytest.approx(math.log(2) * 4 / 6, abs=1e-3)


def test_without_background_each_mask_weighs_alike_in_a_cross_entropy_of_prompts() -> None:
    torch.manual_seed(0)
    classes = torch.randint(-1, 3, (2, H, W))  # -1 is the background
    classes[0, :4], classes[0, 4:] = 0, 1  # one mask twice as large as the other, and a prompt without any
    masks = F.one_hot(classes + 1, 4).movedim(-1, 1)[:, 1:].double()
    logits = 4 * torch.randn(2, 3, H, W, dtype=torch.float64)
    loss = PromptCompetition(3, background=False)(rows(logits), rows(masks))
    of_pixels = F.cross_entropy(logits, classes, ignore_index=-1, reduction="none")
    means = [
        of_pixels[image][classes[image] == prompt].mean()
        for image, prompt in ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2))
    ]
    torch.testing.assert_close(loss, torch.stack(means).mean())


def test_without_background_a_lesion_that_is_asked_for_twice_may_go_to_either_prompt() -> None:
    """Means over the masks of prompts 0 and 2, one lesion, and of prompt 1, another one."""
    torch.manual_seed(0)
    masks = torch.zeros(1, 3, H, W)
    masks[0, [0, 2], :3], masks[0, 1, 3:4] = 1, 1
    logits = 2 * torch.randn(1, 3, H, W)
    shares = logits.softmax(dim=1)[0]
    twice, once = (shares[0] + shares[2]).log()[:3].mean(), shares[1].log()[3:4].mean()
    loss = PromptCompetition(3, background=False)(rows(logits), rows(masks))
    torch.testing.assert_close(loss, -(2 * twice + once) / 3)


def test_without_background_nothing_competes_for_an_empty_image_or_with_a_prompt_alone() -> None:
    logits = torch.randn(4, 1, H, W, requires_grad=True)
    empty = PromptCompetition(2, background=False)(logits, torch.zeros(4, 1, H, W))
    alone = PromptCompetition(1, background=False)(logits, torch.ones(4, 1, H, W))
    assert (empty.item(), alone.item()) == (0.0, 0.0)
    (empty + alone).backward()
    assert not logits.grad.any()


@pytest.mark.parametrize("background", [True, False])
def test_a_prompt_alone_has_nobody_to_compete_with(background: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(3, 1, H, W, generator=generator)
    masks = (torch.rand(3, 1, H, W, generator=generator) > 0.5).float()
    loss = PromptCompetition(1, background=background)(logits, masks)
    assert loss.shape == ()
    assert loss.item() == 0.0
