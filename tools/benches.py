"""Benchmarks: what there are in a stage, and what they find when they run."""

import re
import subprocess

import builds
import nw

DEADLINE = 60       # seconds for all of them
DEFINED = re.compile(r"^BENCH\((\w+),", re.M)
FOUND = re.compile(r"^bench: (\w+) (\d+) (.+)$", re.M)


class Failed(Exception):
    """Why there are no numbers."""


def names(stage, overlay=None):
    """The benchmarks of a stage, in the order of the book."""
    source = nw.Source(stage, [*nw.kernel_tests(stage), *filter(None, [overlay])])
    files = [name for name in source.roots() if re.match(r"kernel/bench/.*\.c$", name)]
    text = "\n".join(line for file in files for line, _, _ in nw.expand(source, file))
    return DEFINED.findall(text)


def run(stage, mode="release", overlay=None, deadline=DEADLINE):
    """name → (instructions, what it does in words) of all benchmarks of a stage."""
    wanted = names(stage, overlay)
    if not wanted:
        raise Failed(f"stage {stage} has no benchmarks")
    try:
        said = console(builds.build(stage, mode, overlay, "bench-image"), deadline)
    except builds.BuildFailed as failed:
        raise Failed(f"the benchmarks do not build:\n{failed}") from None
    found = {name: (int(count), what) for name, count, what in FOUND.findall(said)}
    missing = [name for name in wanted if name not in found]
    if missing or f"\nbench: {len(wanted)} measured\n" not in said:
        raise Failed(f"not measured: {', '.join(missing) or 'nobody knows'}; "
                     f"this was printed:\n{said}")
    return {name: found[name] for name in wanted}


def console(image, deadline, *options):
    """What a bench image prints, where an instruction takes a nanosecond."""
    command = ["tools/qemu", image, *(options or ("-icount", "shift=0"))]
    try:
        done = subprocess.run(command, cwd=nw.ROOT, env=builds.environment(), check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=deadline * builds.PATIENCE)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"the benchmarks did not end in {late.timeout:.0f} s; "
                     f"this was printed:\n{_text(late.output)}") from None
    if done.returncode != 0:
        raise Failed(f"the benchmarks ended with status {done.returncode}; "
                     f"this was printed:\n{_text(done.stdout)}")
    return _text(done.stdout)


def _text(printed):
    """From the kernel's first word."""
    text = (printed or b"").decode(errors="replace").replace("\r", "")
    return text[max(text.find("rvOS is awake."), 0):]
