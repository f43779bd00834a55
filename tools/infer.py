"""Segment NIfTI, NRRD, MHA or DICOM volumes with a bundle and words; masks are in the image's own grid."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.terminal import printable
from common.text.prompts import Prompt, check_prompt, number_prompts, read_prompts_file
from common.text.vocabulary import Vocabulary

from .command_line import Parser, says_input_errors
from .engine import INFERENCE, INTERRUPTED, has_id, inference_config, prompt_kinds, run_in_bundle
from .prompts import as_json

EPILOG = """exit codes: 0 all cases done; 1 not started or given up, for the reason printed; 2 unusable
options; 3 cases failed, for the reasons printed, and any others are done; 130 interrupted (Ctrl-C, SIGTERM);
128 + N the engine was ended by signal N, such as 137 when memory ran out. The same command with
--skip-existing continues after any of these. Research use, not for diagnosis."""

# What `common.inference` knows, without its imports
OUTPUTS = ("labels", "masks", "probabilities", "preview", "dicom_seg", "rtstruct")
FORMATS = ("nii.gz", "nii", "nrrd", "mha")
LISTS = (".csv", ".json")
SECTIONS = ("training", "validation", "test")

OPTIONS = {"compiled": "compile", "file_format": "format", "progress": "quiet", "prompts": "prompt"}  # of ids


@says_input_errors(exit_code=1)
def main(arguments: list[str] | None = None) -> int:
    """Run the bundle's engine in a process of its own; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.list_prompts:
            vocabulary = Vocabulary.load()
            print(as_json(vocabulary, vocabulary.organs))
            return 0
        return _launch(options)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.infer", description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("--bundle", type=Path, help="folder of the bundle, such as bundles/medvlm_organ")
    add(
        "--input",
        type=Path,
        action="append",
        help="image, folder, datalist, or .csv or .json list of images, each with prompts and a slice of its "
        "own if it has them (columns image, prompt, slice; these go before --prompt); may be repeated",
    )
    add("--section", choices=SECTIONS, help="of a datalist as --input")
    add(
        "--slice", type=_slice, help="only this axial slice of each volume, counted from 0, the most inferior"
    )
    add("--series", type=_series, help="UID or number, if a DICOM folder has several series")
    add("--output", type=Path, help="folder for <case>_seg.nii.gz, .json and .png")
    add("--prompt", action="append", default=[], help="what to segment, in words; may be repeated")
    add(
        "--prompts-file", type=Path, help="one prompt a line (.txt), or prompts with names and labels (.json)"
    )
    add("--organs", metavar="GROUP", help="every organ of a group, such as abdomen")
    add("--checkpoint", type=Path, help="weights of your own training (default: the bundle's)")
    add("--text-bank", type=Path, help="an .npz that keeps encoded texts: known ones need no language model")
    add(
        "--list-prompts",
        action="store_true",
        help="print the vocabulary as JSON (as a table: tools.prompts)",
    )
    add("--device", type=_device, help="cpu, cuda, cuda:1 or mps (default: the bundle's choice)")
    add("--amp", action=argparse.BooleanOptionalAction, help="mixed precision")
    add("--channels-last", action=argparse.BooleanOptionalAction, help="channels-last memory format")
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="torch.compile; takes minutes, pays off for many cases",
    )
    add("--slice-batch", type=int, help="slices at once")
    add("--presence-threshold", type=float, help="empty masks below this presence score; 0 = off")
    add(
        "--no-anatomy",
        action="store_true",
        help="keep all connected parts of an organ's mask, not only as many as the organ has",
    )
    add("--smooth", action="store_true", help="majority of neighbouring slices")
    add("--keep-largest", action="store_true", help="only the largest connected part of every mask")
    add(
        "--outputs",
        nargs="+",
        choices=OUTPUTS,
        help="kinds of files (default: the bundle's, mostly labels preview)",
    )
    add("--format", choices=FORMATS, help="of masks (default: nii.gz)")
    add(
        "--skip-existing",
        action="store_true",
        help="skip cases that were done with the same request, or whose outputs were changed since",
    )
    add("--report", type=Path, help="write a JSON with the outcome of every case")
    add("--quiet", action="store_true", help="no progress bars")
    return parser


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected cpu, cuda, cuda:1 or mps")
    return text


