"""Command line of `python -m tools.study`: experiments whose tables stand in the READMEs."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tools.command_line import Parser, says_input_errors

TUNED = (
    "The image-only opponent first has four settings tried, each for a third of the time, on validation "
    "patients, never the test's; the best one is trained as all arms are, and once until it no longer gains. "
    "What the work folder has the results of is not trained again."
)


@says_input_errors(exit_code=1)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one study; returns the exit code."""
    parser = Parser(
        prog="python -m tools.study",
        description="Run the experiments behind the tables of the bundles' results pages.",
    )
    studies = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    _add_comparison(
        studies,
        "openkbp",
        source="OpenKBP as the challenge gives it, or what tools.prepare openkbp wrote",
        minutes=20.0,
        help="do words cost accuracy? Med-VLM compact beside image-only networks on real head-and-neck CT",
        description="Train Med-VLM compact without words, with names and with descriptions, MONAI's UNet "
        "with searched settings, and DynUNet as nnU-Net plans it, each for the same time in turns, on the "
        "same slices of OpenKBP; segment the test patients through the NIfTI path that users take; print "
        "Dice and distances in mm with bootstrap intervals. " + TUNED,
        arms=True,
    )
    _add_comparison(
        studies,
        "qata",
        source="annotation.json, train/, valid/",
        minutes=10.0,
        help="does LSMS gain by its sentences? Beside no text, wrong text and an image-only UNet",
        description="Train LSMS (on a CPU compact, on a GPU paper_t) with its sentences, without text and "
        "with shuffled sentences, and MONAI's image-only UNet, each for the same time in turns, on the chest "
        "X-rays of QaTa-COV19; print Dice and IoU of the test images with bootstrap intervals. " + TUNED,
    )
    _add_comparison(
        studies,
        "polyps",
        source="HyperKvasir's segmented images, or what tools.prepare hyperkvasir wrote",
        minutes=20.0,
        help="what are a pretrained trunk and words worth on polyps? LSMS beside an image-only U-Net",
        description="Train LSMS compact by prompts of the levels P0, P1 and P6, and an image-only U-Net on "
        "the EfficientNet-Lite0 trunk with and without ImageNet's weights, each for the same time in turns, "
        "on Kvasir's 800 training images; print Dice and IoU of its 100 validation images with bootstrap "
        "intervals. " + TUNED,
    )
    _add_compact(studies)
    _add_polyp_unet(studies)
    _add_listen(studies)
    _add_referring(studies)
    _add_words(studies)
    _add_agree(studies)
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


def _add_comparison(
    studies: "argparse._SubParsersAction[Parser]",
    name: str,
    *,
    source: str,
    minutes: float,
    help: str,  # noqa: A002  # argparse's word for it
    description: str,
    arms: bool = False,
) -> None:
    """A study that trains networks for equal time: its module's `run` takes what these options say."""
    parser = studies.add_parser(name, help=help, description=description)
    add = parser.add_argument
    add("--source", type=Path, required=True, metavar="DIR", help=source)
    add("--work", type=Path, required=True, metavar="DIR", help="datalist, weights and results")
    add(
        "--minutes",
        type=float,
        default=minutes,
        help=f"training time of each network and seed (default {minutes:g})",
    )
    add(
        "--cap-minutes",
        type=float,
        help="longest training of the opponent's run until it no longer gains; 0: no such run (default: 4 "
        "times the minutes)",
    )
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default 0 1 2")
    add("--device", default="cpu", help="cpu (default) or cuda")
    if arms:
        add(
            "--arms",
            nargs="+",
            metavar="NAME",
            help="some of names descriptions none unet dynunet (default all)",
        )

    def run(options: argparse.Namespace) -> None:
        # torch and MONAI: too slow to load for --help
        study = import_module(f"tools.study.{name}")
        cap = options.cap_minutes
        study.run(
            options.source,
            options.work,
            minutes=options.minutes,
            cap_minutes=4 * options.minutes if cap is None else cap,
            seeds=options.seeds,
            device=options.device,
            **({"arms": options.arms} if arms and options.arms else {}),
        )

    parser.set_defaults(run=run)


def _add_compact(studies: "argparse._SubParsersAction[Parser]") -> None:
    parser = studies.add_parser(
        "compact",
        help="which changes of Med-VLM compact pay on real CT? Neighbouring slices, windows, field of view",
        description="Train Med-VLM compact with one change at a time, each for the same time, on OpenKBP; "
        "print Dice and HD95 of the validation patients. What the work folder has the results of is not "
        "trained again.",
    )
    add = parser.add_argument
    add("--source", type=Path, required=True, metavar="DIR", help="what tools.prepare openkbp wrote")
    add("--work", type=Path, required=True, metavar="DIR", help="results")
    add("--minutes", type=float, default=6.0, help="training time of each network and seed (default 6)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default 0")
    add("--device", default="cpu", help="cpu (default) or cuda")

    def run(options: argparse.Namespace) -> None:
        from . import compact  # torch and MONAI: too slow to load for --help

        compact.run(
            options.source,
            options.work,
            minutes=options.minutes,
            seeds=options.seeds,
            changes=list(compact.CHANGES),
            device=options.device,
        )

    parser.set_defaults(run=run)


