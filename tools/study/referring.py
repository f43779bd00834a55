"""Does the mask follow the sentence? Phantom images with several lesions, of which words mean one or some.

Every lesion of the section is asked for in several ways, and of each image some lesions at once ("all
cysts"); the network's mask is compared with all lesions of its image (`referring_scores`). Sentences are
made here, from the attributes in the datalist, and run by the bundle's own code in a process of its own.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import Case, load_json, load_referring
from common.errors import InputError
from common.files import atomic_path
from common.text.expressions import Fact, Lesion, Level, describe_all, single_out
from common.text.expressions import describe as describe_lesion
from common.text.expressions import groups as groups_of
from common.text.noise import add_typos
from tools.engine import inference_config, run_in_bundle

from .referring_scores import SENTENCE, print_tables, score, score_groups

WORKER = "tools.study.referring_worker"
TYPO_RATE = 0.3  # of the words of four letters or more; every misspelt sentence has one slip at least
NOTHING_SAID = "the lesion"

# Ways to ask. Sentences and their paraphrases rest on the same facts; only the words differ.
LEVELS: dict[str, Level] = {
    SENTENCE: "sentence",
    "noun phrase": "short",
    "report": "report",
    "1/2 of the report": "half",
    "1/4 of the report": "quarter",
}
PARAPHRASED, MISSPELT, EMPTIED, WORDLESS = (
    "sentence, paraphrased",
    "sentence, misspelt",
    "sentence, emptied",
    "no text",
)
GROUP = "several lesions"  # of an image at once


@dataclass(frozen=True)
class AskedImage:
    """The lesions of one image.

    Attributes:
        items: their items of the datalist.
        lesions: their attributes, in the same order.
    """

    items: tuple[Case, ...]
    lesions: tuple[Lesion, ...]

    @property
    def patient(self) -> str:
        return self.items[0].patient

    def others(self, index: int) -> list[Lesion]:
        return [lesion for place, lesion in enumerate(self.lesions) if place != index]


@dataclass(frozen=True)
class AskedGroup:
    """Several of an image's lesions, not all of them, which a sentence means.

    Attributes:
        text: such as "Show all round lesions."
        attribute: what they share.
        members: their indices among the image's lesions.
    """

    text: str
    attribute: str
    members: tuple[int, ...]


def run(
    bundle: Path,
    data: Path,
    *,
    section: str,
    seed: int,
    device: str | None,
    checkpoint: Path | None,
    output: Path,
) -> dict[str, Any]:
    """Ask the bundle for every lesion, print tables and write `output`, whose content is returned.

    Raises:
        InputError: see `load_images`, no such bundle, or its run failed.
    """
    images = load_images(data / "datalist.json", section)
    groups = [ask_group(image, number, seed) for number, image in enumerate(images)]
    questions = [
        ask(image, number, seed) | {GROUP: [group.text] if group else []}
        for number, (image, group) in enumerate(zip(images, groups, strict=True))
    ]
    counts = _answer(bundle, images, questions, device=device, checkpoint=checkpoint)
    facts = [_facts(image, number, seed) for number, image in enumerate(images)]
    patients = [image.patient for image in images]
    report = {
        "date": date.today().isoformat(),
        "bundle": bundle.resolve().name,
        "section": section,
        "seed": seed,
        "images": len(images),
        "lesions": sum(len(image.lesions) for image in images),
        "patients": len(set(patients)),
        "chance": float(np.mean([1 / len(p.lesions) for p in images for _ in p.lesions])),
        **score([_without(of_image, GROUP) for of_image in counts], facts, patients),
        "groups": _score_groups(counts, groups, patients),
    }
    with atomic_path(output) as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    return report


def load_images(datalist: Path, section: str) -> list[AskedImage]:
    """The images of a section with two lesions or more, each lesion by the first item that means it alone.

    Raises:
        InputError: see `load_referring`, an item has no attributes, or no image has two lesions.
    """
    items = load_referring(datalist, section)
    found: dict[tuple[Any, ...], dict[tuple[Any, ...], tuple[Case, Lesion]]] = {}
    for item, entry in zip(items, load_json(datalist)[section], strict=True):
        if item.lesions is not None and len(item.lesions) != 1:
            continue
        if "attributes" not in entry:
            raise InputError(
                f'{datalist}: the case "{item.case}" has no "attributes", expected those of its lesion; this '
                "study reads what python -m tools.phantom --lesions writes."
            )
        lesion = Lesion.read(entry["attributes"], where=f"{datalist}: {item.case}")
        found.setdefault((item.image, item.slice_index), {}).setdefault(
            (item.label, item.lesions), (item, lesion)
        )
    several = [list(of_image.values()) for of_image in found.values() if len(of_image) > 1]
    if not several:
        raise InputError(
            f'{datalist}: "{section}" has {len(found)} images and none with two lesions, expected some of '
            "which only words mean one lesion; write them with python -m tools.phantom --lesions."
        )
    return [
        AskedImage(tuple(item for item, _ in of_image), tuple(lesion for _, lesion in of_image))
        for of_image in several
    ]


def ask(image: AskedImage, number: int, seed: int) -> dict[str, list[str | None]]:
    """What to say for each lesion of an image, in each way."""
    indices = range(len(image.lesions))

    def say(level: Level, index: int, wording: Any = "training") -> str:
        rng = np.random.default_rng((seed, number, index))
        return describe_lesion(
            image.lesions[index], image.others(index), level=level, rng=rng, wording=wording
        )

    asked: dict[str, list[str | None]] = {
        name: [say(level, index) for index in indices] for name, level in LEVELS.items()
    }
    asked[PARAPHRASED] = [say("sentence", index, "held_out") for index in indices]
    asked[MISSPELT] = [
        misspell(str(text), np.random.default_rng((seed, number, index, 1)))
        for index, text in enumerate(asked[SENTENCE])
    ]
    asked[EMPTIED] = [NOTHING_SAID for _ in indices]
    asked[WORDLESS] = [None for _ in indices]
    return asked


def ask_group(image: AskedImage, number: int, seed: int) -> AskedGroup | None:
    """Two or more of an image's lesions, not all, that share something; None where there are none such."""
    rng = np.random.default_rng((seed, number, len(image.lesions), 2))
    found = {fact: who for fact, who in groups_of(image.lesions).items() if 1 < len(who) < len(image.lesions)}
    if not found:
        return None
    fact = list(found)[int(rng.integers(len(found)))]
    return AskedGroup(describe_all(fact, rng=rng, bare=False, several=True), fact.attribute, found[fact])


