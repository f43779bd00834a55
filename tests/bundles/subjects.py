"""The bundles under test, what each is asked for, and overrides that make their trainings small.

Bundles are those in `bundles/`; what differs between them is told from their `prompt_kinds` and their
configs, never from their names.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from tests.bundles.commands import environment
from tests.bundles.lesions import SENTENCES, write_lesions

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1] for path in REPOSITORY.glob("bundles/*/configs/metadata.json"))

# Seconds instead of hours; a bundle takes those whose top-level key its train.json has.
TINY = {
    "device": "cpu",
    "network_def#image_size": 64,
    "organs": ["liver", "spleen"],
    "epochs": 2,
    "draws_per_epoch": 48,
    "batch_size": 4,
    "prompts_per_slice": 2,
    "prompts_per_image": 2,
    "val_interval": 1,
}
# Words of each kind of prompt that its data know.
PROMPTS = {"organ": ("liver", "spleen"), "sentence": tuple(SENTENCES.values())}


class Target(NamedTuple):
    """What an item of a datalist asks for, and the mask that it means, in the file's own grid."""

    case: str
    label: str
    image: Path
    slice_index: int | None
    prompt: str
    mask: np.ndarray


class Subject(NamedTuple):
    """A bundle, what it is asked for ("organ" or "sentence"), and a folder of such data."""

    root: Path
    kind: str
    data: Path

    def config(self, *names: str) -> ConfigParser:
        """Config files as they stand, later ones over earlier ones."""
        parser = ConfigParser()
        parser.read_config([str(self.root / "configs" / name) for name in names])
        return parser

    @property
    def tiny(self) -> dict[str, Any]:
        return tiny(self.root)

    @property
    def prompts(self) -> tuple[str, ...]:
        return PROMPTS[self.kind]

    @property
    def side(self) -> int:
        return int(TINY["network_def#image_size"])  # type: ignore[call-overload]

    def workflow(self, *configs: str, workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
        """A workflow of config files with values replaced."""
        files = [str(self.root / "configs" / name) for name in configs]
        given = {"bundle_root": str(self.root), **overrides}
        return ConfigWorkflow(files, workflow_type=workflow_type, logging_file=False, **given)

    def training(self, folder: Path) -> dict[str, Any]:
        """Overrides for a tiny training that writes into a folder."""
        places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "logs")}
        return {**self.tiny, "dataset_dir": str(self.data), **places}

    def inference(self, checkpoint: Path, **overrides: Any) -> ConfigWorkflow:
        """A workflow of inference.json with a checkpoint of a tiny training."""
        sizes = {"device": "cpu", "network_def#image_size": self.side, "checkpoint": str(checkpoint)}
        return self.workflow("inference.json", workflow_type="infer", **sizes, **overrides)

    def datalist(self) -> dict[str, Any]:
        return json.loads((self.data / "datalist.json").read_text("utf-8"))

    def volume(self) -> Path:
        """A volume of the test section."""
        images = [item["image"] for item in self.datalist()["test"]]
        return self.data / next(name for name in images if name.endswith(".nii.gz"))

    def targets(self) -> Iterator[Target]:
        """All that the test section asks for, by the name of an organ or by an item's first sentence."""
        datalist = self.datalist()
        for item in datalist["test"]:
            image, labels = self.data / item["image"], array(self.data / item["label"])
            if self.kind == "organ":
                numbers = {name: int(key) for key, name in datalist["labels"].items()}
                for name in self.prompts:
                    case = image.name.removesuffix(".nii.gz")
                    yield Target(case, name, image, None, name, labels == numbers[name])
            else:
                index = item.get("slice")
                plane = labels if index is None else labels[..., index]
                mask = plane == item["lesion"]
                yield Target(item["case"], "lesion", image, index, item["prompts"][0], mask)


def array(path: Path) -> np.ndarray:
    """The numbers in an image file, in its own order."""
    return np.asarray(Image.open(path) if path.suffix == ".png" else nib.load(path).dataobj)


def own_mask(output: Path, target: Target, number: int) -> np.ndarray:
    """What inference wrote for prompt `number` of a target's image: its own mask, in the target's slice."""
    stem = target.image.name.split(".")[0]
    (path,) = output.glob(f"{stem}_mask_{number}_*")
    mask = array(path)
    return (mask if target.slice_index is None else mask[..., target.slice_index]) > 0


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """1 where both are empty."""
    both, total = np.count_nonzero(one & other), np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * both / total if total else 1.0


def tiny(bundle: Path) -> dict[str, Any]:
    """Those of `TINY` that a bundle's train.json has."""
    config = json.loads((bundle / "configs" / "train.json").read_text("utf-8"))
    return {key: value for key, value in TINY.items() if key.partition("#")[0] in config}


def kinds(bundle: Path) -> list[str]:
    """What a bundle is asked for, the kind that it is trained with first."""
    return json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))["prompt_kinds"]


def write_data(kind: str, folder: Path) -> None:
    """Data of a kind of prompt: CT phantoms with label maps (two of four for training), or small 2D images
    and slices with sentences."""
    if kind == "sentence":
        write_lesions(folder)
        return
    command = [sys.executable, "-m", "tools.phantom", "--out", str(folder), "--cases", "4"]
    command += ["--validation", "1", "--test", "1", "--seed", "5"]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, env=environment())


def cause_of(error: BaseException | None) -> BaseException | None:
    """The InputError behind an error of MONAI's."""
    while error is not None and type(error).__name__ != "InputError":
        error = error.__cause__
    return error
