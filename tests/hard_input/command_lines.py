"""Values that people type behind `--key`, each beside what it has to become, and odd ones of all kinds."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from common.config.command_line import config_of_run

# Key, the word as the shell hands it over, and the value that the run must see.
TAKEN: list[tuple[str, str, Any]] = [
    ("input", "ct #1.nii.gz", "ct #1.nii.gz"),
    ("input", "@scratch", "@scratch"),
    ("input", "100%/ct.nii.gz", "100%/ct.nii.gz"),
    ("input", "$HOME", "$HOME"),
    ("input", "a,b", "a,b"),
    ("input", "['a #1.nii', 'b@2.nii']", ["a #1.nii", "b@2.nii"]),
    ("output_dir", "run#2", "run#2"),
    ("output_dir", "2024", "2024"),
    ("output_dir", "run,1", "run,1"),
    ("output_dir", "(1)", "(1)"),
    ("output_dir", "1e3", "1e3"),
    ("output_dir", "a::b", "a::b"),
    ("output_dir", "'a' # b\\#", "'a' # b\\#"),
    ("output_dir", "\u043f\u0435\u0447\u0435\u043d\u044c", "\u043f\u0435\u0447\u0435\u043d\u044c"),
    ("init_checkpoint", "None", None),
    ("init_checkpoint", "a#1.pt", "a#1.pt"),
    ("network_def#text_bank", "bank #1.npz", "bank #1.npz"),
    ("network_def#text_revision", "1234567", "1234567"),
    ("evaluator#series", "3", "3"),
    ("run_name", "2024", "2024"),
    ("draws_per_epoch", "None", None),
    ("draws_per_epoch", "40", 40),
    ("epochs", "3", 3),
    ("learning_rate", "1e-4", 1e-4),
    ("clip_gradients", "0.5", 0.5),
    ("clip_gradients", "None", None),
    ("patience", "20", 20),
    ("window", "[-160,240]", [-160, 240]),
    ("window", "-160,240", [-160, 240]),
    ("organs", "liver,spleen", ["liver", "spleen"]),
    ("organs", "liver", ["liver"]),
    ("outputs", "[masks,labels]", ["masks", "labels"]),
    ("amp", "True", True),
    ("device", "cpu", "cpu"),
]

# Key, the word, and what the error expects.
REFUSED: list[tuple[str, str, str]] = [
    ("epochs", "0", "a whole number from 1 up"),
    ("epochs", "2.5", "a whole number from 1 up"),
    ("epochs", "None", "a whole number from 1 up"),
    ("epochs", "$6*7", "a whole number from 1 up"),
    ("batch_size", "four", "a whole number from 1 up"),
    ("batch_size", "True", "a whole number from 1 up"),
    ("draws_per_epoch", "-1", "a whole number from 1 up or None"),
    ("seed", "4294967296", "a whole number from 0 to 4294967295"),
    ("learning_rate", "0", "a number above 0"),
    ("clip_gradients", "0", "a number above 0 to 1e+30 or None"),
    ("patience", "0", "a whole number from 1 up or None"),
    ("patience", "2.5", "a whole number from 1 up or None"),
    ("schedule", "linear", "power or cosine or plateau"),
    ("learning_rate", "1e999", "a number above 0"),
    ("noise", "1.5", "a number from 0 to 1"),
    ("window", "[240,-160]", "a lower and an upper number"),
    ("window", "240", "a lower and an upper number"),
    ("organs", "[1,2]", "a list of names"),
    ("outputs", "[]", "a list of labels, masks"),
    ("outputs", "mask", "a list of labels, masks"),
    ("section", "tests", "training or validation or test or None"),
    ("amp", "1", "True or False"),
    ("amp", "yes", "True or False"),
    ("device", "gpu", "cpu, cuda, cuda:1 or mps"),
    ("device", "0", "cpu, cuda, cuda:1 or mps"),
    ("device", "cuda:99", "cpu or a device of this machine"),
    ("output_dir", "True", "a path"),  # also what Fire makes of --output_dir without a value
    ("output_dir", "None", "a path"),
    ("input", "[1,2]", "a path or a list of paths in quotes"),
    ("loss_weights", "{'dice':-1}", "names with numbers of 0 or more"),
]

odd_words = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
    st.text(alphabet="#@%$:[](){}'\",.-+ ab01\\", max_size=12),
    st.integers().map(str),
    st.floats().map(repr),
    st.lists(st.integers(-3, 300) | st.text(max_size=4), max_size=3).map(repr),
    st.sampled_from([word for _, word, _ in TAKEN] + [word for _, word, _ in REFUSED]),
).filter(lambda word: not word.startswith("-") and word != "--")


def write_seen(path: str, **values: Any) -> None:
    """What a run's components get, and what the run takes for its config."""
    Path(path).write_text(json.dumps({**values, "record": config_of_run()}))
