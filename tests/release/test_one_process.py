"""All bundles in one process, loaded as MONAI Label loads them: each gives what it gives alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/models/model.pt"))

# MONAI Label puts a bundle's folder on the path, forgets `scripts`, parses, and takes the folder off again.
# All are loaded before the first is run, since its server keeps them.
SERVER = """
import json, sys
from monai.bundle import ConfigParser

def load(root, overrides):
    sys.path.insert(0, root)
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]
    parser = ConfigParser()
    parser.read_config(f"{root}/configs/inference.json")
    parser.update({"bundle_root": root, "device": "cpu", **overrides})
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("evaluator")
    while root in sys.path:
        sys.path.remove(root)
    return parser

loaded = [load(root, overrides) for root, overrides in json.loads(sys.argv[1])]
for parser in loaded:
    parser.get_parsed_content("run")
"""


def weaker(bundle: Path) -> None:
    """Change a copy of a bundle: other weights and, in its own code, another name of the report's field."""
    path = bundle / "models" / "model.pt"
    tensors = torch.load(path, weights_only=True)
    torch.save({name: value * 0.9 for name, value in tensors.items()}, path)
    module = bundle / "scripts" / "common" / "__init__.py"
    module.write_text(module.read_text().replace('__version__ = "', '__version__ = "copy of '))


def test_outputs_are_those_of_one_process_each(unzip, image, empty, run, labels, tmp_path):
    bundles = [unzip(name, tmp_path / "unzipped") for name in BUNDLES]
    copy = Path(shutil.copytree(bundles[0], tmp_path / "copy" / BUNDLES[0]))
    weaker(copy)
    bundles.append(copy)

    def job(index: int, kind: str) -> tuple[str, dict[str, str]]:
        given = {"input": str(image(bundles[index].name)), "output_dir": str(tmp_path / kind / str(index))}
        return str(bundles[index]), given

    every = range(len(bundles))
    for order, kind in ((list(every), "together"), (list(reversed(every)), "in reverse")):
        run("-c", SERVER, json.dumps([job(i, kind) for i in order]), cwd=tmp_path, environment=empty)
    for index in every:
        run("-c", SERVER, json.dumps([job(index, "alone")]), cwd=tmp_path, environment=empty)
    names = [image(bundle.name).name.removesuffix(".nii.gz") for bundle in bundles]
    found = {
        (kind, index): labels(tmp_path / kind / str(index) / f"{names[index]}_seg.nii.gz")
        for kind in ("alone", "together", "in reverse")
        for index in every
    }
    for index in every:
        for kind in ("together", "in reverse"):
            assert np.array_equal(found[kind, index], found["alone", index]), (bundles[index], kind)
            report, alone = (
                json.loads((tmp_path / way / str(index) / f"{names[index]}_seg.json").read_text())
                for way in (kind, "alone")
            )
            assert report["versions"] == alone["versions"]
    assert not np.array_equal(
        found["alone", 0], found["alone", len(bundles) - 1]
    )  # the copy is another model
