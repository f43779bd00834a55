"""The command line, as far as it goes without MONAI Label."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.monailabel import __main__ as command

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_others_reach_it_only_with_a_login(host, tmp_path, capsys, monkeypatch):
    started = []
    monkeypatch.setattr(command, "_serve", lambda *_: started.append(host))
    monkeypatch.delenv("MONAI_LABEL_AUTH_ENABLE", raising=False)
    arguments = ["--studies", str(tmp_path), "--work", str(tmp_path / "w"), "--host", host]
    assert command.main(arguments) == 1
    assert capsys.readouterr().err.startswith(
        f"error: --host: found {host}, which others can reach, expected"
    )
    assert not started
    assert command.main([*arguments, "--behind-login"]) == 0
    monkeypatch.setenv("MONAI_LABEL_AUTH_ENABLE", "true")
    assert command.main(arguments) == 0
    assert len(started) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_this_computer_alone(host, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(command, "_serve", lambda options, settings: started.append(settings))
    assert command.main(["--studies", str(tmp_path), "--host", host]) == 0
    assert started[0].studies == str(tmp_path.resolve())


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert command.main(["--studies", str(tmp_path / "gone")]) == 1
    assert "gone: no such folder, expected the one with the images; make it first." in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    script = (
        "import runpy, sys\nsys.argv = ['label', '--help']\n"
        "try: runpy.run_module('tools.monailabel', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'monai', 'numpy', 'fastapi'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "--studies" in done.stdout
