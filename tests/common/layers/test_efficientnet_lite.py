"""The trunk against ImageNet's classes, PyTorch's own batch norm, and what its channels and modes promise."""

import pytest
import skimage
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import InputError
from common.layers.efficientnet_lite import CHANNELS, STRIDES, ConvNorm, EfficientNetLite0
from common.weights.efficientnet import IMAGENET_FILE, load_imagenet
from common.weights.pretrained import find_local_file

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat of ImageNet's 1000 classes
COFFEE = {504, 967}  # coffee mug, espresso


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    file = find_local_file(IMAGENET_FILE)
    if file is None:
        pytest.skip(f"{IMAGENET_FILE} IS NOT INSTALLED: python -m tools.weights get {IMAGENET_FILE}")
    return torch.load(file, weights_only=True)


@pytest.fixture(scope="module")
def trunk(weights) -> EfficientNetLite0:
    network = EfficientNetLite0()
    load_imagenet(network)
    return network.eval()


def photograph(name: str) -> Tensor:
    """The middle of a public photograph of scikit-image, (1, 3, 224, 224) in [0, 1]."""
    image = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[-2:])
    top, left = ((size - side) // 2 for size in image.shape[-2:])
    image = image[..., top : top + side, left : left + side]
    return F.interpolate(image, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)


@pytest.mark.parametrize(("name", "classes"), [("chelsea", CATS), ("coffee", COFFEE)])
def test_imagenets_class_is_found(trunk, weights, name, classes):
    with torch.no_grad():
        maps, _ = trunk(photograph(name))
        head = F.conv2d(maps[-1], weights["_conv_head.weight"])
        statistics = (weights[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        features = F.relu6(F.batch_norm(head, *statistics, eps=1e-3)).mean(dim=(2, 3))
        scores = F.linear(features, weights["_fc.weight"], weights["_fc.bias"]).softmax(dim=1)[0]
    assert int(scores.argmax()) in classes
    assert float(scores[list(classes)].sum()) > 0.5


def test_maps_have_their_strides_and_the_vector_is_the_mean_of_the_last():
    maps, vector = EfficientNetLite0()(torch.rand(2, 3, 96, 128))
    assert [tuple(found.shape) for found in maps] == [
        (2, width, 96 // stride, 128 // stride) for width, stride in zip(CHANNELS, STRIDES, strict=True)
    ]
    torch.testing.assert_close(vector, maps[-1].mean(dim=(2, 3)))


def test_odd_sizes_are_rounded_up_at_each_stride():
    maps, _ = EfficientNetLite0()(torch.rand(1, 3, 75, 101))
    assert [found.shape[-2:] for found in maps] == [(38, 51), (19, 26), (10, 13), (5, 7), (3, 4)]


def test_the_trunk_has_the_published_number_of_weights():
    """EfficientNet-Lite0 has 4,652,008 with its head of 320 x 1280, its norm, and 1280 x 1000 + 1000."""
    own = sum(parameter.numel() for parameter in EfficientNetLite0().parameters())
    assert own == 4_652_008 - 320 * 1280 - 2 * 1280 - 1280 * 1000 - 1000


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_equal_channels_give_what_three_equal_ones_give(trunk, weights, channels):
    other = EfficientNetLite0(channels)
    load_imagenet(other)
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = trunk(grey)[1], other.eval()(grey.expand(-1, channels, -1, -1))[1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 4), (3, 2, 4), (5, 2, 4), (3, 2, 1)]
)
def test_a_frozen_norm_is_pytorchs_batch_norm_in_evaluation(kernel, stride, groups):
    torch.manual_seed(0)
    layer = ConvNorm(4, 8, kernel, stride=stride, groups=groups).double()
    layer(3 * torch.randn(4, 4, 16, 16, dtype=torch.double) + 1)  # moves the statistics
    layer.eval()
    x = torch.randn(2, 4, 16, 16, dtype=torch.double)
    total = kernel - stride if stride > 1 else kernel - 1  # TensorFlow: what is odd comes last
    padded = F.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))
    torch.testing.assert_close(layer(x), layer.norm(layer.conv(padded)))


def test_frozen_norms_are_the_same_in_training_and_take_no_gradient():
    trunk = EfficientNetLite0().train()
    image = torch.rand(2, 3, 64, 64)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    together = trunk(image)[1]
    alone = torch.cat([trunk(image[:1])[1], trunk(image[1:])[1]])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # of no batch
    together.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    gets = {name for name, value in trunk.named_parameters() if value.grad is not None}
    assert gets == {name for name, _ in trunk.named_parameters() if ".norm." not in name}


def test_norms_that_are_not_frozen_follow_the_batch():
    trunk = EfficientNetLite0(frozen_norms=False).train()
    trunk(torch.rand(2, 3, 64, 64))
    assert int(trunk.stem.norm.num_batches_tracked) == 1
    assert all(parameter.requires_grad for parameter in trunk.parameters())


def test_other_weights_are_refused_and_change_nothing(tmp_path):
    trunk = EfficientNetLite0()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: 287 weights are missing, unknown or of another shape"):
        load_imagenet(trunk, str(tmp_path / "other.pth"))
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(InputError, match=r"page\.pth: cannot be read as weights of EfficientNet-Lite0"):
        load_imagenet(trunk, str(tmp_path / "page.pth"))
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
