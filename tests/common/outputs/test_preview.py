"""The preview: which plane, which side, and millimetre-true shapes."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image

from common.data.images import read_image_2d
from common.outputs.preview import colours, legend_texts, views_of, write_preview
from common.text.prompts import Prompt
from tests.common import made_up

BALL = (Prompt("ball", "ball", 1),)


def segmentation(labels, spacing_mm, asked=BALL, *, own=None):
    """Of a label map, and of the prompts' own masks, by default what the label map has."""
    own = [labels == prompt.label for prompt in asked] if own is None else own
    return made_up.segmentation(asked, own, labels=labels, spacing_mm=spacing_mm)


def prompts(*names):
    return [Prompt(name, name, label) for label, name in enumerate(names, start=1)]


def coloured(preview):
    """Where an RGB preview is neither grey nor the yellow of the side letters, and above the legend."""
    rgb = preview[..., :3]
    grey = np.ptp(rgb, axis=-1) < 0.1
    yellow = (rgb[..., 0] > 0.3) & (abs(rgb[..., 0] - rgb[..., 1]) < 0.1) & (rgb[..., 2] < rgb[..., 0] - 0.1)
    mask = ~grey & ~yellow
    mask[int(0.87 * len(mask)) :] = False
    return mask


def blobs(mask):
    """(top, bottom, left, right) of the parts of a mask that gaps between columns separate."""
    columns = np.flatnonzero(mask.any(axis=0))
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 5) + 1)
    boxes = []
    for group in groups:
        rows = np.flatnonzero(mask[:, group].any(axis=1))
        boxes.append((rows[0], rows[-1], group[0], group[-1]))
    return boxes


@pytest.mark.parametrize("spacing", [(5.0, 1.0, 1.0), (1.0, 2.0, 0.5), (2.0, 0.7, 1.4)])
def test_a_ball_is_round_and_of_one_size_in_all_views_of(spacing, make_volume, tmp_path):
    shape = [round(80.0 / step) for step in spacing]
    centred = [(np.arange(n) + 0.5) * step - 40.0 for n, step in zip(shape, spacing, strict=True)]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*centred, indexing="ij")))
    labels = (radius < 20.0).astype(np.uint8)
    path = tmp_path / "ball.png"

    write_preview(path, make_volume(labels * 0, spacing), segmentation(labels, spacing), window=(-160, 240))

    boxes = blobs(coloured(imread(path)))
    assert len(boxes) == 3
    sides = [side for top, bottom, left, right in boxes for side in (bottom - top + 1, right - left + 1)]
    pixel_mm = 3 * 80.0 / (0.96 * 1500)  # three views of 80 mm side by side
    for side in sides:
        assert side * pixel_mm == pytest.approx(40.0, abs=2 * max(spacing))


def test_a_mask_that_lost_its_voxels_to_another_one_is_seen(make_volume, tmp_path):
    """Red takes a box, blue the same one and more; the label map has red alone. Where both are, they mix."""
    labels = np.zeros((1, 60, 60), np.uint8)
    labels[0, 20:40, 20:40] = 1
    wide = np.zeros(labels.shape, bool)
    wide[0, 20:40, 20:55] = True
    asked = [Prompt("a", "a", 1, (255, 0, 0)), Prompt("b", "b", 2, (0, 0, 255))]
    write_preview(
        tmp_path / "a.png",
        make_volume(np.full(labels.shape, -160), (1.0, 1.0, 1.0)),
        segmentation(labels, (1.0, 1.0, 1.0), asked, own=[labels == 1, wide]),
        window=(-160, 240),
    )
    rgb = imread(tmp_path / "a.png")[..., :3]
    flat = rgb.reshape(-1, 3)
    for colour in ((0.25, 0, 0.5), (0, 0, 0.5), (1, 0, 0), (0, 0, 1)):  # both, one, and the two outlines
        assert (abs(flat - colour).max(axis=1) < 0.02).sum() > 50, colour


def test_a_colour_image_has_its_own_colours_in_the_preview(tmp_path):
    """Four colours of one brightness, which grey values could not tell apart; the mask lies elsewhere."""
    patches = np.array([[[200, 40, 40], [20, 117, 40]], [[60, 60, 255], [86, 86, 86]]], np.uint8)
    pixels = patches.repeat(30, axis=0).repeat(30, axis=1)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    image = read_image_2d(tmp_path / "image.png")
    labels = np.zeros((1, 60, 60), np.uint8)
    labels[0, 28:32, 28:32] = 1
    write_preview(
        tmp_path / "preview.png", image, segmentation(labels, (1.0, 1.0, 1.0)), window=image.value_range
    )
    shown = imread(tmp_path / "preview.png")[..., :3].reshape(-1, 3) * 255
    for colour in patches.reshape(-1, 3):
        assert (abs(shown - colour).max(axis=1) < 1).mean() > 0.1, colour  # a quarter of the image each


