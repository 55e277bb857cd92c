"""Makes the web edition: one page a chapter, readable without a server and
without JavaScript."""

import re
import shutil
from string import Template

import nw
from weave_pandoc import BOOK, BUILD, edition


class Page:
    """One page of the web edition or the EPUB."""

    def __init__(self, file, number, title, part):
        self.file, self.number, self.title, self.part = file, number, title, part
        self.sections = []

    @property
    def plain(self):
        """The title for places that take no markup."""
        return re.sub(r"<[^>]*>", "", self.title)

    @property
    def full(self):
        return f"{self.number} {self.title}".strip()


def make(book):
    out = BUILD / ("html" if not book.draft else "draft-html")
    shutil.rmtree(out, ignore_errors=True)
    (out / "figures").mkdir(parents=True)
    copy_figures(book, out / "figures")
    for name in ("style.css", "theme.js"):
        shutil.copy(BOOK / name, out)
    pages = fragments(book)
    template = Template((BOOK / "page.html").read_text())
    for i, page in enumerate(pages):
        body = (book.work / "pages" / page.file).read_text()
        (out / page.file).write_text(fill(template, pages, page, body, i))
    (out / "index.html").write_text(fill(template, pages, None, cover(book, pages), -1))
    return (out / "index.html").relative_to(nw.ROOT)


def fragments(book):
    """Run pandoc; the pages it left, in order."""
    folder = book.work / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    book.pandoc("--to=html5", "--output=/dev/null")
    pages, part = [], None
    for line in (folder / "contents.tsv").read_text().splitlines():
        kind, *rest = line.split("\t")
        if kind == "part":
            part = rest[0]
        elif kind == "page":
            pages.append(Page(*rest, part))
            part = None
        else:
            pages[-1].sections.append(rest)
    return pages


def copy_figures(book, folder):
    drawn = book.figures()
    for target in book.model.places:
        if target.startswith("figures/"):
            name = target.removeprefix("figures/").rsplit(".", 1)[0] + ".svg"
            shutil.copy(drawn / name, folder)


def metadata():
    """The simple `key: value` lines of metadata.yaml."""
    text = (BOOK / "metadata.yaml").read_text()
    return dict(re.findall(r"^(\w+): ([^|\[].*)$", text, re.M))


def contents(pages, current=None, sections=True):
    """The table of contents as nested lists."""
    out = ['<ol class="contents">']
    for page in pages:
        if page.part:
            out.append(f'<li class="part">{page.part}</li>')
        here = ' aria-current="page"' if page is current else ""
        out.append(f'<li><a href="{page.file}"{here}><span class="number">{page.number}</span> '
                   f'{page.title}</a>')
        if page.sections and (sections or page is current):
            out.append("<ol>")
            out += [f'<li><a href="{page.file}#{anchor}"><span class="number">{number}</span> {title}</a></li>'
                    for anchor, number, title in page.sections]
            out.append("</ol>")
        out.append("</li>")
    return "\n".join(out + ["</ol>"])


def cover(book, pages):
    about = metadata()
    return (f'<header class="cover"><h1>rv<span>OS</span></h1><p class="subtitle">{about["subtitle"]}</p>'
            f'<p class="edition">{about["author"]}. {edition()}.</p></header>\n'
            f'<nav class="cover-contents" aria-label="Contents">{contents(pages)}</nav>')


def fill(template, pages, page, body, index):
    """One whole page."""
    back = pages[index - 1] if index > 0 else None
    ahead = pages[index + 1] if index + 1 < len(pages) else None
    return template.substitute(
        title=f"{page.plain} · rvOS" if page else "rvOS",
        description=metadata()["subtitle"],
        body=body,
        sidebar=contents(pages, page, sections=False) if page else "",
        kind="page" if page else "home",
        previous=f'<a rel="prev" href="{back.file}">← {back.full}</a>' if back else "<span></span>",
        next=f'<a rel="next" href="{ahead.file}">{ahead.full} →</a>' if ahead else "<span></span>")
