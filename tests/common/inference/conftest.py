"""A network whose answer is known: logit = gain * (image - threshold), both read from the prompt."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.data.slices import window
from common.data.volumes import Volume, read_volume
from common.inference import CaseRunner, VolumeInferer
from tests.common.inference.runs import TEXTS


class Text(NamedTuple):
    tokens: Tensor  # (P, 1, 2): gain, threshold in [0, 1]
    mask: Tensor


class ThresholdNetwork(nn.Module):
    """Prompts are "GAIN at HU": "5 at 39.5" is positive above 39.5 HU, "-5 at 39.5" below."""

    def __init__(self, image_size: int = 8) -> None:
        super().__init__()
        self.image_size = image_size
        self.frozen = nn.Dropout().eval()
        self.texts_encoded: list[str] = []
        self.images_encoded = 0
        self.rows_decoded: list[int] = []
        self.was_training: list[bool] = []
        self.fields: list[Tensor] = []

    def encode_text(self, prompts: Sequence[str]) -> Text:
        self.texts_encoded += prompts
        rows = []
        for prompt in prompts:
            gain, hu = prompt.split(" at ")
            rows.append([float(gain), float(window(torch.tensor([float(hu)])))])
        return Text(torch.tensor(rows)[:, None], torch.ones(len(rows), 1, dtype=torch.bool))

    def encode_image(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == (1, self.image_size, self.image_size)
        assert image.dtype == torch.float32
        assert not torch.is_grad_enabled()
        self.was_training.append(self.training)
        self.images_encoded += len(image)
        self.fields += list(image[:, 0])
        return image

    def decode(self, image_features: Tensor, text: Text) -> Tensor:
        self.rows_decoded.append(len(text.tokens))
        image = image_features.repeat_interleave(len(text.tokens) // len(image_features), dim=0)
        return text.tokens[:, :, 0, None, None] * (image - text.tokens[:, :, 1, None, None])


@pytest.fixture
def network() -> ThresholdNetwork:
    return ThresholdNetwork()


@pytest.fixture
def make_network() -> type[ThresholdNetwork]:
    return ThresholdNetwork


@pytest.fixture
def make_nifti(tmp_path: Path) -> Callable[..., Path]:
    """Write stored voxels and an affine as int16 NIfTI."""

    def make(voxels: np.ndarray, affine: np.ndarray | None = None, name: str = "case.nii.gz") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4) if affine is None else affine), path)
        return path

    return make


@pytest.fixture
def make_volume(make_nifti: Callable[..., Path]) -> Callable[..., Volume]:
    """A volume with the given slices (D, H, W) and spacing (D, H, W), stored as L, P, S."""

    def make(slices: np.ndarray, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
        deep, high, wide = spacing_mm
        volume = read_volume(make_nifti(slices.transpose(2, 1, 0), np.diag([-wide, -high, deep, 1.0])))
        np.testing.assert_array_equal(volume.slices, slices)
        return volume

    return make


@pytest.fixture
def random_hu() -> Callable[..., np.ndarray]:
    """Integer HU between -100 and 200, inside the abdomen window."""

    def make(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(-100, 200, shape)

    return make


@pytest.fixture
def run(network, tmp_path):
    """Run on inputs and return the cases' reports; keyword arguments replace the runner's."""

    def start(inputs, **changes):
        options = {"network": network, "inferer": VolumeInferer(), "prompts": TEXTS, "progress": False}
        output_dir = changes.pop("output_dir", tmp_path / "out")
        outcomes = CaseRunner(inputs, output_dir, **(options | changes)).run().outcomes
        return [json.loads(Path(outcome.report).read_text("utf-8")) for outcome in outcomes]

    return start
