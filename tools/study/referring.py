"""Does the mask follow the sentence? Phantom pictures with several lesions, of which words mean one.

Every lesion of the section is asked for in several ways, and the network's mask is compared with all lesions
of its picture: the one that it overlaps most is the one that was taken. Sentences are made here, from the
attributes in the datalist, and run by the bundle's own code in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import atomic_path
from common.metrics import describe
from common.text.noise import add_typos
from common.text.referring import Fact, Lesion, Level, single_out
from common.text.referring import describe as describe_lesion

WORKER = Path(__file__).with_name("referring_worker.py")
TYPO_RATE = 0.3  # of the words of four letters or more; every misspelt sentence has one slip at least
EMPTIED = "the lesion"
NO_TEXT = None

# Ways to ask. Sentences and their paraphrases rest on the same facts; only the words differ.
LEVELS: dict[str, Level] = {
    "sentence": "sentence",
    "noun phrase": "short",
    "report": "report",
    "1/2 of the report": "half",
    "1/4 of the report": "quarter",
}
PARAPHRASED, MISSPELT, EMPTY, NONE = (
    "sentence, paraphrased",
    "sentence, misspelt",
    "sentence, emptied",
    "no text",
)
SWAPPED = "sentence, swapped"


@dataclass(frozen=True)
class Picture:
    """The lesions of one picture.

    Attributes:
        items: their entries in the datalist.
        lesions: their attributes, in the same order.
    """

    items: tuple[dict[str, Any], ...]
    lesions: tuple[Lesion, ...]

    def others(self, index: int) -> list[Lesion]:
        return [lesion for place, lesion in enumerate(self.lesions) if place != index]


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
        InputError: no such bundle or section, items without attributes, or the bundle's run failed.
    """
    pictures = load_pictures(data / "datalist.json", section)
    questions = [ask(picture, number, seed) for number, picture in enumerate(pictures)]
    counts = _answer(bundle, data, pictures, questions, device=device, checkpoint=checkpoint)
    facts = [_facts(picture, number, seed) for number, picture in enumerate(pictures)]
    report = {
        "date": date.today().isoformat(),
        "bundle": bundle.resolve().name,
        "section": section,
        "seed": seed,
        "pictures": len(pictures),
        "lesions": sum(len(picture.lesions) for picture in pictures),
        "chance": float(np.mean([1 / len(p.lesions) for p in pictures for _ in p.lesions])),
        **score(counts, facts),
    }
    with atomic_path(output) as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_tables(report)
    return report


def load_pictures(datalist: Path, section: str) -> list[Picture]:
    """The pictures of a section with two lesions or more.

    Raises:
        InputError: unreadable, or an item has no attributes.
    """
    try:
        items = json.loads(datalist.read_text(encoding="utf-8"))[section]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{datalist}: cannot be read as a datalist with a section {section} ({error!r}); write one with "
            "python -m tools.phantom --lesions."
        ) from error
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for item in items:
        if "attributes" not in item:
            raise InputError(
                f'{datalist}: the case "{item.get("case")}" has no "attributes", expected those of its '
                "lesion; this study reads what python -m tools.phantom --lesions writes."
            )
        groups.setdefault((item["image"], item.get("slice", 0)), []).append(item)
    return [
        Picture(
            tuple(group),
            tuple(Lesion.read(item["attributes"], where=f"{datalist}: {item['case']}") for item in group),
        )
        for group in groups.values()
        if len(group) > 1
    ]


def ask(picture: Picture, number: int, seed: int) -> dict[str, list[str | None]]:
    """What to say for each lesion of a picture, in each way."""
    indices = range(len(picture.lesions))

    def say(level: Level, index: int, wording: Any = "training") -> str:
        rng = np.random.default_rng((seed, number, index))
        return describe_lesion(
            picture.lesions[index], picture.others(index), level=level, rng=rng, wording=wording
        )

    asked: dict[str, list[str | None]] = {
        name: [say(level, index) for index in indices] for name, level in LEVELS.items()
    }
    asked[PARAPHRASED] = [say("sentence", index, "held_out") for index in indices]
    asked[MISSPELT] = [
        misspell(str(text), np.random.default_rng((seed, number, index, 1)))
        for index, text in enumerate(asked["sentence"])
    ]
    asked[EMPTY] = [EMPTIED for _ in indices]
    asked[NONE] = [NO_TEXT for _ in indices]
    return asked


def misspell(text: str, rng: np.random.Generator) -> str:
    """`text` with slips in about 30 % of its longer words, and in one at least."""
    while (slipped := add_typos(text, rng, rate=TYPO_RATE)) == text:
        pass
    return slipped


def _facts(picture: Picture, number: int, seed: int) -> list[tuple[Fact, ...]]:
    """The facts that the sentences of `ask` rest on."""
    return [
        single_out(lesion, picture.others(index), np.random.default_rng((seed, number, index)))
        for index, lesion in enumerate(picture.lesions)
    ]


