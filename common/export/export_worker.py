"""Export a bundle's network in a process of its own: `python -m scripts.common.export.export_worker JOB`.

Like `..inference.worker`, this is the bundle's own copy, started by `tools.export`.
"""

import json
import sys
from pathlib import Path

from monai.bundle import ConfigWorkflow

from ..config_values import as_data
from ..errors import input_error_of
from ..inference.worker import DONE, FAILED
from .graphs import export_graphs


def main(arguments: list[str]) -> int:
    """Run the job in the file named by the only argument; returns the exit code.

    The file holds {"config", "overrides", "out", "formats", "prompts"}: an inference config, whose
    `initialize` loads the weights into `network`, and what to write where.
    """
    job = json.loads(Path(arguments[0]).read_text("utf-8"))
    try:
        overrides = as_data(job["overrides"])
        workflow = ConfigWorkflow(config_file=job["config"], workflow_type="infer", **overrides)
        workflow.initialize()
        network = workflow.parser.get_parsed_content("network")
        record = export_graphs(network, Path(job["out"]), formats=job["formats"], prompts=job["prompts"])
    except Exception as error:
        cause = input_error_of(error)
        if cause is None:
            raise
        print(f"error: {cause}", file=sys.stderr)
        return FAILED
    for name in sorted(path.name for path in Path(job["out"]).iterdir()):
        print(f"{job['out']}/{name}")
    if record["opset"]:
        print(f"ONNX opset {record['opset']}; batch and number of word pieces are free")
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
