"""Tasks: the model of a wake-up, deadlines on the host, and systems that misuse what they have."""

import math
import os
import re

import pytest

import hosted
import rvos
from hosted import COMPILERS, EFFORT, SEED

pytestmark = pytest.mark.chapter(7)

STACK = 16384       # bytes of a stack, and of the guard below it

MODEL = """\
the model as it is: every order ends well (39 states)
the model with the gap: a waiter sleeps for ever, as it should
"""
RIGHT = "TAKE(scheduler);\nobject = false;\nblocked = true;\n"
GAP = "object = false;\nTAKE(scheduler);\nblocked = true;\n"
SPOILT = {      # what to replace in the model, by what, and what is said then
    "the gap in both": (RIGHT, GAP, ["invalid end state", "blocked = 1", "goes wrong: see above"]),
    "the gap in neither": (GAP, RIGHT, ["with the gap goes well, and should not"]),
    "a mistake of another kind": ("scheduler = false\n    :: else", "assert(false)\n    :: else",
                                  ["assertion violated", "goes wrong: see above"]),
    "no Promela": ("proctype waker()", "proctype waker(", ["syntax error", 'cannot try "right"']),
}


def test_spin_finds_no_order_in_which_a_wake_up_is_lost(tmp_path):
    done = rvos.run("tools/model", tmp_path)
    assert (done.returncode, done.stdout) == (0, MODEL)


@pytest.mark.parametrize("mistake", SPOILT)
def test_a_wrong_model_is_no_proof(mistake, tmp_path):
    right, wrong, complaints = SPOILT[mistake]
    chapters = rvos.chapters_copy(tmp_path)
    path = next(chapters.glob("07-*.nw"))
    assert path.read_text().count(right) == 1
    path.write_text(path.read_text().replace(right, wrong))
    done = rvos.run("tools/model", tmp_path / "model", RVOS_CHAPTERS=str(chapters))
    assert done.returncode == 1
    for complaint in complaints:
        assert complaint in done.stdout


DEADLINES = "kernel/task/deadline.c"


def build_deadlines(compiler, source, folder, flags=()):
    return hosted.build(compiler, "deadline", [DEADLINES], source, folder, flags)


