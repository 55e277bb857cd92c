"""Run an image in QEMU under a limit of the machine's own time.

With `-icount shift=0` an instruction takes a nanosecond of virtual time, so
that a limit means the same on every host; with `sleep=off` a machine that
waits for its next timer gets there at once. The host reads the machine's
clock, mtime of the CLINT, through QEMU's monitor. A limit of wall-clock time
remains as a backstop; that it was hit is reported as such.
"""

import json
import select
import signal
import socket
import subprocess
import time

MTIME = 0x0200BFF8
INSTRUCTIONS_PER_TICK = 100
ASLEEP = 1 << 48            # mtime jumps to the end of time if no timer is set
MOST_OUTPUT = 256 << 10
WALL_SECONDS = 60
POLL_SECONDS = 0.05


class Run:
    """What a machine did: `output`, `status` (QEMU's, or None if it had to
    be stopped), `why` it was stopped, or the empty string."""

    def __init__(self, output, status, why):
        self.output, self.status, self.why = output, status, why


def machine(image, options=()):
    """The command that boots an image; the monitor is added by `run`."""
    return ["qemu-system-riscv64", "-machine", "virt", "-bios", "default", "-nodefaults",
            "-display", "none", "-serial", "stdio", "-no-reboot", "-m", "128M",
            "-icount", "shift=0,sleep=off", "-kernel", str(image), *options]


class Monitor:
    """QEMU's monitor, asked one question: what time is it?"""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(WALL_SECONDS)
        self.answers = self.ours.makefile("r")

    def options(self):
        return ["-chardev", f"socket,id=qmp,fd={self.theirs.fileno()}",
                "-mon", "chardev=qmp,mode=control"]

    def ask(self, command, **arguments):
        question = json.dumps({"execute": command, "arguments": arguments}).encode()
        self.ours.sendall(question, socket.MSG_NOSIGNAL)    # an error if QEMU has ended
        while True:
            answer = json.loads(self.answers.readline())
            if "return" in answer or "error" in answer:
                return answer.get("return")

    def connect(self):
        self.theirs.close()
        self.answers.readline()
        self.ask("qmp_capabilities")

    def ticks(self):
        line = self.ask("human-monitor-command", **{"command-line": f"xp /1gx {MTIME:#x}"})
        return int(line.split(":")[1], 16)

    def close(self):
        self.answers.close()
        self.ours.close()


def run(image, limit, options=()):
    """Boot `image`; stop it after `limit` million instructions."""
    monitor = Monitor()
    qemu = subprocess.Popen(
        machine(image, options) + monitor.options(), pass_fds=[monitor.theirs.fileno()],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        output, why = _watch(qemu, monitor, limit)
    finally:
        qemu.send_signal(signal.SIGKILL)
        status = qemu.wait()
        qemu.stdout.close()
        monitor.close()
    return Run(output.decode(errors="replace"), None if why else status, why)


def _watch(qemu, monitor, limit):
    """Collect the output until the machine ends or must be stopped."""
    output, began, asked = b"", time.monotonic(), 0.0
    try:
        monitor.connect()
    except (OSError, ValueError):
        pass                # it has ended already; its output is still to be read
    while True:
        ready, _, _ = select.select([qemu.stdout], [], [], POLL_SECONDS)
        if ready:
            part = qemu.stdout.read1(65536)
            output += part
            if not part:
                qemu.wait()
                return output, ""
        now = time.monotonic()
        if now - asked > POLL_SECONDS:
            asked, why = now, _overdue(monitor, limit, len(output), now - began)
            if why:
                return output, why


def _overdue(monitor, limit, length, seconds):
    """The reason to stop a machine now, or the empty string."""
    if length > MOST_OUTPUT:
        return f"printed more than {MOST_OUTPUT >> 10} KiB"
    if seconds > WALL_SECONDS:
        return f"no verdict within {WALL_SECONDS} seconds of this computer's time"
    try:
        ticks = monitor.ticks()
    except (OSError, ValueError, IndexError):
        return ""           # it is just ending
    if ticks > ASLEEP:
        return "it sleeps, and no timer is set that could wake it"
    if late(ticks, limit):
        return too_late(limit)
    return ""


def late(ticks, limit):
    return ticks * INSTRUCTIONS_PER_TICK > limit * 1_000_000


def too_late(limit):
    return (f"no verdict within {limit} million instructions "
            f"({limit / 1000:g} s of the machine's time)")
