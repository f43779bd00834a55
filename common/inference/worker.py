"""Run a bundle's inference in a process of its own, `python -m scripts.common.inference.worker`.

The process is the bundle's: its folder is on the path, and this file is its own copy in `scripts.common`.
`tools.infer` starts it, and what a user chose arrives in the job as data (see `..jobs`).
"""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from monai.bundle import ConfigWorkflow

from ..config.overrides import check_asked_by
from ..config.values import as_data
from ..errors import InputError
from ..jobs import FAILED, Job, run_job
from ..machine import check_device
from ..terminal import printable
from ..text.prompts import Prompt
from .report import CasesFailedError

SOME_CASES_FAILED = 3  # an exit code, beside those of `..jobs`


def main() -> int:
    """Do the job on stdin; returns the exit code.

    The job is {"config": path of an inference config, "overrides": {id: value}, "prompts": fields of
    `Prompt`s, or left out where the config knows what to ask}.
    """
    warnings.formatwarning = _sentence
    return run_job(_segment, code_of=_code_of)


def _segment(job: Job) -> None:
    run_config(job["config"], job["overrides"], [_prompt(fields) for fields in job.get("prompts", ())])


def _code_of(error: InputError) -> int:
    return SOME_CASES_FAILED if isinstance(error, CasesFailedError) else FAILED


def _prompt(fields: dict[str, Any]) -> Prompt:
    colour = fields["colour"]
    return Prompt(**{**fields, "colour": colour and tuple(colour)})


def _sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a sentence, without file and line of the code, which do not help a user."""
    return f"warning: {printable(message)}\n"


def run_config(config: str, overrides: dict[str, Any], prompts: Sequence[Prompt] = ()) -> None:
    """Initialise, run and finalise a bundle's inference config with some ids replaced.

    Args:
        config: path of the file.
        overrides: values by id. MONAI evaluates a text that begins with $ or @.
        prompts: what to ask; none = what the config says.

    Raises:
        InputError: a device that this machine lacks, or what the bundle's components raise.
    """
    check_device(overrides.get("device"))
    overrides = as_data(overrides)
    if prompts:  # as objects, into which MONAI does not look: their texts may begin with $
        overrides["evaluator#prompts"] = list(prompts)
    workflow = ConfigWorkflow(config_file=config, workflow_type="infer", **overrides)
    check_asked_by(workflow.parser)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


if __name__ == "__main__":
    sys.exit(main())
