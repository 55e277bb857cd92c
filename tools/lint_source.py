"""What lint checks in the text of a chapter: its noweb, its chunks, its prose.

Every rule is a generator of findings. A rule that a page may break has a key;
the author breaks it with a comment in the prose before the chunk (for a word:
in the line before),

    <!-- lint: long chunk (why) -->

and a comment that excuses nothing is a finding itself. CONTRIBUTING.md states
the rules; tests/test_lint.py shows each of them broken.
"""

import bisect
import re
import statistics
from pathlib import Path

import nw

LONGEST_CHUNK, LONG_CHUNK = 25, 15
FEWEST_WORDS = 20
WIDEST, WIDEST_PRINTED = 80, 72
KEYS = ("long chunk", "wide lines", "few words", "name", "offsets", "word")

CATEGORIES = set("""
    code constants declarations defines definitions enums functions globals headers helpers
    includes macros misc miscellaneous prototypes statics structs structures typedefs types
    utilities variables""".split())
CATEGORY_PHRASES = {"function prototypes", "function definitions", "function declarations",
                    "forward declarations", "global variables", "static variables",
                    "include files", "header files", "local variables"}

UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")
OPENING = re.compile(r"\s*($|//|#\s*(include|pragma|ifn?def|if|else|endif)\b|<<.*>>\s*$)")
INCLUDES = re.compile(r"\s*($|#\s*include\b)")
SAYS_NOTHING = re.compile(r"(so,? )?(here (is|are)|here's|the code is|this is)( (the|our|its))?"
                          r"( (code|function|implementation|result))?( (is|for it|as follows|this))*"
                          r"[:.]?", re.I)
EXERCISE = re.compile(r":::+\s*\{.*\.exercise\b.*#ex:(\d+)\.(\d+)(?:.*\brating=\"?(\d))?")
MAKEFILE = re.compile(r"(^|/)Makefile$|\.mk$")
ASSEMBLY_MEMORY = re.compile(r"\b(?:f?[ls][bhwd]u?)\s+\w+\s*,\s*(-?\d+)\((\w+)\)")
ASSEMBLY_FRAME = re.compile(r"\baddi\s+(sp|s0|fp|tp)\s*,\s*(?:sp|s0|fp|tp)\s*,\s*-?\d+")
FRAME_REGISTERS = {"sp", "tp", "s0", "fp", "x2", "x4", "x8"}


class Finding:
    """A broken rule. `key` and `chunk` say which comment may excuse it."""

    def __init__(self, file, line, text, key=None, chunk=None):
        self.file, self.line, self.text = str(file), line, text
        self.key, self.chunk = key, chunk

    def __str__(self):
        return f"{self.file}:{self.line}: {self.text}"


def relative(path):
    """A path as the findings print it: from the root of the project."""
    try:
        return str(Path(path).resolve().relative_to(nw.ROOT))
    except ValueError:
        return str(path)


def count(number, thing):
    """3 things, 1 thing."""
    return f"{number} {thing}{'s' * (number != 1)}"


# -- noweb's traps, looked for before noweb reads the file ---------------------

def raw_findings(path):
    """What would make noweb stop, or read something that nobody wrote."""
    file, in_code, fence = relative(path), False, None
    for number, line in enumerate(Path(path).read_text().split("\n"), 1):
        opens = re.match(r"<<.*>>=\s*$", line)
        closes = re.match(r"@($| )", line)
        if (opens or closes) and fence and not in_code:
            yield Finding(file, number, f"noweb ends the text here, inside the fenced block that "
                                        f"line {fence[0]} opens; write @@ or @<<")
            fence = None
        if opens or closes:
            in_code = bool(opens)
        elif not in_code:
            fence = _fence_after(line, number, fence)
            if re.search(r"(?<!@)<<", re.sub(r"\[\[.*?\]\]+", "", line)):
                yield Finding(file, number, "noweb reads << in prose as a chunk: "
                                            "write @<<, or [[1 << 3]]")
    if fence:
        yield Finding(file, fence[0], "this fenced block is never closed")


def _fence_after(line, number, fence):
    """The open fence (line, marker) after a line of prose, or None."""
    match = re.match(r"\s{0,3}(`{3,}|~{3,})(.*)", line)
    if not match:
        return fence
    marker, rest = match.groups()
    if not fence:
        return number, marker
    closes = marker.startswith(fence[1]) and not rest.strip()
    return None if closes else fence


# -- prose ---------------------------------------------------------------------

