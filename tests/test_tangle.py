"""What tangling promises: stock noweb's text, and one program in three forms."""

import os
import re
import subprocess

import pytest

import builds
import measure
import nw
import rvos


def tangle(form, folder, stage=None):
    """The tree of one form, written to a folder."""
    limit = ["--stage", stage] if stage else []
    done = rvos.run("tools/tangle", f"--{form}", *limit, "--out", folder)
    assert done.returncode == 0, done.stdout
    return folder


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """The whole book in the three forms, {form: folder}."""
    return {form: tangle(form, tmp_path_factory.mktemp(form))
            for form in ("plain", "lines", "readable")}


def test_the_committed_tree_is_what_the_chapters_say():
    done = rvos.run("tools/tangle", "--readable", "--check", "--out", "tangled")
    assert done.returncode == 0, done.stdout


@pytest.mark.chapter(1)
def test_stock_notangle_writes_the_same_files(stage, tmp_path):
    files = tree(tangle("plain", tmp_path, stage))
    assert files
    for root, text in files.items():
        stock = subprocess.run(["notangle", f"-R{root}", *nw.chapter_files(stage)],
                               check=True, capture_output=True, text=True)
        assert (stock.stderr, text) == ("", stock.stdout), root


@pytest.mark.chapter(1)
def test_stock_noroots_finds_the_same_files(stage):
    """And so every prefix of the book is a complete noweb program."""
    found = subprocess.run(["noroots", *nw.chapter_files(stage)], check=True,
                           capture_output=True, text=True).stdout
    assert sorted(re.findall(r"<<(.*)>>", found)) == nw.Source(stage).roots()


def preprocessed(folder, root):
    """The tokens that the compiler gets from a file; which file and line it
    is at is the one thing that may differ between the forms."""
    language = "assembler-with-cpp" if root.endswith(".S") else "c"
    done = rvos.run(builds.CROSS + "gcc", "-E", "-P", "-x", language, "-ffreestanding", "-w",
                    "-D__FILE__=0", "-D__LINE__=0", "-DDEBUG=1", f"-I{folder}",
                    f"-I{folder}/include", f"-I{folder}/lib", folder / root)
    assert done.returncode == 0, done.stdout
    return done.stdout.split()


def test_all_forms_are_the_same_program_to_the_compiler(forms):
    sources = [name for name in tree(forms["plain"]) if name.endswith((".c", ".S"))]
    assert sources
    for root in sources:
        tokens = preprocessed(forms["plain"], root)
        assert preprocessed(forms["readable"], root) == tokens, root
        assert preprocessed(forms["lines"], root) == tokens, root


def test_all_forms_of_other_files_have_the_same_words(forms):
    trees = {form: tree(folder) for form, folder in forms.items()}
    assert set(trees["plain"]) == set(trees["readable"]) == set(trees["lines"])
    for root, text in trees["plain"].items():
        if not root.endswith((".c", ".h", ".S")):
            words = re.sub(r"^#.*", "", measure.without_comments(text), flags=re.M).split()
            for form in ("readable", "lines"):
                other = measure.without_comments(trees[form][root])
                assert re.sub(r"^#.*", "", other, flags=re.M).split() == words, root


def test_every_line_directive_names_the_line_it_comes_from(forms):
    chapters = {str(path): path.read_text().split("\n") for path in nw.chapter_files()}
    for root, text in tree(forms["lines"]).items():
        chapter = None
        for line in text.split("\n"):
            directive = re.match(r'#line (\d+) "(.+)"$', line)
            if directive:
                chapter, number = chapters[os.path.join(nw.ROOT, directive[2])], int(directive[1])
            elif chapter:
                written = chapter[number - 1]
                uses_a_chunk = re.search("(?<!@)<<", written)
                assert not line or uses_a_chunk or written.replace("@<<", "<<") == line, root
                number += 1
