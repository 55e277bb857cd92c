"""Build the image that a grade runs, from text that nobody has looked at yet.

A submission is read once, copied, and only its copy is built; the build runs
under limits. It starts from the objects of the book's own stage, so that only
what the submission changes is compiled.
"""

import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
from functools import lru_cache
from pathlib import Path

import nw

MOST_BYTES = 64 * 1024
WALL_SECONDS = 60
LIMITS = ["prlimit", "--cpu=10", f"--as={512 << 20}", f"--fsize={64 << 20}", "--core=0", "--"]
PATH = re.compile(r"(\w[\w-]*/)*\w[\w.-]*\.(c|h|S)")
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


def check_names(names, exercise):
    """A submission may write C files of its own and say what any chunk of the
    book is; the grader's chunks and the rest of the disk are not its own."""
    if not names:
        raise Unacceptable("the file has no chunk: `<<name>>=` begins one")
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
    keep = {k: v for k, v in os.environ.items()
            if k not in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "CI", "WERROR")}
    command = [*LIMITS, "make", "-s", f"-j{jobs}", "-f", "tools/build.mk", f"OUT={out}",
               f"STAGE={stage}", "MODE=debug", "TESTS_ONLY=grade%",
               "OVERLAY=" + " ".join(map(str, overlays)), target]
    with open(nw.ROOT / out / "log", "w+", errors="replace") as log:
        make = subprocess.Popen(command, cwd=nw.ROOT, env=keep, start_new_session=True,
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            ended = make.wait(WALL_SECONDS) == 0
            note = ""
        except subprocess.TimeoutExpired:
            os.killpg(make.pid, 9)
            make.wait()
            ended, note = False, f"the build did not end within {WALL_SECONDS} seconds\n"
        log.seek(0)
        said = log.read(16 * 1024)
    return ended, note + re.sub(r"^make(\[\d+\])?: .*\n", "", said, flags=re.M)


def base(stage, jobs=1):
    """The book's own stage, whose objects every grade starts from."""
    out = BUILDS / f"base-{stage:02d}"
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for path in [*nw.chapter_files(stage), *sorted((nw.ROOT / "tools").glob("*"))]:
        if path.is_file():
            digest.update(path.read_bytes())
    with open(BUILDS / f"base-{stage:02d}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = out / "stamp"
        if not stamp.is_file() or stamp.read_text() != digest.hexdigest():
            built, said = _make(out.relative_to(nw.ROOT), stage, "image", jobs=jobs)
            if not built:
                raise Broken(f"the book's stage {stage} does not build, so that nothing can be "
                             f"graded (try `make build STAGE={stage}`):\n{said}")
            stamp.write_text(digest.hexdigest())
    return out


def _seed(out, stage, jobs):
    """Fill a new build folder with the base's sources and objects."""
    origin = base(stage, jobs)
    stamp = (origin / "stamp").read_text()
    seeded = out / "seeded"
    if seeded.is_file() and seeded.read_text() == stamp:
        return
    shutil.rmtree(out, ignore_errors=True)
    for part in ("src", "obj"):
        shutil.copytree(origin / part, out / part)
    here, there = (str(p.relative_to(nw.ROOT)) for p in (out, origin))
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
        raise Unacceptable("it does not build:\n" + said)
    return out / "rvos-test.elf", said
