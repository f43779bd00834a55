"""The volume inferer, against masks computed from the array itself."""

import functools
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from common.data.volumes import read_volume, write_labels
from common.errors import InputError
from common.inference import Extent, SliceRange, VolumeInferer
from common.text.prompts import Prompt


def prompts(*texts):
    return [Prompt(text, text, label) for label, text in enumerate(texts, start=1)]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def scaled(hu):
    """The abdomen window, -160 to 240 HU, in plain arithmetic."""
    return (hu + 160.0) / 400.0


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (0.5, 2.0, 2.0)])
def test_every_axis_order_and_flip_gives_the_mask_in_the_files_own_grid(
    spacing, network, make_nifti, random_hu, tmp_path
):
    """World axes x (right-left) and y (anterior-posterior) have 8 voxels, z has 3, however stored."""
    deep, high, wide = spacing
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        stored = random_hu(*(np.array([8, 8, 3])[list(order)]), seed=7)
        affine = np.zeros((4, 4))
        for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
            affine[world, axis] = sign * (wide, high, deep)[world]
        affine[:, 3] = 11.0, -7.0, 3.0, 1.0
        volume = read_volume(make_nifti(stored, affine))

        result = VolumeInferer()(volume, network, prompts("5 at 49.5"))

        write_labels(tmp_path / "mask.nii.gz", result.labels, like=volume)
        mask = nib.load(tmp_path / "mask.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), stored > 49.5)
        np.testing.assert_allclose(mask.affine, affine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_the_network_always_sees_anterior_on_top_and_the_patients_right_on_the_left(
    order, signs, network, make_nifti
):
    affine = np.zeros((4, 4))
    affine[list(order), range(3)] = signs
    affine[3, 3] = 1.0
    index = np.indices(tuple(np.array([8, 8, 8])[list(order)])).reshape(3, -1)
    x, y, _ = affine[:3, :3] @ index  # RAS+: x grows to the patient's right, y to the front
    shape = (8, 8, 8)
    right, front = (x > x.mean()).reshape(shape), (y > y.mean()).reshape(shape)

    VolumeInferer()(read_volume(make_nifti(100 * right + 50 * front, affine)), network, prompts("1 at 0"))

    top_left, top_right = scaled(150.0), scaled(50.0)
    bottom_left, bottom_right = scaled(100.0), scaled(0.0)
    expected = np.kron([[top_left, top_right], [bottom_left, bottom_right]], np.ones((4, 4)))
    for field in network.fields:
        np.testing.assert_allclose(field.numpy(), expected, atol=1e-6)


def test_an_oblique_grid_is_segmented_along_its_own_axes(network, make_nifti, random_hu, tmp_path):
    turn = np.deg2rad(20.0)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.8, -0.8, 3.0])
    stored = random_hu(8, 8, 4)
    volume = read_volume(make_nifti(stored, affine))

    result = VolumeInferer()(volume, network, prompts("5 at 9.5"))

    write_labels(tmp_path / "mask.nii.gz", result.labels, like=volume)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), stored > 9.5)
    np.testing.assert_allclose(mask.affine, affine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 1, 1), (2, 1, 8), (2000, 8, 8)])
def test_thin_and_long_volumes(shape, network, make_volume):
    slices = np.zeros(shape, int)
    slices[-1] = 100
    result = VolumeInferer(slice_batch=64)(make_volume(slices), network, prompts("5 at 49.5"))
    np.testing.assert_array_equal(result.labels, slices > 49.5)
    assert result.labels.dtype == np.uint8
    assert result.results[0].labelled.slices == SliceRange(shape[0] - 1, shape[0] - 1, 1)


def test_a_slice_is_encoded_once_and_a_text_once_whatever_the_number_of_prompts(
    network, make_volume, random_hu
):
    volume = make_volume(random_hu(21, 8, 8))
    asked = prompts(*(f"5 at {hu}.5" for hu in range(-60, 70, 10)))

    VolumeInferer(slice_batch=4, prompt_batch=3)(volume, network, asked)

    assert network.images_encoded == 21
    assert network.texts_encoded == [prompt.text for prompt in asked]
    assert max(network.rows_decoded) == 4 * 3
    assert sum(network.rows_decoded) == 21 * 13


