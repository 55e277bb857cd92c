"""Build the image that a grade runs, from text that nobody has looked at yet.

A submission is read once, copied, and only its copy is built; the build runs
under limits. It starts from the objects of the book's own stage, so that only
what the submission changes is compiled.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
from functools import lru_cache
from pathlib import Path

import builds
import nw

MOST_BYTES = 64 * 1024
WALL_SECONDS = 60
CPU_SECONDS, MEGABYTES = 10, 512     # for each tool that the build runs
LIMITS = ["prlimit", f"--cpu={CPU_SECONDS}", f"--as={MEGABYTES << 20}", f"--fsize={64 << 20}",
          "--core=0", "--"]
PATH = re.compile(r"(\w[\w-]*/)*\w[\w.-]*\.(c|h|S)")
GRADERS_OWN = re.compile(r"\b(grade_\w+|want_(true|number|text)|check_\d+|CHECK)\b")
BUILDS = nw.ROOT / "build" / "ex"


class Unacceptable(Exception):
    """A submission that cannot be graded; says why, to the student."""


class Broken(Exception):
    """The book itself does not build: nobody can be graded."""


# -- reading --------------------------------------------------------------

def read_submission(path):
    """The text of a submission, or Unacceptable."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Unacceptable("the file is missing") from None
    except OSError as error:
        why = "a symbolic link" if os.path.islink(path) else error.strerror
        raise Unacceptable(f"the file cannot be read: {why}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Unacceptable("not a regular file")
        return _decoded(os.read(handle, MOST_BYTES + 1))
    finally:
        os.close(handle)


def _decoded(data):
    if len(data) > MOST_BYTES:
        raise Unacceptable(f"the file has more than {MOST_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b"\n") + 1
        raise Unacceptable(f"line {line} is not UTF-8") from None
    text = text.replace("\r\n", "\n")
    bad = re.search(r"[^\t\n\x20-\x7e\x80-\U0010ffff]", text)
    if bad:
        line = text[:bad.start()].count("\n") + 1
        raise Unacceptable(f"line {line} contains the control character {bad.group()!r}")
    return text if text.endswith("\n") else text + "\n"


def code_of(path):
    """The chunks of a submission, without the prose."""
    try:
        return [chunk for chunk in nw.read([path]) if chunk.is_code]
    except nw.SourceError as error:
        raise Unacceptable(str(error)) from None


@lru_cache
def _book_names(stage):
    return frozenset(nw.Source(stage).book)


def check_claims(chunks, exercise):
    """A submission may write C files of its own and say what any chunk of the
    book is; what is the grader's and the rest of the disk are not its own."""
    if not chunks:
        raise Unacceptable("the file has no chunk: `<<name>>=` begins one")
    _check_names([chunk.name for chunk in chunks], exercise)
    for line in (line for chunk in chunks for line in chunk.lines):
        used = GRADERS_OWN.search(line.text)
        if used:
            raise Unacceptable(f"line {line.number} mentions {used.group()}, "
                               "a name of the grader's; take another")


def _check_names(names, exercise):
    book = _book_names(exercise.stage)
    grader = {c.name for c in nw.read(exercise.overlays) if c.is_code} - book
    for name in names:
        if name in grader or name.startswith("kernel/test/grade"):
            raise Unacceptable(f"<<{name}>> belongs to the grader")
        if nw.is_file(name) and name not in book and not PATH.fullmatch(name):
            raise Unacceptable(f"<<{name}>> is not the name of a C or assembly file in the tree")


# -- building -------------------------------------------------------------

def _make(out, stage, target, overlays=(), jobs=1):
    """Run the build; (did it succeed, what it said)."""
    keep = {key: value for key, value in builds.environment().items()
            if key not in ("CI", "WERROR")}
    command = [*LIMITS, "make", "-s", f"-j{jobs}", "-f", "tools/build.mk", f"OUT={out}",
               f"STAGE={stage}", "MODE=debug", "TESTS_ONLY=grade%",
               "OVERLAY=" + " ".join(map(str, overlays)), target]
    with open(nw.ROOT / out / "log", "w+", errors="replace") as log:
        make = subprocess.Popen(command, cwd=nw.ROOT, env=keep, start_new_session=True,
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            built = make.wait(WALL_SECONDS) == 0
        except subprocess.TimeoutExpired:
            os.killpg(make.pid, signal.SIGKILL)
            make.wait()
            return False, f"the build did not end within {WALL_SECONDS} seconds\n"
        log.seek(0)
        said = log.read(16 * 1024)
    return built, re.sub(r"^make(\[\d+\])?: .*\n", "", said, flags=re.M)


@contextlib.contextmanager
def _alone(stage):
    """Nobody else makes or copies the base of this stage meanwhile."""
    BUILDS.mkdir(parents=True, exist_ok=True)
    with open(BUILDS / f"base-{stage:02d}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(stage):
    """What the base of a stage is made from, as a number."""
    digest = hashlib.sha256()
    for path in [*nw.chapter_files(stage), *sorted((nw.ROOT / "tools").glob("*"))]:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _base(stage, jobs):
    """The book's own stage, whose objects every grade starts from."""
    out = BUILDS / f"base-{stage:02d}"
    stamp, wanted = out / "stamp", _digest(stage)
    if stamp.is_file() and stamp.read_text() == wanted:
        return out
    out.mkdir(exist_ok=True)
    built, said = _make(out.relative_to(nw.ROOT), stage, "image", jobs=jobs)
    if not built:
        raise Broken(f"the book's stage {stage} does not build, so that nothing can be graded "
                     f"(try `make build STAGE={stage}`):\n{said}")
    stamp.write_text(wanted)
    return out


def prepare(stages, jobs):
    """Build the bases of these stages, or raise Broken."""
    for stage in sorted(set(stages)):
        with _alone(stage):
            _base(stage, jobs)


def _seed(out, stage, jobs):
    """Fill a new build folder with the base's sources and objects."""
    with _alone(stage):
        origin = _base(stage, jobs)
        stamp, seeded = (origin / "stamp").read_text(), out / "seeded"
        if seeded.is_file() and seeded.read_text() == stamp:
            return
        shutil.rmtree(out, ignore_errors=True)
        for part in ("src", "obj"):
            shutil.copytree(origin / part, out / part)
    here, there = (str(path.relative_to(nw.ROOT)) for path in (out, origin))
    for rules in (out / "obj").rglob("*.d"):
        times = rules.stat()
        rules.write_text(rules.read_text().replace(there + "/", here + "/"))
        os.utime(rules, ns=(times.st_atime_ns, times.st_mtime_ns))
    seeded.write_text(stamp)


def build(exercise, overlays, out, jobs=1):
    """(the image, what the compiler said), or Unacceptable."""
    _seed(out, exercise.stage, jobs)
    names = [Path(p).relative_to(nw.ROOT) for p in [*exercise.overlays, *overlays]]
    built, said = _make(out.relative_to(nw.ROOT), exercise.stage, "test-image", names, jobs)
    if not built:
        raise Unacceptable("it does not build:\n" + (said.strip() or (
            f"a tool was stopped that wanted more than {CPU_SECONDS} s of processor time "
            f"or {MEGABYTES} MiB of memory")))
    return out / "rvos-test.elf", said
