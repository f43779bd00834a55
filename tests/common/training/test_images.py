"""Drawings of validation cases: the right slice, the masks where they are, the file's own pixels."""

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from ignite.engine import Engine
from PIL import Image

from common.data.evaluation_cases import EvaluationCase
from common.errors import InputError
from common.inference.segmentation import Segmentation
from common.text.prompts import Prompt
from common.training.images import DrawnSlice, ValidationImages, draw, drawn_slices
from tests.common.training.parts import (
    Tiny,
    answer,
    image_cases,
    volume_cases,
    write_images,
    write_volumes,
)

WINDOW = (-160.0, 240.0)


def moved(asked: EvaluationCase) -> Segmentation:
    """Every target, two pixels further: own masks that are not the truth."""
    masks = [np.roll(target.region.mask(), 2, axis=2) for target in asked.targets]
    return answer(masks, asked.prompts)


def rows_of(asked: EvaluationCase) -> list[DrawnSlice]:
    return drawn_slices(asked, moved(asked), window=WINDOW)


def test_a_volume_has_a_row_a_prompt_on_the_slice_where_its_target_is_largest(tmp_path: Path) -> None:
    asked = volume_cases(write_volumes(tmp_path))[0]
    masks = [target.region.mask() for target in asked.targets]
    masks[0][1, :3, :3] = True  # as large as elsewhere, and nine pixels
    regions = [
        replace(target.region, labels=mask, values=None)
        for target, mask in zip(asked.targets, masks, strict=True)
    ]
    targets = [replace(target, region=region) for target, region in zip(asked.targets, regions, strict=True)]
    asked = replace(asked, targets=tuple(targets))
    rows = rows_of(asked)
    assert [row.title for row in rows] == ["liver, slice 1", "spleen, slice 0"]
    for row, mask, index in zip(rows, masks, (1, 0), strict=True):
        np.testing.assert_array_equal(row.image, asked.image.slices[index])
        np.testing.assert_array_equal(row.truth, mask[index])
        np.testing.assert_array_equal(row.prediction, np.roll(mask[index], 2, axis=1))
        assert row.grey == WINDOW
    figure = draw(rows)
    assert [axes.get_title() for axes in figure.axes][:3] == ["liver, slice 1", "truth", "prediction"]
    for axes, mask in zip(figure.axes[1:3], (rows[0].truth, rows[0].prediction), strict=True):
        np.testing.assert_array_equal(np.asarray(axes.images[1].get_array())[..., 3] > 0, mask)


def test_overlapping_prompts_are_drawn_with_their_own_masks(tmp_path: Path) -> None:
    asked = volume_cases(write_volumes(tmp_path))[0]
    mask = asked.targets[0].region.mask()
    rows = drawn_slices(asked, answer([mask, mask], asked.prompts), window=WINDOW)
    assert rows[0].prediction.sum() == 7 * 7
    np.testing.assert_array_equal(rows[1].prediction, mask[0])


def test_a_slice_that_was_asked_alone_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    asked = volume_cases(write_volumes(tmp_path))[0]
    targets = tuple(
        replace(target, region=replace(target.region, values=(), plane=3)) for target in asked.targets
    )
    assert rows_of(replace(asked, slice_index=3, targets=targets))[0].title == "liver, slice 3"


def test_pixels_keep_their_shape_and_no_text_is_code(tmp_path: Path) -> None:
    asked = volume_cases(write_volumes(tmp_path))[0]
    image = replace(asked.image, spacing_mm=(1.0, 3.0, 2.0))
    prompts = (Prompt("$1+1$", "sum", 1), asked.prompts[1])
    row = rows_of(replace(asked, image=image, prompts=prompts))[0]
    assert (row.title, row.aspect) == ("$1+1$, slice 1", 1.5)
    axes = draw([row]).axes[0]
    assert not axes.title.get_parse_math()
    assert axes.get_aspect() == 1.5


@pytest.mark.parametrize("colour", [False, True])
def test_a_2d_image_is_drawn_in_its_own_pixels_and_colours(tmp_path: Path, colour: bool) -> None:
    asked = image_cases(write_images(tmp_path, ["x"], colour=colour))[0]
    (row,) = rows_of(asked)
    stored = np.asarray(Image.open(tmp_path / "x_image.png"))
    np.testing.assert_array_equal(row.image, stored)
    assert (row.title, row.grey) == ("the $left$ lesion of x", (0.0, 255.0))
    np.testing.assert_array_equal(row.truth, np.asarray(Image.open(tmp_path / "x_label.png")) > 0)
    figure = draw([row])
    np.testing.assert_array_equal(np.asarray(figure.axes[0].images[0].get_array()), stored)
    for axes in figure.axes[1:]:
        below, above = axes.images
        assert list(below.get_extent()) == list(above.get_extent()) == [-0.5, 29.5, 19.5, -0.5]


def test_the_first_cases_of_every_epoch_are_drawn(tmp_path: Path) -> None:
    cases = image_cases(write_images(tmp_path, ["x", "y", "z"]))
    engine = Engine(lambda _engine, asked: {"label": asked, "pred": moved(asked)})
    engine.network = Tiny()  # type: ignore[attr-defined]
    ValidationImages(output_dir=tmp_path / "out", cases=2).attach(engine)
    ValidationImages(output_dir=tmp_path / "none", cases=0).attach(engine)
    engine.run([cases[index] for index in range(3)], max_epochs=2)
    files = sorted((tmp_path / "out" / "images").iterdir())
    assert [file.name for file in files] == [
        f"{case}_epoch_{epoch:05d}.png" for case in "xy" for epoch in (1, 2)
    ]
    assert matplotlib.image.imread(files[0])[..., :3].std() > 0.05  # and something is to be seen
    assert list((tmp_path / "out").glob("events.out.tfevents.*"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="images: found -1, expected 0 or more cases to draw"):
        ValidationImages(output_dir=tmp_path, cases=-1)
