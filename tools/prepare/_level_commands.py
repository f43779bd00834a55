"""Sub-commands of `python -m tools.prepare` for images that have prompts of several levels."""

import argparse
from pathlib import Path

from tools.command_line import Parser

FAMILIES = ("photograph", "chest_xray", "heart_ultrasound", "breast_ultrasound")
SETS = (
    *("bkai", "busi", "camus", "chexlocalize", "clinicdb", "colondb", "cvc300", "dfu", "etis", "isic"),
    "kvasir",
)
RULE_HELP = "how masks become words: clean (default), or published, as the published prompts were made"


def add_level_commands(names: "argparse._SubParsersAction[Parser]") -> None:
    """Add hyperkvasir, medvlsm and levels."""
    _add_hyperkvasir(_parser(names, "hyperkvasir", "polyps in colonoscopy (HyperKvasir, Kvasir-SEG)"))
    _add_medvlsm(_parser(names, "medvlsm", "a set of images of the medvlsm study, with prompts P0 to P9"))
    _add_levels(_parser(names, "levels", "a datalist of images, with attributes and prompts of all levels"))


def _parser(names: "argparse._SubParsersAction[Parser]", name: str, text: str) -> argparse.ArgumentParser:
    parser = names.add_parser(name, help=text, description=text)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where datalist.json is written"
    )
    return parser


def _add_hyperkvasir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="the folder with images/ and masks/, or several",
    )
    parser.add_argument("--rule", choices=("clean", "published"), default="clean", help=RULE_HELP)

    def run(options: argparse.Namespace) -> int:
        from .hyperkvasir import prepare

        prepare(options.source, options.out, rule=options.rule)
        return 0

    parser.set_defaults(run=run)


def _add_medvlsm(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--set", choices=SETS, required=True, help="which one")
    add("--source", type=Path, required=True, metavar="DIR", help="with images/, masks/ and anns/")
    add(
        "--rule",
        choices=("clean", "published", "theirs"),
        default="clean",
        help=f"{RULE_HELP}; theirs: the prompts of anns/ as they are",
    )
    add(
        "--drop-duplicates",
        action="store_true",
        help="keep an image that is in two parts in the later one alone",
    )

    def run(options: argparse.Namespace) -> int:
        from .medvlsm import prepare

        prepare(
            options.source,
            options.out,
            name=options.set,
            rule=options.rule,
            drop_duplicates=options.drop_duplicates,
        )
        return 0

    parser.set_defaults(run=run)


def _add_levels(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--datalist", type=Path, required=True, metavar="JSON", help="images with label maps")
    add("--family", choices=FAMILIES, required=True, help="of the prompts' templates")
    add("--class", dest="target", required=True, metavar="NAME", help="what the masks show, such as polyp")
    add("--rule", choices=("clean", "published"), default="clean", help=RULE_HELP)

    def run(options: argparse.Namespace) -> int:
        from .levels import add_levels

        add_levels(
            options.datalist,
            options.out,
            family=options.family,
            target=options.target,
            rule=options.rule,
        )
        return 0

    parser.set_defaults(run=run)
