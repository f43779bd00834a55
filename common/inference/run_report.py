"""What became of every case of a run."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ..errors import InputError
from ..files import NOT_UTF8, atomic_path
from .cases import InputCase
from .report import versions

SHOWN_FAILURES = 5

Status = Literal["done", "skipped", "failed"]


class CasesFailedError(InputError):
    """Some cases of a run failed; the others are done."""


@dataclass(frozen=True)
class Outcome:
    """One case: its input, its report file, and why it failed if it did."""

    input: str
    report: str
    status: Status
    seconds: float
    reason: str | None = None


@dataclass
class RunReport:
    """Collects the outcomes of a run.

    Attributes:
        total: cases that the run is to do.
        outcomes: of the cases that are through.
        slices: of the cases that were segmented.
    """

    total: int
    outcomes: list[Outcome] = field(default_factory=list)
    slices: int = 0
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _since: float = field(default_factory=time.perf_counter)

    def add(self, case: InputCase, status: Status, reason: str | None = None) -> None:
        """Note a case's outcome; its seconds are those since the last one."""
        now = time.perf_counter()
        seconds = round(now - self._since, 3)
        self.outcomes.append(Outcome(str(case.source), str(case.output(".json")), status, seconds, reason))
        self._since = now

    def count(self, status: str) -> int:
        """Cases with a status."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def speed(self) -> str:
        """Slices a second over the cases that were segmented, reading and writing included; "" before."""
        seconds = sum(outcome.seconds for outcome in self.outcomes if outcome.status == "done")
        return f"{self.slices / seconds:.1f} slices/s" if seconds > 0 else ""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, also when the run was cut short (`cases` then says how many there were)."""
        content = {
            "started": self.started,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "cases": self.total,
            **{status: self.count(status) for status in ("done", "skipped", "failed")},
            "versions": versions(),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", "utf-8", NOT_UTF8)

    def raise_if_failed(self) -> None:
        """Raise when a case failed.

        Raises:
            CasesFailedError: names the first of them with their reasons.
        """
        reasons = [str(outcome.reason).rstrip(".") for outcome in self.outcomes if outcome.status == "failed"]
        if reasons:
            more = f"; and {len(reasons) - SHOWN_FAILURES} more" if len(reasons) > SHOWN_FAILURES else ""
            shown = "; ".join(reasons[:SHOWN_FAILURES])
            raise CasesFailedError(f"{len(reasons)} of {self.total} cases failed: {shown}{more}.")
