"""Datalists: what a number, a row or a file does not say is never made up."""

from pathlib import Path

import numpy as np
import pytest

from common.data.datalist import load_datalist, load_label_values
from common.data.evaluation_cases import EvaluationCases
from common.data.volumes import read_labels
from tests.hard_input.datalists import organ_slabs, write_set
from tools.prepare.join import join

FULL = {"1": "liver", "2": "spleen", "3": "pancreas"}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("names", "item"),
    [
        ({"1": "liver"}, {}),
        ({"3": "liver"}, {}),
        ({"2": "liver", "5": ["liver", "liver tumour"]}, {}),
        ({"1": "liver"}, {"targets": []}),
        ({"1": "liver"}, {"targets": [], "absent": ["spleen"]}),
        ({"1": "liver"}, {"absent": ["spleen", "pancreas"]}),
    ],
)
def test_an_unnamed_number_is_background_after_joining(
    tmp_path: Path, first: bool, names: dict[str, object], item: dict[str, object]
) -> None:
    """Of each organ the joined datalist finds in the case what its own datalist found: here, or nothing."""
    own = write_set(tmp_path / "own", names, organ_slabs([1, 2, 3, 4, 5]), **item)
    full = write_set(tmp_path / "full", FULL, organ_slabs([1, 2, 3]))
    joined = join([own, full] if first else [full, own], tmp_path / "joined")
    before, after = load_label_values(own), load_label_values(joined)
    (case,) = [case for case in load_datalist(joined, "training") if case.case.startswith("own-")]
    (its,) = load_datalist(own, "training")
    assert case.targets == its.targets
    assert case.label is not None
    assert its.label is not None
    written, stored = read_labels(case.label).slices, read_labels(its.label).slices
    for organ, numbers in after.items():
        np.testing.assert_array_equal(np.isin(written, numbers), np.isin(stored, before.get(organ, ())))
    if case.targets:
        EvaluationCases([case], labels=after, absent=True)[0]  # nothing that is absent is found in it
