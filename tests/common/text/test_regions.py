"""What no scan of a region shows, by anatomy."""

import pytest

from common.errors import InputError
from common.text.vocabulary import REGIONS, Organ, Vocabulary

VOCABULARY = Vocabulary.load()


def absent(*regions: str) -> set[str]:
    return {organ.name for organ in VOCABULARY.absent_from(regions)}


def test_a_scan_of_the_head_and_neck_reaches_the_upper_chest_and_no_abdomen() -> None:
    missing = absent("head and neck")
    assert missing >= {
        *("liver", "hepatic vessels", "gallbladder", "spleen", "pancreas", "stomach", "duodenum"),
        *("left kidney", "right kidney", "left adrenal gland", "right adrenal gland", "prostate"),
        "urinary bladder",
    }
    assert not missing & {
        *("lungs", "aorta", "trachea", "esophagus", "spinal cord", "vertebrae", "brainstem", "mandible"),
        *("larynx", "left parotid gland", "right parotid gland", "hippocampus"),
    }


@pytest.mark.parametrize("region", ["abdomen", "pelvis"])
def test_a_scan_below_the_chest_shows_nothing_of_the_head(region: str) -> None:
    assert absent(region) >= {"brainstem", "hippocampus", "mandible", "larynx", "left parotid gland"}
    # The cord ends at the first lumbar vertebrae, and scans of the pelvis often begin there.
    assert not absent(region) & {"spinal cord", "vertebrae", "aorta", "inferior vena cava", "prostate"}


def test_only_the_pelvis_is_surely_without_heart_and_lungs() -> None:
    chest = {"heart", "left atrium", "lungs", "trachea"}
    assert chest <= absent("pelvis")
    for region in ("head and neck", "thorax", "abdomen"):
        assert not chest & absent(region)


def test_every_region_shows_the_organs_of_its_own_group() -> None:
    for region in REGIONS:
        assert not absent(region) & {organ.name for organ in VOCABULARY.group(region)}


def test_more_regions_have_fewer_absent_organs_and_all_have_none() -> None:
    assert absent("thorax", "abdomen") == absent("thorax") & absent("abdomen") == set()
    assert absent("head and neck", "pelvis") == absent("head and neck") & absent("pelvis")
    assert absent(*REGIONS) == set()


def test_an_organ_of_no_region_is_not_said_to_be_absent() -> None:
    names = ("thymus", "spleen")
    organs = [Organ(name, None, (), (), ("abdomen",) * (name == "spleen"), (name,), "") for name in names]
    own = Vocabulary(organs, {"abdomen": ("spleen",)})
    assert [organ.name for organ in own.absent_from(["head and neck"])] == ["spleen"]


@pytest.mark.parametrize(("regions", "found"), [(("legs", "pelvis"), "legs, pelvis"), ((), "none")])
def test_another_region_or_none_is_refused(regions: tuple[str, ...], found: str) -> None:
    with pytest.raises(InputError) as error:
        VOCABULARY.absent_from(regions)
    assert str(error.value) == (
        f"region: found {found}, expected some of head and neck, thorax, abdomen, pelvis; choose from these."
    )
