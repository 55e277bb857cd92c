"""Pure code of the book, on the host, under sanitizers and against the C library."""

import os
import shutil

import pytest

import rvos

HOST = "tests/host"
EFFORT = float(os.environ.get("RVOS_EFFORT", "1"))     # how many times the usual rounds
SEED = os.environ.get("RVOS_SEED", "1")
COMPILERS = [compiler for compiler in ("gcc", "clang") if shutil.which(compiler)]
RENAMED = [f"-D{name}=rv_{name}" for name in
           ("memcpy", "memmove", "memset", "memcmp", "strlen", "strcmp", "strnlen")]
FLAGS = ["-std=gnu17", "-g", "-O2", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         "-fno-omit-frame-pointer", "-fno-builtin", "-Wall", "-Wextra", "-Werror"]

PROGRAMS = {    # name: (chapter, sources of the book, rounds)
    "format": (1, ["lib/base/format.c", "lib/base/string.c"], 500_000),
    "string": (1, ["lib/base/string.c"], 200_000),
    "backtrace": (2, ["kernel/symbols.c", "kernel/backtrace.c"], 20_000),
}
CHAPTER = {name: pytest.mark.chapter(chapter) for name, (chapter, _, _) in PROGRAMS.items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The book's source with line directives, so that reports name the chapters."""
    folder = tmp_path_factory.mktemp("source")
    done = rvos.run("tools/tangle", "--lines", "--out", folder)
    assert done.returncode == 0, done.stdout
    return folder


def build(compiler, name, sources, source, folder):
    """Compile a program of tests/host with the book's sources it tests."""
    includes = [f"-I{HOST}/shadow", f"-I{source}", f"-I{source}/include", f"-I{source}/lib"]
    objects = []
    for number, file in enumerate(sources):
        objects.append(f"{folder}/{number}.o")
        done = rvos.run(compiler, *FLAGS, *RENAMED, *includes, "-c", "-o", objects[-1],
                        source / file)
        assert done.returncode == 0, done.stdout
    done = rvos.run(compiler, *FLAGS, *includes, "-o", f"{folder}/{name}", *objects,
                    f"{HOST}/{name}.c")
    assert done.returncode == 0, done.stdout
    return f"{folder}/{name}"


@pytest.mark.long(12)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=CHAPTER[name]) for name in PROGRAMS])
def test_random_inputs_find_nothing_wrong(name, compiler, source, tmp_path):
    _, sources, rounds = PROGRAMS[name]
    program = build(compiler, name, sources, source, tmp_path)
    done = rvos.run(program, SEED, int(rounds * EFFORT), deadline=300 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


MISTAKES = {    # name: what to replace in the book's source, and by what
    "format": ("lib/base/format.c", "return least - (long)digits;", "return least;"),
    "string": ("lib/base/string.c", "if ((uintptr_t)t <= (uintptr_t)f)", "if (n != 3)"),
    "backtrace": ("kernel/backtrace.c", "if (address % 8 != 0 || ", "if ("),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=CHAPTER[name]) for name in MISTAKES])
def test_random_inputs_find_a_planted_mistake(name, source, tmp_path):
    file, right, wrong = MISTAKES[name]
    spoilt = shutil.copytree(source, tmp_path / "source")
    text = (spoilt / file).read_text()
    assert text.count(right) == 1
    (spoilt / file).write_text(text.replace(right, wrong))
    _, sources, rounds = PROGRAMS[name]
    program = build(COMPILERS[0], name, sources, spoilt, tmp_path)
    assert rvos.run(program, SEED, rounds).returncode != 0
