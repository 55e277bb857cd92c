"""Images for tools and tests: built when asked for, one build at a time."""

import contextlib
import fcntl
import functools
import os
import subprocess
from pathlib import Path

import nw

# By what to multiply every deadline: more where the computer is slow.
PATIENCE = float(os.environ.get("RVOS_PATIENCE") or (3 if os.environ.get("CI") else 1))
CROSS = os.environ.get("CROSS", "riscv64-unknown-elf-")


def environment(**more):
    """The environment of a fresh terminal: nothing of the make that runs us.
    Sessions under gdb that run side by side get a console each."""
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMERR", "MAKE_TERMOUT",
            "STAGE", "MODE", "MEM", "SMP", "OUT", "OVERLAY", "EX", "QEMU_FLAGS", "GDB_FLAGS")
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    console = f"build/console-{os.environ.get('PYTEST_XDIST_WORKER', 'only')}.log"
    return {**kept, "LC_ALL": "C.UTF-8", "TERM": "dumb", "RVOS_CONSOLE": console, **more}


@contextlib.contextmanager
def one_at_a_time():
    """Builds share folders, and each uses every core: they take turns."""
    folder = nw.ROOT / "build"
    folder.mkdir(exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def folder(stage, mode="debug", overlay=None):
    """Where the build of an image goes: the Makefile's choice, except for
    chapters that are not the book's, which are built beside themselves."""
    name = f"stage-{stage:02}" + ("-release" if mode == "release" else "")
    if overlay:
        name += f"-with-{Path(overlay).stem}"
    return str(nw.CHAPTERS.parent / "build" / name) if foreign() else f"build/{name}"


def foreign():
    """Are the chapters in use a copy, as tests make them?"""
    return "RVOS_CHAPTERS" in os.environ


class BuildFailed(Exception):
    """What the compiler or the linker said."""


def build(stage, mode="debug", overlay=None, goal="image"):
    """Build rvos.elf (goal `image`), rvos-test.elf (`test-image`) or rvos-bench.elf
    (`bench-image`); its path."""
    said = _built(stage, mode, overlay, goal)
    if said is not None:
        raise BuildFailed(said)
    name = {"image": "rvos", "test-image": "rvos-test", "bench-image": "rvos-bench"}[goal]
    return nw.ROOT / folder(stage, mode, overlay) / f"{name}.elf"


@functools.cache
def _built(stage, mode, overlay, goal):
    """None if the build succeeds, else what it said; asked once."""
    command = ["make", "-j", str(os.cpu_count()), "-f", "tools/build.mk",
               f"OUT={folder(stage, mode, overlay)}", f"STAGE={stage}", f"MODE={mode}",
               f"OVERLAY={overlay or ''}", goal]
    with one_at_a_time():
        done = subprocess.run(command, cwd=nw.ROOT, env=environment(), check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return f"{' '.join(command)}\n{done.stdout}" if done.returncode else None