def test_text_that_was_encoded_before_is_not_encoded_again(network, make_volume, random_hu):
    inferer, asked = VolumeInferer(), prompts("5 at 49.5", "-5 at -50.5")
    guidance = inferer.encode(network, [prompt.text for prompt in asked])
    for seed in range(3):
        slices = random_hu(2, 8, 8, seed=seed)
        labels = inferer(make_volume(slices), network, asked, guidance=guidance).labels
        np.testing.assert_array_equal(labels, np.where(slices > 49.5, 1, np.where(slices < -50.5, 2, 0)))
    assert len(network.texts_encoded) == 2


def test_overlaps_go_to_the_more_probable_prompt_and_are_counted(network, make_volume, random_hu):
    slices = random_hu(5, 8, 8)
    steep, gentle = "9 at 99.5", "3 at 19.5"  # their logits are equal at 139.5 HU

    result = VolumeInferer()(make_volume(slices), network, prompts(steep, gentle))

    expected = np.where(slices > 139.5, 1, np.where(slices > 19.5, 2, 0))
    np.testing.assert_array_equal(result.labels, expected)
    assert [one.overlap_voxels for one in result.results] == [
        np.count_nonzero((slices > 99.5) & (slices < 139.5)),
        np.count_nonzero(slices > 139.5),
    ]
    assert [one.labelled.voxels for one in result.results] == [np.sum(expected == 1), np.sum(expected == 2)]


def test_a_saturated_probability_does_not_hide_the_higher_one(network, make_volume):
    """At 200 HU the logits are 400 and 500: both probabilities are 1 in float32, but one is higher."""
    labels = VolumeInferer()(
        make_volume(np.full((1, 8, 8), 200)), network, prompts("1000 at 40", "1250 at 40")
    ).labels
    assert (labels == 2).all()


def test_neither_the_order_of_prompts_nor_batch_sizes_change_the_masks(network, make_volume, random_hu):
    volume = make_volume(random_hu(11, 8, 8))
    asked = prompts("9 at 99.5", "3 at 19.5", "-4 at -20.5", "3.0 at 19.5", "2 at 60.5")  # the second ties
    reference = VolumeInferer()(volume, network, asked)
    assert set(np.unique(reference.labels)) >= {0, 1, 2, 3}
    for slice_batch, prompt_batch, order in [(1, 1, 1), (3, 2, -1), (11, 5, -1), (64, 64, 1)]:
        inferer = VolumeInferer(slice_batch=slice_batch, prompt_batch=prompt_batch)
        result = inferer(volume, network, asked[::order])
        np.testing.assert_array_equal(result.labels, reference.labels)
        assert result.results[::order] == reference.results


def test_millilitres_and_slice_range(network, make_volume):
    slices = np.full((6, 8, 8), -100)
    slices[2:5, 1:4, 2:7] = 100
    slices[3] = -100
    result = VolumeInferer()(make_volume(slices, (2.5, 0.8, 0.8)), network, prompts("5 at 0.5")).results[0]
    assert result.labelled.voxels == 2 * 3 * 5
    assert result.labelled.ml == pytest.approx(30 * 2.5 * 0.8 * 0.8 / 1000)
    assert result.labelled.slices == SliceRange(2, 4, 2)
    assert result.mask == result.labelled


def test_a_mask_that_lost_its_voxels_in_the_label_map_has_its_own_size(network, make_volume):
    """Both prompts take the same box; the steep one gets all of it. A third one has an empty mask."""
    slices = np.full((6, 8, 8), -100)
    slices[2:5, 1:4, 2:7] = 100
    asked = prompts("3 at 0.5", "9 at 0.5", "5 at 150")
    gentle, steep, none = VolumeInferer()(make_volume(slices, (2.5, 0.8, 0.8)), network, asked).results
    empty = Extent(0, 0.0, SliceRange(None, None, 0))
    assert steep.mask == steep.labelled
    assert gentle.labelled == none.labelled == none.mask == empty
    assert (gentle.mask.voxels, gentle.mask.slices) == (45, SliceRange(2, 4, 3))
    assert gentle.mask.ml == pytest.approx(45 * 2.5 * 0.8 * 0.8 / 1000)


