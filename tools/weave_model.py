"""From chapters to one Markdown document and one Lua table for the weave.

The Markdown holds the prose and, for each code chunk, an empty fence that
names it by number. The table (model.lua) holds what the fences stand for:
names, lines, languages, who continues and who uses whom. book/filter.lua
joins the two again while pandoc runs.
"""

import re
from pathlib import Path

import nw

MARK_IDENTIFIER, MARK_CHUNK, MARK_END = "\ue000", "\ue002", "\ue001"

LANGUAGES = {".c": "c", ".h": "c", ".S": "asm", ".s": "asm", ".ld": "ld", ".mk": "make",
             ".py": "python", ".sh": "sh"}
SHARE_NAMES = {"c", "asm", "ld"}        # languages that see one another's identifiers
COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)
WORD = re.compile(r"[A-Za-z_.$][\w.$]*")
FENCE = re.compile(r"^\s*(`{3,}|~{3,})(.*)$")


def language(name):
    """The language of a file root, from its name."""
    return "make" if Path(name).name == "Makefile" else LANGUAGES.get(Path(name).suffix, "text")


class Listing:
    """One definition of a chunk, as the book prints it."""

    def __init__(self, number, chunk):
        self.number, self.chunk, self.name = number, chunk, chunk.name
        self.language, self.previous, self.next = "text", None, None
        self.part, self.parts, self.used_in = 1, 1, []
        self.lines = trimmed(chunk.lines)

    def code(self):
        """The chunk's text without its uses of other chunks."""
        return "\n".join("".join(v for k, v in line.parts if k == "text") for line in self.lines)


def trimmed(lines):
    """Without the empty lines at both ends."""
    first, last = 0, len(lines)
    while last > first and not lines[last - 1].text.strip():
        last -= 1
    while first < last and not lines[first].text.strip():
        first += 1
    return lines[first:last]