def test_views_are_radiological_and_go_through_the_foreground(make_volume):
    """A mark at the patient's upper right front: left on top of every view, in its fullest planes."""
    labels = np.zeros((6, 8, 10), np.uint8)
    labels[5, 1, 2] = labels[5, 1, 3] = labels[5, 2, 2] = labels[4, 1, 2] = 1
    spacing = (3.0, 1.0, 2.0)
    views = views_of(make_volume(labels * 100, spacing), segmentation(labels, spacing))
    for view in views:
        np.testing.assert_array_equal(view.image, view.masks[0] * 100)
    axial, coronal, sagittal = (view.masks[0] for view in views)
    # rows: front to back (axial), head to foot (others); columns: right to left, or front to back
    assert axial[1, 2] == axial[1, 3] == axial[2, 2] == 1
    assert coronal[0, 2] == coronal[0, 3] == coronal[1, 2] == 1
    assert sagittal[0, 1] == sagittal[0, 2] == sagittal[1, 1] == 1
    assert [view.masks[0].sum() for view in views] == [3, 3, 3]
    assert [view.extent_mm for view in views] == [(8.0, 20.0), (18.0, 20.0), (18.0, 8.0)]
    assert [view.sides for view in views] == [("R", "L"), ("R", "L"), ("A", "P")]


@pytest.mark.parametrize(
    ("left", "in_mm", "text"),
    [
        (2, True, "a: 1.2 ml (label map: 0.3 ml)"),
        (2, False, "a: 8 pixels (label map: 2 pixels)"),
        (0, True, "a: 1.2 ml (label map: nothing)"),
        (8, True, "a: 1.2 ml"),
    ],
)
def test_the_legend_says_what_the_label_map_lost(left, in_mm, text):
    """Voxels of 150 mm3: eight are in the mask of the prompt, and in the label map as many as are `left`."""
    labels = np.zeros((1, 2, 4), np.uint8)
    labels.ravel()[:left] = 1
    found = segmentation(labels, (6.0, 5.0, 5.0), prompts("a"), own=[np.ones(labels.shape, bool)])
    assert legend_texts(found.results, in_mm=in_mm) == [text]


@pytest.mark.parametrize("length", [5, 60, 400])
@pytest.mark.parametrize("side", [64, 200])
def test_every_line_of_the_legend_lies_within_the_preview(length, side, make_volume, tmp_path, monkeypatch):
    """As matplotlib draws it, of seven prompts with names of wide letters."""
    drawn, save = [], Figure.savefig

    def watched(figure, *args, **options):
        drawn.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", watched)
    names = [(f"{number} " + "mow " * length)[:length] for number in range(7)]
    labels = np.zeros((1, side, side), np.uint8)
    write_preview(
        tmp_path / "a.png",
        make_volume(labels, (3.0, 1.0, 1.0)),
        segmentation(labels, (3.0, 1.0, 1.0), prompts(*names)),
        window=(-160, 240),
    )
    (figure,) = drawn
    figure.canvas.draw()
    (legend,) = figure.legends
    box, views = legend.get_window_extent(), [axes.get_window_extent() for axes in figure.axes]
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert 0 <= box.y0 < box.y1 <= min(view.y0 for view in views)
    said = " ".join(text.get_text() for text in legend.get_texts()).replace("\n", " ")
    assert all(name.strip() in said for name in names)


def test_what_rounds_to_nothing_is_still_told_from_nothing():
    """One voxel of a microlitre, which another prompt got."""
    labels = np.zeros((1, 1, 1), np.uint8)
    (lost,) = segmentation(labels, (1.0, 1.0, 1.0), prompts("a"), own=[labels == 0]).results
    assert lost.size(in_mm=True) == "0.0 ml (label map: nothing)"


def test_prompts_have_their_own_colours_or_different_ones():
    asked = [Prompt("a", "a", 3, (255, 0, 51)), Prompt("b", "b", 1), Prompt("c", "c", 200)]
    palette = colours(segmentation(np.zeros((1, 1, 1), np.uint8), (1, 1, 1), asked).results)
    assert palette[3, :3].tolist() == [1.0, 0.0, 0.2]
    assert len({tuple(palette[label]) for label in (1, 3, 200)}) == 3
    assert palette[0, 3] == 0.0


def test_a_dollar_sign_is_no_formula(make_volume, tmp_path):
    """matplotlib would typeset what stands between two, and refuse this."""
    volume = make_volume(np.zeros((1, 8, 8)))
    labels = np.zeros((1, 8, 8), np.uint8)
    found = segmentation(labels, (1, 1, 1), prompts(r"$\frac$", "a$b$c"))
    write_preview(tmp_path / "a.png", volume, found, window=(-160, 240))
    assert (tmp_path / "a.png").is_file()


def test_without_foreground_the_middle_planes_are_shown(make_volume, tmp_path):
    slices = np.zeros((5, 7, 9))
    slices[2], slices[:, 3], slices[:, :, 4] = 1, 2, 3
    labels = np.zeros(slices.shape, np.uint8)
    volume = make_volume(slices)
    nothing = segmentation(labels, (1, 1, 1), prompts("liver", "spleen"))
    axial, coronal, sagittal = views_of(volume, nothing)
    assert (axial.image[0, 0], coronal.image[0, 0], sagittal.image[0, 0]) == (1, 2, 3)
    path = tmp_path / "nothing.png"
    write_preview(path, volume, nothing, window=(-160, 240))
    assert not coloured(imread(path)).any()
