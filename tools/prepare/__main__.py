"""Command line of `python -m tools.prepare`. Modules are imported when they work: --help answers at once."""

import argparse
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from common.text.vocabulary import REGIONS
from tools.command_line import Parser, says_input_errors

from ._level_commands import add_level_commands


class DataSet(NamedTuple):
    """A module of this folder with `prepare(source, out, ...)`: one line of help, and what --source is."""

    help: str
    source: str


DATA_SETS = {
    "flare22": DataSet("abdominal CT, 13 organs (FLARE22 challenge)", "the folder with images/ and labels/"),
    "lidc": DataSet(
        "lung nodules in CT, marked by up to four radiologists (LIDC-IDRI)",
        "DICOM series with their XML files, or the folder with images/, readers/ and split.csv",
    ),
    "mosmed": DataSet(
        "lung CT slices with infections and sentences (MosMedData+)", "the folder with Train_Folder"
    ),
    "msd": DataSet("a task of the Medical Segmentation Decathlon", "a folder such as Task09_Spleen"),
    "openkbp": DataSet(
        "CT of the head and neck, 7 organs at risk (github.com/ababier/open-kbp)",
        "the repository's provided-data, or a part of it",
    ),
    "pancreas_slices": DataSet(
        "single CT slices with the pancreas (NIH Pancreas-CT, as 2D images)",
        "the folder with images/ and masks/",
    ),
    "qata": DataSet(
        "chest X-rays with infections and sentences (QaTa-COV19)",
        "the folder with annotation.json or Train_Folder",
    ),
    "segthor": DataSet(
        "thoracic CT, 4 organs at risk (SegTHOR challenge)", "the folder with train/Patient_01"
    ),
}


