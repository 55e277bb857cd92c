"""Typesets the PDF, and turns TeX's complaints into problems with a chapter
and a line. Every warning is an error: the book has no small blemishes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nw
from weave_pandoc import BOOK, BUILD

# What TeX says that is worth stopping for, in the log of the last run.
SERIOUS = re.compile(r"^(! .*|LaTeX Warning: .*|Package \w+ Warning: .*|Class \w+ Warning: .*"
                     r"|LaTeX Font Warning: .*|Overfull \\[hv]box .*|Missing character: .*"
                     r"|warning: .*)$")
HARMLESS = re.compile(r"Label\(s\) may have changed|Rerun to get|has changed\. Rerun|reference.* undefined")


def make(book):
    figures = book.figures()
    tex = book.work / "rvos.tex"
    book.pandoc("--to=latex", f"--template={BOOK / 'template.tex'}",
                f"--variable=figures:{figures}/", f"--output={tex}")
    status = typeset(book)
    problems = complaints(book, tex, final=status == 0)
    if status and not problems:
        problems = [nw.Problem(tex, 1, "latexmk failed, see rvos.log beside it")]
    if book.draft and not status:
        print(*problems, sep="\n", end="\n" * bool(problems), file=sys.stderr)
    else:
        book.stop_on(problems)
    result = BUILD / f"{book.name}.pdf"
    shutil.copy(book.work / "rvos.pdf", result)
    return result.relative_to(nw.ROOT)


def typeset(book):
    environment = dict(book.environment, TEXINPUTS=f"{BOOK}:", max_print_line="1000")
    return subprocess.run(["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error",
                           "rvos.tex"], cwd=book.work, env=environment, check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def complaints(book, tex, final):
    """The problems in the log of the last run."""
    log = (book.work / "rvos.log").read_text(errors="replace").splitlines()
    lines = tex.read_text().splitlines()
    found, seen = [], set()
    for i, text in enumerate(log):
        if not SERIOUS.match(text) or (HARMLESS.search(text) and (book.draft or not final)):
            continue
        problem = locate(book, lines, text, log[i + 1:i + 12])
        if str(problem) not in seen:
            seen.add(str(problem))
            found.append(problem)
    return found


def locate(book, lines, text, after):
    """The problem that a line of the log stands for."""
    own = re.search(r"(a line of code is .* too wide) in (\S+):(\d+)", text)
    if own:
        return nw.Problem(own.group(2), int(own.group(3)), own.group(1))
    missing = re.search(r"Missing character: There is no (\S+) ", text)
    if missing:
        file, line = first_with(book.model.files, missing.group(1))
        return nw.Problem(file, line, text)
    number = re.search(r"(?:at lines?|input line) (\d+)", text) \
        or re.search(r"^l\.(\d+)", "\n".join(after), re.M)
    if not number:
        return nw.Problem("book", 1, text)
    file, line = marker(lines, int(number.group(1)))
    words = overflowing(after[0]) if text.startswith("Overfull") and after else ""
    if words:
        return nw.Problem(file, line_of(file, line, words), f"{text} … {words[-50:]}")
    return nw.Problem(file, line, text)


def first_with(files, character):
    """The first line of the chapters that has a character in it."""
    for file in files:
        for number, text in enumerate(Path(file).read_text().splitlines(), 1):
            if character in text:
                return file, number
    return "book", 1


def marker(lines, number):
    """The last `% file:line` that the weave left before a line of the .tex."""
    for text in reversed(lines[:number]):
        mark = re.match(r"% (\S+):(\d+)$", text)
        if mark:
            return mark.group(1), int(mark.group(2))
    return "book", 1


def overflowing(text):
    """The words in TeX's picture of an overfull line."""
    text = re.sub(r"\\TU/\S+ |\[\]|\$|\|", " ", text)
    return re.sub(r"\s+", " ", text.replace("-", "")).strip()


def line_of(file, first, words):
    """The source line, at or after `first`, that shares most words with TeX's."""
    path = nw.ROOT / file
    if not path.exists():
        return first
    wanted = set(re.findall(r"\w{4,}", words))
    lines = path.read_text().splitlines()
    window = range(first, min(first + 120, len(lines)))
    return 1 + max(window, key=lambda n: (len(wanted & set(re.findall(r"\w+", lines[n]))), -n),
                   default=first - 1)
