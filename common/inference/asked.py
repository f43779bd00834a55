"""What a run is asked to segment: prompts that can share one label map."""

import os
from collections.abc import Sequence

from ..errors import InputError
from ..text.prompts import MAX_LABEL, Prompt, check_prompt, read_prompts_file


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


def check_label_numbers(prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that cannot share a uint8 label map.

    Raises:
        InputError: no prompts, a label number outside 1 to 255, or one used twice.
    """
    if not prompts:
        raise InputError("prompts: found none, expected at least one; say what to segment.")
    seen: dict[int, Prompt] = {}
    for prompt in prompts:
        if not 1 <= prompt.label <= MAX_LABEL:
            raise InputError(
                f"prompts: '{prompt.text}' has label {prompt.label}, expected 1 to {MAX_LABEL}; label maps "
                "are 8 bit: change the number or use fewer prompts."
            )
        if prompt.label in seen:
            raise InputError(
                f"prompts: '{seen[prompt.label].text}' and '{prompt.text}' both have label {prompt.label}, "
                "expected a different number for each; change one."
            )
        seen[prompt.label] = prompt


def _as_prompt(prompt: str | Prompt, row: int) -> Prompt:
    if isinstance(prompt, Prompt):
        return prompt
    text = check_prompt(prompt, field=f"prompt {row}")
    return Prompt(text, text, row)
