"""The model of the literate source: what the chapters define, and where.

noweb's own `markup` reads the chapters; this module turns its stream into
chunks that know their file and line, checks the rules that the book adds to
noweb (see CONTRIBUTING.md), and expands roots. Every tool that looks at the
chapters starts here, so that they agree on what a chapter says.
"""

import difflib
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 50_000     # of a file; more is a mistake, or malice
CHAPTERS = Path(os.environ.get("RVOS_CHAPTERS", ROOT / "chapters"))


def markup_program():
    """The path of noweb's markup, which Debian keeps out of PATH."""
    for folder in ("/usr/lib/noweb", "/usr/local/lib/noweb"):
        if os.access(f"{folder}/markup", os.X_OK):
            return f"{folder}/markup"
    raise SystemExit("noweb is not installed: make setup")


class Problem:
    """Something wrong in a chapter, at a file and line."""

    def __init__(self, file, line, text):
        self.file, self.line, self.text = str(file), line, text

    def __str__(self):
        return f"{self.file}:{self.line}: error: {self.text}"


class SourceError(Exception):
    """Raised with the list of problems that stop an operation."""

    def __init__(self, problems):
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Line:
    """One source line of a chunk: parts are ("text", s) or ("use", name);
    in documentation also ("code", s) for noweb's [[quoted code]]."""

    def __init__(self, number):
        self.number, self.parts = number, []

    def add(self, kind, value):
        if kind == "text" and self.parts and self.parts[-1][0] == "text":
            value = self.parts.pop()[1] + value
        if value or kind != "text":
            self.parts.append((kind, value))

    @property
    def text(self):
        form = {"text": "{}", "use": "<<{}>>", "code": "[[{}]]"}
        return "".join(form[kind].format(value) for kind, value in self.parts)

    @property
    def uses(self):
        return [value for kind, value in self.parts if kind == "use"]

    def lone_use(self):
        """(indent, name) if the line is one use and white space, else None."""
        kinds = [kind for kind, _ in self.parts]
        if kinds == ["use"]:
            return "", self.parts[0][1]
        if kinds == ["text", "use"] and not self.parts[0][1].strip():
            return self.parts[0][1], self.parts[1][1]
        return None


class Chunk:
    """One definition of a chunk (code), or a stretch of documentation (docs,
    name is None). `line` is where it begins, `defines` its %def names."""

    def __init__(self, chapter, file, line, name=None):
        self.chapter, self.file, self.line, self.name = chapter, file, line, name
        self.lines, self.defines = [], []

    @property
    def is_code(self):
        return self.name is not None

    @property
    def empty(self):
        return not any(line.text.strip() for line in self.lines)


def is_file(name):
    """Does this chunk name stand for an output file?"""
    return " " not in name and ("/" in name or "." in name)


def is_slot(name):
    """Is this the name of an extension point, `thing: slot`?"""
    return not is_file(name) and ": " in name


def chapter_number(path):
    match = re.match(r"(\d+)-", Path(path).name)
    return int(match.group(1)) if match else None


def chapter_files(stage=None):
    """The chapters in reading order, up to chapter `stage`."""
    files = [f for f in sorted(CHAPTERS.glob("*.nw")) if chapter_number(f) is not None]
    return [f for f in files if stage is None or chapter_number(f) <= stage]


def kernel_tests(stage=None):
    """Self-tests of chapters 1…stage that the book does not print, as overlays."""
    files = sorted((ROOT / "tests/kernel").glob("*.nw"))
    return [f for f in files if stage is None or chapter_number(f) <= stage]


def stages():
    return [chapter_number(f) for f in chapter_files()]


def read(paths):
    """Every chunk, code and docs, of the files in `paths`, in order."""
    paths = [Path(p) for p in paths]
    if not paths:
        return []
    out = subprocess.run([markup_program(), "-t", *map(str, paths)], check=False,
                         capture_output=True, text=True)
    if out.returncode != 0:
        raise SourceError([Problem(paths[0], 1, out.stderr.strip())])
    return list(_parse(out.stdout))