class Prose:
    """The running text of some documentation: (line number, text), without
    fenced blocks, and with headings, comments and div lines kept aside."""

    def __init__(self, docs):
        self.lines, self.headings, self.comments, self.divs = [], [], [], []
        fence = comment = None
        for line in (line for chunk in docs for line in chunk.lines):
            text, was = line.text, fence
            if comment is None:
                fence = _fence_after(text, line.number, fence)
            if fence or was:
                continue
            if comment is not None or "<!--" in text:
                comment = (comment or "") + text + "\n"
                if "-->" not in text:
                    continue
                body, comment = comment, None
                self.comments += [(line.number, c) for c in re.findall(r"<!--(.*?)-->", body, re.S)]
                text = re.sub(r"<!--.*?-->", "", body, flags=re.S).strip()
            self._keep(line.number, text)

    def _keep(self, number, text):
        heading = re.match(r"(#+)\s+(.*?)\s*(\{.*\})?$", text)
        if heading:
            self.headings.append((number, len(heading[1]), heading[2]))
        elif text.startswith(":::"):
            self.divs.append((number, text))
        else:
            self.lines.append((number, text))

    def text(self):
        """The text with each piece of code as one word."""
        joined = "\n".join(text for _, text in self.lines)
        joined = re.sub(r"\[\[.*?\]\]+|(`+)[^`]+?\1", "code", joined)
        return re.sub(r"\]\([^)\n]*\)|\{[^}\n]*\}", "]", joined)

    def words(self):
        return len(re.findall(r"\w[\w'’.,-]*", self.text()))

    def search(self, pattern):
        """(line number, match) for each match outside code."""
        text = self.text()
        starts = [0] + [i + 1 for i, c in enumerate(text) if c == "\n"]
        for match in pattern.finditer(text):
            yield self.lines[bisect.bisect_right(starts, match.start()) - 1][0], match


