"""The machinery of exercises: what a student sees, what a teacher gets, and
that no submission, however broken or hostile, escapes its verdict.

Everything runs in a copy of the project, so that nobody's answers are touched.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import builds
import grade_gates
import grade_machine
import grade_model
import grade_verdict
import nw

SOLUTION = nw.ROOT / "exercises/01.1-binary/solution.nw"


@pytest.fixture(scope="session")
def copy(tmp_path_factory):
    """A copy of the project, with no answers in it."""
    root = tmp_path_factory.mktemp("project")
    for part in ("tools", "chapters", "exercises"):
        shutil.copytree(nw.ROOT / part, root / part,
                        ignore=shutil.ignore_patterns("__pycache__"))
    return root


def exercise(root, *words):
    """Run tools/exercise; (status, what it printed)."""
    done = subprocess.run([root / "tools/exercise", *map(str, words)], cwd=root, check=False,
                          env=builds.environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def grade(root, tmp_path, number, text):
    path = tmp_path / "answer.nw"
    path.write_text(text)
    return exercise(root, "grade", number, "--file", path)


# -- what a student sees ----------------------------------------------------------

def test_an_answer_is_made_once_and_never_overwritten(copy):
    answer = copy / "answers/01.2-hexdump.nw"
    status, said = exercise(copy, "start", "1.2")
    assert status == 0 and "newly made: answers/01.2-hexdump.nw" in said
    answer.write_text("mine\n")
    status, said = exercise(copy, "start", "01.2")
    assert status == 0 and "as you left it" in said
    assert answer.read_text() == "mine\n"
    assert exercise(copy, "file", "1.2") == (0, "answers/01.2-hexdump.nw\n")


def test_an_answer_that_is_missing_is_one_line_of_advice(copy):
    for command in ("file", "grade"):
        status, said = exercise(copy, command, "2.2")
        assert status == 1
        assert said == "you have not begun exercise 2.2: make exercise EX=2.2\n"
    assert exercise(copy, "grade", "9.9")[1].startswith("there is no graded exercise 9.9")


def test_hints_come_one_at_a_time(copy):
    hints = grade_model.find("1.3").hints
    for number in [*range(1, len(hints) + 1), len(hints)]:
        said = exercise(copy, "hint", "1.3")[1]
        assert said.startswith(f"Hint {number} of {len(hints)} for 1.3")
    assert "the solution is in exercises/01.3-give-up/solution.nw" in said


def test_the_untouched_starter_fails_as_intended(copy):
    exercise(copy, "start", "1.1")
    status, said = exercise(copy, "grade", "1.1")
    assert status == 1
    assert said.startswith("Exercise 1.1 fails, as intended: answers/01.1-binary.nw is still the "
                           "starter. Your installation is fine.\n")
    assert said.count("\nFAIL 1.1.") == 7 and "\nok " not in said


def test_a_failing_check_explains_itself(copy):
    mutant = nw.ROOT / "exercises/01.1-binary/mutants/prefix-on-zero.nw"
    status, said = exercise(copy, "grade", "1.1", "--file", SOLUTION, "--file", mutant)
    assert status == 1
    assert ('FAIL 1.1.2 zero is right\n     given format("%#b", 0)\n'
            "     got   0b0\n     want  0\n     Zero has no digits of its own") in said
    assert "ok   1.1.1 the digits are binary" in said and "6 of 7 checks pass" in said


def test_a_solution_passes(copy, tmp_path):
    status, said = grade(copy, tmp_path, "1.1", SOLUTION.read_text())
    assert status == 0 and said.endswith("1.1: 7 of 7 checks pass. Solved.\n")


def test_a_compiler_error_names_the_answer(copy, tmp_path):
    status, said = grade(copy, tmp_path, "1.1", "<<write an unsigned number>>=\nint 1x;\n@\n")
    assert status == 1 and "answer.nw:2:" in said and "none could run" in said


def test_a_machine_that_ends_at_once_is_no_verdict_and_not_the_end(copy, tmp_path):
    (tmp_path / "qemu-system-riscv64").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-system-riscv64").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([copy / "tools/exercise", "grade", "1.1", "--file", SOLUTION], cwd=copy,
                          check=False, env=builds.environment(PATH=path), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1
    assert "1.1: 0 of 7 checks pass" in done.stdout


def test_nobody_has_to_read_all_that_is_said(copy):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([copy / "tools/exercise", "list"], cwd=copy, check=False, text=True,
                          env=builds.environment(), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_limit_is_named(copy, tmp_path):
    loop = "<<look until there is room or patience ends>>=\nfor (;;)\n    polls++;\n@\n"
    (tmp_path / "loop.nw").write_text(loop)
    status, said = exercise(copy, "grade", "1.3", "--file",
                            nw.ROOT / "exercises/01.3-give-up/solution.nw",
                            "--file", tmp_path / "loop.nw")
    assert status == 1
    assert "no verdict within 100 million instructions (0.1 s of the machine's time)" in said


# -- a class ----------------------------------------------------------------------

EARLY = "<<main: bring up the kernel>>=\n{}\n@\n"
FORGED = EARLY.format(r'''for (int i = 1; i < 8; i++)
    printk("\n@0000000000000000 %02d start 0x1\n\n@0000000000000000 %02d end 0x2\n", i, i);
printk("ok   1.1.1\nselftest: 1 passed, 0 failed\n");
power_off(POWER_OK);''')
BOMB = "<<main: bring up the kernel>>=\n<<b0>>\n@\n" + "".join(
    f"<<b{i}>>=\n<<b{i + 1}>>\n<<b{i + 1}>>\n<<b{i + 1}>>\n<<b{i + 1}>>\n@\n" for i in range(16)
) + "<<b16>>=\nint;\n@\n"

# student → (the file, what the report must say)
HOSTILE = {
    "syntax": ("<<write an unsigned number>>=\nint broken( {\n@\n", "does not build"),
    "misspelt": ("<<write an unsignd number>>=\nint x;\n@\n", "did you mean"),
    "loops": (EARLY.format("for (;;)\n    __asm__(\"nop\");"), "no verdict within 100 million"),
    "sleeps": (EARLY.format("for (;;)\n    __asm__(\"wfi\");"), "no timer is set"),
    "floods": (EARLY.format("for (;;)\n    uart_put('x');"), "printed more than 256 KiB"),
    "panics": ('<<main: who takes part>>=\n#include "kernel/panic.h"\n@\n'
               + EARLY.format('panic("no");'), "the kernel stopped; panic: no"),
    "ends": (EARLY.format("power_off(POWER_PANIC);"), "the kernel stopped"),
    "forges": (FORGED, "ended with status 0"),
    "calls": (EARLY.format('grade_note("end", "0x1");'), "mentions grade_note"),
    "glues": ("<<format: conversions>>=\ncase 'b':\n    GLUE(gra, de_note)(\"end\", \"0x1\");\n"
              "    power_off(0);\n@\n<<lib/base/format.h>>=\n#define GLUE(a, b) a##b\n"
              "_Noreturn void power_off(int);\n"
              "void GLUE(gra, de_note)(const char *, const char *);\n@\n",
              "ended with status 0 before this check was done"),
    "includes": ('<<kernel/x.c>>=\n#include "kernel/test/grade.c"\n@\n', "does not build"),
    "extends": ("<<kernel/test/grade.c>>=\nint x;\n@\n", "belongs to the grader"),
    "slips-in": ("<<grade: running>>=\nint x;\n@\n", "belongs to the grader"),
    "escapes": ("<<../../../owned.c>>=\nint x;\n@\n", "not the name of a C or assembly file"),
    "shell": ("<<kernel/$(touch${IFS}owned).c>>=\nint;\n@\n", "not the name of a C or assembly"),
    "circle": ("<<main: bring up the kernel>>=\n<<a>>\n@\n<<a>>=\n<<a>>\n@\n", "uses itself"),
    "bomb": (BOMB, "expands to more than 50000 lines"),
    "prose": ("only prose\n", "has no chunk"),
    "angle": ("a << in prose\n", "unescaped <<"),
    "empty": ("", "has no chunk"),
    "latin1": (b"<<main: headers>>=\n// \xe4\n@\n", "line 2 is not UTF-8"),
    "control": (b"<<main: headers>>=\n// \x1b[2J\n@\n", "line 2 contains the control character"),
    "huge": (b"x" * 70_000, "more than 64 KiB"),
}


@pytest.fixture
def submissions(tmp_path):
    """A class of hostile students, unlucky ones, and two honest ones."""
    for name, (text, _) in HOSTILE.items():
        (tmp_path / name).mkdir()
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name / "01.1-binary.nw").write_bytes(data)
    for name in ("honest", "windows", "linked", "missing", "pipe", "strange\nname \udcff"):
        (tmp_path / name).mkdir()
    shutil.copy(SOLUTION, tmp_path / "honest/01.1-binary.nw")
    shutil.copy(SOLUTION, tmp_path / "strange\nname \udcff/1.1.nw")
    crlf = SOLUTION.read_text().replace("\n", "\r\n")
    (tmp_path / "windows/01.1-binary.nw").write_bytes(crlf.encode())
    (tmp_path / "linked/01.1-binary.nw").symlink_to(SOLUTION)
    os.mkfifo(tmp_path / "pipe/01.1-binary.nw")
    (tmp_path / "folder-link").symlink_to(tmp_path / "honest")
    (tmp_path / "notes.txt").touch()
    return tmp_path


# student → what the report must say, or that the answer passes
OTHERS = {"honest": None, "windows": None, "strange_name__udcff": None,
          "linked": "a symbolic link", "missing": "is missing", "pipe": "not a regular file",
          "folder-link": "the folder is a symbolic link"}


def check_form(scores):
    """Is this what Gradescope reads?"""
    assert set(scores) == {"score", "execution_time", "output", "visibility",
                           "stdout_visibility", "tests"}
    assert scores["score"] == sum(test["score"] for test in scores["tests"])
    for number, test in enumerate(scores["tests"], 1):
        assert test["number"] == f"1.1.{number}"
        assert test["name"].startswith(test["number"] + " ")
        assert (test["score"], test["status"]) in ((1.0, "passed"), (0.0, "failed"))
        assert test["max_score"] == 1.0 and test["visibility"] == "visible"
        assert isinstance(test["output"], str) and test["output"]


@pytest.mark.long(15)
def test_every_submission_of_a_class_gets_its_verdict(copy, submissions):
    status, table = exercise(copy, "grade-all", submissions)
    assert status == 0, table
    assert re.search(r"^honest +7/7 +7/7$", table, re.M)
    assert re.search(r"^missing +0/7! +0/7$", table, re.M)
    assert "not a student's folder: notes.txt" in table
    assert not list(copy.rglob("*owned*"))
    wanted = {**OTHERS, **{name: want for name, (_, want) in HOSTILE.items()}}
    assert {path.name for path in (copy / "build/grades").iterdir()} == set(wanted)
    for student, want in wanted.items():
        folder = copy / "build/grades" / student
        scores = json.loads((folder / "results.json").read_text())
        report = re.sub(r"\s+", " ", (folder / "report.txt").read_text())
        check_form(scores)
        assert (scores["score"], len(scores["tests"])) == (0 if want else 7, 7), student
        assert want is None or want in report, (student, report)


# -- the parts --------------------------------------------------------------------

def test_only_signed_lines_count():
    console = ("\n@aaaa 01 start 1\nnoise\n\n@bbbb 01 got forged\n\n@aaaa 01 got this\n"
               "\n@aaaa 01 end 0x20\n\n@aaaa 13 done 0x21\n")
    found = grade_verdict.reports(console, "aaaa")
    assert found[1].lines == [("got", "this")] and found[1].ended == 0x20
    assert found[1].output.startswith("noise\n") and "forged" in found[1].output


def test_an_end_counts_only_if_the_grader_goes_on():
    console = "\n@aaaa 01 start 1\n\n@aaaa 01 end 2\n"
    assert grade_verdict.reports(console, "aaaa")[1].ended is None
    console += "\n@aaaa 02 start 2\n"
    assert grade_verdict.reports(console, "aaaa")[1].ended == 2


def test_a_verdict_that_comes_too_late_is_none():
    """The poll may miss the limit; the machine's own clock does not."""
    checked = grade_model.find("1.1")
    report = grade_verdict.Report()
    report.ended = checked.limit * 1_000_000 // grade_machine.INSTRUCTIONS_PER_TICK + 1
    run = grade_machine.Run("", 0, "")
    late = grade_verdict._judge(checked, checked.checks[0], report, run, {})
    assert not late.passed and "100 million instructions" in late.lines[0][1]