def _slice(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 0 up")
    return int(text)


def _series(text: str) -> str:
    if not re.fullmatch(r"[\d.]+", text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a SeriesInstanceUID or SeriesNumber")
    return text


def _launch(options: argparse.Namespace) -> int:
    for name in ("bundle", "input", "output"):
        if getattr(options, name) is None:
            raise InputError(f"--{name}: missing, expected a path; add it (--help shows all options).")
    config = inference_config(options.bundle)
    listed = any(path.name.lower().endswith(LISTS) for path in options.input)
    prompts = choose_prompts(
        options.prompt,
        options.prompts_file,
        options.organs,
        needed=not listed,
        of_organs="organ" in prompt_kinds(options.bundle),
    )
    # the bundle's default prompts were not asked for: without others, lists have to bring their own
    overrides = {**_overrides(options), "prompts_file": None}
    _check_known(config, [*overrides, "evaluator#prompts"])
    job = {"config": str(config), "overrides": overrides, "prompts": [asdict(prompt) for prompt in prompts]}
    return run_in_bundle(options.bundle, INFERENCE, job)


def _check_known(config: Path, ids: Iterable[str]) -> None:
    """Refuse an option whose key the bundle's config lacks: MONAI would add it and nothing would read it.

    The engine's components take more than a config names; which arguments a network takes, its config shows.
    """
    try:
        known = json.loads(config.read_text("utf-8"))
        if not isinstance(known, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{config}: cannot be read as a config ({error}); fetch the bundle again."
        ) from error
    for name in ids:
        key, _, part = name.partition("#")
        needed = name if key == "network_def" else key
        if not has_id(known, needed):
            option = OPTIONS.get(part, part or key)
            raise InputError(
                f"--{option.replace('_', '-')}: {config} has no key {needed!r}, expected it for this option; "
                "leave the option out."
            )


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """Config ids and their values. A config evaluates text that begins with $ or @: absolute paths do not."""
    chosen = {
        "bundle_root": str(options.bundle.resolve()),
        "input": [str(path.absolute()) for path in options.input],
        "output_dir": str(options.output.absolute()),
        "checkpoint": options.checkpoint and str(options.checkpoint.absolute()),
        "device": options.device,
        "inferer#amp": options.amp,
        "inferer#channels_last": options.channels_last,
        "inferer#compiled": options.compile,
        "inferer#slice_batch": options.slice_batch,
        "inferer#presence_threshold": options.presence_threshold,
        "inferer#anatomy": False if options.no_anatomy else None,
        "inferer#smooth": options.smooth or None,
        "inferer#keep_largest": options.keep_largest or None,
        "slice": options.slice,
        "section": options.section,
        "network_def#text_bank": options.text_bank and str(options.text_bank.absolute()),
        "evaluator#series": options.series,
        "outputs": options.outputs,
        "evaluator#file_format": options.format,
        "evaluator#skip_existing": options.skip_existing or None,
        "evaluator#report": options.report and str(options.report.absolute()),
        "evaluator#progress": False if options.quiet else None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def choose_prompts(
    texts: list[str],
    file: Path | None,
    group: str | None,
    *,
    needed: bool = True,
    of_organs: bool = True,
) -> list[Prompt]:
    """The prompts of all three sources, numbered; notes on stderr about unknown names.

    Args:
        needed: whether there has to be one.
        of_organs: whether the bundle takes organs, which the vocabulary names.

    Raises:
        InputError: no prompt, an unusable one, an unknown group, or a group where no organs are asked for.
    """
    if group is not None and not of_organs:
        raise InputError(
            f"--organs: found {group!r}, but this bundle does not take organs; say what to segment with "
            "--prompt."
        )
    entries: list[dict[str, Any]] = []  # as in a prompts file
    if file is not None:
        entries += [_entry(asdict(prompt)) for prompt in read_prompts_file(file)]
    free = [str(entry["prompt"]) for entry in entries]
    vocabulary = Vocabulary.load()
    if group is not None:
        entries += [{"prompt": organ.name} for organ in vocabulary.group(group)]
    for text in texts:
        prompt = check_prompt(text, field="--prompt")
        entries.append({"prompt": prompt})
        free.append(prompt)
    if needed and not entries:
        raise InputError("--prompt: found no prompt, expected at least one; say what to segment.")
    prompts = number_prompts([("prompts", entry) for entry in entries]) if entries else []
    if of_organs:
        for note in _notes(free, [prompt.text for prompt in prompts], vocabulary):
            print(f"note: {printable(note)}", file=sys.stderr)
    return prompts


def _notes(free: list[str], asked: list[str], vocabulary: Vocabulary) -> Iterator[str]:
    """On texts that were typed freely, and on two prompts for one organ."""
    for text in free:
        if pair := vocabulary.pair(text):
            yield f"{text!r} asks for {pair[0].name} and {pair[1].name}, each with a mask of its own."
        elif vocabulary.find(text) is None:
            near = " or ".join(map(repr, vocabulary.suggestions(text)))
            hint = f"; did you mean {near}?" if near else "."
            yield f"{text!r} is not a name in the vocabulary and is used as it is{hint}"
    first: dict[str, str] = {}
    for text in asked:
        organ = vocabulary.find(text)
        if organ is not None and first.setdefault(organ.name, text) != text:
            yield (
                f"{first[organ.name]!r} and {text!r} both mean the {organ.name}; a label map gives each "
                "voxel to one of them."
            )


def _entry(prompt: dict[str, Any]) -> dict[str, Any]:
    entry = {"prompt": prompt["text"], "name": prompt["name"], "label": prompt["label"]}
    return entry if prompt["colour"] is None else {**entry, "colour": list(prompt["colour"])}


if __name__ == "__main__":
    sys.exit(main())