@pytest.mark.fuzz
@pytest.mark.parametrize("compiler", COMPILERS)
def test_deadlines_agree_with_their_model(compiler, source, tmp_path):
    program = build_deadlines(compiler, source, tmp_path)
    done = rvos.run(program, SEED, int(1_000_000 * EFFORT), deadline=300 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


def steps(program):
    """What a removal looks at, of 4096 deadlines: {order: (on average, at worst)}."""
    done = rvos.run(program, SEED, 200_000, "steps")
    assert done.returncode == 0, done.stdout
    return {row[1]: (float(row[2]), int(row[3]))
            for row in re.finditer(r"^(.+): (\S+) (\d+)$", done.stdout, re.M)}


def test_removing_a_deadline_takes_logarithmic_time_on_average(source, tmp_path):
    measured = steps(build_deadlines(COMPILERS[0], source, tmp_path))
    assert len(measured) == 7
    for order, (mean, worst) in measured.items():
        assert mean < 2 * math.log2(4096), order
        assert worst < 4096, order


MISTAKES = {    # in deadline.c: what to replace, and by what
    "a link that is not led back": ("        deadline->pointer = pointer;\n", "        ;\n"),
    "a link to nothing": ("    if (deadline != NULL)\n", "    if (deadline->next != NULL)\n"),
    "a later one above": ("if (b->at < a->at)", "if (b->at > a->at)"),
    "a comparison that overflows": ("if (b->at < a->at)", "if ((int64_t)(b->at - a->at) < 0)"),
    "half a moment": ("if (b->at < a->at)", "if ((uint32_t)b->at < (uint32_t)a->at)"),
    "what was below is lost": ("    point(&b->next, a->below);\n", ""),
    "what was beside stays there": ("    point(&b->next, a->below);\n",
                                    "    if (a->below != NULL)\n"
                                    "        point(&b->next, a->below);\n"),
    "what was below does not know": ("point(&b->next, a->below);", "b->next = a->below;"),
    "the first below does not know": ("point(&a->below, b);", "a->below = b;"),
    "a heap that is nothing": ("return a != NULL ? a : b;", "return a;"),
    "an odd one left behind": ("struct deadline *pair = join(row, second);",
                               "if (second == NULL)\n            break;\n"
                               "        struct deadline *pair = join(row, second);"),
    "pairs that are not a row": ("        pair->next = pairs;\n", ""),
    "pairs that stay a row": ("        pairs->next = NULL;\n", ""),
    "a row cut short": ("rest = second != NULL ? second->next : NULL;", "rest = NULL;"),
    "a deadline that keeps what it contained": (
        "*deadline = (struct deadline){ .at = at };",
        "deadline->at = at;\n    deadline->next = deadline->below = NULL;\n"
        "    deadline->pointer = NULL;\n    deadline->below = deadline;"),
    "a set that is replaced": ("join(set->earliest, deadline)", "deadline"),
    "a set whose top does not know": ("point(&set->earliest, join(set->earliest, deadline));",
                                      "set->earliest = join(set->earliest, deadline);"),
    "removing what is in no set": ("    if (deadline->pointer == NULL)\n        return;\n", ""),
    "orphans that are lost": ("join(set->earliest, orphans)", "set->earliest"),
    "orphans that stay": ("join_all(deadline->below)", "NULL"),
    "a gap that is not closed": ("    point(deadline->pointer, deadline->next);\n", ""),
    "a neighbour that does not know": ("point(deadline->pointer, deadline->next);",
                                       "*deadline->pointer = deadline->next;"),
    "a row that goes with its first": ("point(deadline->pointer, deadline->next);",
                                       "point(deadline->pointer, NULL);"),
    "a set that forgets its top": ("point(&set->earliest, join(set->earliest, orphans));",
                                   "set->earliest = join(set->earliest, orphans);"),
    "a deadline that seems to be in a set": ("    deadline->pointer = NULL;\n", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_model_of_deadlines_finds(mistake, source, tmp_path):
    spoilt = hosted.spoil(DEADLINES, *MISTAKES[mistake], source, tmp_path)
    program = build_deadlines(COMPILERS[0], spoilt, tmp_path, ["-Wno-error"])
    assert rvos.run(program, 1, 100_000, deadline=20).returncode != 0


def test_a_row_that_is_not_joined_in_pairs_is_too_slow(source, tmp_path):
    spoilt = hosted.spoil(DEADLINES, "struct deadline *second = row->next;\n        "
                          "rest = second != NULL ? second->next : NULL;",
                          "struct deadline *second = NULL;\n        rest = row->next;", source,
                          tmp_path)
    measured = steps(build_deadlines(COMPILERS[0], spoilt, tmp_path, ["-Wno-error"]))
    assert measured["upwards"][0] > 1000 and measured["waits"][0] > 2 * math.log2(4096)


OVERFLOWS = {       # overlay: (the task, how far below its stack, what it was doing)
    "task-overflow": (3, "deep", range(0, 4096), "deeper"),
    "task-array": (2, "array", range(4096, 16384), "use_array"),
}


@pytest.mark.parametrize("smp", [1, 4])
@pytest.mark.parametrize("mode", ["debug", "release"])
@pytest.mark.parametrize("overlay", OVERFLOWS)
def test_a_stack_that_runs_over_says_whose_it_is(overlay, mode, smp, boot):
    system = boot(rvos.image(7, mode, overlay), smp=smp)
    assert system.finish() == 2
    number, name, below, function = OVERFLOWS[overlay]
    assert f'\n  the stack of task {number}, "{name}", has run over\n' in system.log
    assert "panic: nobody could handle this exception\n" in system.log
    at = int(re.search(r"the kernel wrote to 0x([0-9a-f]+),", system.log)[1], 16)
    assert STACK - 1 - at % STACK in below and at % (2 * STACK) < STACK
    assert re.search(rf"^ .* {function}\b", system.log, re.M)
    assert "\n  55\n" in system.log or overlay != "task-overflow"


MISUSES = {     # overlay: what is not so
    "task-start-twice": "task->state == TASK_NEW",
    "task-abandon-late": "task->state == TASK_NEW",
    "task-sleep-locked": "spin_held(&scheduler_lock) && hart->locks == 1",
    "task-yield-locked": "spin_held(&scheduler_lock) && hart->locks == 1",
    "task-wait-unlocked": "spin_held(lock)",
}


@pytest.mark.parametrize("overlay", MISUSES)
def test_a_misuse_of_tasks_is_a_panic_in_debug_builds(overlay, boot):
    system = boot(rvos.image(7, "debug", overlay))
    assert system.finish() == 2
    assert f"panic: assertion failed: {MISUSES[overlay]}\n" in system.log


@pytest.mark.parametrize("mode", ["debug", "release"])
def test_a_wake_up_that_falls_into_the_gap_is_lost(mode, boot):
    system = boot(rvos.image(7, mode, "task-gap"))
    assert system.finish() == 0
    assert "  as it is: somebody was woken, and has ended\n" in system.log
    assert "  with the gap: somebody was woken, and blocked\n" in system.log


@pytest.mark.parametrize("mode", ["debug", "release"])
def test_the_area_has_room_for_32768_stacks(mode, boot):
    system = boot(rvos.image(7, mode, "task-limit"), mem="1G")
    assert system.finish() == 0
    assert "  32767 stacks up to 0x4000000000, then a limit is reached\n" in system.log
    assert "  511 frames stay, for page tables\n" in system.log


def seconds_of(process):
    """The processor time that a process has used."""
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.long(8)
@pytest.mark.parametrize("mode", ["debug", "release"])
def test_a_system_that_sleeps_costs_nothing(mode, boot):
    """Three seconds of sleep against three of work, in time of the processor:
    a computer that is busy with other things makes both less. With one hart,
    since those that wait in the firmware are not quite asleep."""
    system = boot(rvos.image(7, mode, "task-idle"))
    times = []
    for said in ("going to sleep", "going to work", "going home"):
        system.expect(said)
        times.append(seconds_of(system.console.pid))
    assert system.finish() == 0
    asleep, at_work = times[1] - times[0], times[2] - times[1]
    assert asleep < 0.25 * 3
    assert at_work > 3 * asleep