def _answer(
    bundle: Path,
    data: Path,
    pictures: Sequence[Picture],
    questions: Sequence[Mapping[str, list[str | None]]],
    *,
    device: str | None,
    checkpoint: Path | None,
) -> list[dict[str, np.ndarray]]:
    """Pixels of each mask and each lesion of each picture, see `referring_worker`."""
    config = bundle / "configs" / "inference.json"
    if not config.is_file():
        raise InputError(
            f"{bundle}: found no configs/inference.json in it, expected the folder of a bundle; name one "
            "such as bundles/lsms_lesion."
        )
    overrides = {"bundle_root": str(bundle.resolve()), "device": device}
    overrides |= {"checkpoint": None if checkpoint is None else str(checkpoint.absolute())}
    with tempfile.TemporaryDirectory(prefix="referring-") as name:
        job, answers = Path(name) / "job.json", Path(name) / "answers.json"
        content = {
            "config": str(config.resolve()),
            "overrides": {key: value for key, value in overrides.items() if value is not None},
            "answers": str(answers),
            "pictures": [
                {
                    "image": str((data / picture.items[0]["image"]).absolute()),
                    "label": str((data / picture.items[0]["label"]).absolute()),
                    "slice": picture.items[0].get("slice"),
                    "lesions": [item["lesion"] for item in picture.items],
                    "texts": [text for texts in question.values() for text in texts],
                }
                for picture, question in zip(pictures, questions, strict=True)
            ],
        }
        job.write_text(json.dumps(content), encoding="utf-8")
        path = os.pathsep.join([str(bundle.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, str(WORKER), str(job)],
            cwd=bundle.resolve(),
            env={**os.environ, "PYTHONPATH": path},
        )
        if done.returncode:
            raise InputError(
                f"{bundle}: its run ended with code {done.returncode}; see what it printed above."
            )
        found = json.loads(answers.read_text(encoding="utf-8"))
    return [dict(_split(question, np.array(rows))) for question, rows in zip(questions, found, strict=True)]


def _split(question: Mapping[str, list[Any]], rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    start = 0
    for name, texts in question.items():
        yield name, rows[start : start + len(texts)]
        start += len(texts)


def score(
    counts: Sequence[Mapping[str, np.ndarray]], facts: Sequence[Sequence[Sequence[Fact]]]
) -> dict[str, Any]:
    """What is said of each way to ask.

    Args:
        counts: for each picture and way (N, N, 3) pixels: mask asked for lesion i, lesion j, and both.
        facts: for each picture and lesion what its sentence rests on.

    Returns:
        ways: for each way `right` (share of lesions that were taken when asked for) and `dice` (of the lesion
        asked for), each as `common.metrics.describe` gives it. A swapped sentence counts as followed when
        both of two sentences on one picture take their own lesion: changing the words moved the mask.
        right_by_attribute: for each attribute the share, over the sentences that rest on it.
    """
    ways: dict[str, Any] = {}
    for name in counts[0]:
        right = [hit for picture in counts for hit in taken(picture[name])]
        ways[name] = {
            "right": describe([float(hit) for hit in right]),
            "dice": describe([value for picture in counts for value in own_dice(picture[name])]),
        }
    hits = [taken(picture["sentence"]) for picture in counts]
    followed = [float(a and b) for picture in hits for a, b in permutations(picture, 2)]
    ways[SWAPPED] = {"right": describe(followed), "dice": None}
    by_attribute: dict[str, list[float]] = {}
    for picture_hits, picture_facts in zip(hits, facts, strict=True):
        for hit, said in zip(picture_hits, picture_facts, strict=True):
            for fact in said:
                by_attribute.setdefault(fact.attribute, []).append(float(hit))
    return {
        "ways": ways,
        "right_by_attribute": {name: describe(found) for name, found in sorted(by_attribute.items())},
    }


def taken(pixels: np.ndarray) -> list[bool]:
    """Whether each mask overlaps its own lesion, and that one most; `pixels` (N, N, 3) as in `score`."""
    both = pixels[..., 2]
    return [
        bool(row[index] > 0 and row[index] > max(np.delete(row, index))) for index, row in enumerate(both)
    ]


def own_dice(pixels: np.ndarray) -> list[float]:
    """Dice of each mask with its own lesion; `pixels` (N, N, 3) as in `score`."""
    mask, lesion, both = (np.diagonal(part) for part in np.moveaxis(pixels, -1, 0))
    return (2 * both / (mask + lesion)).tolist()


def print_tables(report: Mapping[str, Any]) -> None:
    """Both results as Markdown."""
    print(
        f"{report['lesions']} lesions in {report['pictures']} pictures ({report['section']}); "
        f"taking one by chance is right for {report['chance']:.2f}\n"
    )
    print("| asked by | right lesion | Dice of the referred lesion |\n|---|---|---|")
    for name, found in report["ways"].items():
        dice = "-" if found["dice"] is None else _with_interval(found["dice"])
        print(f"| {name} | {_with_interval(found['right'])} | {dice} |")
    print("\n| sentences that rest on | right lesion | sentences |\n|---|---|---|")
    for name, found in report["right_by_attribute"].items():
        print(f"| {name} | {_with_interval(found)} | {found['n']} |")


def _with_interval(found: Mapping[str, Any]) -> str:
    low, high = found["ci95"]
    return f"{found['mean']:.3f} ({low:.3f} to {high:.3f})"
