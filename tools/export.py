"""Write a bundle's image encoder and decoder as ONNX and TorchScript files that need none of its code."""

import sys
from pathlib import Path

from tools.command_line import Parser, says_input_errors
from tools.engine import EXPORT, inference_config, run_in_bundle
from tools.infer import choose_prompts

EPILOG = """Writes image_encoder and decoder in each format, export.json (shapes, framing of the image,
threshold, opset) and, for prompts, prompts.npz, the words' features for the decoder. exit codes: 0 done;
1 failed, for the reason printed."""

FORMATS = ("onnx", "torchscript")


@says_input_errors(exit_code=1)
def main(arguments: list[str] | None = None) -> int:
    """Run the bundle's exporter in a process of its own; returns the exit code."""
    parser = Parser(prog="python -m tools.export", description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("--bundle", type=Path, required=True, help="folder of the bundle, such as bundles/medvlm_organ")
    add("--output", type=Path, required=True, help="folder to write to")
    add("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: both")
    add("--checkpoint", type=Path, help="weights (default: the bundle's models/model.pt)")
    add("--prompt", action="append", default=[], help="write the features of these words; may be repeated")
    add("--prompts-file", type=Path, help="or of the prompts in a text, JSON or CSV file")
    options = parser.parse_args(arguments)
    prompts = []
    if options.prompt or options.prompts_file:
        prompts = [p.text for p in choose_prompts(options.prompt, options.prompts_file, None)]
    overrides = {"bundle_root": str(options.bundle.resolve()), "device": "cpu"}
    if options.checkpoint:
        overrides["checkpoint"] = str(options.checkpoint.absolute())
    job = {
        "config": str(inference_config(options.bundle)),
        "overrides": overrides,
        "out": str(options.output.absolute()),
        "formats": options.formats,
        "prompts": prompts,
    }
    return run_in_bundle(options.bundle, EXPORT, job)


if __name__ == "__main__":
    sys.exit(main())
