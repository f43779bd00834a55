"""Command line: `python -m tools.evaluate --pred DIR --ref DIR --out DIR`."""

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from common.terminal import printable
from tools.command_line import Parser, says_input_errors

if TYPE_CHECKING:
    from common.metrics.segmentation import Row

    from .measuring import CaseResult, Plan
    from .overlays import Overlay

WORST = 3  # overlays a label


@says_input_errors(exit_code=2)
def main(arguments: list[str] | None = None) -> int:
    """Evaluate; 0: all was measured, 1: some was not (see the problems), 2: nothing could be."""
    parser = Parser(
        prog="python -m tools.evaluate",
        description="Compare two folders of label maps (NIfTI, NRRD, MHA, PNG) whose files have the same "
        "names; ct_seg, which inference writes for ct, belongs to ct. "
        "Prints the main numbers: of all cases, where a miss counts; of the cases that have the target; and "
        "how often an absent target got an empty prediction. Writes metrics.csv (a row for each case and "
        "label), slices.csv (a row for each axial slice with the label), summary.json and report.html. PNG "
        "files have no millimetres: their distances and areas are in pixels, and the columns say so. Colour "
        "PNG files without a partner are previews, and are left out.",
        epilog="Exit code: 0 everything was measured, 1 some files or labels were not, 2 nothing was.",
    )
    parser.add_argument("--pred", type=Path, required=True, help="folder of the predicted label maps")
    parser.add_argument("--ref", type=Path, required=True, help="folder of the reference label maps")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; created if missing")
    parser.add_argument(
        "--labels",
        type=Path,
        help='JSON with {"labels": {"1": "liver", "2": ["liver", "liver tumour"]}}, as a datalist; a name '
        "means the voxels of all of its numbers",
    )
    parser.add_argument(
        "--boundary",
        nargs="+",
        choices=("surfel", "voxel"),
        default=["surfel"],
        help="what a surface is: area-weighted corners (default), border voxels, or both",
    )
    parser.add_argument(
        "--tolerance-mm", nargs="+", type=float, default=[1.0, 2.0, 3.0], help="of the NSD (default 1 2 3)"
    )
    parser.add_argument(
        "--penalty-mm",
        type=float,
        help="distance that a missed or false label counts as; without it, they are counted beside the mean",
    )
    parser.add_argument(
        "--instances",
        action="store_true",
        help="also match the connected parts of each label, such as single lesions: precision, recall and F1",
    )
    parser.add_argument(
        "--slice-distances",
        action="store_true",
        help="also measure surface distances and NSD in the plane of each axial slice",
    )
    parser.add_argument(
        "--workers", type=int, default=min(4, os.cpu_count() or 1), help="cases at a time (default: up to 4)"
    )
    options = parser.parse_args(arguments)
    problems = _evaluate(options)
    for problem in problems:
        print(f"problem: {printable(problem)}", file=sys.stderr)
    print(f"wrote {options.out / 'report.html'}, metrics.csv, slices.csv and summary.json")
    return 1 if problems else 0


def _evaluate(options: argparse.Namespace) -> list[str]:
    """Measure, write and return the problems."""
    from tqdm import tqdm  # here and below, so that --help answers at once

    from common.data import load_label_values
    from common.files import NOT_UTF8, atomic_path
    from common.metrics import summarise, write_rows, write_summary

    from .measuring import Plan, collect, measure_pairs
    from .pairs import find_pairs, named_otherwise
    from .report import write_html
    from .tables import LEGEND, as_text, main_tables

    if options.workers < 1:
        raise InputError(f"--workers: found {options.workers}, expected a number from 1.")
    penalty_mm = options.penalty_mm
    if penalty_mm is not None and not 0 <= penalty_mm < math.inf:
        raise InputError(
            f"--penalty-mm: found {penalty_mm:g}, expected a distance in mm from 0; give another."
        )
    labels = load_label_values(options.labels) if options.labels else None
    plan = Plan(labels, options.boundary, options.tolerance_mm, options.instances, options.slice_distances)
    pairs, problems = find_pairs(options.pred, options.ref)
    problems += named_otherwise(pairs, labels or {})
    measured = measure_pairs(pairs, plan, workers=options.workers)
    results = list(tqdm(measured, desc="evaluate", total=len(pairs), unit="case"))
    rows, found = collect(results, plan)
    problems += found
    if not rows.volumes:
        raise InputError(f"--pred {options.pred}: no case could be measured: {'; '.join(problems)}")
    summary = {
        "problems": problems,
        **summarise(rows.volumes, penalty_mm=options.penalty_mm),
        "slices": summarise(rows.slices, penalty_mm=options.penalty_mm),
    }
    write_rows(options.out / "metrics.csv", rows.volumes)
    write_rows(options.out / "slices.csv", rows.slices)
    write_summary(options.out / "summary.json", summary)
    html = write_html(summary, rows.volumes, _overlays(results, rows.volumes, plan), problems)
    with atomic_path(options.out / "report.html") as temporary:
        temporary.write_text(html, "utf-8", NOT_UTF8)
    print("\n\n".join([*(as_text(table) for table in main_tables(summary)), LEGEND]))
    return problems


def _overlays(results: list["CaseResult"], rows: list["Row"], plan: "Plan") -> list["Overlay"]:
    """Figures of the worst cases of every label."""
    from .overlays import draw, worst_rows

    pairs = {result.pair.case: result.pair for result in results}
    labels = plan.labels or {}
    worst = [
        row
        for label in dict.fromkeys(str(r["label"]) for r in rows)
        for row in worst_rows(rows, label, WORST)
    ]
    return [draw(pairs[str(r["case"])], labels.get(str(r["label"])) or [int(r["label"])], r) for r in worst]


if __name__ == "__main__":
    sys.exit(main())
