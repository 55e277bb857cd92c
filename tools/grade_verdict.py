"""Grade one answer: build it, run it, judge each check, and say so."""

import os
import re
import secrets
import shutil
import textwrap
import time

import nw
import grade_build
import grade_machine
import grade_model
from grade_build import Unacceptable

STAMP = b"rvos-grade-stamp:01"
MOST_STUCK = 2              # checks that may exhaust the limit before the rest is given up
PANICKED = 2                # QEMU's status when the kernel panics


class Verdict:
    """What became of one check; `lines` are (key, text), for a failure."""

    def __init__(self, check, lines=()):
        self.check, self.lines = check, list(lines)
        self.passed = not self.lines


class Grade:
    """What became of one answer: a verdict for every check. `problem` says
    why nothing could run, or is empty; `said` is what the compiler said."""

    def __init__(self, exercise, name):
        self.exercise, self.name = exercise, name
        self.verdicts, self.problem, self.said = [], "", ""
        self.untouched, self.seconds = False, 0.0

    @property
    def score(self):
        return sum(v.passed for v in self.verdicts)

    @property
    def solved(self):
        return self.score == len(self.verdicts)


def grade(exercise, overlays, out, name=None, jobs=1):
    """Grade the answer that `overlays` make together; always gives a verdict."""
    result, began = Grade(exercise, name or _shown(overlays[-1])), time.monotonic()
    try:
        copies = _copies(exercise, overlays, out)
        result.untouched = _is_starter(exercise, copies)
        image, said = grade_build.build(exercise, copies, out, jobs)
        result.said = _named(said, overlays, out)
        result.verdicts = _run_checks(exercise, image)
    except Unacceptable as error:
        problem = _named(str(error), overlays, out)
        result.problem = problem.strip()
        result.verdicts = [Verdict(check, [("got", problem.splitlines()[0].rstrip(":"))])
                           for check in exercise.checks]
    result.seconds = time.monotonic() - began
    return result


# -- the answer -----------------------------------------------------------

def _shown(path):
    try:
        return str(path.relative_to(nw.ROOT))
    except ValueError:
        return path.name


def _named(text, overlays, out):
    """What a tool said about the copies, said about the answer."""
    for copy, original in zip(_copy_paths(overlays, out), overlays):
        text = text.replace(str(copy), _shown(copy)).replace(_shown(copy), _shown(original))
    return text


def _copy_paths(overlays, out):
    folder = out.with_name(out.name + "-answer")
    return [folder / f"{i}.nw" for i in range(len(overlays))]


def _copies(exercise, overlays, out):
    """Copies of the answer that are fit to be built. A chunk of a later
    overlay replaces that of an earlier one: so a mutant covers a solution."""
    copies, later = _copy_paths(overlays, out), set()
    copies[0].parent.mkdir(parents=True, exist_ok=True)
    for original, copy in reversed(list(zip(overlays, copies))):
        text = grade_build.read_submission(original)
        copy.write_text(text)
        chunks = grade_build.code_of(copy)
        grade_build.check_claims(chunks, exercise)
        copy.write_text(_without([c for c in chunks if c.name in later], text))
        later |= {c.name for c in chunks if not (nw.is_slot(c.name) or nw.is_file(c.name))}
    return copies


def _without(chunks, text):
    """The text with these chunks blanked out, every other line in its place."""
    lines = text.split("\n")
    for chunk in chunks:
        end = chunk.line
        while end < len(lines) and not grade_model.CHUNK.match(lines[end]) and lines[end][:1] != "@":
            end += 1
        if lines[end:] and lines[end].startswith("@"):
            end += 1
        lines[chunk.line - 1:end] = [""] * (end - chunk.line + 1)
    return "\n".join(lines)


def _is_starter(exercise, copies):
    starter = copies[0].with_name("starter.nw")
    starter.write_text(exercise.starter)
    return _code(copies[-1]) == _code(starter)


def _code(path):
    return [(chunk.name, [line.text for line in chunk.lines]) for chunk in grade_build.code_of(path)]


# -- the run --------------------------------------------------------------

class Report:
    """What one check said on the console of one run."""

    def __init__(self):
        self.lines, self.ended = [], None
        self.output = ""        # what the kernel printed meanwhile
        self.status = None      # QEMU's, if the machine ended in this check
        self.image = None       # what ran


def reports(output, token):
    """number → Report, from the signed lines of a console. The end of a check
    counts if the grader went on from there: the code under test might call
    the function that says so, but not under another number."""
    signed = re.compile(rf"\n@{token} (\d\d) (\w+) (.*)\n")
    pieces = signed.split(output.replace("\r", ""))
    found, report = {}, Report()
    for i in range(1, len(pieces), 4):
        number, key, value, after = int(pieces[i]), *pieces[i + 1:i + 4]
        report = found.setdefault(number, Report())
        if key == "end":
            report.ended = int(value, 0)
        elif key != "start":
            report.lines.append((key, value))
        if report.ended is None:
            report.output += after
    if found:
        found[max(found)].ended = None
    return found


def _stamped(image, first):
    """A copy of the image that signs with a new token and begins at a check."""
    data, token = image.read_bytes(), secrets.token_hex(8)
    if data.count(STAMP) != 1:
        raise Unacceptable("the image must contain the grader once, and it does not")
    stamped = image.with_suffix(f".{first:02d}")
    stamped.write_bytes(data.replace(STAMP, f"{token}:{first:02d}".encode()))
    return stamped, token