def test_presence_is_the_largest_slicewise_mean_of_the_top_percent_inside_the_frame(
    make_network, make_volume, random_hu
):
    """Slices of 32 x 16 mm in a field of 32 x 32: half of it is padding (-160 HU), which must not count."""
    slices = random_hu(5, 32, 16)
    result = VolumeInferer(slice_batch=2)(
        make_volume(slices), make_network(32), prompts("-5 at 100", "3 at 50", "-8 at -200")
    )
    for (gain, hu), one in zip([(-5, 100), (3, 50), (-8, -160)], result.results, strict=True):
        probability = sigmoid(gain * (scaled(slices) - scaled(hu))).reshape(5, -1)
        top = np.sort(probability, axis=1)[:, -6:]  # 1 % of 512 pixels, rounded up
        assert one.presence_score == pytest.approx(top.mean(axis=1).max(), abs=1e-5)


def test_the_share_of_pixels_decides_what_size_can_be_present(make_network, make_volume):
    """A sure mask of 20 pixels in a field of 128 x 128, 0.12 %: the presence of a lesion, not of an organ."""
    slices = np.full((1, 128, 128), -160)
    slices[0, 10:14, 20:25] = 240
    scores = [
        VolumeInferer(presence_top_fraction=share)(
            make_volume(slices), make_network(128), prompts("99 at 40")
        )
        for share in (0.01, 0.001)
    ]
    assert [one.results[0].presence_score for one in scores] == [
        pytest.approx(20 / 164, abs=1e-4),  # 1 % of 16,384 pixels, rounded up
        pytest.approx(1.0, abs=1e-4),
    ]
    for share in (0.0, 1.1):
        with pytest.raises(
            InputError, match=f"presence_top_fraction: found {share}, expected above 0 and at most 1"
        ):
            VolumeInferer(presence_top_fraction=share)


def test_the_former_name_of_the_fraction_is_read_with_a_warning():
    with pytest.warns(FutureWarning, match="presence_share is now called presence_top_fraction"):
        assert VolumeInferer(presence_share=0.5).presence_top_fraction == 0.5


def test_below_the_threshold_a_mask_is_empty_and_its_voxels_go_to_the_next_prompt(
    network, make_volume, random_hu
):
    """At 199 HU the prompts reach logits 1.8, 0.53 and 1.2: a threshold of 0.8 keeps the first only."""
    slices = random_hu(7, 8, 8).clip(-100, 198)
    slices[:, 0, 0] = 199
    slices[4] = -100
    texts = ("4 at 19.5", "-0.2 at 239.5", "6 at 119.5")
    inferer = VolumeInferer(presence_threshold=0.8, slice_batch=3)

    result = inferer(make_volume(slices), network, prompts(*texts))

    np.testing.assert_array_equal(result.labels, slices > 19.5)
    first, second, third = result.results
    assert (first.present, second.present, third.present) == (True, False, False)
    assert second.labelled == Extent(0, 0.0, SliceRange(None, None, 0))
    assert second.presence_score == pytest.approx(sigmoid(-0.2 * (scaled(-100) - scaled(239.5))), abs=1e-5)
    assert [one.overlap_voxels for one in result.results] == [0, 0, 0]


def test_when_nothing_is_present_the_label_map_is_empty(network, make_volume, random_hu):
    inferer = VolumeInferer(presence_threshold=0.999)
    result = inferer(make_volume(random_hu(3, 8, 8)), network, prompts("4 at 19.5", "3 at 0.5"))
    assert not result.labels.any()


