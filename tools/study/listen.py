"""Does a bundle do what its prompts say? Organs asked for in many ways, and organs that are not there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from common.data.datalist import Case, load_datalist, load_label_values
from common.data.label_maps import read_label_map
from common.data.volumes import Volume
from common.errors import InputError
from common.files import atomic_path
from common.text.noise import add_typos
from common.text.phrases import HELD_OUT_CARRIERS, HELD_OUT_RELATIONS
from common.text.prompts import MAX_LABEL
from common.text.vocabulary import Organ, Vocabulary
from tools import infer

from .words import dice

VARIANTS = 3  # texts of a kind for each organ
ABSENT_ML = 1.0  # less than this is as good as nothing
KINDS = {
    "name": "the plain name",
    "synonym": "synonyms",
    "paraphrase": "sentences that training did not have",
    "description": "descriptions",
    "typo": "a slip in every word",
    "swap": "a neighbour named beside it, and the two swapped",
    "absent": "organs that are not there",
}


@dataclass(frozen=True)
class Question:
    """A prompt, and the organ that it means."""

    kind: str
    organ: str
    text: str


def run(
    bundle: Path,
    datalist: Path,
    section: str,
    work: Path,
    *,
    checkpoint: Path | None = None,
    presence_threshold: float | None = None,
) -> dict[str, Any]:
    """Ask, measure, print a table and write `listen.json`; returns what that holds.

    Raises:
        InputError: unreadable files, or the bundle's engine failed on a case.
    """
    labels = load_label_values(datalist)
    cases = [case for case in load_datalist(datalist, section) if case.label is not None]
    if not cases:
        raise InputError(f"{datalist}: no case of {section} has a label map; name another section.")
    asked = questions(list(labels), sorted({name for case in cases for name in case.absent}))
    rows: list[dict[str, Any]] = []
    for part in range(0, len(asked), MAX_LABEL):
        some = asked[part : part + MAX_LABEL]
        folder = work / f"masks{part // MAX_LABEL}"
        _segment(bundle, cases, some, folder, checkpoint=checkpoint, presence_threshold=presence_threshold)
        for case in cases:
            rows += list(_measure(case, labels, some, folder))
    kinds = summarise(rows)
    report = {
        "date": date.today().isoformat(),
        "bundle": bundle.name,
        "cases": len(cases),
        "presence_threshold": _report(cases[0], work / "masks0")["settings"]["presence_threshold"],
        "kinds": kinds,
        "rows": rows,
    }
    with atomic_path(work / "listen.json") as path:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_table(kinds)
    return report


def questions(labels: Sequence[str], absent: Sequence[str]) -> list[Question]:
    """What is asked of every volume; slips of the finger are drawn with each organ's own seed."""
    vocabulary = Vocabulary.load()
    asked: list[Question] = []
    for name in labels:
        organ = vocabulary.organ_or_own(name)
        rng = np.random.default_rng([*name.encode()])
        texts = {
            "name": [name],
            "synonym": organ.synonyms[:VARIANTS],
            "paraphrase": [carrier.format(name) for carrier in HELD_OUT_CARRIERS[:VARIANTS]],
            "description": organ.descriptions[:VARIANTS],
            "typo": _misspelt(name, rng),
            "swap": list(_relations(organ, [other for other in labels if other != name])),
            "absent": [name],
        }
        asked += [Question(kind, name, text) for kind, of_kind in texts.items() for text in of_kind]
    return asked + [Question("absent", name, name) for name in absent if name not in labels]


def _misspelt(name: str, rng: np.random.Generator) -> list[str]:
    """Texts that differ from `name`; a slip may by chance change nothing, and words with a side have none."""
    texts = dict.fromkeys(add_typos(name, rng, rate=1.0) for _ in range(10 * VARIANTS))
    return [text for text in texts if text != name][:VARIANTS]


def _relations(organ: Organ, labels: Sequence[str]) -> Iterator[str]:
    """`organ` with each neighbour that is labelled; the neighbour's own list has the swapped sentence."""
    for neighbour in labels:
        if neighbour in organ.neighbours:
            for sentence in HELD_OUT_RELATIONS:
                yield sentence.format(organ=organ.name, neighbour=neighbour)


