"""How often masks' words are the published ones: on made-up masks, and on Kvasir-SEG's."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import InputError
from tools.study.__main__ import main
from tools.study.agree import has_lone_corner, run

KVASIR = Path(__file__).parents[4] / "shared/data/endo_kvasir_seg"


def test_made_up_masks_are_counted(tmp_path, capsys):
    mask = np.zeros((90, 90), np.uint8)
    mask[40:50, 40:50] = 255
    speck = mask.copy()
    speck[0, 0] = 255
    two = "two tiny, small white round polyp, located in top left, center of the image"
    one = "one small white round polyp, located in center of the image"
    records = []
    for name, pixels, text in (("a", mask, one), ("b", speck, two), ("c", mask, two)):
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "masks" / f"{name}.png")
        prompts = {
            "p3": "white round polyp",
            "p5": text.split(", located")[0],
            "p6": text,
        }
        records.append({"mask_name": f"{name}.png", "prompts": prompts})
    (tmp_path / "anns").mkdir()
    (tmp_path / "anns" / "val.json").write_text(json.dumps(records))
    assert main(["agree", "--source", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    # the speck is 1 of 8,100 pixels: above 1/10,000 of the image, so both rules count it
    assert "| clean | 2/3 | 2/3 | 2/3 |" in said
    assert "| published | 2/3 | 2/3 | 2/3 |" in said
    assert "1 masks have a lone pixel at (0, 0)" in said


def test_a_lone_corner_has_no_neighbours_beside_it():
    mask = np.zeros((5, 5), np.uint8)
    assert not has_lone_corner(mask)
    mask[0, 0] = mask[1, 1] = 255
    assert has_lone_corner(mask)
    mask[0, 1] = 255
    assert not has_lone_corner(mask)


def test_a_folder_without_prompts_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"found no mask in masks/ that anns/.* has prompts of, expected Kvasir-SEG"
    ):
        run(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not KVASIR.is_dir(), reason="NO ../shared/data: published prompts not compared")
def test_all_360_original_masks(capsys):
    assert run(KVASIR) == {
        "clean": {"number": 317, "size": 353, "location": 242},
        "published": {"number": 360, "size": 360, "location": 360},
    }
    assert "43 masks have a lone pixel at (0, 0)" in capsys.readouterr().out
