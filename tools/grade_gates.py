"""Prove that the exercises grade what they say: every check fails on the
starter, every check passes on the solution, and every mutant fails at least
one check and gets a verdict."""

from concurrent.futures import ThreadPoolExecutor

import nw
import grade_build
import grade_model
import grade_verdict
from grade_model import COMMON


def prove(exercises):
    """Run all grades in parallel; print a line an exercise; the complaints."""
    grade_build.prepare((exercise.stage for exercise in exercises), grade_verdict.workers())
    complaints = []
    with ThreadPoolExecutor(grade_verdict.workers()) as pool:
        jobs = [(exercise, {kind: pool.submit(_grade, exercise, kind, overlays)
                            for kind, overlays in _answers(exercise).items()})
                for exercise in exercises]
        for exercise, parts in jobs:
            results = {kind: part.result() for kind, part in parts.items()}
            wrong = static(exercise) + judge(exercise, results)
            print(_line(exercise, results, wrong), flush=True)
            complaints += [f"{exercise.id} {exercise.name}: {text}" for text in wrong]
    return complaints


def _answers(exercise):
    """kind → the overlays that make that answer."""
    starter = grade_build.BUILDS / f"{exercise.name}.starter.nw"
    starter.parent.mkdir(parents=True, exist_ok=True)
    starter.write_text(exercise.starter)
    answers = {"starter": [starter], "solution": [exercise.solution]}
    for mutant in exercise.mutants:
        answers[mutant.stem] = [exercise.solution, mutant]
    return answers


def _grade(exercise, kind, overlays):
    out = grade_build.BUILDS / "gates" / f"{exercise.name}-{kind}"
    try:
        return grade_verdict.grade(exercise, overlays, out)
    finally:
        grade_verdict.discard(out)


# -- the gates ------------------------------------------------------------

def judge(exercise, results):
    """What the three gates have to complain about."""
    wrong = []
    for kind, result in results.items():
        if result.problem:
            why = "\n    ".join(result.problem.splitlines()[:4])
            wrong.append(f"{kind}: no verdict: {why}")
        elif len(result.verdicts) != len(exercise.checks):
            wrong.append(f"{kind}: not a verdict for every check")
        elif kind == "starter":
            wrong += [f"check {v.check.number} passes on the starter"
                      for v in result.verdicts if v.passed]
        elif kind == "solution":
            wrong += ["check {} fails on the solution: {}".format(v.check.number, dict(v.lines))
                      for v in result.verdicts if not v.passed]
        elif result.solved:
            wrong.append(f"mutant {kind} passes every check")
        if kind in ("starter", "solution") and "warning:" in result.said:
            wrong.append(f"{kind}: the compiler warns:\n{result.said}")
    return wrong


def _line(exercise, results, wrong):
    mutants = [r for kind, r in results.items() if kind not in ("starter", "solution")]
    caught = sum(not (r.solved or r.problem) for r in mutants)
    total = len(exercise.checks)
    return (f"{'FAIL' if wrong else 'ok  '} {exercise.id:5} {exercise.title:36.36} "
            f"starter {results['starter'].score}/{total}, "
            f"solution {results['solution'].score}/{total}, mutants {caught}/{len(mutants)} caught, "
            f"slowest grade {max(r.seconds for r in results.values()):.1f} s")


# -- what can be seen without running -------------------------------------

def static(exercise):
    """What is missing in the folder of an exercise."""
    wrong, known = [], nw.Source(exercise.stage).book.keys() | set(exercise.starter_chunks)
    numbers = [check.number for check in exercise.checks]
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"grader.nw numbers its checks {numbers}")
    if exercise.header.get("checks") != str(len(numbers)):
        wrong.append(f"the header says {exercise.header.get('checks')} checks, "
                     f"grader.nw has {len(numbers)}")
    if exercise.header.get("rating") not in ("1", "2", "3"):
        wrong.append("the header has no rating from 1 to 3")
    wrong += [f"the header names <<{name}>>, which neither book nor starter has"
              for name in exercise.chunks if name not in known]
    wrong += [f"the statement lacks *{part}*" for part in ("Touches", "Think first")
              if part.lower() not in exercise.statement.lower()]
    if len(exercise.hints) < 2:
        wrong.append("there are fewer than two hints")
    if len(exercise.mutants) < 3:
        wrong.append("there are fewer than three mutants")
    return wrong + _unexplained(exercise) + _lost(exercise)


def _unexplained(exercise):
    wrong = [f"check {check.number} does not say why it matters"
             for check in exercise.checks if not check.why]
    for mutant in exercise.mutants:
        if mutant.read_text().startswith("<<"):
            wrong.append(f"mutant {mutant.stem} does not begin with what is wrong in it")
    return wrong


def _lost(exercise):
    """Sections that a check refers to and no chapter has."""
    return [f"check {check.number} refers to {check.label}, and no chapter has that section"
            for check in exercise.checks
            if check.label and not grade_model.section_title(check.label)]


def common_is_fine():
    """Does the grader's common part tangle with every stage?"""
    return [str(problem) for stage in nw.stages()
            for problem in nw.Source(stage, [COMMON]).problems()]