@says_input_errors(exit_code=1)
def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare one data set; returns the exit code."""
    parser = Parser(
        prog="python -m tools.prepare",
        description="Turn a public data set, or your own images and label maps, into a datalist split by "
        "patient. Nothing is downloaded; a folder that lacks files is refused, with a list and where to "
        "get the data.",
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    parsers = {}
    for name, data in DATA_SETS.items():
        parsers[name] = _add(names, name, data.help, data.source)
        parsers[name].set_defaults(run=_prepare)
    parsers["msd"].add_argument(
        "--sequence", help="of the MR sequences in 4D files, by its name in dataset.json"
    )
    parsers["mosmed"].add_argument(
        "--published",
        action="store_true",
        help="keep the published split, which has patients in several parts",
    )
    _add_folder(names)
    _add_join(names)
    _add_partial(names)
    _add_absent(names)
    add_level_commands(names)
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _add(names: "argparse._SubParsersAction[Parser]", name: str, text: str, source: str) -> Parser:
    parser = names.add_parser(name, help=text, description=text)
    parser.add_argument("--source", type=Path, required=True, metavar="DIR", help=source)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where datalist.json is written"
    )
    return parser


def _add_folder(names: "argparse._SubParsersAction[Parser]") -> None:
    parser = _add(
        names,
        "folder",
        "your own images with label maps (NIfTI, NRRD, MHA, PNG), with a file for each organ, in the layouts "
        "of nnU-Net, BIDS and TotalSegmentator, or with masks and a CSV of sentences",
        "the folder that holds all of it",
    )
    add = parser.add_argument
    add(
        "--images",
        metavar="PATTERN",
        help="one * for the case, such as 'images/*.nii.gz' (default: the layout is looked for)",
    )
    add(
        "--labels",
        metavar="PATTERN",
        help="the same *, such as 'labels/*.nii.gz'; of a file for each organ 'labels/*/{organ}.nii.gz'",
    )
    add(
        "--sentences",
        type=Path,
        metavar="CSV",
        help="with the columns image and prompt, and mask, lesion, slice, patient, split if you have them "
        "(default: the only CSV in the folder)",
    )
    add("--channel", metavar="NAME", help="which of nnU-Net's channels, or which suffix of BIDS, such as T1w")
    add(
        "--name",
        action="append",
        default=[],
        metavar="NUMBER=NAME",
        help="name of a label; repeat it for each label, and for both names of a label inside another: "
        "--name 1=liver --name 2=liver --name '2=liver tumour'. nnU-Net and BIDS name their labels; with one "
        "file for each organ, the organs to use",
    )
    add(
        "--ignore",
        action="append",
        type=int,
        default=[],
        metavar="NUMBER",
        help="a label that becomes background",
    )
    add(
        "--patient",
        metavar="REGEX",
        help="its first group in a case's name is the patient (default: the case)",
    )
    add(
        "--validation", type=_share, default=Fraction(15, 100), metavar="SHARE", help="of the patients (0.15)"
    )
    add("--test", type=_share, default=Fraction(15, 100), metavar="SHARE", help="of the patients (0.15)")
    add("--seed", type=int, default=0, help="of the split (default 0)")
    _add_regions(parser, required=False)
    parser.set_defaults(run=_folder)


def _add_regions(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--region",
        action="append",
        default=[],
        required=required,
        choices=REGIONS,
        help="part of the body that all scans show; repeat it for several. Organs that lie neither there nor "
        "in the part next to it become absent, but not those that are annotated",
    )


def _add_join(names: "argparse._SubParsersAction[Parser]") -> None:
    text = "several datalists as one, for training on all of them"
    parser = names.add_parser("join", help=text, description=text)
    parser.add_argument("datalists", type=Path, nargs="+", metavar="JSON", help="datalists to join")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where datalist.json is written"
    )
    parser.set_defaults(run=_join)


def _add_partial(names: "argparse._SubParsersAction[Parser]") -> None:
    text = "a datalist with part of each sentence, the first words, to see how much text a network needs"
    parser = names.add_parser("partial", help=text, description=text)
    parser.add_argument("datalist", type=Path, metavar="JSON", help="a datalist with sentences")
    parser.add_argument(
        "--share",
        type=_share_of_text,
        required=True,
        metavar="SHARE",
        help="of the words, as 0.25 or 1/4",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where datalist.json is written"
    )
    parser.set_defaults(run=_partial)


def _add_absent(names: "argparse._SubParsersAction[Parser]") -> None:
    text = "a datalist of scans of one region, with the organs that this region rules out as absent"
    parser = names.add_parser("absent", help=text, description=text)
    parser.add_argument("datalist", type=Path, metavar="JSON", help="a datalist of organs")
    _add_regions(parser, required=True)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where datalist.json is written"
    )
    parser.set_defaults(run=_absent)


def _absent(options: argparse.Namespace) -> int:
    from .absent import add_absent

    add_absent(options.datalist, options.out, regions=options.region)
    return 0


def _partial(options: argparse.Namespace) -> int:
    from .partial import cut

    cut(options.datalist, options.share, options.out)
    return 0


def _join(options: argparse.Namespace) -> int:
    from .join import join

    join(options.datalists, options.out)
    return 0


def _share(text: str) -> Fraction:
    share = _fraction(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a share from 0 to below 1")
    return share


def _fraction(text: str) -> Fraction:
    try:
        return Fraction(text if text.isascii() and len(text) < 20 and "e" not in text.lower() else "")
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number such as 0.25 or 1/4") from error


def _share_of_text(text: str) -> Fraction:
    share = _fraction(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a share above 0, up to 1")
    return share


def _prepare(options: argparse.Namespace) -> int:
    prepare: Callable[..., None] = import_module(f"tools.prepare.{options.name}").prepare
    own = {name: getattr(options, name) for name in ("sequence", "published") if hasattr(options, name)}
    prepare(options.source, options.out, **own)
    return 0


def _folder(options: argparse.Namespace) -> int:
    from ._options import Options, parse_names
    from .folder import prepare

    faults = prepare(
        options.source,
        options.out,
        Options(
            names=parse_names(options.name),
            images=options.images,
            labels=options.labels,
            sentences=options.sentences,
            channel=options.channel,
            ignore=frozenset(options.ignore),
            patient=options.patient,
            validation=options.validation,
            test=options.test,
            seed=options.seed,
            regions=tuple(options.region),
        ),
    )
    for fault in faults:
        print(f"left out: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
