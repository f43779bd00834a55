"""Which organs a prompt asks for, and how many connected parts they have in a body."""

import pytest

from common.text.asked import asked_organs, pieces_of
from common.text.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("text", "organs"),
    [
        ("Liver", ["liver"]),
        ("hepar", ["liver"]),
        ("both kidneys", ["left kidney", "right kidney"]),
        ("the parotid glands", ["left parotid gland", "right parotid gland"]),
        ("the spleen, left of the stomach", ["spleen"]),
        ("segment the pancreas", ["pancreas"]),
        ("the liver, not the stomach", ["liver"]),
        ("next to the liver, the stomach", ["stomach"]),
        ("where is the aorta?", ["aorta"]),
        (Vocabulary.load().organ("larynx").descriptions[1], ["larynx"]),
        # Each of these means something else than one organ of the vocabulary, or nobody knows what.
        ("liver and spleen", []),
        ("liver, spleen", []),
        ("lesion in the liver", []),
        ("the largest lesion in the liver", []),
        ("liver tumour", []),
        ("liver with its metastases", []),
        ("the tumour, left of the liver", []),
        ("weather", []),
        ("kidney", []),
    ],
)
def test_the_organs_that_a_text_asks_for(text: str, organs: list[str]) -> None:
    assert sorted(organ.name for organ in asked_organs(text)) == organs


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("liver", 1),
        ("lungs", 2),
        ("both kidneys", 2),
        ("hippocampus", 2),  # one on each side
        ("vertebrae", None),
        ("hepatic vessels", None),
        ("the mandible", 1),
        ("liver tumour", None),
    ],
)
def test_pieces_are_those_of_anatomy(text: str, pieces: int | None) -> None:
    assert pieces_of(text) == pieces


def test_sentences_of_training_are_understood_for_every_organ() -> None:
    for organ in Vocabulary.load().organs:
        for carrier in ("the {}", "find the {}", "a mask of the {}", "the {} in this image", "{} on CT"):
            assert asked_organs(carrier.format(organ.name)) == (organ,), (carrier, organ.name)
