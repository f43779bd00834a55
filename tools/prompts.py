"""List the words that the bundles know: organs, their names and synonyms, and groups of them."""

import json
import sys
from dataclasses import asdict

from common.text.vocabulary import Organ, Vocabulary
from tools.command_line import Parser, says_input_errors


@says_input_errors(exit_code=1)
def main(arguments: list[str] | None = None) -> int:
    """Print the vocabulary, or one group of it, as a table or as JSON; returns the exit code."""
    parser = Parser(prog="python -m tools.prompts", description=__doc__)
    parser.add_argument(
        "--json", action="store_true", help="print everything that is known, machine-readable"
    )
    parser.add_argument(
        "--group", metavar="NAME", help="only the organs of this group, such as abdomen or flare22"
    )
    options = parser.parse_args(arguments)
    vocabulary = Vocabulary.load()
    organs = vocabulary.organs if options.group is None else vocabulary.group(options.group)
    print(as_json(vocabulary, organs) if options.json else _as_table(vocabulary, organs))
    return 0


def as_json(vocabulary: Vocabulary, organs: tuple[Organ, ...] | list[Organ]) -> str:
    """Organs with all that is known of them, and the groups, as JSON."""
    known = [asdict(organ) | {"descriptions": organ.descriptions} for organ in organs]
    return json.dumps({"groups": vocabulary.groups, "organs": known}, indent=2)


def _as_table(vocabulary: Vocabulary, organs: tuple[Organ, ...] | list[Organ]) -> str:
    width = max(len(organ.name) for organ in organs)
    lines = [f"{organ.name:{width}}  {', '.join(organ.synonyms)}" for organ in organs]
    return "\n".join([*lines, "", f"Groups: {', '.join(vocabulary.groups)}"])


if __name__ == "__main__":
    sys.exit(main())
