"""A bundle at work in a process of its own, `python -m tools.monailabel.label_worker`.

The process is the bundle's: its folder comes first on the path, and everything that segments is its own
`scripts.common`. How jobs come and answers go is in `common.jobs`.
"""

import copy
import importlib
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

from .torchvision_cpu import make_importable

Job = dict[str, Any]


def main() -> None:
    """Load the bundle as the first job says, {"root", "device"}, and segment what the others say."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    bundle: ServedBundle | None = None

    def work(job: Job) -> Job:
        nonlocal bundle
        if bundle is not None:
            return bundle.segment(job)
        make_importable()
        bundle = ServedBundle(Path(job["root"]), job["device"])
        return {}

    _common("jobs").answer_jobs(work)


class ServedBundle:
    """A bundle's network and inferer, and the weights that are in the network now."""

    def __init__(self, root: Path, device: str | None) -> None:
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / "inference.json"))
        parser["bundle_root"] = str(root)
        if device is not None:
            parser["device"] = device
        self.network = parser.get_parsed_content("network")
        self.inferer = parser.get_parsed_content("inferer")
        self._own_weights = str(parser.get_parsed_content("checkpoint"))
        self._loaded: tuple[str, int] | None = None

    def segment(self, job: Job) -> Job:
        """Segment `image` with `prompts` (dicts of text, name, label), write the label map to `output`.

        Further fields: `options` of the inferer, `checkpoint` (null: the bundle's own), `uncertainty`
        (whether to estimate it), `masks` (a file for each prompt's own mask, which the label map may cut;
        or none). Returns what was found for every prompt.
        """
        text, readers = _common("text.prompts"), _common("data.readers")
        self._load(job["checkpoint"] or self._own_weights)
        inferer = copy.copy(self.inferer)
        for name, value in job["options"].items():
            setattr(inferer, name, value)
        volume = readers.read_image(job["image"])
        prompts = [text.Prompt(**prompt) for prompt in job["prompts"]]
        with tempfile.TemporaryFile() as scratch:
            shape = (len(prompts), *volume.slices.shape)
            probabilities = np.memmap(scratch, np.uint8, "w+", shape=shape) if job["uncertainty"] else None
            result = inferer(volume, self.network, prompts, probabilities=probabilities)
            rows = [_row(one) for one in result.results]
            if probabilities is not None:
                for row, values in zip(rows, probabilities, strict=True):
                    row["uncertainty"] = uncertainty(values, row["presence_score"])
        _write(job["output"], result.labels, volume)
        if job["masks"]:
            for path, mask in zip(job["masks"], result.masks(), strict=True):
                _write(path, mask.astype(np.uint8), volume)
        seconds = {part: round(value, 3) for part, value in result.seconds.items()}
        return {"prompts": rows, "seconds": seconds}

    def _load(self, checkpoint: str) -> None:
        version = (checkpoint, Path(checkpoint).stat().st_mtime_ns if Path(checkpoint).is_file() else 0)
        if version != self._loaded:
            _common("weights.checkpoints").load_trained(self.network, checkpoint)
            self._loaded = version


def uncertainty(probabilities: np.ndarray, presence_score: float) -> float:
    """How unsure a mask is, 0 (sure) to 1.

    One minus the Dice that the mask can expect of a reference drawn from the probabilities,
    2 sum(p m) / (sum(p) + sum(m)) with m = p > 0.5; where nothing was found, the presence score: near 0 for
    what is surely absent, near 0.5 for what was nearly found.

    Args:
        probabilities: (D, H, W) uint8, 0 to 255 for 0 to 1.
    """
    both = expected = found = 0.0
    for slices in probabilities:  # one at a time: the array may be larger than memory
        mask = slices >= 128
        both += float(slices[mask].sum(dtype=np.float64)) / 255
        expected += float(slices.sum(dtype=np.float64)) / 255
        found += float(np.count_nonzero(mask))
    return presence_score if found == 0 else 1.0 - 2.0 * both / (expected + found)


def _common(module: str) -> Any:
    return importlib.import_module(f"scripts.common.{module}")


def _row(result: Any) -> Job:
    return {
        "prompt": result.prompt.text,
        "label": result.prompt.label,
        **_extent(result.labelled),
        "mask": _extent(result.mask),
        "presence_score": round(float(result.presence_score), 6),
        "present": bool(result.present),
        "overlap_voxels": int(result.overlap_voxels),
    }


def _extent(extent: Any) -> Job:
    return {"voxels": int(extent.voxels), "ml": round(float(extent.ml), 4)}


def _write(path: str, labels: np.ndarray, volume: Any) -> None:
    if path.endswith((".nii", ".nii.gz")):
        _common("data.volumes").write_labels(path, labels, like=volume)
    else:
        _common("data.itk_files").write_labels_itk(path, labels, like=volume)


if __name__ == "__main__":
    main()
