"""Each rule of tools/lint, broken once in a small chapter, and one clean chapter.

In the chapters below a `¶` ends the line on which lint must find something; it
is taken out before lint sees it. Every finding must be announced so.
"""

import re
import subprocess
from pathlib import Path

import pytest

LINT = Path(__file__).resolve().parent.parent / "tools/lint"

WORDS = """These are twenty words and some more of running text that say why the chunk
below is there, and why it stands in this place and in no other one.
"""

HEADER = WORDS + """
<<kernel/thing.h>>=
// A thing, for tests.
#pragma once

/* How many things there are. */
int thing_count(void);
@
"""


def lint(folder, text, *options, name="sample.nw"):
    """Lint a chapter: the findings as {(line, message)}, the verdict, the status."""
    path = folder / name
    path.write_text(text)
    done = subprocess.run([LINT, *options, path], check=False, capture_output=True, text=True)
    assert not done.stderr
    *lines, verdict = done.stdout.splitlines()
    found = set()
    for line in lines:
        match = re.fullmatch(rf"{re.escape(str(path))}:(\d+): (.*)", line)
        assert match, line
        found.add((int(match[1]), match[2]))
    return found, verdict, done.returncode


def expect(folder, text, message, *options, **named):
    """Lint finds `message` on each line that ends in ¶, and nothing else."""
    marked = {n for n, line in enumerate(text.split("\n"), 1) if line.endswith("¶")}
    found, verdict, status = lint(folder, text.replace("¶", ""), *options, **named)
    assert {line for line, _ in found} == marked, found
    assert all(message in said for _, said in found), found
    assert status == (1 if marked else 0)
    assert verdict.startswith("lint: no findings") != bool(marked)


def chunk(code, name="kernel/thing.c", before=WORDS):
    return f"{before}\n<<{name}>>=\n{code}\n@\n"


def step(name, mark="", code="    count++;"):
    """A file that uses a step, and the step."""
    return (chunk(f"int x(void)\n{{\n    <<{name}>>\n    return 0;\n}}\n@ %def x")
            + f"{WORDS}\n<<{name}>>={mark}\n{code}\n@\n")


def prose(text):
    return f"# A chapter\n\n{text}\n\n{HEADER}"


BROKEN = {
    # noweb's traps
    "shift in prose": ("<< in prose", prose("The mask is 1 << 3 here.¶")),
    "shift in backquotes": ("<< in prose", prose("The mask is `1 << 3` here.¶")),
    "chunk in a fence": ("noweb ends the text", "```\nx\n@ y¶\n"),
    "fence left open": ("never closed", HEADER + "```¶\nx\n"),
    "quoted link": ("as quoted code", prose("See [[1]](notes.html).¶")),
    "shift in code": ("as a chunk", chunk("int x = 1 << 2 | 8 >> 1;¶")),
    "chunk in a macro": ("inside a macro", chunk("#define X \\\n    <<add one to x>>¶\n")
                         + WORDS + "\n<<add one to x>>=\nx++\n@\n"),
    # the model's own rules
    "undefined chunk": ("used but not defined", chunk("<<walk to the leaf slot>>¶")),
    "unused chunk": ("never used", HEADER + WORDS + "\n<<walk to the leaf slot>>=¶\nx\n@\n"),
    "chunk defined twice": ("second time", step("walk to the leaf slot")
                            + WORDS + "\n<<walk to the leaf slot>>=¶\n    x--;\n@\n"),
    # chunks
    "long chunk": ("26 lines; at most 25", f"{WORDS}\n<<kernel/thing.c>>=¶\n"
                   + "int a;\n" * 26 + "@\n"),
    "few words": ("6 words before", HEADER + "\nSix words are not enough here.\n\n"
                  "<<kernel/thing.c>>=¶\nint a;\n@\n"),
    "no words at all": ("0 words before", HEADER + "<<kernel/thing.c>>=¶\nint a;\n@\n"),
    "empty introduction": ("says nothing", HEADER + WORDS + "\nHere is the code:\n\n"
                           "<<kernel/thing.c>>=¶\nint a;\n@\n"),
    "wide line": ("73 columns; at most 72", chunk("int a = 1; // " + "x" * 59 + "¶")),
    "very wide line": ("81 columns; at most 80", chunk("int a = 1; // " + "x" * 67 + "¶")),
    "line wide once indented": ("84 columns once indented", step(
        "count one thing more here", code="    // " + "x" * 65 + "¶").replace(
        "    <<count", "            <<count")),
    "tab": ("a tab", chunk("int f(int a)\n{\n\treturn a;¶\n}\n@ %def f")),
    "step of two words": ("2 words; a step has 3 to 8", step("count things", "¶")),
    "step of nine words": ("9 words", step("count one two three four five six seven eight", "¶")),
    "capital letter": ("capital letter", step("Count the things here", "¶")),
    "punctuation": ("punctuation", step("count the things here:", "¶")),
    "category": ("category of C", step("thing: declarations", "¶")),
    "category phrase": ("category of C", step("function prototypes", "¶")),
    "absent %def": ("does not mention", chunk("int a;\n@ %def b¶")),
    "frame offset": ("plain number", chunk("    sd ra, 8(sp)¶", "kernel/a.S")),
    "frame size": ("plain number", chunk("    addi sp, sp, -16¶", "kernel/a.S")),
    "offset from another register": ("plain number", chunk("    ld t0, 16(a0)¶", "kernel/a.S")),
    "unfinished code": ("finish it", chunk("int a; // TO" "DO: more¶")),
    "unfinished prose": ("finish it", prose("FIX" "ME: say more.¶")),
    # words
    "simply": ('without "simply"', prose("We simply stop.¶")),
    "just": ('without "just"', prose("It is just a number.¶")),
    "two lines of a phrase": ('without "of course"', prose("This is, of¶\ncourse, wrong.")),
    # excuses
    "unknown excuse": ("knows no excuse", prose("<!-- lint: my mood -->¶")),
    "idle excuse": ("nothing here needs", prose("<!-- lint: long chunk -->¶")),
    # the tree
    "function without %def": ("add `@ %def f`", chunk("int f(int a)¶\n{\n    return a;\n}")),
    "inline without %def": ("add `@ %def f`", chunk(
        "#pragma once\n\n/* a. */\nstatic inline int f(int a) { return a; }¶", "kernel/a.h")),
    "label without %def": ("add `@ %def go`", chunk("    .globl go\ngo:¶\n    ret", "kernel/a.S")),
    "no pragma once": ("no #pragma once", f"{WORDS}\n<<kernel/a.h>>=¶\n// Nothing.\n@\n"),
    "include guard": ("an include guard", chunk(
        "#pragma once\n#ifndef A_H¶\n#define A_H // guard\n#endif", "kernel/a.h")),
    "declaration without a contract": ("without a comment", chunk(
        "#pragma once\n\n/* One. */\nint one(void);\n\nint two(int a,¶\n        int b);",
        "kernel/a.h")),
    "structure without a comment": ("without a comment", chunk(
        "#pragma once\n\nstruct a {¶\n    int b;\n};", "kernel/a.h")),
    "macro without a comment": ("without a comment", chunk(
        "#pragma once\n\n#define A 1¶", "kernel/a.h")),
}


