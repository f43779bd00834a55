"""What the engine's process makes of a job. How jobs reach it is in tests/tools/test_infer.py."""

import json
from dataclasses import asdict

from common.inference import worker
from common.text.prompts import Prompt


def test_prompts_are_the_same_on_both_sides_of_the_pipe() -> None:
    """Equal, and fit for the sets in which the runner keeps them."""
    prompts = [Prompt("$(liver)", "whole", 7, (255, 0, 0)), Prompt("a,b", "a,b", 1)]
    arrived = [worker._prompt(fields) for fields in json.loads(json.dumps([asdict(p) for p in prompts]))]
    assert arrived == prompts
    assert set(arrived) == set(prompts)
