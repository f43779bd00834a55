"""Do the words that a mask gives agree with the published prompts of Kvasir-SEG?

K. Poudel et al. (medvlsm) published a number, a size and a location for every mask. The rule `published` of
`common.text.mask_attributes` is to give the same, and `clean` is to differ where theirs are wrong. Single
pixels decide: only the original masks tell, none that were scaled.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from skimage.measure import label
from tqdm import tqdm

from common.errors import InputError
from common.text.mask_attributes import FOREGROUND, RULES, mask_attributes
from tools.prepare._images import images_in, read_mask

WORDS = ("number", "size", "location")


def run(source: Path) -> dict[str, dict[str, int]]:
    """Print how often each rule agrees, and how many masks have a lone pixel in their corner.

    Args:
        source: folder with masks/ and with prompts in anns/*.json; masks without prompts are left aside.

    Returns:
        {rule: {"number", "size" or "location": masks that agree}}.

    Raises:
        InputError: no mask with prompts, or unreadable files.
    """
    masks = images_in(source / "masks")
    prompts = {name: words for name, words in _published(source / "anns").items() if name in masks}
    if not prompts:
        raise InputError(
            f"{source}: found no mask in masks/ that anns/*.json has prompts of, expected Kvasir-SEG with "
            "the anns of medvlsm; give their folder."
        )
    agreed = {rule: dict.fromkeys(WORDS, 0) for rule in RULES}
    corners = 0
    for name, theirs in tqdm(prompts.items(), desc="agree", unit="mask"):
        mask = read_mask(masks[name])
        corners += has_lone_corner(mask)
        for rule, counts in agreed.items():
            for word, own in _words(mask, rule).items():
                counts[word] += own == theirs[word]
    print("| rule | " + " | ".join(WORDS) + " |")
    print("|---|" + "---|" * len(WORDS))
    for rule, counts in agreed.items():
        print(f"| {rule} | " + " | ".join(f"{counts[word]}/{len(prompts)}" for word in WORDS) + " |")
    print(f"{corners} masks have a lone pixel at (0, 0), which the published prompts call a polyp.")
    return agreed


def has_lone_corner(mask: np.ndarray) -> bool:
    """Whether the pixel (0, 0) of a mask (H, W) is a piece of its own."""
    inside = mask > FOREGROUND
    return (
        bool(inside[0, 0])
        and np.count_nonzero((pieces := label(inside, connectivity=1)) == pieces[0, 0]) == 1
    )


def _words(mask: np.ndarray, rule: str) -> dict[str, str]:
    found = mask_attributes(mask, rule=rule)
    return {
        "number": found.number,
        "size": ", ".join(found.sizes),
        "location": ", ".join(found.locations),
    }


def _published(folder: Path) -> dict[str, dict[str, str]]:
    """{mask's name without ending: its words} of all JSON files."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            records = json.loads(path.read_text(encoding="utf-8"))
            found |= {Path(record["mask_name"]).stem: _of_prompts(record["prompts"]) for record in records}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: cannot be read as prompts of medvlsm ({error!r}), expected a list of mask_name and "
                "prompts; fetch it again."
            ) from error
    return found


def _of_prompts(prompts: Mapping[str, Any]) -> dict[str, str]:
    number, _, size = prompts["p5"].removesuffix(prompts["p3"]).strip().partition(" ")
    place = re.search("located in (.*) of the image", prompts["p6"])
    if place is None:
        raise ValueError(f"no location in {prompts['p6']!r}")
    return {"number": number, "size": size, "location": place[1]}
