"""Grade a class: a folder with a subfolder for every student, in which the
files are named like the exercises, 02.1-name.nw. Whatever is in there, every
student gets a verdict on every exercise."""

import json
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import nw
import grade_build
import grade_model
import grade_verdict
from grade_verdict import Grade, Verdict

RESULTS = nw.ROOT / "build" / "grades"


def printable(name):
    """A file's name as text that a terminal and a JSON file can take."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in text)[:40]


class Student:
    """One subfolder, and which of its files answers which exercise."""

    def __init__(self, folder, exercises):
        self.folder, self.name = folder, printable(folder.name)
        self.answers, self.problem = {}, ""
        if folder.is_symlink():
            self.problem = "the folder is a symbolic link"
            return
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError as error:
            self.problem = f"the folder cannot be read: {error.strerror}"
            return
        for exercise in exercises:
            pattern = rf"0?{exercise.stage}\.{exercise.number}(\D.*)?\.nw"
            fitting = [name for name in names if re.fullmatch(pattern, name)]
            exact = f"{exercise.name}.nw"
            if fitting:
                self.answers[exercise.id] = folder / (exact if exact in fitting else fitting[0])


def students(folder, exercises):
    """The students of a class, and the names of what is not one."""
    entries = sorted(folder.iterdir(), key=lambda path: printable(path.name))
    folders = [path for path in entries if path.is_dir() or path.is_symlink()]
    others = [printable(path.name) for path in entries if path not in folders]
    return [Student(path, exercises) for path in folders], others


def not_graded(exercise, name, why):
    result = Grade(exercise, name)
    result.problem = why
    result.verdicts = [Verdict(check, [("got", why)]) for check in exercise.checks]
    return result


def grade_one(student, index, exercise):
    """A verdict, come what may: a fault of the grader is one too."""
    path = student.answers.get(exercise.id)
    name = f"{student.name}/{exercise.name}.nw"
    if student.problem or not path:
        return not_graded(exercise, name, student.problem or f"{exercise.name}.nw is missing")
    out = grade_build.BUILDS / "class" / f"{index:04d}-{exercise.name}"
    try:
        return grade_verdict.grade(exercise, [path], out, name)
    except grade_build.Broken:
        raise
    except Exception as error:
        return not_graded(exercise, name, f"the grader failed, tell your teacher: {error!r}")
    finally:
        grade_verdict.discard(out)


def grade_all(folder, wanted):
    """Grade everybody; returns (students, exercises, results by student)."""
    exercises = wanted or grade_model.every()
    found, others = students(folder, exercises)
    if not wanted:
        answered = {id for student in found for id in student.answers}
        exercises = [exercise for exercise in exercises if exercise.id in answered]
    grade_build.prepare((exercise.stage for exercise in exercises), grade_verdict.workers())
    with ThreadPoolExecutor(grade_verdict.workers()) as pool:
        jobs = [[pool.submit(grade_one, student, index, exercise) for exercise in exercises]
                for index, student in enumerate(found)]
        results = [[job.result() for job in row] for row in jobs]
    return found, exercises, results, others


def write_results(found, results):
    """build/grades/STUDENT/results.json, and what the student should read."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    taken = Counter()
    for student, row in zip(found, results):
        name = re.sub(r"[^\w.-]", "_", student.name).lstrip(".") or "_"
        taken[name] += 1
        folder = RESULTS / (name if taken[name] == 1 else f"{name}~{taken[name]}")
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(grade_verdict.gradescope(row), indent=2))
        (folder / "report.txt").write_text("\n\n\n".join(map(grade_verdict.report, row)) + "\n")


def table(found, exercises, results):
    """One row a student: the checks passed, and `!` where nothing could run."""
    width = max([len("student"), *(len(student.name) for student in found)])
    lines = ["  ".join([f"{'student':{width}}", *(f"{e.id:>7}" for e in exercises), "  total"])]
    for student, row in zip(found, results):
        cells = [f"{r.score}/{len(r.verdicts)}{'!' if r.problem else ' '}" for r in row]
        total = f"{sum(r.score for r in row)}/{sum(len(r.verdicts) for r in row)}"
        lines.append("  ".join([f"{student.name:{width}}", *(f"{cell:>7}" for cell in cells),
                                f"{total:>7}"]))
    return "\n".join(lines)
