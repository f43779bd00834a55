"""The command line, on a bundle made for the test whose network is a threshold."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.data.datalist import SECTIONS
from common.errors import InputError
from common.inference import lists
from common.outputs import writers
from common.text.prompts import Prompt
from tools import infer

REPOSITORY = Path(__file__).parents[2]

SCRIPTS = '''"""Where `common` is."""

from pathlib import Path

if not (Path(__file__).parent / "common").is_dir():
    __path__.append(str(Path({repository!r})))
'''

NETWORK = '''
from torch import nn
import torch
from .common.networks.base import TextSegmenter
from .common.networks.guidance import Guidance


class Threshold(TextSegmenter):
    """Positive where the window of -160 to 240 HU exceeds the number in the prompt."""

    def __init__(self, weights: str) -> None:
        super().__init__(image_size=8, default_prompt="0.5")
        from .common.errors import InputError
        if weights == "gone":
            raise InputError("model.pt: no such file; fetch it.")

    def encode_text(self, prompts):
        numbers = torch.tensor([float(prompt.strip("$()[] ").split(",")[0]) for prompt in prompts])
        return Guidance(numbers[:, None, None], torch.ones(len(numbers), 1, dtype=torch.bool))

    def encode_image(self, image):
        return image

    def decode(self, image_features, guidance):
        rows = guidance.count // len(image_features)
        return image_features.repeat_interleave(rows, dim=0) - guidance.tokens[..., None]
'''

READER = '''

class Reader(Threshold):
    """Reads its prompts with a language model that has room for [CLS], 6 word pieces and [SEP]."""

    def __init__(self, weights: str) -> None:
        super().__init__(weights)
        from .common.text.encoders import TextEncoder
        words = ["0", ".", "50125", ",", "bright", "dark"]
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        bert = {"model_type": "bert", "vocabulary": words, **sizes}
        self.text_encoder = TextEncoder(None, config=bert, max_tokens=8)

    def encode_text(self, prompts):
        self.text_encoder(prompts)
        return super().encode_text(prompts)
'''

CONFIG = {
    "bundle_root": ".",
    "input": "",
    "output_dir": "",
    "prompts_file": "default.txt",
    "slice": None,
    "section": None,
    "device": "cpu",
    "weights": "here",
    "network_def": {"_target_": "scripts.net.Threshold", "weights": "@weights"},
    "inferer": {"_target_": "scripts.common.inference.VolumeInferer", "device": "@device"},
    "evaluator": {
        "_target_": "scripts.common.inference.CaseRunner",
        "inputs": "@input",
        "output_dir": "@output_dir",
        "prompts_file": "@prompts_file",
        "slice_index": "@slice",
        "section": "@section",
        "network": "@network_def",
        "inferer": "@inferer",
    },
    "initialize": ["$import sys", "$sys.path.insert(0, @bundle_root)"],
    "run": ["$@evaluator.run()"],
}


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "a bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "scripts").mkdir()
    (folder / "scripts/__init__.py").write_text(SCRIPTS.format(repository=str(REPOSITORY)))
    (folder / "scripts/net.py").write_text(NETWORK)
    (folder / "configs/inference.json").write_text(json.dumps(CONFIG))
    (folder / "configs/metadata.json").write_text('{"prompt_kinds": ["organ"]}')
    return folder


@pytest.fixture
def cases(tmp_path):
    """Two volumes with integer HU in the window, and one broken file."""
    folder = tmp_path / "$(images), [1]"
    folder.mkdir()
    stored = {}
    for number in range(2):
        stored[f"{number}"] = np.random.default_rng(number).integers(-100, 200, (8, 8, 3)).astype(np.int16)
        nib.save(nib.Nifti1Image(stored[f"{number}"], np.eye(4)), folder / f"{number}.nii.gz")
    return folder, stored


def test_from_the_command_line_to_masks_in_the_files_own_grid(bundle, cases, tmp_path, capfd):
    """Prompts that a config or a shell would evaluate arrive as they are; a bad case leaves the others."""
    folder, stored = cases
    (folder / "2.nii.gz").write_bytes(b"no image")
    out, report = tmp_path / "out", tmp_path / "run.json"
    arguments = [
        "--bundle",
        str(bundle),
        "--input",
        str(folder),
        "--output",
        str(out),
        "--report",
        str(report),
    ]
    arguments += ["--prompt", "$(0.70125)", "--prompt", "[0.50125, 2]", "--device", "cpu", "--quiet"]

    code = infer.main(arguments)

    said = capfd.readouterr()
    assert code == 3
    assert "error: 1 of 3 cases failed: " in said.err
    assert "Traceback" not in said.err
    for (
        name,
        hu,
    ) in stored.items():  # 0.50125 of the window is 40.5 HU, 0.70125 is 120.5 HU; the lower one wins
        mask = np.asarray(nib.load(out / f"{name}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(mask, np.where(hu > 40.5, 2, 0))
        prompts = json.loads((out / f"{name}_seg.json").read_text("utf-8"))["prompts"]
        assert [row["prompt"] for row in prompts] == ["$(0.70125)", "[0.50125, 2]"]
        assert prompts[0]["overlap_voxels"] == np.sum(hu > 120.5)
    assert json.loads(report.read_text("utf-8"))["failed"] == 1


def test_lists_bring_their_own_prompts_and_slices(bundle, cases, tmp_path, capfd):
    """Without --prompt the bundle's default prompts are asked of nobody; --slice is for those without."""
    folder, stored = cases
    items = [
        {"image": "0.nii.gz", "prompts": ["$(0.50125)", "0.3"]},
        {"image": "1.nii.gz", "slice": 2, "prompts": ["0.50125"]},
    ]
    (folder / "datalist.json").write_text(json.dumps({"training": [], "test": items}))
    arguments = ["--bundle", str(bundle), "--input", str(folder / "datalist.json"), "--quiet"]
    arguments += ["--output", str(tmp_path / "out"), "--slice", "0"]

    assert infer.main([*arguments, "--section", "test"]) == 0

    for name, index in (("0", 0), ("1-2", 2)):
        hu = stored[name[0]]  # x and y run otherwise than in the network's field, z does not
        mask = np.asarray(nib.load(tmp_path / "out" / f"{name}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(mask[..., index], hu[..., index] > 40.5)
        assert not np.delete(mask, index, axis=2).any()
    assert infer.main(arguments) == 1
    assert "datalist.json: found no section for a datalist, expected" in capfd.readouterr().err
    (folder / "list.csv").write_text("image,prompt\n0.nii.gz,\n")
    arguments[arguments.index("--input") + 1] = str(folder / "list.csv")
    assert infer.main(arguments) == 1
    said = capfd.readouterr().err
    assert "error: prompts, prompts_file: found neither, expected exactly one, as " in said


def test_an_error_behind_a_component_is_one_sentence(bundle, cases, tmp_path, capfd):
    config = {**CONFIG, "weights": "gone"}
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    code = infer.main(
        ["--bundle", str(bundle), "--input", str(cases[0]), "--output", str(tmp_path), "--prompt", "1"]
    )
    said = capfd.readouterr()
    assert code == 1
    assert "error: model.pt: no such file; fetch it.\n" in said.err
    assert "Traceback" not in said.err


def test_a_prompt_too_long_is_said_to_be_cut_and_still_gives_a_mask(bundle, cases, tmp_path, capfd):
    """Once a prompt, though there are two cases; a prompt that fits exactly is not mentioned."""
    folder, stored = cases
    (bundle / "scripts/net.py").write_text(NETWORK + READER)
    config = {**CONFIG, "network_def": {"_target_": "scripts.net.Reader", "weights": "@weights"}}
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    long = f"0.50125, bright dark {'bright ' * 40}dark"
    arguments = ["--bundle", str(bundle), "--input", str(folder), "--output", str(tmp_path / "out")]
    arguments += ["--prompt", long, "--prompt", "0.50125, dark bright", "--device", "cpu", "--quiet"]

    assert infer.main(arguments) == 0

    said = [line for line in capfd.readouterr().err.splitlines() if "word pieces" in line]
    assert said == [
        f"warning: prompt '{long[:80].rstrip()}...': found 47 word pieces, expected at most 6; its end, "
        f"from '{('bright ' * 12)[:80]}...' on, was not read, so shorten the text."
    ]
    for name, hu in stored.items():  # 0.50125 of the window is 40.5 HU; the first in the alphabet wins a tie
        mask = np.asarray(nib.load(tmp_path / "out" / f"{name}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(mask > 0, hu > 40.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--bundle": None}, "--bundle: missing, expected a path"),
        ({"--input": None}, "--input: missing, expected a path"),
        (
            {"--bundle": "nowhere"},
            "nowhere: found no configs/inference.json in it, expected the folder of a bundle",
        ),
        ({"--prompt": None}, "--prompt: found no prompt, expected at least one"),
        ({"--prompt": "  "}, "--prompt: found no text, expected words"),
        ({"--organs": "zoo"}, "group: found 'zoo', expected one of"),
        ({"--prompts-file": "prompts.doc"}, "prompts.doc: found the ending '.doc', expected .txt or .json"),
        (
            {"--prompt": "x" * 2001},
            "--prompt: found 2001 characters, expected at most 2000",
        ),
        ({"--prompt": "li\aver"}, "--prompt: found the control character U+0007 at position 3, expected"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(change, message, bundle, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    options = {"--bundle": str(bundle), "--input": "x.nii", "--output": "out", "--prompt": "liver"} | change
    code = infer.main(
        [part for name, value in options.items() if value is not None for part in (name, value)]
    )
    assert code == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_an_option_that_the_bundle_does_not_know_is_refused(bundle, capsys):
    config = (bundle / "configs/inference.json").resolve()
    arguments = ["--bundle", str(bundle), "--input", "x.nii", "--output", "out", "--prompt", "liver"]
    assert infer.main([*arguments, "--text-bank", "bank.npz"]) == 1
    assert capsys.readouterr().err == (
        f"error: --text-bank: {config} has no key 'network_def#text_bank', expected it for this option; "
        "leave the option out.\n"
    )
    config.write_text(
        json.dumps({name: None for name in json.loads(config.read_text()) if name != "inferer"})
    )
    assert infer.main([*arguments, "--compile"]) == 1
    assert capsys.readouterr().err.startswith(f"error: --compile: {config} has no key 'inferer', expected")
    config.write_text(json.dumps({"prompts_file": "", "bundle_root": "", "input": "", "output_dir": ""}))
    assert infer.main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: --prompt: {config} has no key 'evaluator', expected")
    config.write_text("{")
    assert infer.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {config}: cannot be read as a config (Expecting property name")
    assert said.endswith("); fetch the bundle again.\n")


def test_an_engine_that_the_system_ends_is_told_by_the_exit_code(bundle, cases, tmp_path):
    """SIGKILL is what Linux sends where memory ran out."""
    killed = NETWORK.replace("        return image\n", "        import os\n        os.kill(os.getpid(), 9)\n")
    (bundle / "scripts/net.py").write_text(killed)
    arguments = ["--bundle", str(bundle), "--input", str(cases[0]), "--output", str(tmp_path / "out")]
    assert infer.main([*arguments, "--prompt", "0.5", "--quiet"]) == 128 + 9


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["--device", "$gpu"],
        ["--series", "$1"],
        ["--slice-batch", "many"],
        ["--slice", "-1"],
        ["--section", "all"],
    ],
)
def test_an_unusable_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        infer.main(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_checkpoint_reaches_the_config_from_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the engine works in the bundle's folder
    words = ["--bundle", "b", "--input", "x.nii.gz", "--output", "o"]
    overrides = infer._overrides(infer._parser().parse_args([*words, "--checkpoint", "runs/model.pt"]))
    assert overrides["checkpoint"] == str(tmp_path / "runs" / "model.pt")
    assert "checkpoint" not in infer._overrides(infer._parser().parse_args(words))


def test_prompts_come_from_files_groups_and_options(tmp_path, capsys):
    file = tmp_path / "prompts.json"
    file.write_text('[{"prompt": "the liver", "name": "whole", "label": 7, "colour": [255, 0, 0]}, "heart"]')
    prompts = infer.choose_prompts(["$x", "pancras", "Gallbladder"], file, "abdomen")
    assert prompts[0] == Prompt("the liver", "whole", 7, (255, 0, 0))
    assert prompts[1] == Prompt("heart", "heart", 1)
    assert [prompt.text for prompt in prompts[-3:]] == ["$x", "pancras", "Gallbladder"]
    assert [prompt.label for prompt in prompts[2:]] == [n for n in range(2, len(prompts) + 1) if n != 7]
    notes = capsys.readouterr().err.splitlines()
    assert notes == [
        "note: 'the liver' is not a name in the vocabulary and is used as it is; did you mean 'liver'?",
        "note: '$x' is not a name in the vocabulary and is used as it is.",
        "note: 'pancras' is not a name in the vocabulary and is used as it is; did you mean 'pancreas'?",
        "note: 'gallbladder' and 'Gallbladder' both mean the gallbladder; a label map gives each voxel to "
        "one of them.",
    ]
    with pytest.raises(InputError, match="prompts: found the name 'liver' again"):
        infer.choose_prompts(["liver"], None, "abdomen")


def test_the_vocabulary_has_nothing_to_say_of_lesions(capsys):
    infer.choose_prompts(["the largest lesion"], None, None, of_organs=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match="--organs: found 'abdomen', but this bundle does not take organs"):
        infer.choose_prompts([], None, "abdomen", of_organs=False)


def test_a_bundle_says_whether_the_vocabulary_is_its_own(bundle, capsys, monkeypatch):
    """Of one for sentences no group of organs can be asked; of one that does not say, nothing."""
    monkeypatch.setattr(infer, "run_in_bundle", lambda *_: 0)
    metadata = bundle / "configs/metadata.json"
    arguments = ["--bundle", str(bundle), "--input", "x.nii", "--output", "out", "--prompt", "livr"]

    assert infer.main(arguments) == 0
    assert "note: 'livr' is not a name in the vocabulary" in capsys.readouterr().err
    metadata.write_text('{"prompt_kinds": ["sentence"]}')
    assert infer.main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert infer.main([*arguments, "--organs", "abdomen"]) == 1
    assert "but this bundle does not take organs" in capsys.readouterr().err
    metadata.write_text("{}")
    assert infer.main(arguments) == 1
    assert capsys.readouterr().err == (
        f"error: {metadata}: found no prompt_kinds (KeyError('prompt_kinds')), expected a list of organ, "
        "sentence; fetch the bundle again.\n"
    )


@pytest.mark.parametrize("option", ["--help", "--list-prompts"])
def test_help_and_the_list_of_prompts_load_nothing_heavy(option):
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['infer', {option!r}]\n"
        "try: runpy.run_module('tools.infer', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'monai', 'numpy', 'nibabel', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    if option == "--list-prompts":
        vocabulary = json.loads(done.stdout)
        assert "liver" in {organ["name"] for organ in vocabulary["organs"]}
        assert "liver" in vocabulary["groups"]["abdomen"]


@pytest.fixture
def at_work(bundle, cases, tmp_path):
    """The command as a process, its engine at work on the first of many slices, and the output folder."""
    slow = NETWORK.replace(
        "        return image\n", "        import time\n        time.sleep(600)\n        return image\n"
    )
    (bundle / "scripts/net.py").write_text(slow)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tools.infer", "--bundle", str(bundle), "--input", str(cases[0])]
    command += ["--output", str(out), "--prompt", "0.5", "--quiet"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        while not list(out.glob(".partial-*")):
            assert process.poll() is None
            time.sleep(0.05)
        yield process, out


def test_an_interrupted_run_says_so_and_leaves_nothing_half(at_work):
    """SIGTERM to the command alone."""
    process, out = at_work
    process.terminate()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert not list(out.iterdir())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the engine is found by way of /proc")
def test_the_engine_ends_when_the_command_is_killed(at_work):
    """stderr, which the engine shares, ends with the last of the two."""
    process, out = at_work
    engine = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
    process.kill()
    try:
        _, said = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.kill(int(engine), signal.SIGKILL)  # or it would sleep on after the test
        raise
    assert said.splitlines()[-1] == "interrupted"
    assert not list(out.iterdir())


def test_channels_last_and_compile_reach_the_engine(bundle, cases, tmp_path, capfd):
    arguments = ["--bundle", str(bundle), "--input", str(cases[0]), "--output", str(tmp_path / "out")]
    arguments += ["--prompt", "0.50125", "--channels-last", "--no-compile", "--amp", "--quiet"]
    assert infer.main(arguments) == 0, capfd.readouterr().err
    report = json.loads((tmp_path / "out/0_seg.json").read_text("utf-8"))
    settings = {name: report["settings"][name] for name in ("amp", "channels_last", "compiled")}
    assert settings == {"amp": True, "channels_last": True, "compiled": False}


def test_the_command_line_knows_what_the_engine_knows() -> None:
    """It repeats these, so that --help answers without the engine's imports."""
    assert infer.FORMATS == writers.FORMATS
    assert infer.LISTS == lists.ENDINGS
    assert infer.SECTIONS == SECTIONS
    writers.check_outputs(infer.OUTPUTS, "nii.gz")
    assert tuple(writers._WRITERS) == infer.OUTPUTS