def _parse(stream):
    chapter = chunk = line = None
    file, number, quoting, quoted = "", 1, False, ""
    for event in stream.split("\n"):
        key, _, value = event.partition(" ")
        if key == "@file":
            try:
                file = str(Path(value).resolve().relative_to(ROOT))
            except ValueError:
                file = value
            chapter, number = chapter_number(file), 1
        elif key == "@begin":
            chunk, line = Chunk(chapter, file, number), Line(number)
        elif key == "@defn":
            chunk.name = value
        elif key == "@text" and quoting:
            quoted += value
        elif key == "@text":
            line.add("text", value)
        elif key == "@use" and quoting:
            quoted += f"<<{value}>>"
        elif key == "@use":
            line.add("use", value)
        elif key == "@quote":
            quoting, quoted = True, ""
        elif key == "@endquote":
            quoting = False
            line.add("code", quoted)
        elif key == "@nl":
            number += 1
            if not (chunk.is_code and line.number == chunk.line):
                chunk.lines.append(line)
            line = Line(number)
        elif key == "@index" and value.startswith("defn "):
            chunk.defines.append(value[5:])
        elif event == "@index nl":
            number += 1
            line = Line(number)
        elif key == "@end":
            if line.parts:
                chunk.lines.append(line)
            yield chunk
        elif key == "@fatal":
            raise SourceError([Problem(file, number, value)])


class Source:
    """The chapters 1…stage, with overlays laid over them."""

    def __init__(self, stage=None, overlays=(), files=None):
        self.stage = stage
        self.files = list(files) if files is not None else chapter_files(stage)
        self.chunks = read(self.files)
        self.book = {}
        for chunk in self.chunks:
            if chunk.is_code:
                self.book.setdefault(chunk.name, []).append(chunk)
        self.code = {name: list(definitions) for name, definitions in self.book.items()}
        self.overlay_chunks = [c for c in read(overlays) if c.is_code]
        self._lay_over()

    def _lay_over(self):
        """Slots and files are extended, every other chunk is replaced."""
        replaced = set()
        for chunk in self.overlay_chunks:
            name = chunk.name
            extends = is_slot(name) or is_file(name) or name in replaced
            if name in self.code and not extends:
                self.code[name] = []
            replaced.add(name)
            self.code.setdefault(name, []).append(chunk)

    def roots(self):
        return sorted(name for name in self.code if is_file(name))

    def uses(self):
        """name → [(chunk, line)] for every use of a chunk."""
        found = {}
        for definitions in self.code.values():
            for chunk in definitions:
                for line in chunk.lines:
                    for name in line.uses:
                        found.setdefault(name, []).append((chunk, line))
        return found

    # -- the rules ---------------------------------------------------------

    def problems(self):
        uses = self.uses()
        found = (self._undefined(uses) + self._unused(uses) + self._repeated()
                 + self._late(uses) + self._similar(uses))
        circles = self._circular()
        found += circles or self._too_large()
        return sorted(found, key=lambda p: (p.file, p.line))

    def check(self):
        problems = self.problems()
        if problems:
            raise SourceError(problems)

    def _undefined(self, uses):
        return [Problem(chunk.file, line.number,
                        f"<<{name}>> is used but not defined" + self._meant(name, self.code))
                for name, places in uses.items() if name not in self.code
                for chunk, line in places]

    def _unused(self, uses):
        found = []
        for name, definitions in self.code.items():
            if is_file(name) or name in uses:
                continue
            first = definitions[0]
            if first in self.overlay_chunks:
                why = "the book has no such chunk and nothing here uses it"
            else:
                why = "is defined but never used"
            found.append(Problem(first.file, first.line, f"<<{name}>> {why}"
                                 + self._meant(name, [n for n in uses if n != name])))
        return found

    @staticmethod
    def _meant(name, candidates):
        close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.75)
        return f"; did you mean <<{close[0]}>>?" if close else ""

    def _repeated(self):
        found = []
        for name, definitions in self.book.items():
            if is_file(name) or is_slot(name):
                continue
            for again in definitions[1:]:
                found.append(Problem(again.file, again.line,
                    f"<<{name}>> is defined a second time (first at {definitions[0].file}:"
                    f"{definitions[0].line}); only files and slots, named `thing: slot`, "
                    "are extended"))
        return found

    def _late(self, uses):
        """Every prefix of the book must tangle: a definition may not come in
        a later chapter than the first use, nor the other way round."""
        found = []
        for name, definitions in self.book.items():
            if is_file(name) or name not in uses:
                continue
            opened = definitions[0]
            used = min((c.chapter for c, _ in uses[name] if c.chapter), default=None)
            if used is None or opened.chapter is None or opened.chapter == used:
                continue
            if opened.chapter > used:
                text = (f"<<{name}>> is used in chapter {used} but extended here without having "
                        "been opened: open it there, empty if need be")
            else:
                text = f"<<{name}>> is defined here but first used in chapter {used}"
            found.append(Problem(opened.file, opened.line, text))
        return found

    def _similar(self, uses):
        """Two names that differ by a slip of the pen."""
        found, names = [], sorted(self.book)
        plain = {}
        for name in names:
            key = re.sub(r"[^a-z0-9/.]", "", name.lower())
            if key in plain:
                other = plain[key]
                chunk = self.book[name][0]
                found.append(Problem(chunk.file, chunk.line,
                    f"<<{name}>> and <<{other}>> ({self.book[other][0].file}:"
                    f"{self.book[other][0].line}) differ only in spelling"))
            plain.setdefault(key, name)
        roots = [n for n in names if is_file(n)]
        for i, name in enumerate(roots):
            for other in roots[i + 1:]:
                if _one_edit(name, other):
                    late = max(self.book[name][0], self.book[other][0],
                               key=lambda c: (c.chapter or 0, c.line))
                    early = other if late.name == name else name
                    found.append(Problem(late.file, late.line,
                        f"<<{late.name}>> is one letter away from <<{early}>>"))
        return found

    def _circular(self):
        found, state = [], {}

        def visit(name, chain):
            if state.get(name) == "done" or name not in self.code:
                return
            if name in chain:
                chunk = self.code[name][0]
                found.append(Problem(chunk.file, chunk.line, f"<<{name}>> uses itself"))
                return
            for chunk in self.code[name]:
                for line in chunk.lines:
                    for used in line.uses:
                        visit(used, chain + [name])
            state[name] = "done"

        for name in self.code:
            visit(name, [])
        return found

    def _too_large(self):
        """Files that uses of uses blow up beyond all measure."""
        sizes = {}

        def size(name):
            if name not in sizes:
                lines = [line for chunk in self.code.get(name, ()) for line in chunk.lines]
                sizes[name] = len(lines) + sum(size(used) for line in lines for used in line.uses)
            return sizes[name]

        return [Problem(self.code[root][0].file, self.code[root][0].line,
                        f"<<{root}>> expands to more than {MOST_LINES} lines")
                for root in self.roots() if size(root) > MOST_LINES]


