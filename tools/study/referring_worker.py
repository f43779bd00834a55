"""The part of the study `referring` that runs in the bundle's own process: masks for sentences, as counts.

    python referring_worker.py JOB.json

It imports the bundle's `scripts.common` alone, never the repository's `common` (design: both would meet).
The job holds `config`, `overrides`, `answers` (where to write) and `pictures`, each with `lesions` (N, fields
of `Case`s of one picture) and `texts` (null for none). The answer is, for each picture, an array
(texts, N, 3): pixels of the text's mask, of the lesion, and of both, in the file's own grid.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from tqdm import tqdm


def main(job_file: str) -> None:
    """Answer the job."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    parser = ConfigParser()
    parser.read_config(job["config"])
    parser.update(job["overrides"])
    parser.get_parsed_content("initialize")
    network = parser.get_parsed_content("network").eval()
    framing = parser.get_parsed_content("framing")
    answers = [
        count(network, framing, picture) for picture in tqdm(job["pictures"], "asking", unit="picture")
    ]
    Path(job["answers"]).write_text(json.dumps(answers), encoding="utf-8")


@torch.no_grad()
def count(network: Any, framing: Any, asked: dict[str, Any]) -> list[Any]:
    """The counts of one picture."""
    data = importlib.import_module("scripts.common.data.datalist")
    read = importlib.import_module("scripts.common.data.referring_pictures").PictureReader()
    items = [_item(data.Case, lesion) for lesion in asked["lesions"]]
    lesions = np.stack([read(item).mask(item) for item in items])
    picture = read(items[0])
    frame = framing.frame(picture.image, network.image_size)
    planes = torch.from_numpy(picture.image.planes([0], channels=framing.channels))
    device = next(network.parameters()).device
    features = network.encode_image(framing.field(planes, frame, picture.image.value_range).to(device))
    texts = list(dict.fromkeys(asked["texts"]))
    masks = {text: _mask(network, features, frame, text) for text in texts}
    return [
        [[int(masks[text].sum()), int(lesion.sum()), int((masks[text] & lesion).sum())] for lesion in lesions]
        for text in asked["texts"]
    ]


def _item(kind: Any, fields: dict[str, Any]) -> Any:
    """A `Case` whose words are not needed."""
    paths = {name: Path(fields[name]) for name in ("image", "label")}
    return kind(**{**fields, **paths}, patient="", targets=(), prompts=())


def _mask(network: Any, features: Any, frame: Any, text: str | None) -> np.ndarray:
    """(H, W) bool in the file's grid."""
    encoded = None if text is None else network.encode_text([text])
    logits = network.decode(features, encoded).float().cpu()
    return frame.from_field(logits)[0, 0].numpy() > 0


if __name__ == "__main__":
    main(sys.argv[1])
