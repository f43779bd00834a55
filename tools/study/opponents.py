"""Image-only opponents on slices with organs: a UNet whose settings are searched, and nnU-Net's plan."""

from collections.abc import Sequence

from monai.networks.nets import DynUNet

from common.data.framing import Framing

from .image_only import SoftmaxUNet, plain_unet
from .training import Recipe
from .tuning import Setting

# What a search tries. The first is what did well in a trial by hand; each other changes one thing.
SETTINGS = (
    Setting(2e-3, batch_dice=True, width=16),
    Setting(5e-3, batch_dice=True, width=16),
    Setting(2e-3, batch_dice=False, width=16),
    Setting(2e-3, batch_dice=True, width=32),
)
LEVELS = 4  # a width of 16 means 16, 32, 64 and 128 channels
BATCH = 16

# nnU-Net's 2D plan for slices of 128 x 128 pixels of 3.9 mm with eight classes, by the rules of
# nnunetv2/experiment_planning/experiment_planners/default_experiment_planner.py and network_topology.py
# (https://github.com/MIC-DKFZ/nnUNet):
# - the patch is the median slice, 128 x 128; both axes are halved while 8 pixels or more are left, down to
#   4 x 4: strides 1, 2, 2, 2, 2, 2; kernels 3 x 3; two convolutions a stage;
# - channels 32 * 2^i, at most 512: 32, 64, 128, 256, 512, 512;
# - instance norm, leaky ReLU of slope 0.01, no dropout;
# - batch: its estimate of the maps is 5.27 M values a slice, so 12 * 85 M / 5.27 M = 194 slices on a GPU of
#   8 GB (5 % of the data, its upper bound, are more).
# And by nnunetv2/training/nnUNetTrainer/nnUNetTrainer.py: SGD, Nesterov momentum 0.99, learning rate 0.01
# falling with power 0.9, weight decay 3e-5, gradients clipped at 12; Dice of the batch + cross-entropy; deep
# supervision of the decoder's five maps but the coarsest, each weighing half of the finer one.
# What differs here: MONAI enlarges the coarser maps to the image instead of shrinking the labels, and its
# convolutions have no bias; slices (with their neighbours as channels), augmentation, test and time are those
# of all arms; on a CPU the batch is that of the tuned UNet, since 194 slices would leave some twenty steps.
STRIDES = (1, 2, 2, 2, 2, 2)
FILTERS = (32, 64, 128, 256, 512, 512)
SUPERVISED = 3  # coarser maps beside the finest
NNUNET_BATCH = 194


def tuned_unet(organs: Sequence[str], setting: Setting, *, image_size: int, framing: Framing) -> SoftmaxUNet:
    """MONAI's UNet of a setting's width, with a softmax over background and organs."""
    channels = [setting.width * 2**level for level in range(LEVELS)]
    body = plain_unet(len(framing.channels), 1 + len(organs), channels)
    return SoftmaxUNet(organs, image_size=image_size, framing=framing, body=body)


def unet_recipe(setting: Setting) -> Recipe:
    """AdamW whose rate falls with power 0.9."""
    return Recipe(batch_size=BATCH, learning_rate=setting.learning_rate, decay="power")


def planned_dynunet(organs: Sequence[str], *, image_size: int, framing: Framing) -> SoftmaxUNet:
    """MONAI's DynUNet as nnU-Net plans it, see above; the plan holds for 128 pixels."""
    body = DynUNet(
        spatial_dims=2,
        in_channels=len(framing.channels),
        out_channels=1 + len(organs),
        kernel_size=[3] * len(STRIDES),
        strides=STRIDES,
        upsample_kernel_size=STRIDES[1:],
        filters=FILTERS,
        deep_supervision=True,
        deep_supr_num=SUPERVISED,
    )
    return SoftmaxUNet(organs, image_size=image_size, framing=framing, body=body)


def dynunet_recipe(device: str) -> Recipe:
    """nnU-Net's own; on a CPU with the batch of the other arms."""
    return Recipe(
        batch_size=NNUNET_BATCH if device.startswith("cuda") else BATCH,
        learning_rate=1e-2,
        optimizer="sgd",
        decay="power",
        weight_decay=3e-5,
        clip=12.0,
    )
