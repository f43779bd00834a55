"""A network whose answer is known: logit = gain * (image - threshold), both read from the prompt."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.data.framing import Framing
from common.data.slices import window
from common.data.volumes import Volume, read_volume
from common.inference import CaseRunner, VolumeInferer
from common.networks.base import TextSegmenter
from common.networks.guidance import Guidance
from tests.common.inference.runs import TEXTS


class ThresholdNetwork(TextSegmenter):
    """Prompts are "GAIN at HU": "5 at 39.5" is positive above 39.5 HU, "-5 at 39.5" below.

    It judges the first channel of its field, and remembers what it was given.
    """

    def __init__(self, image_size: int = 8, *, threshold: float = 0.5, **framing: Any) -> None:
        super().__init__(image_size=image_size, default_prompt="5 at 0", framing=Framing(**framing))
        self.threshold = threshold
        self.frozen = nn.Dropout().eval()
        self.texts_encoded: list[str] = []
        self.rows_decoded: list[int] = []
        self.was_training: list[bool] = []
        self.images: list[Tensor] = []  # (C, S, S) each

    @property
    def images_encoded(self) -> int:
        return len(self.images)

    @property
    def fields(self) -> list[Tensor]:
        """The first channels, (S, S) each."""
        return [image[0] for image in self.images]

    def encode_text(self, prompts: Sequence[str]) -> Guidance:
        """A token a prompt: gain, and threshold in [0, 1]."""
        self.texts_encoded += prompts
        rows = []
        for prompt in prompts:
            gain, hu = prompt.split(" at ")
            rows.append([float(gain), float(window(torch.tensor([float(hu)])))])
        return Guidance(torch.tensor(rows)[:, None], torch.ones(len(rows), 1, dtype=torch.bool))

    def encode_image(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == self.field_shape
        assert image.dtype == torch.float32
        assert not torch.is_grad_enabled()
        self.was_training.append(self.training)
        self.images += list(image)
        return image[:, :1]

    def decode(self, image_features: Tensor, guidance: Guidance) -> Tensor:
        self.rows_decoded.append(guidance.count)
        image = image_features.repeat_interleave(guidance.count // len(image_features), dim=0)
        return guidance.tokens[:, :, 0, None, None] * (image - guidance.tokens[:, :, 1, None, None])


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
