"""The eleven sets of images of K. Poudel et al., "Exploring Transfer Learning in Medical Image Segmentation
using Vision-Language Models", MIDL 2024 (github.com/naamiinepal/medvlsm), with prompts of their levels.

Each is read as their repository lays it out (data/NAME): images/, masks/ and, with prompts and splits,
anns/train.json, val.json and test.json. Sets whose split the files' names tell need no anns/, but for the
rule `theirs`. The split is the published one; in CAMUS and CheXlocalize names tell the patient,
elsewhere nothing does, and the frames of one video may lie in several parts (CVC-ClinicDB).

Two faults of the published files are refused: images that are in two parts (ISIC 3, BKAI 3), and the JSON
of CVC-300, which lists the images of CVC-ColonDB.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.datalist import SECTIONS
from common.errors import InputError
from common.weights.pretrained import first_few

from ._images import Pair, images_in, write_pairs
from ._medvlsm_sets import SETS, ImageSet
from .hyperkvasir import published_section

RULES = ("clean", "published", "theirs")
PARTS = {"training": "train", "validation": "val", "test": "test"}
CAMUS_VALIDATION = 50  # the first patients of CAMUS's training part
OF_COLONDB = ("8a0fb7706dcbb56a", "20ec53dc863cbafb")  # `_fingerprint` of CVC-ColonDB's published lists


def prepare(
    source: Path, out: Path, *, name: str, rule: str = "clean", drop_duplicates: bool = False
) -> None:
    """Write label maps and `out`/datalist.json, with attributes and prompts of all levels.

    Args:
        source: folder of the set.
        out: folder to write to.
        name: of the set, one of `SETS`.
        rule: "clean" or "published" (see `mask_attributes`) write the texts from the masks; "theirs" takes
            those of anns/.
        drop_duplicates: of an image in two parts keep that in test, else in validation.

    Raises:
        InputError: files are missing, broken or of another layout, an image is in two parts, or the JSON is
            that of another set.
    """
    of_set = SETS[name]
    files = [source / "anns" / f"{part}.json" for part in PARTS.values()]
    if any(path.is_file() for path in files):
        pairs = _listed(source, of_set, theirs=rule == "theirs")
    elif rule == "theirs":
        raise InputError(
            f"{source}: found no anns/train.json, expected the authors' prompts for the rule theirs; copy "
            "anns/ of the set from github.com/naamiinepal/medvlsm, or choose another rule."
        )
    else:
        pairs = _in_folders(source, of_set)
    of_set.about.check_complete(source, [file for pair in pairs for file in (pair.image, pair.mask)])
    labels = {target: value for value, target in enumerate(of_set.targets.values(), start=1)}
    write_pairs(
        _once(pairs, drop=drop_duplicates),
        out,
        {**of_set.about.notes(), "rule": rule},
        dataset=name,
        family=of_set.family,
        labels=labels,
        rule=rule,
    )


def _listed(source: Path, of_set: ImageSet, *, theirs: bool) -> list[Pair]:
    """What anns/ lists; a part whose file is absent is left out, which is said."""
    pairs = []
    for section, part in PARTS.items():
        path = source / "anns" / f"{part}.json"
        if not path.is_file():
            print(f"warning: no {path}; the {section} part stays empty.")
            continue
        records = _records(path)
        if of_set is SETS["cvc300"] and _fingerprint(records) in OF_COLONDB:
            raise InputError(
                f"{path}: found the images of CVC-ColonDB, which the published file of CVC-300 lists by "
                "mistake, expected those of CVC-300; take anns/ away and use the rule clean, by which all 60 "
                "images are for test."
            )
        pairs += [_of_record(source, of_set, section, record, theirs) for record in records]
    return pairs


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        for record in records:
            str(record["img_name"]), str(record["mask_name"]), record["prompts"]["p6"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as prompts of medvlsm ({error!r}), expected a list of img_name, "
            "mask_name and prompts; fetch it again."
        ) from error
    return list(records)


def _of_record(source: Path, of_set: ImageSet, section: str, record: dict[str, Any], theirs: bool) -> Pair:
    prompts = {
        level: [text] if isinstance(text, str) else list(text) for level, text in record["prompts"].items()
    }
    known: dict[str, Any] = dict(of_set.metadata_of(Path(record["img_name"]).stem))
    if of_set.in_p6 and (found := re.search(of_set.in_p6, prompts["p6"][0])):
        known |= {name: _words(text) for name, text in found.groupdict().items()}
    files = Path(record["img_name"]), Path(record["mask_name"])
    return _pair(source, of_set, section, *files, known=known, texts=prompts if theirs else None)


def _words(text: str) -> str | list[str]:
    return text.split(", ") if ", " in text else text


def _pair(
    source: Path,
    of_set: ImageSet,
    section: str,
    image: Path,
    mask: Path,
    *,
    known: Mapping[str, Any],
    texts: Mapping[str, list[str]] | None = None,
) -> Pair:
    """A pair of files below images/ and masks/, or the part's folder in these."""
    part = (of_set.in_parts or {}).get(section, "")
    target = of_set.target_of(mask.as_posix())
    if not target:
        raise InputError(
            f"{source}: found the mask {mask}, expected a path that names one of "
            f"{', '.join(of_set.targets.values())}; give the files under their authors' names."
        )
    patient = image.stem
    if of_set.patient and (found := re.search(of_set.patient, image.stem)):
        patient = f"{part}-{found[0]}" if part else found[0]  # CAMUS counts from 1 in both of its parts
    name = image.stem if len(of_set.targets) == 1 else f"{image.stem}-{target.lower().replace(' ', '-')}"
    files = source / "images" / part / image, source / "masks" / part / mask
    return Pair(name, *files, section, patient, target, known, texts)