def test_slices_are_resampled_to_the_field_and_back(make_network, make_volume):
    """A disc of 20 mm radius in pixels of 0.5 mm x 1 mm: its area survives a field of 32 within 4 %."""
    row, column = np.mgrid[:100, :50]
    disc = np.hypot((row - 49.5) * 0.5, column - 24.5) < 20.0
    slices = np.where(disc, 100, -100)[None].repeat(2, axis=0)
    result = VolumeInferer()(make_volume(slices, (3.0, 0.5, 1.0)), make_network(32), prompts("5 at 0"))
    assert result.results[0].labelled.ml == pytest.approx(np.pi * 20**2 * 2 * 3 / 1000, rel=0.04)
    assert np.count_nonzero((result.labels > 0) != (slices > 0)) < 0.06 * np.count_nonzero(slices > 0)


def test_training_flags_come_back_even_after_an_error(network, make_volume):
    network.train()
    network.frozen.eval()
    VolumeInferer()(make_volume(np.zeros((1, 8, 8))), network, prompts("1 at 0"))
    with pytest.raises(ValueError, match="not enough values"):
        VolumeInferer()(make_volume(np.zeros((1, 8, 8))), network, prompts("nonsense"))
    assert network.was_training == [False]
    assert (network.training, network.frozen.training) == (True, False)


def test_what_a_network_remembers_at_work_can_be_trained_on(network, make_volume):
    remembered, encode = [], network.encode_text
    network.encode_text = lambda texts: remembered.append(encode(texts)) or remembered[0]
    VolumeInferer()(make_volume(np.zeros((1, 8, 8))), network, prompts("1 at 0"))
    layer = nn.Linear(2, 1)
    layer(remembered[0].tokens).sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_mixed_precision_and_device_are_switches(network, make_volume, random_hu):
    network.linear = nn.Linear(2, 2)
    seen = []
    network.linear.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    decode = network.decode
    network.decode = lambda features, guidance: (
        network.linear(torch.ones(1, 2)).sum() * 0 + decode(features, guidance)
    )
    volume = make_volume(random_hu(2, 8, 8))
    for amp in (False, True):
        VolumeInferer(amp=amp, device="cpu")(volume, network, prompts("5 at 0.5"))
    assert seen == [torch.float32, torch.bfloat16]


