"""Boot the system in QEMU and talk to it.

A Machine is one boot: wait for what it prints with `expect`, type with `send`,
ask for its end with `finish`. Whatever goes wrong, the test's report shows the
console (conftest.py sees to that). Deadlines are generous and only for what
hangs; RVOS_PATIENCE=5 makes all of them five times as long, and CI three times.
"""

import importlib.machinery
import importlib.util
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pexpect

import builds
import nw

ROOT = nw.ROOT
OVERLAYS = ROOT / "tests/overlays"
PATIENCE = builds.PATIENCE
DEADLINE = 30
AWAKE = "rvOS is awake."

started = []        # the machines of the running test


class Machine:
    """One boot of an image; use it in a `with` statement or by the fixture `boot`."""

    def __init__(self, image, mem="128M", smp=1, arguments=(), qmp=False):
        self.title = f"{os.path.relpath(image, ROOT)}, MEM={mem} SMP={smp}"
        self.folder = tempfile.TemporaryDirectory(prefix="rvos-")
        arguments = list(arguments)
        if qmp:
            arguments += ["-qmp", f"unix:{self.folder.name}/qmp,server=on,wait=off"]
        self.read, self.monitor, self.events = [], None, []
        self.console = pexpect.spawn(
            str(ROOT / "tools/qemu"), [str(image), *arguments], cwd=str(ROOT), encoding="utf-8",
            env=builds.environment(MEM=mem, SMP=str(smp)), codec_errors="replace")
        self.console.logfile_read = self
        started.append(self)

    def write(self, text):
        """pexpect hands over what the machine prints."""
        self.read.append(text)

    def flush(self):
        """pexpect asks for this after each write; there is nothing to do."""

    @property
    def log(self):
        """All that the machine has printed so far, with plain line ends."""
        return "".join(self.read).replace("\r", "")

    def expect(self, pattern, deadline=DEADLINE):
        """Wait until the machine prints what matches; returns the match."""
        try:
            self.console.expect(pattern, timeout=deadline * PATIENCE)
            return self.console.match
        except pexpect.EOF:
            reason = "the machine ended"
        except pexpect.TIMEOUT:
            reason = f"{deadline * PATIENCE:.0f} s passed"
        raise AssertionError(f"{reason} before it printed {pattern!r}")

    def send(self, line):
        """Type a line at the console."""
        self.console.send(line + "\r")

    def finish(self, deadline=DEADLINE):
        """Wait until the machine switches itself off; returns its exit status."""
        try:
            self.console.expect(pexpect.EOF, timeout=deadline * PATIENCE)
        except pexpect.TIMEOUT:
            reason = f"the machine did not end in {deadline * PATIENCE:.0f} s"
            raise AssertionError(reason) from None
        self.console.close()
        return self.console.exitstatus

    def ask(self, command, **arguments):
        """Run a command of QEMU's monitor protocol and return its answer."""
        if self.monitor is None:
            self.monitor = self._connect()
            self.ask("qmp_capabilities")
        self.monitor.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.monitor.flush()
        for line in self.monitor:
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)
        raise AssertionError(f"{command}: the machine ended")

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + DEADLINE * PATIENCE
        while connection.connect_ex(f"{self.folder.name}/qmp") != 0:
            if time.monotonic() > end or not self.console.isalive():
                raise AssertionError("QEMU does not answer")
            os.sched_yield()
        return connection.makefile("rw")

    def close(self):
        """End the machine, whatever it is doing."""
        self.console.close(force=True)
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def image(stage, mode="debug", overlay=None):
    """The ordinary image of a stage, with an overlay of tests/overlays if wanted."""
    return builds.build(stage, mode, overlay and f"tests/overlays/{overlay}.nw")


def test_image(stage, mode="debug", overlay=None):
    """The image of a stage that runs its self-tests."""
    return builds.build(stage, mode, overlay and f"tests/overlays/{overlay}.nw", "test-image")


def run(*command, deadline=120, **environment):
    """Run a command of the repository to its end; its output is one text."""
    return subprocess.run(list(map(str, command)), cwd=ROOT, check=False, text=True,
                          env=builds.environment(**environment), timeout=deadline * PATIENCE,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def tool(name):
    """A program of tools/ as a module."""
    loader = importlib.machinery.SourceFileLoader(f"tool_{name}", str(ROOT / "tools" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def chapters_copy(folder):
    """A copy of the chapters to spoil: the folder, for RVOS_CHAPTERS."""
    copy = Path(folder) / "chapters"
    copy.mkdir()
    for chapter in nw.chapter_files():
        (copy / chapter.name).write_text(chapter.read_text())
    return copy


def line_of(file, marker):
    """The number of the only line of a file that contains the marker."""
    found = [number for number, line in enumerate(Path(file).read_text().splitlines(), 1)
             if marker in line]
    assert len(found) == 1, f"{file} has {len(found)} lines with {marker!r}"
    return found[0]