@pytest.mark.parametrize("sin", BROKEN)
def test_rule(tmp_path, sin):
    message, text = BROKEN[sin]
    expect(tmp_path, text, message)


def test_long_function(tmp_path):
    steps = [f"count the things of kind {n}" for n in ("one", "two", "three")]
    uses = "\n".join(f"    <<{name}>>" for name in steps)
    text = chunk(f"int f(int a)¶\n{{\n{uses}\n    return a;\n}}\n@ %def f")
    for name in steps:
        text += f"{WORDS}\n<<{name}>>=\n" + "    a++;\n" * 20 + "@\n"
    expect(tmp_path, text, "f has 64 lines; at most 60")


def test_long_file(tmp_path):
    text = f"{WORDS}\n<<kernel/thing.c>>=¶\nint a;\n@\n"
    text += chunk("int a;\n" * 25) * 16
    expect(tmp_path, text, "at most 400")


CLEAN = [
    prose("Shifts are fine in [[1 << 3]] and as 1 @<< 3, and `a >> b`."),
    prose("They have just been told, just before now. `simply` and [[just]] are code."),
    prose("```\nsimply @<< 1\n```"),
    chunk("int x = 1 @<< 2 | 8 >> 1;"),
    chunk("<<thing: uses>>") + "<<thing: uses>>=\n#include <stdint.h>\n@\n",
    "It opens.\n\n<<kernel/a.c>>=\n// A file.\n#include <stdint.h>\n\n<<thing: fields>>\n@\n"
    "Empty.\n\n<<thing: fields>>=\n@\n",
    step("1. walk to the UART's leaf slot"),
    step("thing: count"),
    chunk("all:\n\techo", "user/hello/Makefile"),
    chunk("    sd ra, FRAME_RA(sp)\n    ld t0, 0(a0)\n    addi sp, sp, -FRAME_SIZE", "kernel/a.S"),
    chunk("#pragma once\n\nstruct a;\nstruct b {\n    int c; // how many\n};\n#define D 1 // one",
          "kernel/a.h"),
    # the excuses
    chunk("int a;\n" * 26, before=WORDS + "<!-- lint: long chunk (registers) -->\n"),
    chunk("int a = 1; // " + "x" * 59, before=WORDS + "<!-- lint: wide lines -->\n"),
    chunk("int a;", before="<!-- lint: few words -->\n"),
    chunk("    sd ra, 8(sp)", "kernel/a.S", before=WORDS + "<!-- lint: offsets -->\n"),
    chunk("<<stop>>") + WORDS + "<!-- lint: name -->\n<<stop>>=\nx\n@\n",
    prose("<!-- lint: word (a quotation) -->\nIt is simply there."),
]