def test_channels_last_is_a_switch_that_changes_no_mask(make_volume, random_hu, make_network):
    slices, network = random_hu(5, 8, 8), make_network(8)
    network.layer = nn.Conv2d(2, 3, 3)
    for switch in (False, True):
        inferer = VolumeInferer(channels_last=switch)
        labels = inferer(make_volume(slices), network, prompts("5 at 49.5")).labels
        np.testing.assert_array_equal(labels, slices > 49.5)
        assert network.layer.weight.is_contiguous(memory_format=torch.channels_last) == switch


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_masks(make_volume, random_hu, make_network):
    network, inferer = make_network(8), VolumeInferer(compiled=True, slice_batch=2)
    network.encode_image = lambda image: image * 1.0
    network.decode = lambda image, asked: (
        asked.tokens[:, :, 0, None, None]
        * (image.repeat_interleave(asked.count // len(image), dim=0) - asked.tokens[:, :, 1, None, None])
    )
    for seed in range(2):
        slices = random_hu(5, 8, 8, seed=seed)
        labels = inferer(make_volume(slices), network, prompts("5 at 49.5")).labels
        np.testing.assert_array_equal(labels, slices > 49.5)


def test_users_are_told_once_that_the_first_slices_wait_for_the_compiler(
    network, make_volume, random_hu, monkeypatch, caplog
):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    inferer, volume = VolumeInferer(compiled=True, slice_batch=4), make_volume(random_hu(6, 8, 8))
    with caplog.at_level("INFO"):
        for _ in range(2):
            inferer(volume, network, prompts("5 at 49.5"))
    said = [record.message for record in caplog.records if record.message.startswith("compile: ")]
    assert said == ["compile: the first slices take minutes, and those of another batch size may again."]


@pytest.mark.slow
def test_a_missing_compiler_is_said(make_network, make_volume, random_hu, monkeypatch):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    network = make_network(8)
    network.encode_image = lambda image: image * 3.0 + 1.0
    with pytest.raises(
        InputError, match=r"compile: torch\.compile failed \(InvalidCxxCompiler: No working C\+"
    ):
        VolumeInferer(compiled=True)(make_volume(random_hu(1, 8, 8)), network, prompts("5 at 0"))


@pytest.fixture
def compiler_raises(monkeypatch):
    """Have what `torch.compile` returns raise an error of a compiler's, or another one."""

    def set_up(error):
        def failing(call):
            def run(*arguments):
                raise error

            return run

        monkeypatch.setattr(torch, "compile", failing)

    return set_up


def test_a_compiler_that_fails_is_said(network, make_volume, random_hu, compiler_raises):
    compiler_raises(RuntimeError("no C++ compiler\nand more"))
    with pytest.raises(InputError, match=r"compile: torch.compile failed \(no C\+\+ compiler\), expected a"):
        VolumeInferer(compiled=True)(make_volume(random_hu(1, 8, 8)), network, prompts("5 at 0"))


def test_a_failure_of_the_network_is_not_put_down_to_the_compiler(
    network, make_volume, random_hu, compiler_raises
):
    compiler_raises(RuntimeError("as compiled code says it"))

    def broken(image):
        raise RuntimeError("sizes do not match")

    network.encode_image = broken
    with pytest.raises(RuntimeError, match=r"^sizes do not match"):
        VolumeInferer(compiled=True)(make_volume(random_hu(1, 8, 8)), network, prompts("5 at 0"))


def test_compiled_passes_that_run_out_of_memory_are_no_failure_of_the_compiler(
    network, make_volume, random_hu, compiler_raises
):
    """They get smaller batches, as plain ones do."""
    compiler_raises(torch.OutOfMemoryError("out of memory"))
    with pytest.raises(InputError, match="device: out of memory with one slice and one prompt at a time"):
        VolumeInferer(compiled=True)(make_volume(random_hu(1, 8, 8)), network, prompts("5 at 0"))


def test_out_of_memory_halves_the_batches_and_goes_on(network, make_volume, random_hu, caplog):
    slices = random_hu(9, 8, 8)
    decode = network.decode

    def small_gpu(features, guidance):
        if guidance.count > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(features, guidance)

    network.decode = small_gpu
    inferer = VolumeInferer(slice_batch=8, prompt_batch=4)
    result = inferer(make_volume(slices), network, prompts(*(f"5 at {hu}.5" for hu in range(9))))
    np.testing.assert_array_equal(result.labels > 0, slices > 0.5)
    assert (inferer.slice_batch, inferer.prompt_batch) == (1, 2)
    assert "Out of memory: continuing with slice_batch 4, prompt_batch 4." in caplog.text


def test_errors_say_what_to_do(network, make_volume):
    volume = make_volume(np.zeros((1, 8, 8)))

    def run(asked, **options):
        return VolumeInferer(**options)(volume, network, asked)

    with pytest.raises(InputError, match="prompts: found none, expected at least one"):
        run([])
    with pytest.raises(InputError, match="'liver' has label 256, expected 1 to 255"):
        run([Prompt("liver", "liver", 256)])
    with pytest.raises(
        InputError, match="'liver' and 'spleen' both have label 3, expected a different number"
    ):
        run([Prompt("liver", "liver", 3), Prompt("spleen", "spleen", 3)])
    with pytest.raises(InputError, match="slice_batch and prompt_batch: found 0 and 4, expected 1 or more"):
        run(prompts("1 at 0"), slice_batch=0)
    network.threshold = 1.0
    with pytest.raises(InputError, match=r"threshold: found 1\.0, expected a probability between 0 and 1"):
        run(prompts("1 at 0"))
    network.threshold = 0.5
    with pytest.raises(InputError, match=r"presence_threshold: found 1\.5, expected 0 \(off\) to 1"):
        run(prompts("1 at 0"), presence_threshold=1.5)
    with pytest.raises(InputError, match="network: its logits contain NaN"):
        run(prompts("nan at 0"))
    network.decode = lambda features, guidance: (_ for _ in ()).throw(
        torch.OutOfMemoryError("CUDA out of memory")
    )
    with pytest.raises(InputError, match="out of memory with one slice and one prompt at a time"):
        run(prompts("1 at 0"))
