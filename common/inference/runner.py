"""Segment many files: read, segment, write, one case after the other."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..data.volumes import read_volume
from ..errors import InputError
from ..text.prompts import Prompt, check_prompt, read_prompts_file
from .cases import Case, Inputs, find_cases
from .clock import Clock
from .inferer import VolumeInferer, check_label_numbers
from .report import case_report, describe_checkpoint, prompt_table
from .writers import write_case

if TYPE_CHECKING:
    from ..networks.base import TextFeatures, TextSegmenter

logger = logging.getLogger(__name__)

SHOWN_FAILURES = 5


class CaseRunner:
    """Segments every input file; what a bundle's inference.json has as `evaluator`.

    A case that cannot be done is reported and the others go on. Prompts reach it as data, as a list or
    in a file, since a config would evaluate a text that begins with `$`.

    Args:
        inputs: a NIfTI file, a folder of them, or a list of these.
        output_dir: where `<case>_seg.nii.gz`, `.json` and `.png` go, subfolders of an input folder mirrored.
        network: a network of `common.networks` with its weights.
        inferer: how volumes are segmented.
        prompts: texts, numbered from 1 in their order, or `Prompt`s.
        prompts_file: a file for `common.text.prompts.read_prompts_file`; give this or `prompts`.
        checkpoint: file of the network's weights, whose sha256 goes into the reports.
        progress: show bars over cases and slices on stderr.
    """

    def __init__(
        self,
        inputs: Inputs,
        output_dir: str | os.PathLike[str],
        *,
        network: "TextSegmenter",
        inferer: VolumeInferer,
        prompts: Sequence[str | Prompt] | None = None,
        prompts_file: str | os.PathLike[str] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        self.inputs = inputs
        self.output_dir = Path(output_dir)
        self.network = network
        self.inferer = inferer
        self.prompts = prompts
        self.prompts_file = prompts_file
        self.checkpoint = checkpoint
        self.progress = progress

    def run(self) -> list[dict[str, Any]]:
        """Segment all cases; returns their reports.

        Raises:
            InputError: prompts or inputs that cannot be used (before any work), or cases that failed
                (after the others are done).
        """
        prompts = choose_prompts(self.prompts, self.prompts_file)
        cases = find_cases(self.inputs, self.output_dir)
        checkpoint = None if self.checkpoint is None else describe_checkpoint(self.checkpoint)
        clock = Clock()
        with clock("text"):
            text = self.inferer.encode(self.network, prompts)
        reports: list[dict[str, Any]] = []
        failures: list[str] = []
        for case in tqdm(cases, desc="cases", unit="case", disable=not self.progress):
            try:
                report = self._segment(case, prompts, text, checkpoint, clock.seconds)
            except Exception as error:  # one bad case must not end a long run, whatever is wrong with it
                failures.append(_sentence(case, error))
                continue
            reports.append(report)
            logger.info("%s\n%s", case.output(".nii.gz"), prompt_table(report["prompts"]))
        if failures:
            raise InputError(_failed(failures, len(cases)))
        return reports

    def _segment(
        self,
        case: Case,
        prompts: Sequence[Prompt],
        text: "TextFeatures",
        checkpoint: dict[str, str] | None,
        seconds: dict[str, float],
    ) -> dict[str, Any]:
        clock = Clock()
        with clock("read"):
            volume = read_volume(case.source)
        segmentation = self.inferer(volume, self.network, prompts, text=text, progress=self.progress)
        segmentation.seconds.update(seconds, **clock.seconds)
        settings = {
            "window_hu": list(self.inferer.window_hu),
            "presence_threshold": self.inferer.presence_threshold,
            "amp": self.inferer.amp,
        }
        report = case_report(case.source, volume, segmentation, settings=settings, checkpoint=checkpoint)
        return write_case(case, volume, segmentation, report, window_hu=self.inferer.window_hu)


def choose_prompts(
    prompts: Sequence[str | Prompt] | None, prompts_file: str | os.PathLike[str] | None
) -> list[Prompt]:
    """The prompts of a run, checked, from a list or from a file.

    Raises:
        InputError: neither or both are given, or one of the prompts cannot be used.
    """
    if (prompts is None) == (prompts_file is None):
        found = "both" if prompts is not None else "neither"
        raise InputError(
            f"prompts, prompts_file: found {found}, expected exactly one; say what to segment there."
        )
    if prompts_file is not None:
        chosen = read_prompts_file(prompts_file)
    else:
        chosen = [_as_prompt(prompt, row) for row, prompt in enumerate(prompts or (), start=1)]
    check_label_numbers(chosen)
    return chosen


def _as_prompt(prompt: str | Prompt, row: int) -> Prompt:
    if isinstance(prompt, Prompt):
        return prompt
    text = check_prompt(prompt, field=f"prompt {row}")
    return Prompt(text, text, row)


def _sentence(case: Case, error: Exception) -> str:
    """What went wrong, with the case's file name in it; anything but an InputError is logged in full."""
    if isinstance(error, InputError):
        sentence = str(error)
        logger.error("%s", sentence)
    else:
        sentence = f"{type(error).__name__}: {error}"
        logger.error("%s: %s", case.source, sentence, exc_info=error)
    return sentence if str(case.source) in sentence else f"{case.source}: {sentence}"


def _failed(failures: Sequence[str], total: int) -> str:
    shown = "; ".join(failure.rstrip(".") for failure in failures[:SHOWN_FAILURES])
    more = f"; and {len(failures) - SHOWN_FAILURES} more" if len(failures) > SHOWN_FAILURES else ""
    return f"{len(failures)} of {total} cases failed: {shown}{more}."
