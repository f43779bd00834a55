"""Segment many files: read, segment, write, one case after the other."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..data.readers import read_image
from ..data.volumes import Volume
from ..errors import InputError, SwitchError
from ..files import show_any_path
from ..fingerprint import source_sha256, value_sha256, weights_sha256
from ..outputs.staging import check_writable, clear, scratch_array, staged, writing_to
from ..outputs.writers import FROM_DICOM, Finished, check_outputs, check_possible, write_case
from ..text.prompts import Prompt
from .ahead import load_ahead
from .cases import InputCase, Inputs, find_cases
from .clock import Clock
from .earlier import earlier_outputs
from .inferer import VolumeInferer
from .prompts import Texts, ask, warn_of_doubts
from .report import RunReport, case_report, describe_checkpoint, prompt_table, request_of, shared_request
from .segmentation import PromptResult

if TYPE_CHECKING:
    from ..networks.base import TextSegmenter

logger = logging.getLogger(__name__)


class _Loaded(NamedTuple):
    """A case that was read, or whose outputs are there already (then without a volume).

    `changed` are those of its outputs that are no longer as they were written.
    """

    volume: Volume | None
    sha256: str
    seconds: dict[str, float]
    changed: tuple[str, ...] = ()


class _Run(NamedTuple):
    """What all cases of a run share."""

    texts: Texts
    request: dict[str, Any]  # what decides the outputs of all of them
    read: Callable[[Path], Volume]  # keeps the last one: lists may ask several slices of it in a row
    sha256: Callable[[Path], str]


class CaseRunner:
    """Segments every input file; the `evaluator` of a bundle's inference.json.

    A case that fails is reported, and the run continues with the others. Prompts arrive as data, as a list or
    in a file, since a config would evaluate a text that begins with `$`.

    Args:
        inputs: an image (see `common.data.readers`; PNG and JPEG where the network takes images, whose label
            maps are PNG in the same pixels), a folder of them, a file with a list of them (`.csv`,
            `.json`, see `lists`; their entries may have prompts and a slice of their own), or a list of all
            these.
        output_dir: where `<case>_seg.json` and the outputs go, subfolders of an input folder mirrored.
        network: a network of `common.networks` with its weights.
        inferer: how volumes are segmented.
        prompts: texts, numbered from 1 in their order, or `Prompt`s; asked of all but the entries of lists
            that have their own.
        prompts_file: a file for `common.text.prompts.read_prompts_file`; give this or `prompts`.
        slice_index: segment this slice of each volume alone, 0 the most inferior one; the mask has the
            volume's grid and is empty elsewhere. An entry's own goes before it.
        section: of a datalist as input: "training", "validation" or "test".
        series: SeriesInstanceUID or SeriesNumber, where a DICOM folder has several series.
        outputs: kinds of files: labels (`<case>_seg.nii.gz`), masks (one a prompt, which may overlap),
            probabilities (one a prompt; 0 to 255 is 0 to 1), preview (PNG), dicom_seg, rtstruct (of DICOM).
        file_format: of label maps, masks and probabilities: nii.gz, nii, nrrd or mha.
        skip_existing: leave out a case whose outputs are whole and of the same input (by its sha256),
            prompts, weights and settings; and, whatever they were made of, one with an output that was
            changed since (a mask corrected by hand), which is named.
        checkpoint: file of the network's weights, whose sha256 goes into the reports.
        report: where to write a JSON with the outcome of every case.
        progress: show bars over cases and slices on stderr.
    """

    def __init__(
        self,
        inputs: Inputs,
        output_dir: str | os.PathLike[str],
        *,
        network: "TextSegmenter",
        inferer: VolumeInferer,
        prompts: Sequence[str | Prompt] | None = None,
        prompts_file: str | os.PathLike[str] | None = None,
        slice_index: int | None = None,
        section: str | None = None,
        series: str | None = None,
        outputs: Sequence[str] = ("labels", "preview"),
        file_format: str = "nii.gz",
        skip_existing: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        report: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        self.inputs = inputs
        self.output_dir = Path(output_dir)
        self.network = network
        self.inferer = inferer
        self.prompts = prompts
        self.prompts_file = prompts_file
        self.slice_index = slice_index
        self.section = section
        self.series = series
        self.outputs = outputs
        self.file_format = file_format
        self.skip_existing = skip_existing
        self.checkpoint = checkpoint
        self.report = report
        self.progress = progress

    def run(self) -> RunReport:
        """Segment all cases; returns what became of each.

        Raises:
            InputError: inputs, prompts or a slice that cannot be used, before any work.
            SwitchError: a switch that works for no case, at the first one.
            CasesFailedError: cases failed; the others are done.
        """
        show_any_path()
        check_outputs(self.outputs, self.file_format)
        images_2d = self.network.framing.images
        found = find_cases(self.inputs, self.output_dir, images_2d=images_2d, section=self.section)
        cases = ask(found, self.prompts, self.prompts_file, self.slice_index)
        warn_of_doubts(cases)
        check_writable(self.output_dir)
        if self.report is not None:
            check_writable(Path(self.report).parent)
            if Path(self.report).is_dir():
                raise InputError(
                    f"report: {self.report} is a folder, expected a file; add a name such as run.json."
                )
        run = self._prepare(cases)
        outcomes = RunReport(len(cases))
        try:
            bar = tqdm(total=len(cases), desc="cases", unit="case", disable=not self.progress)
            with logging_redirect_tqdm(), bar:
                for case, loading in load_ahead(cases, lambda case: self._load(case, run)):
                    try:
                        self._do(case, loading.result(), run, outcomes)
                    except SwitchError:
                        raise
                    except Exception as error:  # one bad case must not end a long run, whatever is wrong
                        outcomes.add(case, "failed", _sentence(case, error))
                    bar.set_postfix_str(outcomes.speed)
                    bar.update()
        finally:
            unwritten = self._write_report(outcomes)
        counts = (outcomes.count(status) for status in ("done", "skipped", "failed"))
        logger.info("%d cases: %d done, %d skipped, %d failed.", len(cases), *counts)
        outcomes.raise_if_failed()
        if unwritten is not None:
            raise unwritten
        return outcomes

    def _write_report(self, outcomes: RunReport) -> InputError | None:
        """Write the report of the run. An error is logged and returned, since cases may have failed too."""
        if self.report is None:
            return None
        try:
            with writing_to(Path(self.report).parent):
                outcomes.write(self.report)
        except InputError as error:
            logger.error("report: %s", error)
            return error
        return None

    def _prepare(self, cases: list[InputCase]) -> _Run:
        checkpoint = None if self.checkpoint is None else describe_checkpoint(self.checkpoint)
        weights = weights_sha256(self.network)
        texts = Texts(cases, partial(self.inferer.encode, self.network))
        try:
            texts.of(cases[0])
        except Exception as error:  # all cases fail where the language model is missing: better now
            if isinstance(error, InputError) or len({case.prompts for case in cases}) == 1:
                raise
        outputs = {"outputs": list(self.outputs), "file_format": self.file_format}
        settings = {**self.inferer.settings(self.network), **outputs}
        request = shared_request(
            settings=settings, weights=weights, checkpoint=checkpoint, series=self.series
        )
        read = lru_cache(maxsize=1)(partial(read_image, series=self.series))
        return _Run(texts, request, read, lru_cache(maxsize=1)(source_sha256))

    def _load(self, case: InputCase, run: _Run) -> _Loaded:
        if case.clash is not None:
            raise InputError(case.clash)
        clock = Clock()
        with clock("read"), _reading(case):
            sha256 = run.sha256(case.source)
        earlier = earlier_outputs(case.output(".json")) if self.skip_existing else None
        if earlier is not None:
            asked = value_sha256([sha256, request_of(case, run.request)])
            if earlier.changed or (earlier.complete and earlier.fingerprint == asked):
                return _Loaded(None, sha256, clock.seconds, earlier.changed)
        with clock("read"), _reading(case):
            volume = run.read(case.source)
        return _Loaded(volume, sha256, clock.seconds)

    def _do(self, case: InputCase, loaded: _Loaded, run: _Run, outcomes: RunReport) -> None:
        if loaded.volume is None:
            clear(case)
            outcomes.add(case, "skipped", _warn_of_changed(case, loaded.changed) if loaded.changed else None)
            return
        volume, framing = loaded.volume, self.network.framing
        check_possible(self.outputs, volume)
        framing.warn_if_contradicted(volume)
        with staged(case) as folder:
            shape = (len(case.prompts), *volume.slices.shape)
            with writing_to(case.stem.parent):
                probabilities = scratch_array(folder, shape) if "probabilities" in self.outputs else None
            segmentation = self.inferer(
                volume,
                self.network,
                case.prompts,
                guidance=run.texts.of(case),
                slice_index=case.slice_index,
                probabilities=probabilities,
                progress=self.progress,
            )
            if "masks" not in self.outputs or any(kind in FROM_DICOM for kind in self.outputs):
                _warn_of_overlaps(case, segmentation.results, masks="masks" in self.outputs)
            segmentation.seconds.update(run.texts.take_seconds(), **loaded.seconds)
            request = request_of(case, run.request)
            report = case_report(case.source, volume, segmentation, sha256=loaded.sha256, request=request)
            finished = Finished(
                case,
                volume,
                segmentation,
                probabilities,
                window=volume.value_range or framing.window,
                file_format=self.file_format,
            )
            with writing_to(case.stem.parent):
                report = write_case(finished, report, kinds=self.outputs, folder=folder)
        outcomes.slices += len(volume.slices) if case.slice_index is None else 1
        if failed := report["failed_outputs"]:
            outcomes.add(case, "failed", _sentence(case, InputError("; ".join(failed.values()))))
        else:
            outcomes.add(case, "done")
        logger.info("%s\n%s", case.output(".json"), prompt_table(segmentation.results, in_mm=volume.in_mm))


@contextmanager
def _reading(case: InputCase) -> Iterator[None]:
    """Say of an OSError that the input cannot be read: a broken link, no permission, a share that is gone."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{case.source}: cannot be read ({error.strerror or error}), expected an image; check its path "
            "and permissions."
        ) from error