def _run_checks(exercise, image):
    """Run all checks; after one that ends the machine, boot again at the next."""
    host, judged, stuck = exercise.host_checks(), {}, 0
    while len(judged) < len(exercise.checks) and stuck < MOST_STUCK:
        left = [check for check in exercise.checks if check.number not in judged]
        stamped, token = _stamped(image, left[0].number)
        run = grade_machine.run(stamped, exercise.limit)
        stamped.unlink()
        stuck += bool(run.why)
        said = reports(run.output, token)
        reached = [check for check in left if check.number in said]
        if not reached:     # it would end like this every time
            return [judged.get(check.number) or Verdict(check, [("got", _ending(run, run.output))])
                    for check in exercise.checks]
        for check in reached:
            said[check.number].image = image
            judged[check.number] = _judge(exercise, check, said[check.number], run, host)
    given_up = [("got", f"not run: {stuck} checks before this one gave no verdict in time")]
    return [judged.get(check.number) or Verdict(check, given_up) for check in exercise.checks]


def _judge(exercise, check, report, run, host):
    """The first complaint decides: the kernel's, the machine's, the host's."""
    report.status = run.status if report.ended is None else None
    failure = _first(report.lines)
    if not failure and check.number in host.get("PANICS", ()):
        failure = _should_have_panicked(report, run)
    elif not failure:
        failure = _should_have_returned(report, run, exercise.limit)
    if not failure and f"check_{check.number}" in host:
        complaint = host[f"check_{check.number}"](report)
        failure = list(zip(("got", "want"), complaint or ()))
    return Verdict(check, failure)


def _first(lines):
    """The first complaint among the lines of a check."""
    failure = {}
    for key, text in lines:
        if key in failure:
            break
        if key in ("given", "got", "want"):
            failure[key] = text
    return [(key, text) for key, text in failure.items() if text]


def _should_have_returned(report, run, limit):
    if report.ended is None:
        return [("got", _ending(run, report.output)), ("want", "an answer")]
    if grade_machine.late(report.ended, limit):
        return [("got", grade_machine.too_late(limit))]
    return []


def _should_have_panicked(report, run):
    if report.status == PANICKED:
        return []
    got = _ending(run, report.output) if report.ended is None else "it returned"
    return [("got", got), ("want", "a panic, which ends the machine with status 2")]


def _ending(run, output):
    """How a machine ended that should not have."""
    if run.why:
        return run.why
    if run.status != PANICKED:
        return f"the machine ended with status {run.status} before this check was done"
    lines = [line.strip() for line in output.splitlines()]
    said = [line for line in lines if line.startswith(("exception: ", "panic: ", "fault during"))]
    return "; ".join(["the kernel stopped", *said])


# -- saying it ------------------------------------------------------------

def _printable(text, most=300):
    text = text if len(text) <= most else text[:most] + "…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _wrapped(label, text, width=84):
    return textwrap.wrap(_printable(text), width, initial_indent=f"     {label}",
                         subsequent_indent=" " * (5 + len(label))) or [f"     {label}"]


def _reason(exercise, check):
    """Why a check matters, and where the book says more."""
    if not check.label:
        return check.why
    page = grade_model.page_of(check.label)
    where = f", page {page}" if page else f" in chapter {exercise.stage}"
    return f"{check.why.rstrip('.')}: see “{grade_model.section_title(check.label)}”{where}"


def said_of(exercise, verdict):
    """The lines that report one check."""
    name = f"{exercise.id}.{verdict.check.number} {verdict.check.title}"
    if verdict.passed:
        return [f"ok   {name}"]
    lines = [f"FAIL {name}"]
    for key, text in verdict.lines:
        lines += _wrapped(f"{key:5} ", text)
    return lines + _wrapped("", _reason(exercise, verdict.check))


def _opening(result):
    number = result.exercise.id
    if result.solved:
        return f"{result.name}: exercise {number}, {result.exercise.title}."
    if result.untouched:
        return (f"Exercise {number} fails, as intended: {result.name} is still the starter. "
                "Your installation is fine.")
    return f"Exercise {number} is not solved yet, as intended; your installation is fine."


def report(result):
    """The whole report on one answer, as text."""
    exercise, total = result.exercise, len(result.verdicts)
    lines = [_opening(result), ""]
    if result.said.strip():
        lines += ["The compiler has something to say:", *result.said.strip().splitlines(), ""]
    if result.problem:
        lines += [_printable(line) for line in result.problem.splitlines()[:30]]
        lines += ["", f"{exercise.id}: 0 of {total} checks pass; none could run."]
        return "\n".join(lines)
    for verdict in result.verdicts:
        lines += said_of(exercise, verdict)
    lines += ["", f"{exercise.id}: {result.score} of {total} checks pass"
              + (". Solved." if result.solved else f"; a hint: make hint EX={exercise.id}")]
    return "\n".join(lines)


def gradescope(results):
    """The results of one student, in the form of Gradescope's results.json."""
    tests = []
    for result in results:
        for verdict in result.verdicts:
            number = f"{result.exercise.id}.{verdict.check.number}"
            output = "\n".join(said_of(result.exercise, verdict))
            tests.append({"score": float(verdict.passed), "max_score": 1.0, "number": number,
                          "name": f"{number} {verdict.check.title}",
                          "status": "passed" if verdict.passed else "failed",
                          "output": output, "visibility": "visible"})
    return {"score": sum(test["score"] for test in tests),
            "execution_time": round(sum(r.seconds for r in results), 1),
            "output": "\n\n".join(r.name + ": " + r.problem for r in results if r.problem),
            "visibility": "visible", "stdout_visibility": "hidden", "tests": tests}


def discard(out):
    """Remove what a grade has built."""
    for folder in (out, *{p.parent for p in _copy_paths([out], out)}):
        shutil.rmtree(folder, ignore_errors=True)


def workers():
    return int(os.environ.get("JOBS") or len(os.sched_getaffinity(0)))
