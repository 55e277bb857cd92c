"""Pure code of the book, on the host, under sanitizers and against the C library."""

import pytest

import hosted
import rvos
from hosted import COMPILERS, EFFORT, SEED

PROGRAMS = {    # name: (chapter, sources of the book, rounds)
    "format": (1, ["lib/base/format.c", "lib/base/string.c"], 500_000),
    "string": (1, ["lib/base/string.c"], 200_000),
    "backtrace": (2, ["kernel/symbols.c", "kernel/backtrace.c"], 20_000),
    "heap": (5, [], 1_000_000),     # heap.c is included by the program
    "heap_release": (5, [], 1_000_000),
}
CHAPTER = {name: pytest.mark.chapter(chapter) for name, (chapter, _, _) in PROGRAMS.items()}


@pytest.mark.fuzz
@pytest.mark.long(12)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=CHAPTER[name]) for name in PROGRAMS])
def test_random_inputs_find_nothing_wrong(name, compiler, source, tmp_path):
    _, sources, rounds = PROGRAMS[name]
    program = hosted.build(compiler, name, sources, source, tmp_path)
    done = rvos.run(program, SEED, int(rounds * EFFORT), deadline=300 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


MISTAKES = {    # name: what to replace in the book's source, and by what
    "format": ("lib/base/format.c", "return least - (long)digits;", "return least;"),
    "string": ("lib/base/string.c", "if ((uintptr_t)t <= (uintptr_t)f)", "if (n != 3)"),
    "heap": ("kernel/mm/heap.c", "peak = pool->bytes;", "peak++;"),
    "heap_release": ("kernel/mm/heap.c", "slab->cache->empty--;", "(void)0;"),
    "backtrace": ("kernel/backtrace.c", "if (address % 8 != 0 || ", "if ("),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=CHAPTER[name]) for name in MISTAKES])
def test_random_inputs_find_a_planted_mistake(name, source, tmp_path):
    spoilt = hosted.spoil(*MISTAKES[name], source, tmp_path)
    _, sources, rounds = PROGRAMS[name]
    program = hosted.build(COMPILERS[0], name, sources, spoilt, tmp_path)
    assert rvos.run(program, SEED, rounds).returncode != 0
