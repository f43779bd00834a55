"""Which study to label next."""

import logging
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

_log = logging.getLogger(__name__)


class MostUncertain(Strategy):
    """The study without a label that a bundle was least sure about when `uncertainty` was last scored.

    The request's `model` says whose scores count; by default the highest of any bundle's. Where nothing was
    scored yet, the first study by name.
    """

    def __init__(self) -> None:
        super().__init__("Least sure first (run the scoring method uncertainty before)")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """{"id": study, "uncertainty": its score or None}, or None when all studies have labels."""
        studies = sorted(datastore.get_unlabeled_images())
        if not studies:
            return None
        scores = {study: self._score(datastore, study, request.get("model")) for study in studies}
        known = {study: score for study, score in scores.items() if score is not None}
        if not known:
            _log.warning("No study has an uncertainty yet: taking the first. Run the scoring method first.")
            return {"id": studies[0], "uncertainty": None}
        chosen = max(known, key=known.__getitem__)
        return {"id": chosen, "uncertainty": known[chosen]}

    def _score(self, datastore: Datastore, study: str, model: object) -> float | None:
        scores = datastore.get_image_info(study).get("uncertainty") or {}
        values = [value for bundle, value in scores.items() if model in (None, "", bundle)]
        return max(values, default=None)
