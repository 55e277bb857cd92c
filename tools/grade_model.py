"""What an exercise is: a folder with a statement and a starter, a grader, a
solution, mutants of it, and hints."""

import re
import runpy
from functools import cached_property

import nw

EXERCISES = nw.ROOT / "exercises"
ANSWERS = nw.ROOT / "answers"
COMMON = EXERCISES / "grade.nw"
CHUNK = re.compile(r"^<<(.+)>>=\s*$")


class NoExercise(Exception):
    """There is no such exercise."""


class Check:
    """One check as grader.nw announces it: a heading and a paragraph."""

    def __init__(self, number, title, prose):
        self.number, self.title = number, title
        see = re.search(r"See \[\]\(#([\w:-]+)\)\.\s*$", prose)
        self.label = see.group(1) if see else None
        self.why = plain(prose[:see.start()] if see else prose)


class Exercise:
    """The exercise in `folder`, named NN.M-name."""

    def __init__(self, folder):
        self.folder, self.name = folder, folder.name
        match = re.match(r"(\d\d)\.(\d+)-[a-z0-9-]+$", self.name)
        if not match:
            raise NoExercise(f"{folder}: the folder of an exercise is named NN.M-name")
        self.stage, self.number = int(match.group(1)), int(match.group(2))
        self.id = f"{self.stage}.{self.number}"
        self.answer = ANSWERS / f"{self.name}.nw"
        self.solution = folder / "solution.nw"
        self.mutants = sorted((folder / "mutants").glob("*.nw"))
        self.overlays = [COMMON, folder / "grader.nw"]

    @cached_property
    def _text(self):
        return (self.folder / "exercise.nw").read_text()

    @cached_property
    def header(self):
        """The `key: value` lines between the two `---` of exercise.nw."""
        block = self._text.split("---\n", 2)[1]
        return dict(re.match(r"(\w+):\s*(.*)", line).groups() for line in block.splitlines())

    @property
    def title(self):
        return self.header["title"]

    @property
    def chunks(self):
        """The chunks that the exercise is about: the book's or the starter's."""
        return [name.strip() for name in self.header["chunks"].split(";") if name.strip()]

    @property
    def limit(self):
        """How long it may run: millions of instructions of the machine's clock."""
        return int(self.header.get("limit", 100))

    @cached_property
    def _split(self):
        """(the statement, the starter): the first chunk is where one ends."""
        lines = self._text.split("---\n", 2)[2].splitlines()
        first = next(i for i, line in enumerate(lines) if CHUNK.match(line))
        return "\n".join(lines[:first]).strip(), "\n".join(lines[first:]) + "\n"

    @property
    def statement(self):
        return self._split[0]

    @property
    def starter(self):
        """What the student's file is when it is new."""
        return (f"# {self.id} {self.title}\n\n"
                f"Your answer to exercise {self.id}. The chunks below take the place of the book's; "
                "what they say\nabout a file, or about a slot (`thing: slot`), is added to the "
                f"book's. Try it with `make run EX={self.id}`,\ntest it with "
                f"`make grade EX={self.id}`; `make exercise EX={self.id}` says again what to do.\n\n"
                + self._split[1])

    @property
    def starter_chunks(self):
        return [m.group(1) for m in map(CHUNK.match, self._split[1].splitlines()) if m]

    @cached_property
    def checks(self):
        found, text = [], (self.folder / "grader.nw").read_text()
        for part in re.split(r"^## ", text, flags=re.M)[1:]:
            number, title = re.match(r"(\d+) (.+)", part).groups()
            prose = re.split(r"^<<.+>>=\s*$|^#", part.partition("\n")[2], flags=re.M)[0]
            found.append(Check(int(number), title.strip(), prose.strip().split("\n\n")[0]))
        return found

    @property
    def hints(self):
        text = (self.folder / "hints.md").read_text()
        return [hint.strip() for hint in re.split(r"^---$", text, flags=re.M)]

    def host_checks(self):
        """The names that grader.py defines, if there is one."""
        path = self.folder / "grader.py"
        return runpy.run_path(str(path)) if path.is_file() else {}


def plain(markdown):
    """Markdown as one line of text for a terminal."""
    text = re.sub(r"\[\[(.*?)\]\]", r"\1", markdown)
    text = re.sub(r"(?<!\w)[*_`]+|[*_`]+(?!\w)", "", text)
    return " ".join(text.split())


def every():
    found = [Exercise(path) for path in EXERCISES.iterdir() if path.is_dir()]
    return sorted(found, key=lambda exercise: (exercise.stage, exercise.number))


def find(wanted):
    """The exercise with a number such as 2.1 or 02.1."""
    for exercise in every():
        if re.sub(r"^0+", "", wanted.strip()) == exercise.id:
            return exercise
    known = ", ".join(exercise.id for exercise in every())
    raise NoExercise(f"there is no graded exercise {wanted}; there are: {known}")


def section_title(label):
    """The title of the section that a chapter marks with {#label}, or None."""
    heading = re.compile(r"^#+ (.+?)\s*\{#" + re.escape(label) + r"\}\s*$", re.M)
    found = filter(None, (heading.search(path.read_text()) for path in nw.chapter_files()))
    return next((match.group(1) for match in found), None)


def page_of(label):
    """The page of a label, if the book was typeset, or None."""
    try:
        labels = (nw.ROOT / "build/weave-rvos/rvos.aux").read_text(errors="replace")
    except OSError:
        return None
    match = re.search(r"\\newlabel\{" + re.escape(label) + r"\}.*?\}\{(\d+|[ivxlc]+)\}\{", labels)
    return match.group(1) if match else None
