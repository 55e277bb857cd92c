"""Runs pandoc on the woven Markdown, and turns its complaints into problems
that name a chapter, a line and a remedy."""

import os
import re
import subprocess

import nw
import weave_figures

BOOK = nw.ROOT / "book"
BUILD = nw.ROOT / "build"
REFERENCES = BOOK / "references.bib"


def fixed_time():
    """The time of the last commit, so that the same source gives the same bytes."""
    out = subprocess.run(["git", "-C", nw.ROOT, "log", "-1", "--format=%ct"],
                         capture_output=True, text=True, check=False)
    return out.stdout.strip() or "1700000000"


def edition():
    """What the title page says about this build."""
    out = subprocess.run(["git", "-C", nw.ROOT, "log", "-1", "--format=%cs, commit %h"],
                         capture_output=True, text=True, check=False)
    return "Edition of " + out.stdout.strip() if out.stdout.strip() else "Draft"


class Book:
    """A model on its way through pandoc."""

    def __init__(self, model, draft=False):
        self.model, self.draft = model, draft
        self.name = "draft" if draft else "rvos"
        self.work = BUILD / f"weave-{self.name}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.environment = dict(os.environ, SOURCE_DATE_EPOCH=fixed_time(), FORCE_SOURCE_DATE="1",
                                WEAVE_MODEL=str(self.work / "model.lua"),
                                WEAVE_OUT=str(self.work))
        self._write_source()

    def _write_source(self):
        front = [BOOK / "preface.md"]
        back = [BOOK / "colophon.md"]
        text = self.model.markdown(front, back)
        self._check_figures()
        self.stop_on(self.model.problems)
        (self.work / "book.md").write_text(text)
        (self.work / "model.lua").write_text(self.model.lua())

    def _check_figures(self):
        for target, (file, line) in self.model.places.items():
            missing = target.startswith("figures/") and not (nw.ROOT / target).exists()
            if missing and not self.draft:
                self.model.problem(file, line, f"there is no {target}")

    @staticmethod
    def stop_on(problems):
        if problems:
            raise nw.SourceError(sorted(problems, key=lambda p: (p.file, p.line)))

    def figures(self):
        """The figures that the book shows, up to date in build/figures."""
        wanted = sorted(t for t in self.model.places if t.startswith("figures/"))
        return weave_figures.build([nw.ROOT / t for t in wanted], self.draft)

    def pandoc(self, *arguments):
        """Run pandoc with the book's filter; anything it says is a problem."""
        command = ["pandoc", self.work / "book.md", "--from=markdown",
                   "--citeproc", f"--bibliography={REFERENCES}",
                   f"--metadata-file={BOOK / 'metadata.yaml'}", f"--metadata=edition:{edition()}",
                   "--top-level-division=chapter", "--wrap=preserve",
                   f"--lua-filter={BOOK / 'filter.lua'}", *arguments]
        out = subprocess.run(list(map(str, command)), env=self.environment, cwd=self.work,
                             capture_output=True, text=True, check=False)
        problems = [self._complaint(line) for line in out.stderr.splitlines() if line.strip()]
        if out.returncode and not problems:
            problems = [nw.Problem("pandoc", 1, f"failed with status {out.returncode}")]
        self.stop_on([p for p in problems if p])

    def _complaint(self, line):
        """A line of pandoc's as a problem, or None if it does not matter."""
        ours = re.match(r"weave: (\w+): (.*)", line)
        if self.draft and ("not found" in line or ours and ours.group(1) == "dangling"):
            return None
        missing = re.search(r"[Cc]itation (\S+) not found", line)
        if missing:
            key = missing.group(1)
            return self._at("@" + key, f"book/references.bib has no entry {key}")
        if ours and ours.group(1) == "dangling":
            return self._at(ours.group(2), f"nothing is labelled #{ours.group(2)}")
        if ours and ours.group(1) == "duplicate":
            return self._at(ours.group(2), f"the label #{ours.group(2)} is used twice")
        return nw.Problem("book", 1, line)

    def _at(self, target, text):
        file, line = self.model.places.get(target, ("book", 1))
        return nw.Problem(file, line, text)