def word_list():
    """[(pattern, advice)] from tools/lint_words.txt."""
    rows = []
    for line in (nw.ROOT / "tools/lint_words.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, _, advice = line.partition("  ")
            rows.append((re.compile(rf"\b(?:{pattern})\b", re.I), advice.strip()))
    return rows


def prose_findings(file, prose, words):
    for pattern, advice in words:
        for number, match in prose.search(pattern):
            found = " ".join(match[0].split())
            yield Finding(file, number, f'the prose does without "{found}": {advice}', "word")
    for number, match in prose.search(UNFINISHED):
        yield Finding(file, number, f"{match[0]}: finish it or leave it out")
    for number, text in prose.lines:
        if re.search(r"\]\]\([\w./:#]", text):
            yield Finding(file, number, "noweb reads [[…]](…) as quoted code, not as a link")


# -- a chapter as a sequence of chunks, each with the prose before it -----------

class Chapter:
    """One file: its code chunks, the prose before each, its excuses."""

    def __init__(self, file, chunks):
        self.file, self.number = file, nw.chapter_number(file)
        self.chunks, self.before, docs = [], {}, []
        for chunk in chunks:
            if chunk.is_code:
                self.chunks.append(chunk)
                self.before[chunk] = Prose(docs)
                docs = []
            else:
                docs.append(chunk)
        self.prose = Prose([c for c in chunks if not c.is_code])
        self.after = Prose(docs)

    def excuses(self):
        """(line, key, chunk that follows or None) for each lint comment."""
        parts = [(prose, chunk) for chunk, prose in self.before.items()] + [(self.after, None)]
        for prose, chunk in parts:
            for number, comment in prose.comments:
                found = re.match(r"\s*lint:(.*)", comment, re.S)
                for key in re.sub(r"\(.*?\)", "", found[1]).split(",") if found else ():
                    yield number, " ".join(key.split()), chunk


def chapters(source):
    """The files of a source as Chapters, in order."""
    by_file = {}
    for chunk in source.chunks:
        by_file.setdefault(chunk.file, []).append(chunk)
    return [Chapter(file, chunks) for file, chunks in by_file.items()]


def without_excused(chapter, findings):
    """Drop what a comment excuses; find the comments that excuse nothing."""
    left = list(findings)
    for number, key, chunk in chapter.excuses():
        if key not in KEYS:
            left.append(Finding(chapter.file, number, f"lint knows no excuse \"{key}\"; "
                                                      f"it knows {', '.join(KEYS)}"))
            continue
        excused = [f for f in left if f.key == key and (
            number <= f.line <= number + 1 if key == "word" else f.chunk is chunk)]
        if not excused:
            left.append(Finding(chapter.file, number, f'nothing here needs the excuse "{key}"'))
        left = [f for f in left if f not in excused]
    return left


# -- chunks ----------------------------------------------------------------------

def length(chunk):
    """Lines of a chunk, without blank ones at its ends."""
    filled = [i for i, line in enumerate(chunk.lines) if line.text.strip()]
    return filled[-1] - filled[0] + 1 if filled else 0


def roots_of(source):
    """chunk name → the set of output files that it is a part of."""
    found = {}

    def visit(name, root):
        if name in source.code and root not in found.setdefault(name, set()):
            found[name].add(root)
            for chunk in source.code[name]:
                for line in chunk.lines:
                    for used in line.uses:
                        visit(used, root)

    for root in source.roots():
        visit(root, root)
    return found


def boilerplate(chunk):
    """Does a chunk only open a file or a slot, or include headers? Then it
    speaks for itself."""
    if not (nw.is_slot(chunk.name) or nw.is_file(chunk.name)):
        return False
    text = "\n".join(line.text for line in chunk.lines)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    allowed = OPENING if nw.is_file(chunk.name) else INCLUDES
    return all(allowed.match(line) for line in text.split("\n"))


def chunk_findings(chapter, chunk, source, roots, in_book):
    """The rules on one chunk; `roots` are the files that it is a part of."""
    yield from _lines(chunk, source, roots)
    yield from _assembly(chunk)
    yield from _definitions(chunk)
    if in_book:
        yield from _size(chunk)
        yield from _printed(chunk)
        yield from _introduction(chapter, chunk)
        yield from _name(chunk)


def _size(chunk):
    lines = length(chunk)
    if lines > LONGEST_CHUNK:
        yield Finding(chunk.file, chunk.line, f"<<{chunk.name}>> has {lines} lines; "
                      f"at most {LONGEST_CHUNK}", "long chunk", chunk)


def _printed(chunk):
    for line in chunk.lines:
        if WIDEST_PRINTED < len(line.text) <= WIDEST:
            yield Finding(chunk.file, line.number, f"{len(line.text)} columns; at most "
                          f"{WIDEST_PRINTED} where code is printed", "wide lines", chunk)


def _lines(chunk, source, roots):
    makefile = roots and all(MAKEFILE.search(root) for root in roots)
    continued = False
    for line in chunk.lines:
        text = line.text
        if len(text) > WIDEST:
            yield Finding(chunk.file, line.number, f"{len(text)} columns; at most {WIDEST}")
        if "\t" in text and not makefile:
            yield Finding(chunk.file, line.number, "a tab: indent with spaces")
        if (continued or text.endswith("\\")) and line.uses and not makefile:
            yield Finding(chunk.file, line.number, f"<<{line.uses[0]}>> is used inside a macro; "
                          "under #line directives the macro would end there")
        for used in line.uses:
            if used not in source.code and misread(used):
                yield Finding(chunk.file, line.number, f"noweb reads <<{used}>> as a chunk: "
                              "write @<< for a shift")
        if UNFINISHED.search(text):
            yield Finding(chunk.file, line.number, "finish it or leave it out: " + text.strip())
        continued = text.endswith("\\")


def misread(name):
    """Is this use of a chunk a shift, `a << b … >> c`?"""
    return name != name.strip() or bool(re.search(r"[=;|&^~]|[-+*]\s|\w\(|^[\d(]", name))


def _assembly(chunk):
    for line in chunk.lines:
        code = re.split(r"//|#|/\*", line.text)[0]
        memory = ASSEMBLY_MEMORY.search(code)
        plain = memory and (memory[2] in FRAME_REGISTERS or int(memory[1]) != 0)
        if plain or ASSEMBLY_FRAME.search(code):
            yield Finding(chunk.file, line.number, "an offset as a plain number: give it a name "
                          "that is asserted against the C structure", "offsets", chunk)


def _definitions(chunk):
    text = "\n".join(line.text for line in chunk.lines)
    for name in chunk.defines:
        if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            yield Finding(chunk.file, chunk.lines[-1].number + 1 if chunk.lines else chunk.line,
                          f"%def {name}: <<{chunk.name}>> does not mention it")


def _introduction(chapter, chunk):
    prose = chapter.before[chunk]
    if not boilerplate(chunk) and prose.words() < FEWEST_WORDS:
        yield Finding(chunk.file, chunk.line, f"{count(prose.words(), 'word')} before "
                      f"<<{chunk.name}>>; at least {FEWEST_WORDS} that say why this, and why here",
                      "few words", chunk)
    last = re.split(r"[.!?]\s|\n\s*\n", prose.text().strip())[-1]
    last = " ".join(last.split())
    if SAYS_NOTHING.fullmatch(last):
        yield Finding(chunk.file, chunk.line, f'"{last}" before a chunk says nothing: '
                      "say why this, and why here")


def _name(chunk):
    wrong = name_fault(chunk.name)
    if wrong:
        yield Finding(chunk.file, chunk.line, f"<<{chunk.name}>>: {wrong}", "name", chunk)


def name_fault(name):
    """What is wrong with the name of a chunk, or None."""
    if nw.is_file(name):
        return None if re.fullmatch(r"[\w./+-]+", name) else "not a path"
    words = re.sub(r"^\d+\. ", "", name).split()
    last = name.split(": ")[-1] if nw.is_slot(name) else name
    if last.lower() in CATEGORIES | CATEGORY_PHRASES:
        return "named after a category of C: say what the code is for"
    if name != " ".join(name.split()) or name[-1] in ".:,;!?":
        return "blanks or punctuation at an end"
    if nw.is_slot(name):
        if len(words) > 8:
            return f"{len(words)} words; at most 8"
    elif not 3 <= len(words) <= 8:
        return f"{count(len(words), 'word')}; a step has 3 to 8"
    capital = [word for word in words if re.fullmatch(r"[A-Z][a-z]+", word)]
    if capital:
        return f'"{capital[0]}" with a capital letter'
    return None


# -- the skeleton of a chapter ------------------------------------------------------

SECTIONS = ("What we have now", "Exercises", "Further reading")


def section(chapter, title):
    """(line of the heading, lines of prose under it), or None."""
    headings = chapter.prose.headings
    for i, (number, level, text) in enumerate(headings):
        if text.lower() == title.lower():
            ends = [n for n, other, _ in headings[i + 1:] if other <= level]
            end = ends[0] if ends else float("inf")
            return number, [text for n, text in chapter.prose.lines if number < n < end]
    return None


def skeleton_findings(chapter):
    for title in SECTIONS:
        if section(chapter, title) is None:
            yield Finding(chapter.file, 1, f'no section "{title}"')
    figures = sum(len(re.findall(r"!\[", text)) for _, text in chapter.prose.lines)
    if figures < 2:
        yield Finding(chapter.file, 1, f"{count(figures, 'figure')}; at least 2")
    exercises, reading = section(chapter, "Exercises"), section(chapter, "Further reading")
    if exercises:
        yield from _exercises(chapter, exercises[0])
    if reading:
        items = sum(bool(re.match(r"([-*]|\d+\.) ", text)) for text in reading[1])
        if items < 5:
            yield Finding(chapter.file, reading[0],
                          f"{count(items, 'item')} of further reading; at least 5")


def _exercises(chapter, line):
    heads = [(n, EXERCISE.match(text)) for n, text in chapter.prose.divs]
    heads = [(n, *match.groups()) for n, match in heads if match]
    for number, of, index, rating in heads:
        name, folder = f"exercise {of}.{index}", f"exercises/{of.zfill(2)}.{index}-"
        if int(of) != chapter.number:
            yield Finding(chapter.file, number, f"{name} in chapter {chapter.number}")
        if rating is None and not list(nw.ROOT.glob(f"{folder}*/exercise.nw")):
            yield Finding(chapter.file, number,
                          f"{name} has neither a rating nor a folder {folder}…")
    graded = sum(rating is None for _, _, _, rating in heads)
    if not 6 <= len(heads) <= 10:
        yield Finding(chapter.file, line, f"{count(len(heads), 'exercise')}; 6 to 10")
    if graded < 3:
        yield Finding(chapter.file, line, f"{count(graded, 'graded exercise')}; at least 3")


# -- all of it ---------------------------------------------------------------------------

def findings(source, in_book=True):
    """Everything wrong in the text of a source; `in_book` is False for the
    documents of exercises, whose code is not printed."""
    roots, words, found = roots_of(source), word_list(), []
    for chapter in chapters(source):
        here = list(prose_findings(chapter.file, chapter.prose, words))
        for chunk in chapter.chunks:
            here += chunk_findings(chapter, chunk, source, roots.get(chunk.name, ()), in_book)
        if in_book and chapter.number is not None:
            here += skeleton_findings(chapter)
        found += without_excused(chapter, here)
    return found


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0


def report(source):
    """The measures that have no limit, a line a chapter."""
    row = "{:<28} {:>6} {:>7} {:>5} {:>5} {:>7} {:>6} {:>6} {:>6}"
    yield row.format("chapter", "chunks", "median", "p90", f">{LONG_CHUNK}", "before",
                     "words", "code", "ratio")
    for chapter in chapters(source):
        sizes = [length(chunk) for chunk in chapter.chunks if not chunk.empty]
        before = [chapter.before[c].words() for c in chapter.chunks if not boilerplate(c)]
        words, code = chapter.prose.words(), sum(sizes)
        yield row.format(Path(chapter.file).name, len(sizes),
                         f"{statistics.median(sizes or [0]):g}", percentile(sizes, 0.9),
                         sum(size > LONG_CHUNK for size in sizes),
                         f"{statistics.median(before or [0]):g}", words, code,
                         f"{words / max(code, 1):.1f}")
