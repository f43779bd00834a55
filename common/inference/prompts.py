"""The prompts of each case of a run, their encoded texts, and the slices to segment."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..data.images import ENDINGS as IMAGE_2D_ENDINGS
from ..data.readers import ending_of
from ..data.volumes import Volume
from ..errors import InputError
from ..text.doubts import doubts
from ..text.prompts import Prompt, ask_both, check_label_numbers, check_prompt, read_prompts_file
from .cases import InputCase, Inputs, find_cases
from .clock import Clock

if TYPE_CHECKING:
    from ..networks.guidance import Guidance

TEXTS_AT_ONCE = 256  # encoded ahead: features take memory
logger = logging.getLogger(__name__)


def ask(
    cases: Sequence[InputCase],
    prompts: Sequence[str | Prompt] | None,
    prompts_file: str | os.PathLike[str] | None,
    slice_index: Any = None,
) -> list[InputCase]:
    """The cases, each with its own prompts and slice or else those of the run.

    Raises:
        InputError: see `choose_prompts`; or the slice is no whole number, or there is no volume to have it.
    """
    if slice_index is not None and (type(slice_index) is not int or slice_index < 0):
        raise InputError(
            f"slice: found {slice_index!r}, expected a whole number from 0 (the most inferior slice) up."
        )
    if slice_index is not None and all(_is_image_2d(case) for case in cases):
        raise InputError(
            f"slice: found {slice_index}, but none of the inputs is a volume, expected one; leave slice out."
        )
    without = [case for case in cases if not case.prompts]
    chosen = tuple(choose_prompts(prompts, prompts_file, case=without[0])) if without else ()
    if len(without) < len(cases):
        logger.info("%d of %d cases have prompts of their own.", len(cases) - len(without), len(cases))
    return [
        replace(
            case,
            prompts=case.prompts or chosen,
            slice_index=_slice_of(case, slice_index),
        )
        for case in cases
    ]


def check_asked(
    inputs: Inputs,
    output_dir: str | os.PathLike[str],
    prompts_file: str | os.PathLike[str] | None,
    slice_index: Any = None,
    section: str | None = None,
) -> None:
    """Refuse inputs and prompts that cannot be used, before weights and language models are loaded.

    Raises:
        InputError: see `find_cases` and `ask`. Whether the network takes 2D images is not yet known here.
    """
    cases = find_cases(inputs, output_dir, images_2d=True, section=section, warn=False)
    if prompts_file is not None or all(case.prompts for case in cases):
        ask(cases, None, prompts_file, slice_index)


def _slice_of(case: InputCase, of_run: int | None) -> int | None:
    """Its own slice, or that of the run, which is meant for volumes."""
    return of_run if case.slice_index is None and not _is_image_2d(case) else case.slice_index


def _is_image_2d(case: InputCase) -> bool:
    return ending_of(case.source, IMAGE_2D_ENDINGS) is not None


def choose_prompts(
    prompts: Sequence[str | Prompt] | None,
    prompts_file: str | os.PathLike[str] | None,
    *,
    case: InputCase | None = None,
) -> list[Prompt]:
    """The prompts of a run, checked, from a list or from a file.

    Args:
        case: which needs them, for messages.

    Raises:
        InputError: neither or both are given, or one of the prompts cannot be used.
    """
    if (prompts is None) == (prompts_file is None):
        found = "both" if prompts is not None else "neither"
        because = (
            ""
            if found == "both" or case is None
            else f", as {case.source} has no prompts of its own in a list"
        )
        raise InputError(
            f"prompts, prompts_file: found {found}, expected exactly one{because}; say what to segment there."
        )
    if isinstance(prompts, str):
        raise InputError(
            f"prompts: found the text {prompts!r}, expected a list of texts; write [{prompts!r}]."
        )
    if prompts_file is not None:
        return read_prompts_file(prompts_file)
    chosen = _as_prompts(prompts or ())
    check_label_numbers(chosen)  # a file's were checked where each has its place in it
    return chosen


def check_slice(volume: Volume, index: int | None) -> None:
    """Refuse a slice that a volume lacks; None = all slices are asked.

    Raises:
        InputError: names the volume's file and its slices.
    """
    if index is None:
        return
    path, depth = volume.grid.path, len(volume.slices)
    if not volume.in_mm:
        raise InputError(f"{path}: found slice {index} for a 2D image, expected none; leave slice out.")
    if not 0 <= index < depth:
        raise InputError(
            f"{path}: found slice {index} for a volume of {depth} slices, expected 0 (the most inferior one) "
            f"to {depth - 1}; correct slice."
        )


def warn_of_doubts(cases: Sequence[InputCase]) -> None:
    """Warn once for each prompt with a part that is not understood."""
    for text in dict.fromkeys(prompt.text for case in cases for prompt in case.prompts):
        for doubt in doubts(text):
            logger.warning("prompt: %s", doubt)


def _as_prompts(given: Sequence[str | Prompt]) -> list[Prompt]:
    """Prompts numbered by their row."""
    rows: list[str | Prompt] = []
    for row, prompt in enumerate(given, start=1):
        if isinstance(prompt, Prompt):
            rows.append(prompt)
        else:
            rows += ask_both(check_prompt(prompt, field=f"prompt {row}"))
    return [
        row if isinstance(row, Prompt) else Prompt(row, row, number)
        for number, row in enumerate(rows, start=1)
    ]


class Texts:
    """Texts of cases that come one after the other, encoded ahead: once where all are asked the same.

    Args:
        cases: with their prompts.
        encode: a network's `encode_text`.
    """

    def __init__(self, cases: Sequence[InputCase], encode: "Callable[[list[str]], Guidance]") -> None:
        self._cases, self._encode = cases, encode
        self._rows: dict[str, int] = {}
        self._features: Guidance | None = None
        self._clock = Clock()

    def take_seconds(self) -> dict[str, float]:
        """What encoding took since it was last asked for, under "text": of a case that waited for it."""
        seconds, self._clock = self._clock.seconds, Clock()
        return seconds

    def of(self, case: InputCase) -> "Guidance":
        """The encoded texts of a case's prompts."""
        texts = [prompt.text for prompt in case.prompts]
        if not self._rows.keys() >= set(texts):
            self._look_ahead(case)
        assert self._features is not None
        return self._features.rows([self._rows[text] for text in texts])

    def _look_ahead(self, case: InputCase) -> None:
        """Encode the texts of the case and of those behind it; its own alone if that fails."""
        own = [prompt.text for prompt in case.prompts]
        try:
            self._remember(self._upcoming(case))
        except Exception:  # memory, or a text of another case, which must not end this one
            self._remember(list(dict.fromkeys(own)))

    def _upcoming(self, case: InputCase) -> list[str]:
        texts: dict[str, None] = {}
        for one in self._cases[self._cases.index(case) :]:
            if len(texts) >= TEXTS_AT_ONCE:
                break
            texts |= dict.fromkeys(prompt.text for prompt in one.prompts)
        return list(texts)

    def _remember(self, texts: list[str]) -> None:
        with self._clock("text"):
            self._features = self._encode(texts)
        self._rows = {text: row for row, text in enumerate(texts)}
