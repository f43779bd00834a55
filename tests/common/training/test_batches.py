"""What the engines hand to a network."""

import torch

from common.training import PreparePrompts, PrepareVolume


def test_prompts_go_to_the_network_as_text() -> None:
    batch = {
        "image": torch.rand(2, 1, 4, 4, dtype=torch.float64),
        "label": torch.ones(4, 1, 4, 4),
        "prompt": ["liver", "$1+1", "spleen", "liver"],
        "target": ["liver", "liver", "spleen", "liver"],
    }
    image, label, args, kwargs = PreparePrompts()(batch, torch.device("cpu"), dtype=torch.float32)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, batch["image"].float())
    torch.testing.assert_close(label, batch["label"])
    assert (args, kwargs) == ((), {"text": ["liver", "$1+1", "spleen", "liver"]})


def test_volume_stays_where_it_is() -> None:
    batch = {"image": object(), "label": object(), "prompts": [object()], "case": "a"}
    image, label, args, kwargs = PrepareVolume()(batch, torch.device("meta"))
    assert image is batch["image"]
    assert label is batch["label"]
    assert (args, kwargs) == ((), {"prompts": batch["prompts"]})
