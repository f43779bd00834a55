"""The network and the images of the inference tests: their masks are what is written."""

from tests.common.inference.conftest import make_nifti, make_volume, network, random_hu

__all__ = ["make_nifti", "make_volume", "network", "random_hu"]
