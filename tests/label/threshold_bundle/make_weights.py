"""Write models/model.pt of this bundle, from its folder."""

from pathlib import Path

from tools.monailabel.torchvision_cpu import make_importable

make_importable()

from scripts.common.weights.checkpoints import save_trained  # noqa: E402
from scripts.net import Threshold  # noqa: E402

Path("models").mkdir(exist_ok=True)
save_trained(Threshold(), "models/model.pt", half=False)
