"""A checkpoint and the base encoders that it needs, in one folder: adapters folded in where that can be."""

import argparse
import json
import sys
from pathlib import Path

from common.errors import InputError

from .command_line import Parser, says_input_errors
from .engine import INFERENCE, has_id, inference_config, run_in_bundle

EXAMPLE = "network_def#preset=paper_qv"
EPILOG = """LoRA on queries and values is folded into the weights; a bypass beside a whole encoder cannot be
folded in and stays an adapter. Give the bundle's configs --network_def#image_model OUT/image_encoder
--network_def#text_model OUT/text_encoder --checkpoint OUT/model.pt to use the result without a hub. Add
--network_def#adapter none if LoRA was folded in. For SAM's or MedSAM's image encoder, also give
--network_def#image_normalisation as the log and OUT/model.json name it (imagenet or unit), since the new
files do not tell the two apart."""


@says_input_errors(exit_code=1)
def main(arguments: list[str] | None = None) -> int:
    """Run the bundle's own code in a process of its own; returns the exit code."""
    parser = Parser(prog="python -m tools.export_full", description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("--bundle", type=Path, required=True, help="folder of the bundle, such as bundles/medvlm_organ")
    add("--out", type=Path, required=True, help="folder to make")
    add("--checkpoint", type=Path, help="model.pt of a training (default: the bundle's own)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"of inference.json, such as {EXAMPLE}",
    )
    options = parser.parse_args(arguments)
    return _launch(options)


def _launch(options: argparse.Namespace) -> int:
    config = inference_config(options.bundle)
    bundle = str(options.bundle.resolve())
    export = {
        "_target_": "scripts.common.export.export_full",
        "network": "@network",
        "folder": str(options.out.absolute()),
    }
    overrides = {"bundle_root": bundle, "device": "cpu", **_settings(options.set, config), "run": [export]}
    overrides["asked"] = None  # no image and no prompt
    if options.checkpoint is not None:
        overrides["checkpoint"] = str(options.checkpoint.absolute())
    return run_in_bundle(options.bundle, INFERENCE, {"config": str(config), "overrides": overrides})


def _settings(entries: list[str], config: Path) -> dict[str, object]:
    """["network_def#preset=paper"] as overrides; a value is JSON if it can be read so, else text.

    Raises:
        InputError: another form, or a key that the config lacks, which MONAI would add unread.
    """
    known = json.loads(config.read_text("utf-8"))
    settings: dict[str, object] = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        if not equals or not all(map(str.isidentifier, key.split("#"))) or text.startswith(("$", "@", "%")):
            raise InputError(f"--set: found '{entry}', expected KEY=VALUE, such as {EXAMPLE}.")
        if not has_id(known, key):
            raise InputError(
                f"--set: found the key '{key}', expected one of {config}, such as that of {EXAMPLE}."
            )
        try:
            settings[key] = json.loads(text)
        except ValueError:
            settings[key] = text
    return settings


if __name__ == "__main__":
    sys.exit(main())
