"""The book can be woven, its exercises are sound, and its instructions can be followed."""

import re

import pytest

import rvos

TEXTS = [path for path in (rvos.ROOT / "README.md", rvos.ROOT / "CONTRIBUTING.md")
         if path.exists()]
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.M | re.S)
MAKEFILES = [rvos.ROOT / "Makefile", *sorted((rvos.ROOT / "tools").glob("*.mk"))]


@pytest.mark.long(90)
def test_the_book_is_woven_in_every_format_without_a_warning():
    done = rvos.run("make", "book", "html", "epub", deadline=600)
    assert done.returncode == 0, done.stdout
    assert not re.search("warning", done.stdout, re.I), done.stdout
    assert not list(broken_pages("build/rvos.pdf"))


def broken_pages(pdf):
    """(page, line) where a page begins with a brace, or ends with one that opens
    or with the first line of a comment."""
    text = rvos.run("pdftotext", "-layout", pdf, "-").stdout
    for number, page in enumerate(text.split("\f"), 1):
        lines = [line.strip() for line in page.splitlines() if line.strip()]
        if lines[1:] and re.fullmatch(r"[{}];?", lines[1]):
            yield number, lines[1]
        if lines and lines[-1] in ("{", "/*"):
            yield number, lines[-1]


@pytest.mark.long(10)
def test_lint_finds_nothing():
    done = rvos.run("make", "lint", deadline=300)
    assert done.returncode == 0, done.stdout


def targets():
    """name → help text of every target that is meant to be called."""
    rules = re.compile(r"^([a-z][a-z-]*):(?!=)[^#\n]*(?:## (.*))?$", re.M)
    return {name: text for file in MAKEFILES if file.name != "build.mk"
            for name, text in rules.findall(file.read_text())}


def test_make_help_tells_about_every_target_that_has_a_help_text():
    said = rvos.run("make", "help").stdout
    for name, text in targets().items():
        assert not text or re.search(rf"^  {name} +{re.escape(text)}$", said, re.M), name


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_every_command_of_the_instructions_exists(text):
    code = CODE.findall(text.read_text())
    called = {name for piece in code for name in re.findall(r"\bmake ([a-z][a-z-]*)", piece)}
    assert called
    assert called <= set(targets())


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_every_file_that_the_instructions_link_to_exists(text):
    prose = CODE.sub("", text.read_text())
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", prose):
        assert (rvos.ROOT / link).exists(), link
