"""Files that are broken or made to do harm: they are read, or refused in one sentence of ours.

Bounded random changes of small files. Nothing but `InputError` may come out of a reader, whatever the bytes.
"""

import gzip
import io
import json
import pickle
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.data.datalist import load_datalist
from common.data.readers import read_image
from common.data.volumes import Volume
from common.errors import InputError
from common.text.prompts import Prompt, read_prompts_file
from common.weights.checkpoints import read_model_json, read_tensors

bounded = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
pytestmark = pytest.mark.filterwarnings("ignore")  # of nibabel and pydicom about what they find

texts = st.text(max_size=12) | st.sampled_from(
    ["liver", "1", "a.nii.gz", "$__import__('os')", "../x", "\x00"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


def attempt(read: Callable[..., Any], *arguments: Any) -> Any:
    """What a reader returns, or None when it refuses in one line; anything else goes through."""
    try:
        return read(*arguments)
    except InputError as error:
        said = str(error)
    assert said
    assert "\n" not in said.strip()
    return None


@st.composite
def changed(draw: st.DrawFn, raw: bytes, *, first: int = 0, last: int | None = None) -> bytes:
    """The bytes with a few of them replaced, maybe cut short."""
    content = bytearray(raw)
    last = len(raw) - 1 if last is None else last
    for _ in range(draw(st.integers(1, 5))):
        content[draw(st.integers(first, last))] = draw(
            st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)
        )
    return bytes(content[: draw(st.sampled_from([len(raw)] * 3 + [last, first, 0]))])


item = st.fixed_dictionaries(
    {},
    optional={
        "image": st.just("a.nii.gz") | json_values,
        "label": st.just("a.nii.gz") | json_values,
        "patient": json_values,
        "case": json_values,
        "targets": st.just(["liver"]) | json_values,
        "absent": json_values,
        "prompts": st.just(["the left one"]) | st.lists(texts, max_size=2) | json_values,
        "lesion": st.just([]) | st.integers(-1, 300) | st.lists(st.integers(0, 3), max_size=2) | json_values,
        "slice": st.integers(-1, 9) | json_values,
        "orientation_free": st.booleans() | json_values,
    },
)
datalists = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.just({"1": "liver"}) | json_values,
        "training": st.lists(item | json_values, max_size=3) | json_values,
        "test": st.lists(item, max_size=2) | json_values,
    },
)


@bounded
@given(content=(datalists | json_values).map(lambda v: json.dumps(v).encode()) | st.binary(max_size=60))
def test_datalists(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    (tmp_path / "datalist.json").write_bytes(content)


prompt_items = texts | st.fixed_dictionaries(
    {"prompt": texts | json_values},
    optional={"name": texts, "label": st.integers(-1, 300) | json_values, "colour": json_values},
)


@bounded
@given(
    content=(st.lists(prompt_items, max_size=4) | json_values).map(lambda v: json.dumps(v).encode())
    | st.binary(max_size=60),
    ending=st.sampled_from([".txt", ".json"]),
)
def test_prompts_files(tmp_path: Path, content: bytes, ending: str) -> None:
    file = tmp_path / f"prompts{ending}"
    file.write_bytes(content)
    prompts = attempt(read_prompts_file, file)
    assert prompts is None or all(isinstance(prompt, Prompt) for prompt in prompts)
    if prompts is not None:
        assert len({prompt.label for prompt in prompts}) == len(prompts)
        kinds = {unicodedata.category(letter) for prompt in prompts for letter in prompt.text}
        assert not kinds & {"Cc", "Cs"}  # control characters, halves of pairs


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b'"\\ud800"'])
def test_json_that_is_deep_or_long(tmp_path: Path, content: bytes) -> None:
    for name in ("prompts.json", "datalist.json", "model.json"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        read_prompts_file(tmp_path / "prompts.json")
    with pytest.raises(InputError):
        load_datalist(tmp_path / "datalist.json", "training")
    with pytest.raises(InputError):
        read_model_json(tmp_path / "model.pt")


def nifti(kind: type[nib.spatialimages.SpatialImage]) -> bytes:
    voxels = np.arange(4 * 5 * 3, dtype=np.int16).reshape(4, 5, 3)
    return kind(voxels, np.diag([2.0, 2.0, 3.0, 1.0])).to_bytes()


def plausible(volume: Any) -> None:
    """Whatever a reader accepted is an image that the rest can work with."""
    if volume is not None:
        assert isinstance(volume, Volume)
        assert volume.slices.ndim == 3
        assert np.isfinite(volume.slices).all()
        assert all(np.isfinite(spacing) and spacing > 0 for spacing in volume.spacing_mm)
        assert np.isfinite(volume.affine).all()


@bounded
@given(content=changed(nifti(nib.Nifti1Image), last=351) | changed(nifti(nib.Nifti2Image), last=543))
def test_nifti_headers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ct.nii").write_bytes(content)
    plausible(attempt(read_image, tmp_path / "ct.nii"))


@bounded
@given(data=st.data())
def test_compressed_nifti(tmp_path: Path, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        content = gzip.compress(data.draw(changed(nifti(nib.Nifti1Image), last=351)))
    else:
        content = data.draw(changed(gzip.compress(nifti(nib.Nifti1Image))))
    (tmp_path / "ct.nii.gz").write_bytes(content)
    plausible(attempt(read_image, tmp_path / "ct.nii.gz"))


@pytest.fixture(scope="module")
def dicom_file(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The files of a series of three slices."""
    from tests.common.conftest import write_dicom_series

    folder = tmp_path_factory.mktemp("dicom")
    write_dicom_series(folder, np.zeros((3, 4, 4), int))
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@bounded
@given(data=st.data())
def test_dicom_headers(
    tmp_path_factory: pytest.TempPathFactory, dicom_file: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("series")
    which = data.draw(st.integers(0, 2))
    for index, raw in enumerate(dicom_file):
        # Behind the preamble, where bytes mean something.
        content = data.draw(changed(raw, first=128)) if index == which else raw
        (folder / f"{index}.dcm").write_bytes(content)
    plausible(attempt(read_image, folder))


@bounded
@given(data=st.data())
def test_zipped_dicom(
    tmp_path_factory: pytest.TempPathFactory, dicom_file: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("zipped")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", data.draw(st.sampled_from([0, 8]))) as archive:
        for index, raw in enumerate(dicom_file):
            archive.writestr(
                data.draw(st.sampled_from(["", "a/", "../", "/", "a/../../"])) + f"{index}.dcm", raw
            )
    content = buffer.getvalue()
    if data.draw(st.booleans()):
        content = data.draw(changed(content))
    (folder / "series.zip").write_bytes(content)
    plausible(attempt(read_image, folder / "series.zip"))
    assert [path.name for path in folder.parent.iterdir() if path.suffix == ".dcm"] == []
    assert [path.name for path in folder.iterdir()] == ["series.zip"]


class Touch:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


CHECKPOINT = saved({"weight": torch.arange(6.0).half(), "bias": torch.zeros(2)})


@bounded
@given(content=changed(CHECKPOINT))
def test_checkpoints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    tensors = attempt(read_tensors, tmp_path / "model.pt")
    assert tensors is None or all(isinstance(value, torch.Tensor) for value in tensors.values())


@pytest.mark.parametrize("name", ["model.pt", "sam.pth", "model.safetensors"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "was_run"
    for content in (saved({"weight": Touch(mark)}), pickle.dumps({"weight": Touch(mark)})):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as a dict of tensors"):
            read_tensors(tmp_path / name)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Touch(mark)))
    assert mark.exists()  # it would have shown
