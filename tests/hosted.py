"""Pure code of the book, compiled for the host with sanitizers."""

import os
import shutil
from pathlib import Path

import rvos

HOST = rvos.ROOT / "tests/host"
EFFORT = float(os.environ.get("RVOS_EFFORT", "1"))     # how many times the usual rounds
SEED = os.environ.get("RVOS_SEED", "1")
COMPILERS = [compiler for compiler in ("gcc", "clang") if shutil.which(compiler)]
RENAMED = [f"-D{name}=rv_{name}" for name in
           ("memcpy", "memmove", "memset", "memcmp", "strlen", "strcmp", "strnlen")]
FLAGS = ["-std=gnu17", "-g", "-O2", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         "-fno-omit-frame-pointer", "-fno-builtin", "-Wall", "-Wextra", "-Werror"]


def compiled(compiler, file, source, output, *flags):
    """Compile one file; the source is where headers of the book are."""
    done = rvos.run(compiler, *FLAGS, *flags, f"-I{HOST}/shadow", f"-I{source}",
                    f"-I{source}/include", f"-I{source}/lib", "-c", "-o", output, file)
    assert done.returncode == 0, done.stdout
    return output


def build(compiler, name, sources, source, folder, flags=()):
    """Compile a program of tests/host with the book's sources it tests; these
    also with the flags. What is in the folder already is not compiled again."""
    objects = [Path(folder) / f"{file.replace('/', '-')}.o" for file in (*sources, f"{name}.c")]
    for file, output in zip(sources, objects):
        if not output.exists():
            compiled(compiler, source / file, source, output, *RENAMED, *flags)
    if not objects[-1].exists():
        compiled(compiler, HOST / f"{name}.c", source, objects[-1])
    done = rvos.run(compiler, *FLAGS, "-o", f"{folder}/{name}", *objects)
    assert done.returncode == 0, done.stdout
    return f"{folder}/{name}"


def spoil(file, right, wrong, source, folder):
    """A copy of the book's source in which one thing is wrong."""
    spoilt = shutil.copytree(source, Path(folder) / "source")
    text = (spoilt / file).read_text()
    assert text.count(right) == 1, f"{file} has not one {right!r}"
    (spoilt / file).write_text(text.replace(right, wrong))
    return spoilt


def build_spoilt(change, name, sources, source, parts, folder, flags=()):
    """The program with a change (file, right, wrong); what does not change is
    taken from the folder `parts`, where the right one was built."""
    spoilt = spoil(*change, source, folder)
    for file in Path(parts).glob("*.o"):
        if file.name != f"{change[0].replace('/', '-')}.o":
            (folder / file.name).symlink_to(file)
    return build(COMPILERS[0], name, sources, spoilt, folder, [*flags, "-Wno-error"])