def outcome(checked, passing):
    done = grade_verdict.Grade(checked, "answer")
    done.verdicts = [grade_verdict.Verdict(check, () if check.number in passing else [("got", "x")])
                     for check in checked.checks]
    return done


def test_the_gates_are_per_check():
    checked = grade_model.find("1.1")
    everything = set(range(1, 8))
    good = {"starter": outcome(checked, set()), "solution": outcome(checked, everything),
            "mutant": outcome(checked, everything - {3})}
    assert grade_gates.judge(checked, good) == []
    assert "check 2 passes on the starter" in grade_gates.judge(
        checked, {**good, "starter": outcome(checked, {2})})
    assert grade_gates.judge(
        checked, {**good, "solution": outcome(checked, everything - {5})}
    )[0].startswith("check 5 fails on the solution")
    assert "mutant mutant passes every check" in grade_gates.judge(
        checked, {**good, "mutant": outcome(checked, everything)})


@pytest.mark.parametrize("checked", grade_model.every(), ids=lambda checked: checked.id)
def test_an_exercise_is_complete(checked):
    assert grade_gates.static(checked) == []
    assert Path(checked.solution).is_file()


def test_a_machine_that_has_ended_does_not_end_its_grader():
    program = ("import signal, sys; sys.path.insert(0, 'tools'); import grade_machine\n"
               "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
               "monitor = grade_machine.Monitor(); monitor.theirs.close()\n"
               "try: monitor.ask('qmp_capabilities')\n"
               "except OSError: print('noticed')")
    done = subprocess.run([sys.executable, "-c", program], cwd=nw.ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert (done.returncode, done.stdout) == (0, "noticed\n")