def _segment(
    bundle: Path,
    cases: Sequence[Case],
    asked: Sequence[Question],
    folder: Path,
    *,
    checkpoint: Path | None,
    presence_threshold: float | None,
) -> None:
    """One mask for each question and case, by the bundle's own engine."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = [
        {"prompt": question.text, "name": f"{number} {question.kind}", "label": number}
        for number, question in enumerate(asked, start=1)
    ]
    prompts_file, listed = folder / "prompts.json", folder / "cases.json"
    prompts_file.write_text(json.dumps(prompts), encoding="utf-8")
    listed.write_text(json.dumps([str(case.image.resolve()) for case in cases]), encoding="utf-8")
    command = ["--bundle", bundle, "--input", listed, "--output", folder, "--prompts-file", prompts_file]
    command += ["--outputs", "masks", "--skip-existing"]
    command += [] if checkpoint is None else ["--checkpoint", checkpoint]
    command += [] if presence_threshold is None else ["--presence-threshold", presence_threshold]
    if code := infer.main([str(word) for word in command]):
        raise InputError(f"{bundle}: segmenting ended with exit code {code}; see its messages above.")


def _measure(
    case: Case, labels: Mapping[str, Sequence[int]], asked: Sequence[Question], folder: Path
) -> Iterator[dict[str, Any]]:
    """A row for each question that this case can answer."""
    assert case.label is not None
    reference = read_label_map(case.label)
    report = _report(case, folder)
    files, results = report["outputs"]["masks"], report["prompts"]
    truth = {
        name: np.isin(reference.slices, numbers) for name, numbers in labels.items() if name in case.targets
    }
    there = {name for name, mask in truth.items() if mask.any()}
    for question, file, result in zip(asked, files, results, strict=True):
        missing = set(case.absent) | (truth.keys() - there)
        if question.organ not in (missing if question.kind == "absent" else there):
            continue
        found = read_label_map(folder / file, like=reference)
        row = {"case": case.case, "kind": question.kind, "organ": question.organ, "text": question.text}
        row["presence_score"] = result["presence_score"]
        yield row | _scores(found, truth, there, question)


def _report(case: Case, folder: Path) -> dict[str, Any]:
    """What the engine wrote about a case."""
    stem = case.image.name.removesuffix(".gz").removesuffix(".nii")
    report: dict[str, Any] = json.loads((folder / f"{stem}_seg.json").read_text("utf-8"))
    return report


def _scores(
    found: Volume, truth: dict[str, np.ndarray], there: set[str], question: Question
) -> dict[str, Any]:
    mask = found.slices > 0
    ml = float(np.count_nonzero(mask) * np.prod(found.spacing_mm) / 1000)
    if question.kind == "absent":
        return {"ml": ml, "right": bool(ml < ABSENT_ML)}
    overlaps = {name: dice(mask, truth[name]) for name in there}
    nearest = max(overlaps, key=lambda name: overlaps[name])
    own = overlaps[question.organ]
    return {"ml": ml, "dice": own, "right": bool(own > 0 and nearest == question.organ)}


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    """For each kind: how many, the share of right organs, mean Dice and its share of the plain name's.

    The plain names' Dice is that of the same cases and organs.
    """
    plain = {(row["case"], row["organ"]): row["dice"] for row in rows if row["kind"] == "name"}
    kinds: dict[str, dict[str, float | int]] = {}
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind]
        if not of_kind:
            continue
        kinds[kind] = {"n": len(of_kind), "right": float(np.mean([row["right"] for row in of_kind]))}
        if kind != "absent":
            mean = float(np.mean([row["dice"] for row in of_kind]))
            beside = float(np.mean([plain[row["case"], row["organ"]] for row in of_kind]))
            kinds[kind] |= {"dice": mean, "of_plain": mean / beside}
    return kinds


def print_table(kinds: dict[str, dict[str, float | int]]) -> None:
    """A Markdown table."""
    print("| asked by | n | right organ | Dice | of the plain name's |")
    print("|---|---|---|---|---|")
    for kind, row in kinds.items():
        if kind == "absent":
            cells = f"{row['right']:.1%} under {ABSENT_ML:g} ml | | |"
        else:
            cells = f"{row['right']:.1%} | {row['dice']:.3f} | {row['of_plain']:.1%} |"
        print(f"| {KINDS[kind]} | {row['n']} | {cells}")