def _score_groups(
    counts: Sequence[Mapping[str, np.ndarray]], groups: Sequence[AskedGroup | None], patients: Sequence[str]
) -> dict[str, Any] | None:
    """`score_groups` of the images that have one, beside the emptied sentence; None if none has."""
    found = [
        (of_image, patient, group)
        for of_image, patient, group in zip(counts, patients, groups, strict=True)
        if group is not None
    ]
    if not found:
        return None
    return score_groups(
        {name: [of_image[name][0] for of_image, _, _ in found] for name in (GROUP, EMPTIED)},
        [(group.attribute, group.members) for _, _, group in found],
        [patient for _, patient, _ in found],
    )


def _without(counts: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {other: pixels for other, pixels in counts.items() if other != name}


def misspell(text: str, rng: np.random.Generator) -> str:
    """`text` with slips in about 30 % of its longer words, and in one at least."""
    while (slipped := add_typos(text, rng, rate=TYPO_RATE)) == text:
        pass
    return slipped


def _facts(image: AskedImage, number: int, seed: int) -> list[tuple[Fact, ...]]:
    """The facts that the sentences of `ask` rest on."""
    return [
        single_out(lesion, image.others(index), np.random.default_rng((seed, number, index)))
        for index, lesion in enumerate(image.lesions)
    ]


def _answer(
    bundle: Path,
    images: Sequence[AskedImage],
    questions: Sequence[Mapping[str, list[str | None]]],
    *,
    device: str | None,
    checkpoint: Path | None,
) -> list[dict[str, np.ndarray]]:
    """Pixels of each mask and each lesion of each image, see `referring_worker`."""
    config = inference_config(bundle)
    overrides = {"bundle_root": str(bundle.resolve()), "device": device}
    overrides |= {"checkpoint": None if checkpoint is None else str(checkpoint.absolute())}
    with tempfile.TemporaryDirectory(prefix="referring-") as name:
        answers = Path(name) / "answers.json"
        job = {
            "config": str(config),
            "overrides": {key: value for key, value in overrides.items() if value is not None},
            "answers": str(answers),
            "images": [
                {
                    "lesions": [_place(item) for item in image.items],
                    "texts": [text for texts in question.values() for text in texts],
                }
                for image, question in zip(images, questions, strict=True)
            ],
        }
        code = run_in_bundle(bundle, WORKER, job)
        if code != 0:
            raise InputError(f"{bundle}: its run ended with code {code}; see what it printed above.")
        found = json.loads(answers.read_text(encoding="utf-8"))
    return [dict(_split(question, np.array(rows))) for question, rows in zip(questions, found, strict=True)]


def _place(item: Case) -> dict[str, Any]:
    """Where a lesion is, for the worker."""
    files = {"image": str(item.image.absolute()), "label": str(Path(item.label or "").absolute())}
    return {**files, "case": item.case, "lesions": item.lesions, "slice_index": item.slice_index}


def _split(question: Mapping[str, list[Any]], rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    start = 0
    for name, texts in question.items():
        yield name, rows[start : start + len(texts)]
        start += len(texts)
