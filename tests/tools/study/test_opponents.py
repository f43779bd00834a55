"""Image-only opponents: the plan of nnU-Net by its rules, the widths of the UNet, and the softmax's masks."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from common.data.framing import Channel, Framing
from tools.study.image_only import SoftmaxUNet
from tools.study.objectives import SoftmaxObjective
from tools.study.opponents import (
    FILTERS,
    NNUNET_BATCH,
    SETTINGS,
    STRIDES,
    SUPERVISED,
    dynunet_recipe,
    planned_dynunet,
    tuned_unet,
)

ORGANS = [f"organ {number}" for number in range(7)]
FRAMING = Framing(channels=(Channel(), Channel(offset_mm=3.0)))


def test_the_plan_is_what_nnu_nets_rules_give() -> None:
    """Halve while 8 pixels are left; channels double from 32 to 512; a batch that fills 8 GB."""
    sizes = [128]
    while sizes[-1] >= 8:
        sizes.append(sizes[-1] // 2)
    assert (1, *[2] * (len(sizes) - 1)) == STRIDES
    assert tuple(min(512, 32 * 2**stage) for stage in range(len(sizes))) == FILTERS
    pixels = [size**2 for size in sizes]
    encoder = sum(2 * width * count for width, count in zip(FILTERS, pixels, strict=True))
    decoder = sum((3 * width + 8) * count for width, count in zip(FILTERS[:-1], pixels[:-1], strict=True))
    assert round(85_000_000 / (encoder + decoder) * 12) == NNUNET_BATCH
    assert len(sizes) - 1 - 2 == SUPERVISED  # of five decoder maps, without the finest and the coarsest


def test_dynunet_has_the_plans_shapes() -> None:
    network = planned_dynunet(ORGANS, image_size=128, framing=FRAMING)
    image = torch.rand(2, 2, 128, 128)
    shapes: list[tuple[int, ...]] = []
    assert isinstance(network.unet, nn.Module)
    bottleneck = network.unet.bottleneck
    assert isinstance(bottleneck, nn.Module)
    bottleneck.register_forward_hook(lambda _module, _given, found: shapes.append(tuple(found.shape)))
    assert network.train().encode_image(image).shape == (2, 1 + SUPERVISED, 8, 128, 128)
    assert shapes == [(2, 512, 4, 4)]
    with torch.no_grad():
        assert network.eval().encode_image(image).shape == (2, 8, 128, 128)
        assert network(image, ORGANS[:1] * 2).shape == (2, 1, 128, 128)
    kinds = {type(module) for module in network.modules()}
    assert {nn.InstanceNorm2d, nn.LeakyReLU} <= kinds
    assert nn.BatchNorm2d not in kinds
    # 2D nnU-Net of these stages: 3 x 3 convolutions, two a stage, 2 x 2 transposed ones.
    own, first = 0, 2
    for width in FILTERS:
        own += 9 * (first * width + width * width) + 4 * width  # and two affine norms
        first = width
    for fine, coarse in pairwise(FILTERS):
        own += 4 * coarse * fine + 9 * (2 * fine * fine + fine * fine) + 4 * fine
    own += sum(8 * width + 8 for width in FILTERS[: 1 + SUPERVISED])
    assert sum(parameter.numel() for parameter in network.parameters()) == own


def test_nnu_nets_recipe() -> None:
    recipe = dynunet_recipe("cuda")
    assert (recipe.optimizer, recipe.learning_rate, recipe.decay) == ("sgd", 1e-2, "power")
    assert (recipe.weight_decay, recipe.clip, recipe.batch_size) == (3e-5, 12.0, 194)
    assert dynunet_recipe("cpu").batch_size == 16


def test_each_setting_but_the_first_changes_one_thing() -> None:
    fields = [(setting.learning_rate, setting.batch_dice, setting.width) for setting in SETTINGS]
    assert len(fields) == 4
    changed = [sum(a != b for a, b in zip(fields[0], other, strict=True)) for other in fields[1:]]
    assert changed == [1, 1, 1]
    assert len({setting.name for setting in SETTINGS}) == 4


def test_a_setting_of_width_16_has_16_to_128_channels() -> None:
    network = tuned_unet(ORGANS, SETTINGS[0], image_size=32, framing=FRAMING)
    widths = {module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)}
    assert {16, 32, 64, 128} <= widths
    assert max(widths) == 128


class Given(nn.Module):
    """Gives the maps that it was made with."""

    def __init__(self, maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.maps


@pytest.mark.parametrize("heads", [False, True])
def test_the_masks_are_where_the_softmax_is_highest(heads: bool) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 4, 8, 8)
    given = torch.stack([maps, torch.randn_like(maps)], dim=1) if heads else maps
    network = SoftmaxUNet(ORGANS[:3], image_size=8, framing=Framing(), body=Given(given))
    prompts = [*ORGANS[:3], *ORGANS[:3]]
    masks = network(torch.zeros(2, 1, 8, 8), prompts)[:, 0] > 0
    highest = maps.argmax(dim=1)
    expected = [highest[image] == organ for image in range(2) for organ in (1, 2, 3)]
    assert torch.equal(masks, torch.stack(expected))


def test_a_batch_says_which_organs_are_annotated() -> None:
    """The second image was asked for one organ twice: of the other two nothing is known."""
    rows = torch.zeros(6, 1, 2, 2)
    rows[0, 0, 0, 0] = rows[4, 0, 1, 1] = rows[3, 0, 1, 1] = rows[5, 0, 1, 1] = 1
    batch = {
        "image": torch.zeros(2, 1, 2, 2),
        "label": rows,
        "target": ["organ 2", "organ 0", "organ 1", "organ 1", "organ 1", "organ 1"],
    }
    masks, annotated = SoftmaxObjective(ORGANS[:3], batch_dice=True).organs_of(batch)
    assert annotated.tolist() == [[True, True, True], [False, True, False]]
    assert masks.sum(dim=(2, 3)).tolist() == [[0, 0, 1], [0, 1, 0]]
    assert masks[0, 2, 0, 0] == 1
    assert masks[1, 1, 1, 1] == 1


def test_coarser_maps_weigh_half_as_much_each() -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 3, 4, 4, 4)
    objective = SoftmaxObjective(ORGANS[:3], batch_dice=True)
    batch = {
        "image": torch.zeros(1, 1, 4, 4),
        "label": (torch.rand(3, 1, 4, 4) > 0.7).float(),
        "target": ORGANS[:3],
    }

    def loss(given: torch.Tensor) -> float:
        network = SoftmaxUNet(ORGANS[:3], image_size=4, framing=Framing(), body=Given(given))
        return objective(network, batch).item()

    parts = [loss(maps[:, head]) for head in range(3)]
    assert loss(maps) == pytest.approx((4 * parts[0] + 2 * parts[1] + parts[2]) / 7, rel=1e-5)
