"""Each kind of mistake in a chapter is an error that names the file and the line."""

import re

import pytest

import nw
import rvos


@pytest.fixture
def chapters(tmp_path):
    return rvos.chapters_copy(tmp_path)


def chapter_1(folder):
    return next(folder.glob("01-*.nw"))


def use_of(path, name):
    """The line on which a chunk is used."""
    lines = path.read_text().split("\n")
    return 1 + [line.strip() for line in lines].index(f"<<{name}>>")


def insert(path, line, text):
    """Put text in front of a line of a chapter; returns the line."""
    lines = path.read_text().split("\n")
    lines[line - 1:line - 1] = text.split("\n")
    path.write_text("\n".join(lines))
    return line


def insert_before(path, marker, text):
    """Put text in front of the line with the marker; returns the text's line."""
    return insert(path, rvos.line_of(path, marker), text)


def complaint(chapters, *command):
    """What a command says of spoilt chapters; it must not succeed."""
    done = rvos.run(*command, RVOS_CHAPTERS=str(chapters))
    assert done.returncode != 0, done.stdout
    return done.stdout


def tangle(chapters, tmp_path):
    out = tmp_path / "tangled"
    said = complaint(chapters, "tools/tangle", "--plain", "--out", out)
    assert not out.exists(), "wrong chapters were tangled all the same"
    return said


def test_a_misspelt_use_is_an_error_that_knows_what_was_meant(chapters, tmp_path):
    path = chapter_1(chapters)
    line = use_of(path, "2. set up a stack")
    path.write_text(path.read_text().replace("<<2. set up a stack>>\n", "<<2. set up a stick>>\n"))
    said = tangle(chapters, tmp_path)
    assert f"{path}:{line}: error: <<2. set up a stick>> is used but not defined" in said
    assert "did you mean <<2. set up a stack>>?" in said
    unused = rvos.line_of(path, "<<2. set up a stack>>=")
    assert f"{path}:{unused}: error: <<2. set up a stack>> is defined but never used" in said


def test_an_unused_chunk_is_an_error(chapters, tmp_path):
    path = chapter_1(chapters)
    line = insert_before(path, "<<2. set up a stack>>=", "<<do nothing at all>>=\nint x;\n@\n")
    assert (f"{path}:{line}: error: <<do nothing at all>> is defined but never used"
            in tangle(chapters, tmp_path))


def test_a_chunk_defined_twice_is_an_error(chapters, tmp_path):
    path = chapter_1(chapters)
    line = insert_before(path, "<<2. set up a stack>>=", "<<2. set up a stack>>=\nint x;\n@\n")
    second = line + 4
    assert (f"{path}:{second}: error: <<2. set up a stack>> is defined a second time "
            f"(first at {path}:{line})" in tangle(chapters, tmp_path))


def test_a_slot_extended_without_having_been_opened_is_an_error(chapters, tmp_path):
    path = chapter_1(chapters)
    line = insert_before(path, "<<2. set up a stack>>=", "<<main: a new slot>>=\nint x;\n@\n")
    assert (f"{path}:{line}: error: <<main: a new slot>> is defined but never used"
            in tangle(chapters, tmp_path))


def test_a_slot_opened_a_chapter_too_late_is_an_error(chapters, tmp_path):
    path = chapter_1(chapters)
    insert(path, use_of(path, "2. set up a stack"), "<<boot: on the way>>")
    late = chapters / "99-late.nw"
    late.write_text("# Late\n\n<<boot: on the way>>=\n    nop\n@\n")
    said = tangle(chapters, tmp_path)
    assert (f"{late}:3: error: <<boot: on the way>> is used in chapter 1 but extended here "
            "without having been opened" in said)


def test_a_circle_of_chunks_is_an_error(chapters, tmp_path):
    path = chapter_1(chapters)
    line = rvos.line_of(path, "<<2. set up a stack>>=")
    insert(path, line + 1, "<<2. set up a stack>>")
    assert f"{path}:{line}: error: <<2. set up a stack>> uses itself" in tangle(chapters, tmp_path)


def test_a_file_one_letter_away_from_another_is_an_error(chapters, tmp_path):
    path = chapter_1(chapters)
    line = insert_before(path, "## What we have now", "<<kernel/panik.c>>=\nint x;\n@\n")
    said = tangle(chapters, tmp_path)
    assert re.search(rf"{path}:{line}: error: <<kernel/panik.c>> is one letter away", said)


def test_what_noweb_itself_rejects_is_an_error_with_its_line(chapters, tmp_path):
    path = chapter_1(chapters)
    line = insert_before(path, "<<2. set up a stack>>=", "Shift left, 1 << 3, in prose.")
    assert f"{path}:{line}: unescaped <<" in tangle(chapters, tmp_path)


def test_an_overlay_for_a_chunk_that_the_book_does_not_have_is_an_error(tmp_path):
    overlay = tmp_path / "overlay.nw"
    overlay.write_text("\n<<2. set up a stick>>=\nnop\n@\n")
    done = rvos.run("tools/tangle", "--plain", "--overlay", overlay, "--out", tmp_path / "out")
    assert done.returncode != 0
    assert (f"{overlay}:2: error: <<2. set up a stick>> the book has no such chunk" in done.stdout)
    assert "did you mean <<2. set up a stack>>?" in done.stdout


def test_a_stale_transcript_is_an_error(chapters):
    path = chapter_1(chapters)
    fence = insert_before(path, "## What we have now",
                          "```{.console stage=1}\n$ make run STAGE=1\n…\nrvOS is asleep.\n…\n```\n")
    said = complaint(chapters, "tools/transcripts", "--check", path)
    assert f"{path}:{fence}: error: `$ make run STAGE=1` prints something else" in said
    assert "-rvOS is asleep.\n" in said


def test_a_wrong_number_is_an_error(chapters):
    path = chapter_1(chapters)
    line = insert_before(path, "## What we have now", '\n[17]{.value of="stage1.image"}\n')
    said = complaint(chapters, "tools/values", "--check", path)
    assert f"{path}:{line + 1}: error: stage1.image: the text says 17, the build says " in said


def test_a_changed_chapter_makes_the_committed_tree_stale(chapters):
    path = chapter_1(chapters)
    path.write_text(path.read_text().replace("rvOS is awake.", "rvOS is up."))
    said = complaint(chapters, "tools/tangle", "--readable", "--check", "--out", "tangled")
    assert "tangled/kernel/main.c: differs from what the chapters say: make tangle" in said


def test_a_failing_self_test_names_the_line_of_the_chapter(chapters, tmp_path):
    path = chapter_1(chapters)
    line = rvos.line_of(path, 'EXPECT_STR(PRINT("%ld", INT64_MIN)')
    path.write_text(path.read_text().replace('"-9223372036854775808");', '"-9");'))
    done = rvos.run("make", "-f", "tools/build.mk", f"OUT={tmp_path}/build", "STAGE=1",
                    "test-image", RVOS_CHAPTERS=str(chapters))
    assert done.returncode == 0, done.stdout
    done = rvos.run("tools/qemu", tmp_path / "build/rvos-test.elf")
    assert done.returncode == 1
    assert f'selftest: {path}:{line}: got "-9223372036854775808", want "-9"' in done.stdout


def test_the_book_itself_has_none_of_these_mistakes():
    assert nw.Source().problems() == []
