"""What the inference benchmark runs on: a CT-like volume and networks with random weights."""

from pathlib import Path

import nibabel as nib
import numpy as np

from common.layers.pyramid import PyramidEncoder
from common.layers.vision_towers import VisionTower, random_tower
from common.networks.medvlm import PRESETS, MedVLM
from common.text.encoders import TextEncoder

ORGANS = (
    *("liver", "spleen", "left kidney", "right kidney", "pancreas", "stomach", "gallbladder", "aorta"),
    *("inferior vena cava", "left adrenal gland", "right adrenal gland", "esophagus", "duodenum"),
)
# Speed depends on sizes alone: those of the presets' text encoders, MiniLM and BERT-base.
_HEADS = {"num_attention_heads": 12}
TEXT = {
    "compact": {**_HEADS, "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "paper": {**_HEADS, "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
}


def build_network(preset: str) -> MedVLM:
    """A preset of Med-VLM with random weights, so that no hub is needed."""
    words = sorted({word for organ in ORGANS for word in organ.split()})
    text = TextEncoder(None, config={"model_type": "bert", "vocabulary": words, **TEXT[preset]})
    own = ("image_model", "text_model")
    settings = {name: value for name, value in PRESETS[preset].items() if name not in own}
    image: VisionTower | PyramidEncoder
    if preset == "paper":
        tower = random_tower("clip_vision_model", patch_size=16)
        image = VisionTower(tower, image_size=settings["image_size"])
    else:
        image = PyramidEncoder()
    return MedVLM(image_encoder=image, text_encoder=text, **settings)


def write_volume(path: Path, *, slices: int, side: int) -> Path:
    """A body of soft tissue with noise in air, int16 HU, 0.8 x 0.8 x 2.5 mm; returns `path`."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = np.hypot(x / 0.9, y / 0.7) < 1
    voxels = np.empty((side, side, slices), np.int16)
    for index in range(slices):
        plane = np.where(body, 40.0, -1000.0) + rng.normal(0.0, 15.0, (side, side))
        voxels[..., index] = np.rint(plane).T
    nib.save(nib.Nifti1Image(voxels, np.diag([-0.8, -0.8, 2.5, 1.0])), path)
    return path