def _one_edit(a, b):
    """Are two paths in one folder a single letter apart?"""
    if os.path.dirname(a) != os.path.dirname(b) or abs(len(a) - len(b)) > 1:
        return False
    stem_a, ext_a = os.path.splitext(a)
    stem_b, ext_b = os.path.splitext(b)
    if ext_a != ext_b:
        return False
    common = len(os.path.commonprefix([stem_a, stem_b]))
    rest_a, rest_b = stem_a[common:], stem_b[common:]
    return rest_a != rest_b and (rest_a[1:] == rest_b or rest_a == rest_b[1:]
                                 or rest_a[1:] == rest_b[1:]) and len(os.path.basename(a)) > 6


def expand(source, root):
    """The lines of a file as (text, chunk, line, depth) in noweb's sense:
    nested text is indented to the column of its use."""
    return [(text, chunk, number) for text, chunk, number in _expand(source, root)]


def _expand(source, name):
    lines = []
    for chunk in source.code[name]:
        for line in chunk.lines:
            lines.extend(_expand_line(source, chunk, line))
    return lines


def _expand_line(source, chunk, line):
    """A use's first line joins the text before it, its last line the text
    after it; lines between are indented, unless empty."""
    done, text, origin = [], "", (chunk, line.number)
    for kind, value in line.parts:
        if kind == "text":
            text += value
            continue
        inner = _expand(source, value)
        column = len(text)
        for i, (inner_text, inner_chunk, inner_number) in enumerate(inner):
            if i > 0:
                done.append((text, *origin))
                text = " " * column if inner_text else ""
            text += inner_text
            if i > 0 or not text[:column].strip():
                origin = (inner_chunk, inner_number)
    done.append((text, *origin))
    return done
