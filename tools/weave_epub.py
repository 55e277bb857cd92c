"""Packs the pages of the web edition into an EPUB."""

import re
import subprocess
import time
import uuid
import zipfile
from html import escape

import nw
import weave_figures
from weave_html import fragments, metadata
from weave_pandoc import BOOK, BUILD, edition, fixed_time

CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="en-GB" xml:lang="en-GB">
<head><meta charset="utf-8"/><title>{title}</title><link rel="stylesheet" href="epub.css"/></head>
<body{kind}>
{body}
</body>
</html>
"""

PACKAGE = """<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="en-GB">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">{identifier}</dc:identifier>
<dc:title>{title}</dc:title>
<dc:creator>{author}</dc:creator>
<dc:description>{subtitle}</dc:description>
<dc:language>en-GB</dc:language>
<dc:rights>Code: MIT. Text and figures: CC BY 4.0.</dc:rights>
<meta property="dcterms:modified">{modified}</meta>
<meta name="cover" content="cover-image"/>
</metadata>
<manifest>
{manifest}
</manifest>
<spine>
{spine}
</spine>
</package>
"""

TYPES = {"xhtml": "application/xhtml+xml", "css": "text/css", "svg": "image/svg+xml", "png": "image/png"}


def make(book):
    pages = fragments(book)
    files = {page.file.replace(".html", ".xhtml"): chapter(book, page) for page in pages}
    files = {"cover.xhtml": PAGE.format(title="Cover", kind=' epub:type="cover"', body=(
                 f'<img class="cover" src="cover.png" alt="{escape(metadata()["title"])}"/>')),
             "title.xhtml": title_page(), "nav.xhtml": navigation(pages), **files,
             "epub.css": (BOOK / "epub.css").read_text(), **figures(book), "cover.png": cover()}
    target = BUILD / f"{book.name}.epub"
    pack(target, {"META-INF/container.xml": CONTAINER, "book/package.opf": package(files),
                  **{f"book/{name}": content for name, content in files.items()}})
    return target.relative_to(nw.ROOT)


def chapter(book, page):
    """A page of the web edition as one of the EPUB."""
    body = (book.work / "pages" / page.file).read_text()
    body = re.sub(r'(href="[\w.-]+)\.html\b', r"\1.xhtml", body)
    body = body.replace("&nbsp;", "\u00a0").replace(' tabindex="0"', "")
    return PAGE.format(title=escape(page.plain), kind="", body=body)


def title_page():
    about = metadata()
    return PAGE.format(title=about["title"], kind=' epub:type="titlepage"', body=(
        f'<section class="title"><h1>{about["title"]}</h1>\n<p class="subtitle">{about["subtitle"]}</p>\n'
        f'<p>{about["author"]}</p>\n<p class="edition">{edition()}</p>\n'
        "<p>Code: MIT licence. Text and figures: Creative Commons Attribution 4.0.</p></section>"))


def navigation(pages):
    """The table of contents, parts above their chapters."""
    out, part = ['<nav epub:type="toc" id="toc"><h1>Contents</h1><ol>'], None
    for page in pages:
        back = part and not page.number
        if page.part or back:
            if part:
                out.append("</ol></li>")
            if page.part:
                out.append(f"<li><span>{page.part}</span><ol>")
            part = page.part
        file = page.file.replace(".html", ".xhtml")
        out.append(f'<li><a href="{file}">{page.full}</a>')
        if page.sections:
            out.append("<ol>" + "\n".join(
                f'<li><a href="{file}#{anchor}">{number} {title}</a></li>'
                for anchor, number, title in page.sections) + "</ol>")
        out.append("</li>")
    if part:
        out.append("</ol></li>")
    out.append("</ol></nav>")
    return PAGE.format(title="Contents", kind="", body="\n".join(out))


def figures(book):
    drawn = book.figures()
    names = {t.removeprefix("figures/").rsplit(".", 1)[0] + ".svg"
             for t in book.model.places if t.startswith("figures/")}
    return {f"figures/{name}": (drawn / name).read_text() for name in sorted(names)}


def cover():
    """The cover as PNG, drawn like a figure."""
    folder = weave_figures.build([BOOK / "cover.tikz"])
    subprocess.run(["pdftocairo", "-png", "-singlefile", "-r", "220", folder / "cover.pdf",
                    folder / "cover"], check=True)
    return (folder / "cover.png").read_bytes()


def package(files):
    manifest, spine = [], []
    for number, (name, content) in enumerate(files.items()):
        key = "cover-image" if name == "cover.png" else f"f{number}"
        properties = {"nav.xhtml": "nav", "cover.png": "cover-image"}.get(name, "")
        if isinstance(content, str) and "<math" in content:
            properties = "mathml"
        kind = name.rsplit(".", 1)[1]
        manifest.append(f'<item id="{key}" href="{name}" media-type="{TYPES[kind]}"'
                        + (f' properties="{properties}"' if properties else "") + "/>")
        if kind == "xhtml":
            spine.append(f'<itemref idref="{key}"/>')
    about = metadata()
    return PACKAGE.format(
        identifier=f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'rvos/the-book')}",
        title=about["title"], author=about["author"], subtitle=about["subtitle"],
        modified=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(fixed_time()))),
        manifest="\n".join(manifest), spine="\n".join(spine))


def pack(target, files):
    """A zip with fixed times, `mimetype` first and not compressed."""
    date = time.gmtime(int(fixed_time()))[:6]
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mimetype", date), "application/epub+zip")
        for name, content in files.items():
            info = zipfile.ZipInfo(name, date)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
