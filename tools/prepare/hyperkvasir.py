"""Polyps in colonoscopy: the segmented images of HyperKvasir, which Kvasir-SEG has too.

H. Borgli et al., "HyperKvasir", Scientific Data 7, 283 (2020), and D. Jha et al., "Kvasir-SEG", MMM 2020.
HyperKvasir is CC BY 4.0; Kvasir-SEG's own page says research and education. Name both.

Read as the authors give it (segmented-images: images/NAME.jpg, masks/NAME.jpg, bounding-boxes.json, of which
the boxes are not needed), or in parts, from several folders. Masks are JPEG with noise around their edges.

The split is that of K. Poudel et al. (medvlsm): 800 images for training, 100 for validation, the others for
the test. Nothing says whom an image shows: near-duplicates (see `_duplicates`) count as one patient.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from tqdm import tqdm

from common.data.datalist import SECTIONS
from common.errors import InputError

from ._duplicates import image_hash, same_scene
from ._images import Pair, images_in, write_pairs
from ._layout import Source

SOURCE = Source(
    name="HyperKvasir's segmented images",
    description="Polyps in colonoscopy",
    reference="H. Borgli et al., Scientific Data 7, 283 (2020); D. Jha et al., Kvasir-SEG, MMM 2020",
    licence="CC BY 4.0",
    where="hyper-kvasir-segmented-images.zip at https://datasets.simula.no/hyper-kvasir.",
    layout="images/NAME.jpg and masks of the same names",
)
TARGET = "polyp"


def prepare(sources: Sequence[Path], out: Path, *, rule: str = "clean") -> None:
    """Write label maps (0 and 1) and `out`/datalist.json, with attributes and prompts of ten levels.

    Args:
        sources: folders with images and masks; their images are taken together.
        out: folder to write to.
        rule: of the attributes, "clean" or "published".

    Raises:
        InputError: files are missing or broken, a name is there twice, or none is in the published training
            part.
    """
    images, masks = _files(sources)
    sections = {name: published_section(name) for name in images}
    if "training" not in sections.values():
        raise InputError(
            f"{sources[0]}: found no image of the published training part, expected names such as "
            f"{_split()['training'][0]}.jpg; give the files under their authors' names."
        )
    numbers = same_scene([image_hash(path) for path in tqdm(images.values(), desc="hash", unit="image")])
    first: dict[int, str] = {}
    pairs = [
        Pair(name, images[name], masks[name], sections[name], first.setdefault(number, name), TARGET)
        for name, number in zip(images, numbers, strict=True)
    ]
    print(f"near-duplicates: {len(pairs) - len(first)} images show the scene of another one")
    kept = not_split(pairs)
    write_pairs(
        kept, out, SOURCE.notes(), dataset="kvasir", family="photograph", labels={TARGET: 1}, rule=rule
    )


def published_section(name: str) -> str:
    """The section of an image's name without its ending in the published split."""
    split = _split()
    return next((section for section in ("training", "validation") if name in split[section]), "test")


def not_split(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs without those whose patient is in a later section too, which is said.

    The published validation and test parts stay whole: what is left out is for training, where the other
    image is for validation or test.
    """
    pairs = list(pairs)
    last: dict[str, int] = {}
    for pair in pairs:
        last[pair.patient] = max(last.get(pair.patient, 0), SECTIONS.index(pair.section))
    kept = []
    for pair in pairs:
        if pair.section == (other := SECTIONS[last[pair.patient]]):
            kept.append(pair)
        else:
            print(
                f"left out: {pair.name} of the {pair.section} part shows the scene of an image of the "
                f"{other} part"
            )
    return kept


def _files(sources: Sequence[Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by name, sorted."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for source in sources:
        here, marked = images_in(source / "images"), images_in(source / "masks")
        wanted = [marked.get(name, source / "masks" / f"{name}.jpg") for name in here]
        SOURCE.check_complete(source, [*here.values(), *wanted])
        if twice := here.keys() & images.keys():
            raise InputError(
                f"{source}: {min(twice)} is in {images[min(twice)].parent.parent} too, expected each "
                "image once; leave one folder out."
            )
        images |= here
        masks |= {name: marked[name] for name in here}
    return dict(sorted(images.items())), masks


@cache
def _split() -> dict[str, list[str]]:
    content: dict[str, list[str]] = json.loads(
        (Path(__file__).parent / "kvasir_split.json").read_text(encoding="utf-8")
    )
    return content
