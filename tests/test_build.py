"""Every stage builds without a warning, and only what changed is built again."""

import shutil

import pytest

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
