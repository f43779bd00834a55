"""The part of the study `referring` that runs in the bundle's own process: masks for sentences, as counts.

It imports the bundle's `scripts.common` alone, never the repository's `common`: both would meet.
The job (see `common.jobs`) holds `config`, `overrides`, `answers` (where to write) and `images`, each with
`lesions` (N, fields of `Case`s of one image) and `texts` (null for none). The answer is, for each image,
an array (texts, N, 3): pixels of the text's mask, of the lesion, and of both, in the file's own grid.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser
from tqdm import tqdm


def answer(job: dict[str, Any]) -> None:
    """Write the answers of a job."""
    parser = ConfigParser()
    parser.read_config(job["config"])
    parser.update(job["overrides"])
    parser.get_parsed_content("initialize")
    network, inferer = (parser.get_parsed_content(name) for name in ("network", "inferer"))
    answers = [count(network, inferer, asked) for asked in tqdm(job["images"], "asking", unit="image")]
    Path(job["answers"]).write_text(json.dumps(answers), encoding="utf-8")


def count(network: Any, inferer: Any, asked: dict[str, Any]) -> list[Any]:
    """The counts of one image, segmented as users segment it."""
    read = _common("data.labelled").LabelledReader()
    items = [_item(lesion) for lesion in asked["lesions"]]
    plane = items[0].slice_index or 0
    lesions = [read(item).meant(item).mask()[plane] for item in items]
    masks = dict(_masks(network, inferer, read(items[0]).image, items[0].slice_index, asked["texts"]))
    return [
        [
            [int(masks[text][plane].sum()), int(lesion.sum()), int((masks[text][plane] & lesion).sum())]
            for lesion in lesions
        ]
        for text in asked["texts"]
    ]


def _masks(
    network: Any, inferer: Any, image: Any, slice_index: int | None, texts: list[str | None]
) -> Iterator[tuple[str | None, np.ndarray]]:
    """Each different text, or None for no text at all, with its own mask (D, H, W) bool."""
    prompt = _common("text.prompts").Prompt
    different = list(dict.fromkeys(text for text in texts if text is not None))
    if different:
        asked = [prompt(text, text, number) for number, text in enumerate(different, start=1)]
        found = inferer(image, network, asked, slice_index=slice_index)
        yield from zip(different, found.masks(), strict=True)
    if None in texts:
        silent = _common("networks.guidance").Guidance(silent=1)
        nothing = [prompt("no text", "no text", 1)]
        found = inferer(image, network, nothing, guidance=silent, slice_index=slice_index)
        yield None, found.mask(0)


def _item(fields: dict[str, Any]) -> Any:
    """A `Case` whose words are not needed."""
    paths = {name: Path(fields[name]) for name in ("image", "label")}
    lesions = {"lesions": tuple(fields["lesions"])} if fields["lesions"] is not None else {}
    return _common("data.items").Case(**{**fields, **paths, **lesions}, patient="", targets=(), prompts=())


def _common(module: str) -> Any:
    return importlib.import_module(f"scripts.common.{module}")


if __name__ == "__main__":
    sys.exit(_common("jobs").run_job(answer))