@pytest.mark.parametrize("number", range(len(CLEAN)))
def test_clean(tmp_path, number):
    expect(tmp_path, CLEAN[number], "")


# -- the skeleton of a chapter ---------------------------------------------------

FIGURE = "![A figure.](figures/a.tikz)\n\n"
EXERCISES = "".join(f"::: {{.exercise #ex:1.{n} rating=0}}\nThink.\n:::\n\n" for n in range(1, 7))
READING = "".join(f"- A book, number {n}.\n" for n in range(1, 6))


def chapter(figures=FIGURE * 2, exercises=EXERCISES, reading=READING, last="What we have now"):
    return (f"# One\n\n{figures}{HEADER}\n## {last}\n\nA thing.\n\n## Exercises\n\n{exercises}"
            f"## Further reading\n\n{reading}")


@pytest.mark.parametrize("text, message", [
    (chapter(last="Summary"), 'no section "What we have now"'),
    (chapter(figures=FIGURE), "1 figure; at least 2"),
    (chapter(exercises=EXERCISES.replace("1.6", "2.6")), "exercise 2.6 in chapter 1"),
    (chapter(exercises=EXERCISES[:60]), "1 exercise; 6 to 10"),
    (chapter(exercises=EXERCISES.replace(" rating=0", "").replace("ex:1.", "ex:1.9")),
     "exercise 1.91 has neither a rating nor a folder"),
    (chapter(exercises=EXERCISES), "0 graded exercises; at least 3"),
    (chapter(reading=READING[:20]), "1 item of further reading; at least 5"),
])
def test_skeleton(tmp_path, text, message):
    found, _, status = lint(tmp_path, text, name="01-one.nw")
    assert status == 1
    assert any(message in said for _, said in found), found


def test_skeleton_is_for_chapters(tmp_path):
    expect(tmp_path, chapter(figures=""), "")


# -- the programs -----------------------------------------------------------------

FAULTS = {
    "clang-format wants: return a;": """
int f(int a);
int f(int a)
{
   return a;¶
}
@ %def f""",
    "dereference of NULL": """
#include <stddef.h>

int f(int a);
int f(int a)
{
    int *p = NULL;

    if (a > 3)
        p = &a;
    return *p;¶
}
@ %def f""",
    "cppcheck: Array 'a[2]' accessed at index 2": """
int f(void);
int f(void)
{
    int a[2] = { 0, 1 };

    return a[2];¶
}
@ %def f""",
}


@pytest.mark.parametrize("message", FAULTS)
def test_program(tmp_path, message):
    text = chunk(FAULTS[message])
    line = text.split("¶")[0].count("\n") + 1
    found, _, status = lint(tmp_path, text.replace("¶", ""), "--programs")
    assert status == 1
    assert any(at == line and message in said for at, said in found), found


@pytest.mark.parametrize("code", [
    "struct a {\n    int b;            // how many\n    int longer;  // how much\n};",
    "#define A    1\n#define LONG 2   // two",
    "static const char *const names[];\nstatic const char *const names[] = {\n"
    "    [0]  = \"zero\",\n    [10] = \"ten\",\n};",
    "int f(int a,\n      int b);",
    "static inline int f(int a) { return a; }\n@ %def f",
    "enum a { B, C };",
    "enum a {\n    A = 0, LONGER = 1,\n    C = 3, D,\n};",
    "static int t[] = {\n    1, 2,\n      3,\n};",
    "int f(int a)\n{\n    return a == 1 ||\n           a == 2;\n}",
    "int f(int a)\n{\n    return a\n        ? 1\n        : 2;\n}",
    "#define A(x) { .a = (x) }",
    "void f(void)\n{\n    asm volatile (\"nop\"\n        : : \"r\"(1)\n      : \"memory\");\n}",
    "#define A(x)      \\\n    do {          \\\n        g(x);     \\\n    } while (0)",
])
def test_layout_of_the_author(tmp_path, code):
    found, _, _ = lint(tmp_path, chunk(code), "--programs")
    assert not [said for _, said in found if "clang-format" in said], found


def test_cache_moves_with_the_prose(tmp_path):
    """The place of a finding is the chapter's, wherever a text moves to."""
    code = "int f(int a);\nint f(int a)\n{\n   return a;\n}\n@ %def f"
    first, _, _ = lint(tmp_path, chunk(code), "--programs")
    moved, _, _ = lint(tmp_path, "One line more.\n\n" + chunk(code), "--programs")
    assert moved == {(line + 2, said) for line, said in first}
