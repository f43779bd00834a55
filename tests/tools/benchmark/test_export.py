"""The export benchmark's Dice and table; the real bundle's network through the repository's `common`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tools.benchmark.export import _table, load_network, lowest_dice

BUNDLES = sorted(path.parents[1] for path in Path(__file__).parents[3].glob("bundles/*/models/model.pt"))


def test_lowest_dice_is_that_of_the_worst_label():
    reference = np.zeros((2, 10), np.uint8)
    reference[0, :8], reference[1, :4] = 1, 2
    found = reference.copy()
    found[1, 2:6] = 2  # 4 voxels of label 2 become 6
    assert lowest_dice(reference, reference) == 1.0
    assert lowest_dice(found, reference) == pytest.approx(2 * 4 / (4 + 6))
    found[0, 9] = 3  # a label that the reference does not have
    assert lowest_dice(found, reference) == 0.0
    assert lowest_dice(np.zeros(3), np.zeros(3)) == 1.0


def test_the_table_is_a_slice_and_a_mask_of_the_best_run():
    kinds = {"torch": 1.0, "torchscript": 2.0, "onnx": 0.5}
    table = _table(
        {
            **{"bundle": "mini", "image_size": 64, "slice_batch": 8, "prompts": 4, "threads": 2, "opset": 20},
            "megabytes": {"onnx": 18.25, "torchscript": 19.0},
            "dice": {"onnx": 0.99999, "torchscript": 1.0},
            "voxels": {"liver": 12345},
            "seconds": {f"{kind} encode": [9.0, 0.08 * f] for kind, f in kinds.items()}
            | {f"{kind} decode": [9.0, 0.32 * f] for kind, f in kinds.items()},
        }
    )
    assert "mini, 8 slices of 64 pixels and 4 prompts at once, 2 threads, best of 2" in table
    assert "| PyTorch | 10.00 | 10.00 | - | - |" in table
    assert "| TorchScript | 20.00 | 20.00 | 19.0 | 1.00000 |" in table
    assert "| onnxruntime, opset 20 | 5.00 | 5.00 | 18.2 | 0.99999 |" in table
    assert "Voxels that PyTorch found on the phantom: liver 12,345." in table


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_network_is_the_bundles_with_its_shipped_weights(bundle):
    network = load_network(bundle)
    shipped = torch.load(bundle / "models" / "model.pt", weights_only=True)
    state = network.state_dict()
    assert state.keys() == shipped.keys()
    for name, value in state.items():
        assert torch.equal(value, shipped[name].to(value.dtype)), name
