"""Every stage builds without a warning, and only what changed is built again."""

import re
import shutil

import pytest

import builds
import rvos

COMPILERS = [compiler for compiler in ("gcc", "clang")
             if shutil.which({"gcc": "riscv64-unknown-elf-gcc"}.get(compiler, compiler))]


def make(out, stage, *more):
    return rvos.run("make", "-f", "tools/build.mk", f"OUT={out}", f"STAGE={stage}", "image",
                    "test-image", *more)


@pytest.mark.long(3)
@pytest.mark.chapter(1)
@pytest.mark.parametrize("mode", ["debug", "release"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_stage_builds_without_a_warning(stage, compiler, mode, tmp_path):
    done = make(tmp_path, stage, f"MODE={mode}", f"CC_KIND={compiler}", "WERROR=1")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.chapter(1)
@pytest.mark.parametrize("mode", ["debug", "release"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_both_compilers_make_a_kernel_that_passes_its_tests(stage, compiler, mode, tmp_path, boot):
    done = make(tmp_path, stage, f"MODE={mode}", f"CC_KIND={compiler}")
    assert done.returncode == 0, done.stdout
    assert boot(tmp_path / "rvos-test.elf").finish() == 0
    assert boot(tmp_path / "rvos.elf").finish() == 0


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_build_that_is_up_to_date_writes_nothing(tmp_path):
    make(tmp_path, 1)
    before = times(tmp_path)
    done = make(tmp_path, 1)
    assert (done.returncode, done.stdout) == (0, "")
    assert times(tmp_path) == before


def test_other_flags_build_every_object_again(tmp_path):
    make(tmp_path, 1)
    before = times(tmp_path)
    make(tmp_path, 1, "MODE=release")
    again = {path for path, time in times(tmp_path).items() if before.get(path) != time}
    objects = set(tmp_path.rglob("*.c.o"))
    assert objects and objects <= again


def test_a_changed_chapter_builds_only_the_files_it_changes(tmp_path):
    chapters = rvos.chapters_copy(tmp_path)
    out = tmp_path / "build"
    builder = ("make", "-f", "tools/build.mk", f"OUT={out}", "STAGE=1", "image")
    assert rvos.run(*builder, RVOS_CHAPTERS=str(chapters)).returncode == 0
    before = times(out)
    chapter = next(chapters.glob("01-*.nw"))
    text = chapter.read_text().replace("rvOS is awake.", "rvOS is up.")
    chapter.write_text(text + "\nThe end.\n")
    assert rvos.run(*builder, RVOS_CHAPTERS=str(chapters)).returncode == 0
    again = {path.name for path, time in times(out).items() if before.get(path) != time}
    assert again == {"main.c", "main.c.o", "main.c.d", "rvos.elf"}


def test_images_that_are_built_at_once_are_built_by_one_make(tmp_path):
    """Two would compile the same files into the same objects side by side."""
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\necho compile\nexec {builds.CROSS}gcc \"$@\"\n")
    compiler.chmod(0o755)
    done = rvos.run("make", "-j2", "-f", "tools/build.mk", f"OUT={tmp_path}/build", "STAGE=1",
                    f"CC={compiler}", "image", "test-image")
    assert done.returncode == 0
    assert done.stdout.count("compile\n") == len(list(tmp_path.rglob("*.[cS].o")))


def test_a_file_that_has_gone_leaves_the_image(tmp_path):
    chapters = rvos.chapters_copy(tmp_path)
    out, extra = tmp_path / "build", chapters / "02-extra.nw"
    for chapter in chapters.glob("0[2-9]-*.nw"):
        chapter.unlink()
    builder = ("make", "-f", "tools/build.mk", f"OUT={out}", "STAGE=2", "image")
    there = []
    for text in ("<<kernel/demo/02-extra.c>>=\n#include \"kernel/demo.h\"\n"
                 "DEMO(2, \"a demonstration that goes\") { }\n@\n", ""):
        extra.write_text(f"# Extra\n\n{text}")
        assert rvos.run(*builder, RVOS_CHAPTERS=str(chapters)).returncode == 0
        there.append(b"a demonstration that goes" in (out / "rvos.elf").read_bytes())
    assert there == [True, False]


def size(*more, **environment):
    return rvos.run("make", "size", *more, **environment)


def test_size_keeps_the_promises():
    done = size()
    assert done.returncode == 0, done.stdout
    assert len(re.findall(r"^the (kernel|system).*, as promised$", done.stdout, re.M)) == 3


def test_size_counts_what_a_preprocessor_leaves(source):
    """GCC takes comments and empty lines out, too, and knows nothing of chapters."""
    counted = dict(re.findall(r"^  (\S*[a-z]) +(\d+)$", size().stdout, re.M))
    lines = dict.fromkeys(counted, 0)
    for path in source.rglob("*.[chS]"):
        text = re.sub(r"^#line.*\n", "", path.read_text(), flags=re.M)
        bare = path.with_suffix(".bare")
        bare.write_text(re.sub(r"^(\s*)#|\\$", r"\1;", text, flags=re.M))
        left = rvos.run(f"{builds.CROSS}gcc", "-w", "-E", "-P", "-x", "c", bare).stdout
        lines[str(path.relative_to(source).parent)] += len(re.findall(r".*\S", left))
    assert all(abs(int(counted[folder]) - lines[folder]) <= 2 for folder in lines), (counted, lines)


def test_size_adds_up():
    said = size().stdout
    chapters = re.findall(r"^  \d\d-\S+ +(\d+) +(\d+)$", said, re.M)
    folders = re.findall(r"^  \S*[a-z] +(\d+)$", said, re.M)
    system = int(re.search(r"^the system: (\d+)", said, re.M)[1])
    assert sum(int(lines) for lines, _ in chapters) == system
    assert sum(map(int, folders)) == system + sum(int(aside) for _, aside in chapters)


@pytest.mark.parametrize("folder, kept", [
    ("kernel/mm", [False, True, True]), ("kernel/drivers", [True, True, True]),
    ("kernel/test", [True, True, True]), ("user/test/huge", [True, True, True])])
def test_size_says_which_promise_is_broken(folder, kept, tmp_path):
    chapters = rvos.chapters_copy(tmp_path)
    for chapter in chapters.glob("0[2-9]-*.nw"):
        chapter.unlink()
    (chapters / "02-huge.nw").write_text(
        f"# Huge\n\n<<{folder}/huge.c>>=\n" + "// no code\n\nint x;\n" * 8000 + "@\n")
    done = size("STAGE=2", RVOS_CHAPTERS=str(chapters))
    said = re.findall(r"^the .*: \d+ lines(.*)$", done.stdout, re.M)
    assert ["as promised" in line for line in said] == kept
    assert done.returncode == (0 if all(kept) else 2)
