"""Draws the figures: figures/*.tikz and *.dot become PDF for print and SVG for
the web, in build/figures, and only when their source or the style changed."""

import hashlib
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import nw

SOURCES = nw.ROOT / "figures"
OUT = nw.ROOT / "build" / "figures"
STYLE = nw.ROOT / "book" / "figures.sty"
MEASURE = 368                           # points; wider figures do not fit the page
ON_SCREEN = 1.3                         # how much larger figures are on the web
POINTS = 72.27 / 72                     # TeX's points per PDF point

DOCUMENT = r"""\documentclass[11pt]{article}
\usepackage{figures}
\pagestyle{empty}
\begin{document}
\setbox0\hbox{\input{%s}\unskip}%%
\pdfpagewidth=\dimexpr\wd0+2pt\relax \pdfpageheight=\dimexpr\ht0+\dp0+2pt\relax
\hoffset=\dimexpr1pt-1in\relax \voffset=\hoffset
\topskip0pt
\shipout\vbox{\box0}
\end{document}
"""


def build_all():
    build(sorted([*SOURCES.glob("*.tikz"), *SOURCES.glob("*.dot")]))


def build(paths, draft=False):
    """Draw what is out of date; the folder of the results. In a draft a
    figure may be missing or too wide."""
    OUT.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        found = [problem for problem in pool.map(lambda path: draw(path, draft), paths) if problem]
    if found:
        raise nw.SourceError(found)
    return OUT


def draw(path, draft=False):
    """One figure, as PDF and SVG; a Problem if it cannot be drawn."""
    target = OUT / path.stem
    if not path.exists():
        path = stand_in(target)
    stamp = target.with_suffix(".hash")
    digest = hashlib.sha256(path.read_bytes() + STYLE.read_bytes() + DOCUMENT.encode() + str(ON_SCREEN).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return None
    problem = graphviz(path, target) if path.suffix == ".dot" else tikz(path, target)
    if problem:
        return problem
    pdf = target.with_suffix(".pdf")
    width = page_width(pdf)
    if width > MEASURE + 2 and not draft:
        return nw.Problem(path, 1, f"the figure is {width:.0f} pt wide, the page holds {MEASURE}")
    run(["pdftocairo", "-svg", pdf, target.with_suffix(".svg")])
    enlarge(target.with_suffix(".svg"))
    if width <= MEASURE + 2:
        stamp.write_text(digest)
    return None


def enlarge(svg):
    """Screens set text larger than paper does, so figures grow with it."""
    def larger(match):
        return f'{match.group(1)}="{float(match.group(2)) * ON_SCREEN:.1f}pt"'

    head, _, rest = svg.read_text().partition("viewBox")
    svg.write_text(re.sub(r'(width|height)="([\d.]+)pt"', larger, head) + "viewBox" + rest)


def stand_in(target):
    """The source of a figure that is not drawn yet; only drafts get this far."""
    path = target.with_suffix(".tikz")
    path.write_text(r"\begin{tikzpicture}\node[free, minimum size=3cm]"
                    rf"{{figure \code{{\detokenize{{{target.name}}}}}}};\end{{tikzpicture}}")
    return path


def run(command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)


def tikz(path, target):
    source = target.with_suffix(".tex")
    source.write_text(DOCUMENT % path)
    out = run(["env", f"TEXINPUTS={STYLE.parent}:", "SOURCE_DATE_EPOCH=0", "max_print_line=1000",
               "xelatex", "-interaction=nonstopmode", "-halt-on-error", source.name], cwd=OUT)
    wrong = re.search(r"^! (.*)$|^(Missing character.*)$", out.stdout, re.M)
    if not wrong:
        return None
    line = re.search(r"^l\.(\d+)", out.stdout, re.M)
    return nw.Problem(path, int(line.group(1)) if line else 1, wrong.group(1) or wrong.group(2))


def graphviz(path, target):
    out = run(["dot", "-Tpdf", "-Gfontname=Linux Biolinum O", "-Nfontname=Linux Biolinum O",
               "-Efontname=Linux Biolinum O", "-o", target.with_suffix(".pdf"), path])
    return nw.Problem(path, 1, out.stderr.strip()) if out.returncode else None


def page_width(pdf):
    size = re.search(r"Page size:\s+([\d.]+)", run(["pdfinfo", pdf]).stdout)
    return float(size.group(1)) * POINTS
