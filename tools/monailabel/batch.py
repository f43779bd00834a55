"""Many studies at once: one that fails is reported, and the others go on."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

from common.errors import InputError

from .bundle_process import BundleError

_log = logging.getLogger(__name__)


class TextBatchInferTask(BatchInferTask):
    """Segments the studies that the request names (`all`, `labeled`, `unlabeled`) and saves the label maps.

    One study at a time: a bundle's process does one job at a time anyway, and people's requests come between.
    """

    def __call__(
        self, request: Mapping[str, Any], datastore: Datastore, infer: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """{study: what was found}.

        Raises:
            MONAILabelException: some studies failed (they are named); the others are done.
        """
        tag = request.get("label_tag", DefaultLabelTag.ORIGINAL)
        known = set(datastore.list_images())
        done: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for study in sorted(known.intersection(self.get_images(request, datastore))):
            try:
                found = infer({**request, "image": study, "save_label": True, "label_tag": tag}, datastore)
            except (InputError, BundleError, MONAILabelException) as error:
                failed[study] = getattr(error, "msg", None) or str(error)
                _log.error("%s failed: %s", study, failed[study])
                continue
            Path(found["file"]).unlink(missing_ok=True)
            done[study] = found["params"]
            _log.info("%s is done (%d of %d)", study, len(done) + len(failed), len(known))
        if failed:
            first = next(iter(failed.items()))
            raise MONAILabelException(
                MONAILabelError.APP_INFERENCE_FAILED,
                f"{len(failed)} of {len(failed) + len(done)} studies failed, first {first[0]}: {first[1]}",
            )
        return done
