"""Export a bundle's network in a process of its own: `python -m scripts.common.export.export_worker`.

Like `..inference.worker`, this is the bundle's own copy. `tools.export` starts it.
"""

import sys
from pathlib import Path

from monai.bundle import ConfigWorkflow

from ..config.values import as_data
from ..jobs import Job, run_job
from .graphs import export_graphs


def export(job: Job) -> None:
    """Do a job {"config", "overrides", "out", "formats", "prompts"}.

    `config` is an inference config, whose `initialize` loads the weights into `network`; the other fields say
    what to write where.
    """
    workflow = ConfigWorkflow(config_file=job["config"], workflow_type="infer", **as_data(job["overrides"]))
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network")
    record = export_graphs(network, Path(job["out"]), formats=job["formats"], prompts=job["prompts"])
    for name in sorted(path.name for path in Path(job["out"]).iterdir()):
        print(f"{job['out']}/{name}")
    if record["opset"]:
        print(f"ONNX opset {record['opset']}; batch and number of word pieces are free")


if __name__ == "__main__":
    sys.exit(run_job(export))