def _in_folders(source: Path, of_set: ImageSet) -> list[Pair]:
    """All images below images/, with the masks of their names; the split is what the names tell."""
    if of_set.split_without_json is None:
        raise InputError(
            f"{source}: found no anns/train.json, expected the published split of {of_set.about.name}, which "
            "nothing else tells; copy anns/ of the set from github.com/naamiinepal/medvlsm."
        )
    if of_set.split_without_json == "camus":
        return _of_camus(source, of_set)
    masks = images_in(source / "masks")
    pairs = []
    for stem, image in images_in(source / "images").items():
        section = "test" if of_set.split_without_json == "test" else published_section(stem)
        mask = masks.get(stem, Path(image.name))
        pairs.append(
            _pair(source, of_set, section, Path(image.name), Path(mask.name), known=of_set.metadata_of(stem))
        )
    return pairs


def _of_camus(source: Path, of_set: ImageSet) -> list[Pair]:
    """CAMUS as images: its first 50 patients for training are for validation, its test part is for test."""
    images = {part: images_in(source / "images" / part) for part in ("train", "test")}
    patients = sorted({stem.partition("_")[0] for stem in images["train"]})
    early = patients[:CAMUS_VALIDATION]
    pairs = []
    for part, of_part in images.items():
        for stem, image in of_part.items():
            validation = stem.partition("_")[0] in early
            section = "test" if part == "test" else "validation" if validation else "training"
            pairs += [
                _pair(
                    source,
                    of_set,
                    section,
                    Path(image.name),
                    Path(structure, f"{stem}_gt.png"),
                    known=of_set.metadata_of(stem),
                )
                for structure in of_set.targets
            ]
    return pairs


def _once(pairs: Sequence[Pair], *, drop: bool) -> list[Pair]:
    """The pairs, of which none is there twice and no image is in two sections.

    Raises:
        InputError: one is, and it is not to be dropped.
    """
    contents = {path: hashlib.sha256(path.read_bytes()).digest() for path in {pair.image for pair in pairs}}
    different: dict[tuple[bytes, str, str], Pair] = {}
    last: dict[bytes, str] = {}
    for pair in sorted(pairs, key=lambda pair: SECTIONS.index(pair.section)):
        different.setdefault((contents[pair.image], pair.target, pair.section), pair)
        last[contents[pair.image]] = pair.section
    if len(different) < len(pairs):
        print(f"left out: {len(pairs) - len(different)} entries that are there twice in one part")
    early = [pair for (content, _, section), pair in different.items() if section != last[content]]
    if early and not drop:
        found = [f"{pair.name} in {pair.section} and {last[contents[pair.image]]}" for pair in early]
        raise InputError(
            f"images: found {len(found)} in two parts ({first_few(found)}), expected each in one; keep the "
            "later part's with --drop-duplicates."
        )
    if early:
        print(f"left out: {len(early)} images that are in a later part too")
    return [pair for pair in different.values() if pair not in early]


def _fingerprint(records: Sequence[Mapping[str, Any]]) -> str:
    """Of the images' names and their prompts, in any order."""
    listed = sorted([record["img_name"], record["prompts"]["p6"]] for record in records)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