def _add_polyp_unet(studies: "argparse._SubParsersAction[Parser]") -> None:
    parser = studies.add_parser(
        "polyp_unet",
        help="how good is the image-only U-Net on the pretrained trunk, trained by a fixed recipe on polyps?",
        description="Train the image-only U-Net of the study polyps longer, with stronger augmentation, on "
        "Kvasir's 800 training images; print Dice of its 100 validation images. A killed run goes on.",
    )
    add = parser.add_argument
    add("--source", type=Path, required=True, metavar="DIR", help="what tools.prepare hyperkvasir wrote")
    add("--work", type=Path, required=True, metavar="DIR", help="state, weights and results")
    add("--minutes", type=float, default=45.0, help="processor time, of all threads together (default 45)")
    add("--seed", type=int, default=0, help="of weights and draws (default 0)")
    add("--device", default="cpu", help="cpu (default) or cuda")

    def run(options: argparse.Namespace) -> None:
        from .polyp_unet import run  # torch and MONAI: too slow to load for --help

        run(options.source, options.work, minutes=options.minutes, seed=options.seed, device=options.device)

    parser.set_defaults(run=run)


def _add_listen(studies: "argparse._SubParsersAction[Parser]") -> None:
    parser = studies.add_parser(
        "listen",
        help="does a bundle do what its prompts say? Synonyms, paraphrases, typos, swapped and absent organs",
        description="Segment the volumes of a datalist with a bundle, asking for every organ in many ways, "
        "and print how often the right organ came back. The bundle's engine runs through tools.infer.",
    )
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    add("--datalist", type=Path, required=True, metavar="JSON", help="volumes with label maps")
    add("--section", default="test", help="training, validation or test (default test)")
    add("--work", type=Path, required=True, metavar="DIR", help="masks and listen.json")
    add("--checkpoint", type=Path, metavar="FILE", help="default: the bundle's own")
    add("--presence-threshold", type=float, help="as for tools.infer (default: the bundle's own)")

    def run(options: argparse.Namespace) -> None:
        from .listen import run  # nibabel and metrics: too slow to load for --help

        run(
            options.bundle,
            options.datalist,
            options.section,
            options.work,
            checkpoint=options.checkpoint,
            presence_threshold=options.presence_threshold,
        )

    parser.set_defaults(run=run)


def _add_referring(studies: "argparse._SubParsersAction[Parser]") -> None:
    parser = studies.add_parser(
        "referring",
        help="does the mask follow the sentence? Phantoms with several lesions: words mean one, or some",
        description="Ask a bundle for every lesion of phantom images (tools.phantom --lesions) by "
        "sentences, their paraphrases, misspelt, swapped and emptied ones, reports and parts of them; print "
        "how often the right lesion was taken, and the Dice of the referred lesion.",
    )
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="such as bundles/lsms_lesion")
    add("--data", type=Path, required=True, metavar="DIR", help="what tools.phantom --lesions wrote")
    add("--output", type=Path, required=True, metavar="JSON", help="where the results go")
    add("--section", default="test", help="of the datalist (default test)")
    add("--checkpoint", type=Path, metavar="FILE", help="instead of the bundle's models/model.pt")
    add("--device", help="cpu or cuda (default: the bundle's choice)")
    add("--seed", type=int, default=0, help="of the choice of words (default 0)")

    def run(options: argparse.Namespace) -> None:
        from .referring import run  # MONAI: too slow to load for --help

        run(
            options.bundle,
            options.data,
            section=options.section,
            seed=options.seed,
            device=options.device,
            checkpoint=options.checkpoint,
            output=options.output,
        )

    parser.set_defaults(run=run)


def _add_words(studies: "argparse._SubParsersAction[Parser]") -> None:
    parser = studies.add_parser(
        "words",
        help="does the mask follow the words? Dice of every prompt's mask with every organ",
        description="Dice of the mask of every prompt of an inference with every organ of a reference.",
    )
    add = parser.add_argument
    add("--report", type=Path, required=True, metavar="JSON", help="<case>_seg.json of an inference")
    add("--reference", type=Path, required=True, metavar="FILE", help="label map of the same case")
    add("--datalist", type=Path, required=True, metavar="JSON", help="names of the reference's labels")

    def run(options: argparse.Namespace) -> None:
        from .words import run  # nibabel: too slow to load for --help

        run(options.report, options.reference, options.datalist)

    parser.set_defaults(run=run)


def _add_agree(studies: "argparse._SubParsersAction[Parser]") -> None:
    parser = studies.add_parser(
        "agree",
        help="do the words that masks give agree with the published prompts of Kvasir-SEG?",
        description="Describe the original masks of Kvasir-SEG by both rules and print how often number, "
        "size and location are those of the prompts that K. Poudel et al. published.",
    )
    parser.add_argument(
        "--source", type=Path, required=True, metavar="DIR", help="masks/ (JPEG) and anns/*.json of medvlsm"
    )

    def run(options: argparse.Namespace) -> None:
        from .agree import run  # scikit-image: too slow to load for --help

        run(options.source)

    parser.set_defaults(run=run)


if __name__ == "__main__":
    sys.exit(main())
