"""What a bundle says of itself, and its own code at work in a process of its own."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import InputError
from tools.engine import has_id, prompt_kinds, run_in_bundle, send, start

BUNDLES = Path(__file__).parents[2] / "bundles"

# Done by a bundle of the tests. Each job says what it does.
WORK = """
import json, os, signal, sys, time
from pathlib import Path
from scripts.common.errors import InputError
from scripts.common.jobs import answer_jobs, run_job

def work(job):
    print("at work", flush=True)
    if "write" in job:
        here = {"folder": os.getcwd(), "common": "common" in sys.modules, "job": job}
        Path(job["write"]).write_text(json.dumps(here))
    if "sleep" in job:
        Path(job["begun"]).touch()
        try:
            time.sleep(job["sleep"])
        finally:
            Path(job["begun"]).unlink()
    if "refuse" in job:
        raise RuntimeError("from MONAI") from InputError(job["refuse"])
    if "end" in job:
        os._exit(job["end"])
    if "kill" in job:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"found": len(job["divide"]) / job["by"]} if "divide" in job else {}
"""
ENDS = {
    "once": "sys.exit(run_job(work, code_of=lambda error: 3 if str(error) == 'three' else 1))",
    "many": "answer_jobs(work)",
}


def bundle_with(folder: Path, content: str) -> Path:
    (folder / "configs").mkdir()
    (folder / "configs/metadata.json").write_text(content)
    return folder


def test_our_own_bundles_say_what_they_are_asked_for() -> None:
    assert prompt_kinds(BUNDLES / "medvlm_organ") == ("organ",)
    assert prompt_kinds(BUNDLES / "lsms_lesion") == ("sentence",)


def test_a_bundle_may_be_asked_for_both(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, '{"prompt_kinds": ["organ", "sentence"]}')
    assert prompt_kinds(bundle) == ("organ", "sentence")


@pytest.mark.parametrize(
    "kinds",
    [[], ["organs"], ["organ", "image"], [["organ"]], [{"organ": True}], "organ", {"organ": True}, None],
)
def test_other_kinds_are_refused(kinds: object, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, json.dumps({"prompt_kinds": kinds}))
    with pytest.raises(InputError) as caught:
        prompt_kinds(bundle)
    assert str(caught.value) == (
        f"{tmp_path}/configs/metadata.json: found {kinds!r} as prompt_kinds, expected a list of organ, "
        "sentence."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{}", "KeyError"), ("[]", "TypeError"), ("{", "JSONDecodeError"), (None, "FileNotFound")],
)
def test_a_bundle_that_does_not_say_is_refused(content: str | None, reason: str, tmp_path: Path) -> None:
    bundle = tmp_path if content is None else bundle_with(tmp_path, content)
    with pytest.raises(InputError) as caught:
        prompt_kinds(bundle)
    found = str(caught.value)
    assert found.startswith(f"{tmp_path}/configs/metadata.json: found no prompt_kinds ({reason}")
    assert found.endswith("), expected a list of organ, sentence; fetch the bundle again.")


def test_ids_of_a_config() -> None:
    config = {"network_def": {"preset": None, "framing": {"window": [0, 1]}}, "device": "cpu"}
    for name in ("network_def", "network_def#preset", "network_def#framing#window", "device"):
        assert has_id(config, name), name
    for name in ("preset", "network_def#framing#crop", "device#index", "network_def#framing#window#0#1", ""):
        assert not has_id(config, name), name


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Its modules `once` and `many` do what `WORK` says; its `scripts.common` is the repository's."""
    folder = tmp_path / "a bundle"
    (folder / "scripts").mkdir(parents=True)
    init = BUNDLES / "medvlm_organ" / "scripts" / "__init__.py"
    (folder / "scripts/__init__.py").write_text(init.read_text().replace("__file__", repr(str(init))))
    for name, end in ENDS.items():
        (folder / f"{name}.py").write_text(f"{WORK}\n{end}\n")
    return folder


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_job_reaches_the_bundles_own_code_as_it_is(bundle: Path, tmp_path: Path) -> None:
    """In the bundle's folder, without the repository's `common`; longer than a pipe holds."""
    texts = ["$(liver)", "a\nb", "\ud800", "Leber \u00fc", "x" * 300_000]
    job = {"write": str(tmp_path / "found.json"), "texts": texts}
    assert run_in_bundle(bundle, "once", job) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == {"folder": str(bundle), "common": False, "job": job}


@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        ({"refuse": "model.pt: no such file."}, 1, "error: model.pt: no such file.\n"),
        ({"refuse": "three"}, 3, "error: three\n"),
        ({"divide": "", "by": 0}, 1, "ZeroDivisionError"),
        ({"end": 7}, 7, ""),
        ({"kill": True}, 128 + signal.SIGKILL, ""),
    ],
)
def test_how_a_job_went_is_its_exit_code(
    job: dict[str, object], code: int, said: str, bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_in_bundle(bundle, "once", job) == code
    told = capfd.readouterr()
    assert told.out == "at work\n"
    assert told.err == said if said.startswith("error") else said in told.err
    assert ("Traceback" in told.err) == (said == "ZeroDivisionError")


def test_a_module_that_is_not_there_fails_whatever_it_was_told(bundle: Path) -> None:
    assert run_in_bundle(bundle, "gone", {"texts": "x" * 300_000}) == 1


def test_sigterm_ends_the_job_first_and_means_afterwards_what_it_meant(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    begun, before = tmp_path / "begun", signal.getsignal(signal.SIGTERM)

    def stop() -> None:
        wait_until(begun.exists)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert run_in_bundle(bundle, "once", {"sleep": 600, "begun": str(begun)}) == 130
    thread.join()
    assert not begun.exists()  # it tidied up
    assert capfd.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_job_is_done_from_any_thread(bundle: Path) -> None:
    """Python lets the main thread alone handle signals; MONAI Label may train in another."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_in_bundle(bundle, "once", {})))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(("module", "code", "code_without"), [("once", 130, 130), ("many", -15, 0)])
def test_a_job_ends_when_nobody_waits_any_more(
    module: str, code: int, code_without: int, bundle: Path, tmp_path: Path
) -> None:
    """Where the launcher goes away, stdin ends: in the middle of the job, or before it could be read."""
    begun = tmp_path / "begun"
    job = {"sleep": 600, "begun": str(begun)}
    with start(bundle, module, answers=module == "many") as process:
        send(process, job)
        wait_until(begun.exists)
    assert process.returncode == code
    assert begun.exists() == (module == "many")  # a server's job is cut short, a user's tidies up
    with start(bundle, module, answers=module == "many") as process:
        send(process, job)
    assert process.returncode == code
    with start(bundle, module, answers=module == "many") as process:
        pass
    assert process.returncode == code_without


def test_many_jobs_are_answered_one_by_one(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is printed meanwhile is no answer, and an error ends nothing but its job."""
    jobs = [{"divide": "abc", "by": 2}, {"divide": "", "by": 0}, {"refuse": "no \u00fc."}, {}]
    with start(bundle, "many", answers=True) as process:
        for job in jobs:
            send(process, job)
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline()) for _ in jobs] == [
            {"ok": True, "found": 1.5},
            {"ok": False, "kind": "internal", "message": "ZeroDivisionError: division by zero"},
            {"ok": False, "kind": "input", "message": "no \u00fc."},
            {"ok": True},
        ]
    assert process.returncode == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("at work\n") == 4
    assert said.err.count("Traceback") == 1