def _warn_of_overlaps(case: InputCase, results: Sequence[PromptResult], *, masks: bool) -> None:
    """Warn where a prompt lost most of its voxels to others; `masks`: whether its own mask is written."""
    for result in results:
        left = result.labelled.voxels
        if result.overlap_voxels > left:
            logger.warning(
                "%s: other prompts got %d of the %d voxels of '%s', since a label map (and DICOM SEG and "
                "RTSTRUCT) gives each to the most probable one; ask for it alone%s.",
                case.source,
                result.overlap_voxels,
                result.overlap_voxels + left,
                result.prompt.name,
                "" if masks else ", or for masks (outputs)",
            )


def _warn_of_changed(case: InputCase, changed: Sequence[str]) -> str:
    """Warn of outputs that differ from their report and are kept; returns the sentence."""
    sentence = (
        f"{case.stem.parent}: found {', '.join(changed)} changed since {case.output('.json').name} was "
        "written, so nothing is overwritten; remove the report or leave skip_existing out to segment the "
        "case again."
    )
    logger.warning("%s", sentence)
    return sentence


def _sentence(case: InputCase, error: Exception) -> str:
    """The error as a sentence with the case's file name; any error but an InputError is logged in full."""
    if isinstance(error, InputError):
        sentence = str(error)
        logger.error("%s", sentence)
    else:
        sentence = f"{type(error).__name__}: {error}"
        logger.error("%s: %s", case.source, sentence, exc_info=error)
    return sentence if str(case.source) in sentence else f"{case.source}: {sentence}"
