"""The study of sentences: what is asked, how answers are counted, and the run through a bundle's own code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.data.label_maps import read_label_map
from common.data.volumes import read_volume
from common.errors import InputError
from common.text.expressions import Fact, Lesion
from tools.phantom.dataset import SIZES, Split, write_set
from tools.phantom.lesion_slices import LESION_IMAGES
from tools.study import referring, referring_scores
from tools.study.referring_scores import SWAPPED

LESIONS = (
    Lesion(40, 60, 30, "II", "cyst", "hypodense", "none", "sharp", "round"),
    Lesion(90, 64, 12, "VIII", "haemangioma", "hyperdense", "homogeneous", "sharp", "lobulated"),
    Lesion(130, 120, 20, "VI", None, "hypodense", "none", "sharp", "oval"),
)
IMAGE = referring.AskedImage((), LESIONS)
NETWORK = '''
"""A network whose masks are known: what is brighter than 0.7, or without a word what is darker than 0.3."""
import torch
from scripts.common.data.framing import Framing
from scripts.common.networks.base import TextSegmenter
from scripts.common.networks.guidance import Guidance

class Bright(TextSegmenter):
    def __init__(self):
        framing = Framing(crop="whole", mirrored=True)
        super().__init__(image_size=128, default_prompt="the lesion", framing=framing)
        self.sign = torch.nn.Parameter(torch.ones(1))
    def encode_image(self, image):
        return image
    def encode_text(self, prompts):
        return Guidance(torch.ones(len(prompts), 1, 1), torch.ones(len(prompts), 1, dtype=torch.bool))
    def decode(self, image, guidance):
        image = image.repeat_interleave(guidance.count // len(image), dim=0)
        return 0.3 - image if guidance.tokens is None else self.sign * (image - 0.7)
'''


def image_counts(both: list[list[int]]) -> np.ndarray:
    """(N, N, 3) of masks and lesions of 10 pixels each."""
    overlap = np.array(both)
    return np.stack([np.full_like(overlap, 10), np.full_like(overlap, 10), overlap], axis=-1)


def test_the_lesion_taken_is_the_one_that_is_overlapped_most() -> None:
    counts = image_counts([[6, 2], [6, 2]])
    assert referring_scores.taken(counts) == [True, False]
    assert referring_scores.taken(image_counts([[0, 0], [4, 4]])) == [
        False,
        False,
    ]  # nothing, and undecided
    assert referring_scores.own_dice(counts) == pytest.approx([0.6, 0.2])


def test_scores_of_known_masks() -> None:
    counts = [
        {"sentence": image_counts([[9, 0], [1, 8]])},
        {"sentence": image_counts([[9, 0, 0], [9, 0, 0], [0, 0, 7]])},
    ]
    facts = [
        [(Fact("size", "largest"),), (Fact("place", "leftmost"),)],
        [
            (Fact("size", "largest"),),
            (Fact("size", "smallest"), Fact("lobe", "left")),
            (Fact("lobe", "right"),),
        ],
    ]
    found = referring_scores.score(counts, facts, ["a", "b"])
    assert found["ways"]["sentence"]["right"]["mean"] == pytest.approx(4 / 5)
    assert found["ways"]["sentence"]["dice"]["mean"] == pytest.approx((0.9 + 0.8 + 0.9 + 0.0 + 0.7) / 5)
    assert found["ways"]["sentence"]["images"]["mean"] == 0.5  # all of the first, not of the second
    # Of 1 + 3 pairs both sentences are right for 1 + 1.
    assert found["ways"][SWAPPED]["right"]["mean"] == pytest.approx(2 / 4)
    assert found["ways"][SWAPPED]["right"]["n"] == 4
    shares = {name: row["mean"] for name, row in found["right_by_attribute"].items()}
    assert shares == pytest.approx({"size": 2 / 3, "place": 1.0, "lobe": 0.5})


def test_a_group_is_taken_where_its_lesions_alone_are_covered() -> None:
    """Masks of 20 pixels, lesions of 10; half of a lesion is not enough."""
    covered = {
        "both": [9, 8, 0],
        "half of one": [9, 5, 0],
        "another as well": [9, 8, 6],
        "others": [0, 9, 10],
    }
    counts = [np.array([[20, 10, both] for both in pixels]) for pixels in covered.values()]
    groups = [("shape", (0, 1)), ("shape", (0, 1)), ("kind", (0, 1)), ("lobe", (1, 2))]
    found = referring_scores.score_groups({"group": counts, "emptied": counts[:1] * 4}, groups, list("abcd"))
    right, dice = (found["ways"]["group"][name] for name in ("right", "dice"))
    assert (right["mean"], right["n"]) == (2 / 4, 4)
    assert dice["mean"] == pytest.approx(np.mean([34 / 40, 28 / 40, 34 / 40, 38 / 40]))
    assert found["ways"]["emptied"]["right"]["mean"] == 3 / 4  # but for the last, whose members are others
    shares = {name: row["mean"] for name, row in found["right_by_attribute"].items()}
    assert shares == {"shape": 0.5, "kind": 0.0, "lobe": 1.0}


def test_a_group_that_is_asked_for_is_several_of_the_lesions_and_not_all() -> None:
    drawn = [referring.ask_group(IMAGE, number, seed=0) for number in range(200)]
    assert drawn == [referring.ask_group(IMAGE, number, seed=0) for number in range(200)]
    found = {(group.attribute, group.members) for group in drawn if group}
    # Not the border, which all three share, nor a kind or a shape, which one has alone.
    assert found == {("density", (0, 2)), ("enhancement", (0, 2)), ("lobe", (1, 2))}
    alike = referring.AskedImage((), (LESIONS[0], LESIONS[0]))
    assert referring.ask_group(alike, 0, seed=0) is None


def test_intervals_are_over_patients() -> None:
    """Two patients of ten images each, one always right and one never: nothing lies between 0 and 1."""
    right, wrong = image_counts([[9, 0], [0, 9]]), image_counts([[0, 9], [9, 0]])
    counts = [{"sentence": right}] * 10 + [{"sentence": wrong}] * 10
    facts = [[(Fact("size", "largest"),), (Fact("size", "smallest"),)]] * 20
    found = referring_scores.score(counts, facts, ["a"] * 10 + ["b"] * 10)
    for numbers in (*found["ways"]["sentence"].values(), found["right_by_attribute"]["size"]):
        assert numbers["ci95"][0] == 0
        assert numbers["ci95"][1] >= 0.9
    assert found["ways"][SWAPPED]["right"]["ci95"] == [0, 1]


def test_every_way_asks_for_every_lesion() -> None:
    asked = referring.ask(IMAGE, 3, seed=0)
    assert asked == referring.ask(IMAGE, 3, seed=0)
    assert asked != referring.ask(IMAGE, 4, seed=0)
    assert all(len(texts) == 3 for texts in asked.values())
    assert asked[referring.EMPTIED] == ["the lesion"] * 3
    assert asked[referring.WORDLESS] == [None] * 3
    for name in ("sentence", referring.PARAPHRASED, referring.MISSPELT, "report"):
        assert len(set(asked[name])) == 3
    for text, slipped in zip(asked["sentence"], asked[referring.MISSPELT], strict=True):
        assert slipped != text
        assert abs(len(str(slipped)) - len(str(text))) <= len(str(text).split())
    assert not set(asked["sentence"]) & set(asked[referring.PARAPHRASED])


def write_bundle(folder: Path) -> Path:
    """A bundle around `NETWORK`, its code that of the repository."""
    root = Path(__file__).parents[3]
    (folder / "configs").mkdir(parents=True)
    (folder / "scripts").mkdir()
    source = root / "bundles" / "lsms_lesion" / "scripts" / "__init__.py"
    code = source.read_text().replace("__file__", repr(str(source)))
    (folder / "scripts" / "__init__.py").write_text(code)
    (folder / "bright.py").write_text(NETWORK)
    config = {
        "imports": ["$import sys"],
        "bundle_root": ".",
        "device": "cpu",
        "network": {"_target_": "bright.Bright"},
        "inferer": {"_target_": "scripts.common.inference.VolumeInferer"},
        "initialize": ["$sys.path.insert(0, @bundle_root)"],
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    return folder


def test_counts_of_a_bundle_whose_masks_are_known(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    write_set(data, split=Split(1, 0, 1), seed=5, size=SIZES["small"], kind=LESION_IMAGES)
    output = tmp_path / "results.json"
    bundle = write_bundle(tmp_path / "bright")
    found = referring.run(bundle, data, section="test", seed=0, device=None, checkpoint=None, output=output)
    assert json.loads(output.read_text()) == found

    images = referring.load_images(data / "datalist.json", "test")
    dice = []
    for image in images:
        item = image.items[0]
        hu = read_volume(item.image).slices[item.slice_index]
        labels = read_label_map(item.label).slices[item.slice_index]
        bright = hu > -160 + 0.7 * 400  # of the window from -160 to 240
        masks = [np.isin(labels, item.lesions) for item in image.items]
        dice += [2 * np.sum(bright & mask) / (np.sum(bright) + np.sum(mask)) for mask in masks]
    for name in ("sentence", "report", referring.PARAPHRASED, referring.EMPTIED):
        assert found["ways"][name]["dice"]["mean"] == pytest.approx(np.mean(dice))
    # One mask for all words takes one lesion of an image at most, and follows no swap.
    assert found["ways"]["sentence"]["right"]["mean"] <= len(images) / found["lesions"]
    assert found["ways"][SWAPPED]["right"]["mean"] == 0
    assert (
        found["ways"][referring.WORDLESS]["dice"]["mean"] != found["ways"][referring.EMPTIED]["dice"]["mean"]
    )
    # The network hears no words: a group is found as the emptied sentence finds it.
    ways = found["groups"]["ways"]
    assert ways[referring.GROUP] == ways[referring.EMPTIED]
    asked = [referring.ask_group(image, number, 0) for number, image in enumerate(images)]
    dice = []
    for image, group in zip(images, asked, strict=True):
        if group is not None:
            item = image.items[0]
            bright = read_volume(item.image).slices[1] > -160 + 0.7 * 400
            labels = read_label_map(item.label).slices[1]
            meant = np.isin(labels, [image.items[index].lesions[0] for index in group.members])
            dice.append(2 * np.sum(bright & meant) / (np.sum(bright) + np.sum(meant)))
    assert ways[referring.GROUP]["dice"]["mean"] == pytest.approx(np.mean(dice))
    table = capfd.readouterr().out
    assert f"{found['lesions']} lesions in {len(images)} images of 1 patients (test)" in table
    assert "| sentence, swapped | 0.000 | - | - |" in table
    assert f"{len(dice)} sentences that mean several lesions of an image, not all" in table
    every = referring.load_images(data / "datalist.json", "training")  # has items of groups, too
    assert all(len({item.lesions for item in p.items}) == len(p.items) for p in every)


ATTRIBUTES = [{"x_mm": 9.0, "y_mm": 9.0, "diameter_mm": 9.0}, {"x_mm": 9.0, "y_mm": 9.0, "diameter_mm": 5.0}]


def write_images(folder: Path, *items: dict[str, Any]) -> Path:
    """A datalist of one image with lesions of its own."""
    common = {"prompts": ["the lesion"], "patient": "p"}
    (folder / "datalist.json").write_text(json.dumps({"test": [{**common, **item} for item in items]}))
    pixels = np.full((40, 60), 40, np.uint8)
    pixels[4:12, 4:16], pixels[20:24, 40:50] = 240, 10
    Image.fromarray(pixels).save(folder / "image.png")
    for name, mask in (("bright", pixels == 240), ("dark", pixels == 10)):
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"{name}.png")
    return folder / "datalist.json"


def test_each_lesion_may_have_a_label_map_of_its_own(tmp_path: Path) -> None:
    """No `lesion` and no `case`: as the data's layout says, all of the label map is meant."""
    two = [
        {"image": "image.png", "label": f"{name}.png", "case": name, "attributes": attributes}
        for name, attributes in zip(("bright", "dark"), ATTRIBUTES, strict=True)
    ]
    write_images(tmp_path, *two)
    output = tmp_path / "results.json"
    bundle = write_bundle(tmp_path / "bundle")
    found = referring.run(
        bundle, tmp_path, section="test", seed=0, device=None, checkpoint=None, output=output
    )
    # With words all that is bright is found, so one of two; without, all that is dark: the other.
    for name in ("sentence", referring.WORDLESS):
        assert found["ways"][name]["right"]["mean"] == 0.5
    assert found["patients"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [{"case": "a-1"}],
            'the case "a-1" has no "attributes", expected those of its lesion; this study reads',
        ),
        ([{"attributes": ATTRIBUTES[0]}], '"test" has 1 images and none with two lesions, expected some'),
        ([{"attributes": {"x": 1}}], "image-1: .* expected the attributes x_mm, y_mm, diameter_mm, segment"),
        ([], '"test" has 0 images and none with two lesions'),
    ],
)
def test_data_of_which_nothing_can_be_asked_is_refused(
    tmp_path: Path, changes: list[dict[str, Any]], message: str
) -> None:
    item = {"image": "image.png", "label": "bright.png", "lesion": 1}
    datalist = write_images(tmp_path, *({**item, **change} for change in changes))
    with pytest.raises(InputError, match=message):
        referring.load_images(datalist, "test")
    with pytest.raises(InputError, match='the section "validation" is missing'):
        referring.load_images(datalist, "validation")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no configs/inference\.json in it, expected the folder of a"):
        referring._answer(tmp_path, [], [], device=None, checkpoint=None)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys, tools.study.__main__ as study\n"
        "try: study.main(['referring', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