class Model:
    """Everything the weave knows about the chapters in `files`."""

    def __init__(self, files, exercises, draft=False):
        self.source = nw.Source(files=files)
        self.files, self.exercise_folder, self.draft = files, Path(exercises), draft
        self.listings, self.by_name = [], {}
        self.problems = []
        self.places = {}                # what the prose refers to -> where it does
        self.graded = {}                # exercise number -> its header
        self.reassembled = []
        self._number()
        self._inherit_languages()
        self.definitions, self.uses = self._identifiers()

    # -- chunks ------------------------------------------------------------

    def _number(self):
        for chunk in self.source.chunks:
            if chunk.is_code:
                listing = Listing(len(self.listings) + 1, chunk)
                self.listings.append(listing)
                self.by_name.setdefault(chunk.name, []).append(listing)
        for same in self.by_name.values():
            for i, listing in enumerate(same):
                listing.part, listing.parts = i + 1, len(same)
                listing.previous = same[i - 1] if i else None
                listing.next = same[i + 1] if i + 1 < len(same) else None
        for listing in self.listings:
            for line in listing.chunk.lines:
                for name in line.uses:
                    self._use(listing, name, line.number)

    def _use(self, user, name, line):
        if name not in self.by_name:
            self.problem(user.chunk.file, line, f"<<{name}>> is used but not defined")
            return
        for used in self.by_name[name]:
            if user not in used.used_in:
                used.used_in.append(user)

    def _inherit_languages(self):
        def visit(name, kind):
            for listing in self.by_name.get(name, []):
                listing.language = kind
                for line in listing.chunk.lines:
                    for used in line.uses:
                        if used not in seen:
                            seen.add(used)
                            visit(used, kind)

        seen = set()
        for root in self.source.roots():
            visit(root, language(root))

    def _identifiers(self):
        """name -> listings that define it, name -> listings that use it."""
        definitions, uses = {}, {}
        for listing in self.listings:
            for name in listing.chunk.defines:
                found = definitions.setdefault(name, [])
                if listing not in found:
                    found.append(listing)
        for listing in self.listings:
            if listing.language not in SHARE_NAMES:
                continue
            for name in sorted(set(WORD.findall(COMMENTS.sub(" ", listing.code())))):
                if name in definitions and listing not in definitions[name]:
                    uses.setdefault(name, []).append(listing)
        return definitions, uses

    def expanded(self, name, chapter):
        """The whole text of a chunk as of a chapter, for a reader."""
        view = type("View", (), {})()
        view.code = {n: [c for c in chunks if chapter is None or c.chapter is None
                         or c.chapter <= chapter]
                     for n, chunks in self.source.code.items()}
        lines = [text for text, _, _ in nw.expand(view, name)]
        lines = [line for line in lines if line == "" or line.strip()]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")

    # -- prose -------------------------------------------------------------

    def problem(self, file, line, text):
        self.problems.append(nw.Problem(file, line, text))

    def markdown(self, front=(), back=()):
        """The whole book as one Markdown text."""
        out = [marker("matter of=front")]
        out += [self._plain(path) for path in front]
        out.append(marker("matter of=main"))
        appendix = False
        for path in self.files:
            number = nw.chapter_number(path)
            if number is None and not appendix:
                appendix = True
                out.append(marker("matter of=appendix"))
            out.append(marker(f"chapter number={number or Path(path).name[0]}"))
            out += self._chapter(path)
        out.append(marker("matter of=back"))
        out.append(marker("backmatter"))
        out += [self._plain(path) for path in back]
        return "\n".join(out)

    def _plain(self, path):
        """A file of Markdown that is not a chapter."""
        lines = []
        for number, text in enumerate(Path(path).read_text().split("\n"), 1):
            line = nw.Line(number)
            line.add("text", text)
            lines.append(line)
        return self._prose(lines, _relative(path), Path(path).stem)

    def _chapter(self, path):
        name = _relative(path)
        listings = {id(listing.chunk): listing for listing in self.listings}
        for chunk in self.source.chunks:
            if chunk.file != name:
                continue
            if chunk.is_code:
                number = listings[id(chunk)].number
                yield f"\n``` {{.chunk number={number}}}\n```\n"
            elif not chunk.empty:
                yield f"\n```{{=latex}}\n% {chunk.file}:{chunk.line}\n```\n"
                yield self._prose(chunk.lines, chunk.file, Path(path).stem, chunk.chapter)

    def _prose(self, lines, file, scope, chapter=None):
        """Documentation lines as Markdown: quoted code marked, footnotes made
        the chapter's own, exercises fetched."""
        out, fence = [], None
        for line in lines:
            opening = FENCE.match(line.text)
            if fence:
                out.append(line.text)
                if opening and opening.group(1).startswith(fence) and not opening.group(2).strip():
                    fence = None
                continue
            if opening:
                fence = opening.group(1)
                out.append(self._fence(line, file, chapter))
                continue
            text = self._quoted(line, file)
            if re.match(r"\d{4,}\. ", text):
                self.problem(file, line.number, "a number and a full stop at the start of a line "
                             "begin a list; write the full stop as `\\.`")
            text = re.sub(r"\[\^([^\]]+)\]", rf"[^{scope}-\1]", text)
            self._note_places(text, file, line.number)
            out.append(text)
            out += self._statement(text, file, line.number)
        return "\n".join(out)

    def _fence(self, line, file, chapter):
        name = re.search(r'\.reassembled.*chunk="([^"]*)"', line.text)
        if not name:
            return line.text
        if name.group(1) not in self.by_name:
            self.problem(file, line.number, f"there is no chunk <<{name.group(1)}>> to reassemble")
            return line.text
        kind = self.by_name[name.group(1)][0].language
        self.reassembled.append((self.expanded(name.group(1), chapter), kind))
        return line.text.replace(".reassembled", f".reassembled number={len(self.reassembled)}")

    def _quoted(self, line, file):
        """The line with [[code]] marked; the marks are as wide as the
        brackets, so that tables keep their columns."""
        text = ""
        for kind, value in line.parts:
            if kind == "text":
                text += value
            elif text.count("`") % 2:
                text += f"[[{value}]]"
            else:
                mark = MARK_IDENTIFIER
                if value.startswith("<<") and value.endswith(">>"):
                    mark, value = MARK_CHUNK, value[2:-2]
                    if value not in self.by_name:
                        self.problem(file, line.number, f"there is no chunk <<{value}>>")
                quote = "``" if "`" in value else "`"
                text += f"{mark}{quote}{value}{quote}{MARK_END}"
        return text

    def _note_places(self, text, file, number):
        for target in re.findall(r"\]\(#([^)\s]+)\)", text):
            self.places.setdefault(target, (file, number))
        for key in re.findall(r"(?<![\w`])@([\w:.-]*\w)", text):
            self.places.setdefault("@" + key, (file, number))
        for image in re.findall(r"!\[.*\]\(([^)\s]+)\)|^.*\]\((figures/[^)\s]+)\)", text):
            self.places.setdefault("".join(image), (file, number))

    # -- exercises ---------------------------------------------------------

    def _statement(self, text, file, number):
        """What follows the opening line of an exercise: the statement of a
        graded one, from its folder."""
        head = re.match(r"^:::+\s*\{.*\.exercise.*#ex:([\w.]+)", text)
        if not head or "rating=" in text:
            return []
        chapter, _, index = head.group(1).partition(".")
        pattern = f"{chapter.zfill(2)}.{index}-*/exercise.nw"
        folders = [path.parent for path in sorted(self.exercise_folder.glob(pattern))]
        if not folders and self.draft:
            self.graded[head.group(1)] = {"title": "(still to be written)", "rating": "?"}
            return []
        if not folders:
            self.problem(file, number, f"exercise {head.group(1)} has no rating, "
                                       f"and there is no exercises/{pattern}")
            return []
        path = folders[0] / "exercise.nw"
        docs = [c for c in nw.read([path])]
        lines = docs[0].lines if docs and not docs[0].is_code else []
        header, lines = split_header(lines)
        header.setdefault("checks", count_checks(folders[0] / "grade.nw"))
        if any("make grade" in line.text for line in lines):    # the statement says it itself
            header["chunks"], header["checks"] = "", None
        self.graded[head.group(1)] = header
        for key in ("title", "rating"):
            if key not in header:
                self.problem(_relative(path), 1, f"the header has no {key}")
        return [self._prose(lines, _relative(path), f"ex{head.group(1)}")]

    # -- for the filter ----------------------------------------------------

    def lua(self):
        return "return " + to_lua({
            "chunks": [self._listing(listing) for listing in self.listings],
            "names": {name: [x.number for x in same] for name, same in self.by_name.items()},
            "definitions": {n: [x.number for x in f] for n, f in self.definitions.items()},
            "uses": {n: [x.number for x in f] for n, f in self.uses.items()},
            "reassembled": [{"code": code, "lang": kind} for code, kind in self.reassembled],
            "exercises": self.graded,
        }) + "\n"

    def _listing(self, listing):
        return {
            "name": listing.name, "file": nw.is_file(listing.name), "slot": nw.is_slot(listing.name),
            "lang": listing.language, "path": listing.chunk.file, "line": listing.chunk.line,
            "first": listing.lines[0].number if listing.lines else listing.chunk.line,
            "part": listing.part, "parts": listing.parts,
            "previous": listing.previous and listing.previous.number,
            "next": listing.next and listing.next.number,
            "used_in": [user.number for user in listing.used_in],
            "defines": list(dict.fromkeys(listing.chunk.defines)),
            "lines": [[[kind, value] for kind, value in line.parts] for line in listing.lines],
        }


def marker(text):
    """An empty div, which tells the filter where it is."""
    return f"\n\n::: {{.{text}}}\n:::\n"


def count_checks(path):
    """How many checks a grader announces: its headings `## N title`."""
    return len(re.findall(r"^## \d+ ", path.read_text(), re.M)) if path.exists() else 0


def split_header(lines):
    """A leading block of `key: value` lines between `---` lines, as a
    dictionary, and the lines after it."""
    lines = trimmed(lines)
    if not lines or lines[0].text.strip() != "---":
        return {}, lines
    header = {}
    for i, line in enumerate(lines[1:], 1):
        if line.text.strip() == "---":
            return header, lines[i + 1:]
        key, _, value = line.text.partition(":")
        header[key.strip()] = value.strip()
    return header, []


def _relative(path):
    try:
        return str(Path(path).resolve().relative_to(nw.ROOT))
    except ValueError:
        return str(path)


def to_lua(value):
    """A Python value as a Lua expression."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        escaped = escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "")
        return f'"{escaped}"'
    if isinstance(value, dict):
        return "{" + ",".join(f"[{to_lua(k)}]={to_lua(v)}" for k, v in value.items()) + "}"
    return "{" + ",".join(map(to_lua, value)) + "}"
