"""What lint checks in the tree that the chapters tangle to.

The tree is the readable one, tangled/, made afresh from the chapters. Each of
its lines knows the line of a chapter that it came from, so that whatever is
found in the tree is reported where it is repaired.
"""

import importlib.machinery
import importlib.util
import re
import statistics

import nw
from lint_source import WIDEST, Finding, percentile

LONGEST_FUNCTION, LONGEST_FILE = 60, 400
SOURCES = (".c", ".h", ".S")


def _load_tangle():
    """tools/tangle as a module; it has no .py in its name."""
    loader = importlib.machinery.SourceFileLoader("tangle", str(nw.ROOT / "tools/tangle"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tangle", loader))
    loader.exec_module(module)
    return module


tangle = _load_tangle()


class Row:
    """A line of the tree: its text, its chunk and line in the chapters, and
    whether a chapter has it (or tangle put it there)."""

    def __init__(self, text, chunk, line, written):
        self.text, self.chunk, self.line, self.written = text, chunk, line, written


class File:
    """A file of the tree as Rows."""

    def __init__(self, source, root):
        self.root, self.first = root, source.code[root][0]
        self.rows = list(self._aligned(tangle.readable(source, root), nw.expand(source, root)))
        self.text = "\n".join(row.text for row in self.rows) + "\n"

    def _aligned(self, readable, plain):
        """Rows for the readable lines. It is the plain text with lines put in
        and blank lines taken out, so one pass over both suffices."""
        plain = [row for row in plain if row[0].strip()] or [("", self.first, self.first.line)]
        at = 0
        for text in readable:
            _, chunk, line = plain[min(at, len(plain) - 1)]
            written = at < len(plain) and text.rstrip() == plain[at][0].rstrip()
            at += written
            yield Row(text, chunk, line, written)

    def place(self, number):
        """(chapter, line) of line `number`, counted from 1."""
        row = self.rows[min(max(number, 1), len(self.rows)) - 1]
        return row.chunk.file, row.line

    def finding(self, number, text):
        return Finding(*self.place(number), text)

    def has(self, suffix):
        return self.root.endswith(suffix)


def tree(source):
    """root → File, for every root of a source without problems."""
    return {root: File(source, root) for root in source.roots()}


class Function:
    """A C function: where it starts and ends (line numbers of the tree), the
    Row with its name, and its length without lines that tangle put in."""

    def __init__(self, file, start, end):
        head = file.rows[start - 1:end]
        signature = " ".join(row.text for row in head).split("{")[0]
        signature = re.sub(r"__attribute__\s*\(\(.*?\)\)\s*", "", signature)
        match = re.search(r"(\w+)\s*\(", signature)
        self.file, self.start, self.name = file, start, match[1] if match else None
        named = [row for row in head if self.name and re.search(rf"\b{self.name}\s*\(", row.text)]
        self.row = named[0] if named else head[0]
        self.length = sum(row.written or not row.text.strip() for row in head)


def functions(file):
    """The functions that a C file or header defines. clang-format has seen to
    it that a body opens and closes in the first column."""
    found, start = [], None
    for number, row in enumerate(file.rows, 1):
        text = row.text
        if re.match(r"\w.*\)\s*\{.*\}$", text):
            found.append(Function(file, number, number))
        elif text == "{" and start:
            end = next((n for n in range(number, len(file.rows) + 1)
                        if file.rows[n - 1].text.startswith("}")), number)
            found.append(Function(file, start, end))
            start = None
        elif re.match(r"[A-Za-z_].*[(,)]$", text) and not text.endswith(";"):
            start = start or number
        elif not (start and re.match(r"\s+\S", text)):
            start = None
    return found


def labels(file):
    """(name, Row) of the symbols that an assembly file defines for others."""
    shared = {name for row in file.rows
              for match in [re.match(r"\s*\.glob[a]?l\s+(.*)", row.text)] if match
              for name in re.split(r"[,\s]+", match[1].split("//")[0].split("#")[0]) if name}
    return [(match[1], row) for row in file.rows
            for match in [re.match(r"([A-Za-z_]\w*):", row.text)] if match and match[1] in shared]


def findings(files):
    for file in files.values():
        if file.root.endswith(SOURCES):
            yield from _size(file)
        if file.has(".c") or file.has(".h"):
            yield from _functions(file)
        if file.has(".h"):
            yield from _header(file)
        if file.has(".S"):
            for name, row in labels(file):
                yield from _indexed(name, row)


def _size(file):
    if len(file.rows) > LONGEST_FILE:
        yield Finding(file.first.file, file.first.line,
                      f"{file.root} has {len(file.rows)} lines; at most {LONGEST_FILE}")
    for number, row in enumerate(file.rows, 1):
        if len(row.text) > WIDEST and len(row.text.strip()) <= WIDEST:
            yield file.finding(number, f"{len(row.text)} columns once indented; at most {WIDEST}")


def _functions(file):
    for function in functions(file):
        if function.length > LONGEST_FUNCTION:
            yield file.finding(function.start, f"{function.name} has {function.length} lines; "
                                               f"at most {LONGEST_FUNCTION}")
        if function.name and function.name != "main" and not function.name.isupper():
            yield from _indexed(function.name, function.row)


def _indexed(name, row):
    if name not in row.chunk.defines:
        yield Finding(row.chunk.file, row.line, f"{name} is defined here: add `@ %def {name}` "
                                                "after the chunk")


# -- headers -----------------------------------------------------------------

def _header(file):
    texts = [row.text for row in file.rows]
    if "#pragma once" not in texts:
        yield Finding(file.first.file, file.first.line, f"{file.root} has no #pragma once")
    for number, text in enumerate(texts, 1):
        if re.match(r"#ifndef\s+\w+_H_*$", text):
            yield file.finding(number, "an include guard: the book uses #pragma once")
    for first, last in _declarations(file):
        if not _explained(file, first, last):
            yield file.finding(first, "a public declaration without a comment above or beside it: "
                                       + file.rows[first - 1].text.strip())


def _declarations(file):
    """(first, last) line of each public declaration and macro."""
    first, depth, comment, macro = None, 0, False, False
    for number, row in enumerate(file.rows, 1):
        code, comment = without_comments(row.text, comment)
        if macro or code.startswith("#"):
            if re.match(r"#\s*define\s+\w", code):
                yield number, number
            macro = code.endswith("\\")
            continue
        if not code:
            continue
        first = first or number
        depth += code.count("{") - code.count("}")
        if depth == 0 and code.endswith((";", "}")):
            said = " ".join(row.text for row in file.rows[first - 1:number])
            if not re.match(r"(struct|union|enum) \w+;|_Static_assert|[A-Z_]+\(", said):
                yield first, number
            first = None


def without_comments(text, inside):
    """A line without comments, and whether one goes on after it."""
    if inside:
        _, end, text = text.partition("*/")
        if not end:
            return "", True
    text = re.sub(r"//.*|/\*.*?\*/", "", text)
    text, begin, _ = text.partition("/*")
    return text.strip(), bool(begin)


def _explained(file, first, last):
    """A comment beside the lines, or above them with no blank line between."""
    if any(row.written and re.search(r"//|/\*", row.text) for row in file.rows[first - 1:last]):
        return True
    for row in reversed(file.rows[:first - 1]):
        if not row.text.strip():
            return False
        if row.written and re.search(r"//|\*/\s*$", row.text):
            return True
    return False


# -- measures ------------------------------------------------------------------

def report(files):
    lengths = [function.length for file in files.values() if file.has(".c") or file.has(".h")
               for function in functions(file)]
    sizes = [len(file.rows) for file in files.values() if file.root.endswith(SOURCES)]
    yield (f"functions: {len(lengths)}, median {statistics.median(lengths or [0]):g} lines, "
           f"p90 {percentile(lengths, 0.9)}, longest {max(lengths, default=0)}")
    yield (f"files: {len(sizes)}, median {statistics.median(sizes or [0]):g} lines, "
           f"longest {max(sizes, default=0)}")
