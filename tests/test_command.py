"""How command lines end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils import errors
from utils.stop import StopSignals, ending_signals

POSIX = pytest.mark.skipif(os.name == "nt", reason="terminals, pipes and devices of POSIX")
_PRINT = """
import sys
from utils.command import carried_out
sys.exit(carried_out(lambda: print("x" * int(sys.argv[1]))))
"""
_HELP = "import sys, inference; sys.exit(inference.main(['--help']))"
_WAIT = """
import sys, time
from utils.command import carried_out
def work():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        open(sys.argv[1], "w").close()
sys.exit(carried_out(work))
"""


def started(script: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """A command line in a process of its own, with the buffers that Python uses by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, env=environment, text=True,
                            **{"stderr": subprocess.PIPE, "stdout": subprocess.PIPE} | options)  # type: ignore[call-overload]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_in_no_encoding_are_no_obstacle(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    script = _PRINT.replace('"x"', '"\\u00fc\\udcff"')
    with started(script, 1, encoding="utf-8") as process:
        said = process.communicate()
    assert said == ("\\xfc\\udcff\n" if encoding == "ascii" else "\u00fc\\udcff\n", "") and process.returncode == 0


@POSIX
@pytest.mark.parametrize("script", [_PRINT, _HELP])
@pytest.mark.parametrize("length", [10, 9000, 100_000])  # within and beyond the buffers
def test_a_reader_who_left_is_nothing_to_speak_of(script: str, length: int) -> None:
    with started(script, length) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == errors.OutputError.exit_code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("script", [_PRINT, _HELP])
@pytest.mark.parametrize("length", [10, 9000, 100_000])
def test_a_full_disk_behind_the_output_is_said(script: str, length: int) -> None:
    with Path("/dev/full").open("w") as full, started(script, length, stdout=full) as process:
        assert process.stderr is not None
        assert process.stderr.read() == "error: cannot write standard output: the disk is full; free some space or " \
                                        "choose another folder\n"
    assert process.returncode == errors.OutputError.exit_code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_error_that_nobody_hears_keeps_its_code() -> None:
    failing = "import sys, inference; sys.exit(inference.main(['--json']))"
    for name in ("stdout", "stderr"):
        with Path("/dev/full").open("w") as full, started(failing, **{name: full}) as process:
            said = "".join(process.communicate()[name == "stdout"])
        assert process.returncode == errors.OptionError.exit_code and "no source" in said and "Traceback" not in said


@POSIX
@pytest.mark.parametrize("outlives", [False, True])
def test_a_closed_terminal_ends_a_command_that_was_not_to_outlive_it(tmp_path: Path, outlives: bool) -> None:
    import pty

    master, terminal = pty.openpty()
    ended = tmp_path / "ended"
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" if outlives else ""
    with started(ignore + _WAIT, ended, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        assert os.read(master, 100).startswith(b"begun")
        os.close(master)
        for _ in range(2):  # by the system and by the shell
            process.send_signal(signal.SIGHUP)
        if outlives:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.terminate()
    assert process.returncode == errors.INTERRUPTED and ended.exists()


@POSIX
def test_a_closed_terminal_is_remembered_unless_it_is_to_be_outlived() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        for handler in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signal.SIGHUP, handler)
            signals = StopSignals()
            with signals.listening():
                signal.raise_signal(signal.SIGHUP)
            assert signals.came == (handler == signal.SIG_DFL) == (signal.SIGHUP in ending_signals())
            assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)
