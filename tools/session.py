"""Sessions in the text: find them, run them, and see what they printed.

A fenced block of class `console` is a session. Lines that start with `$ ` are
commands for the host; lines that start with a prompt of PROMPTS are typed at
what the last command started; all other lines are output, with `…` standing
for what may vary (see align.py).
"""

import re
import shlex
import subprocess
from pathlib import Path

import pexpect

import align
import builds
import nw

PROMPTS = ("rvos> ", "(gdb) ")
GOALS = ("run", "debug", "build", "size", "help", "doctor", "grade", "hint", "bench",
         "model")
PROGRAMS = tuple(builds.CROSS + tool for tool in ("nm", "size", "objdump", "readelf", "addr2line"))
ATTRIBUTES = {"stage": "STAGE", "mode": "MODE", "mem": "MEM", "smp": "SMP", "overlay": "OVERLAY"}
DEADLINE = 60 * builds.PATIENCE     # seconds

FENCE = re.compile(r"(`{3,})\s*(.*)$")
CONSOLE = re.compile(r"(?:\{\s*\.)?console\b([^}]*)\}?\s*$")
ATTRIBUTE = re.compile(r'(\w+)=("[^"]*"|\S+)')
ESCAPED = re.compile(r"^@@|@(?=<<|>>|\[\[|\]\])")
SPECIAL = re.compile(r"<<|\[\[|@(?=>>|\]\])")
TERMINAL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


def unescape(line):
    """A line of a chapter's text as noweb passes it on."""
    return ESCAPED.sub(lambda match: "@" if match[0] == "@@" else "", line)


def escape(line):
    """The line of a chapter that noweb turns into this one."""
    escaped = SPECIAL.sub(lambda match: "@" + match[0], line)
    return "@" + escaped if re.match(r"@(@|\s|$)", escaped) else escaped


class Step:
    """One command, with the prompt it is typed at and the output expected."""

    def __init__(self, prompt, command):
        self.prompt, self.command, self.pattern = prompt, command, []


class Block:
    """A session in a file; `line` is the line of its opening fence."""

    def __init__(self, file, line, attributes, text):
        self.file, self.line, self.attributes, self.text = file, line, attributes, text
        self.where = f"{file}:{line}"
        self.noweb = str(file).endswith(".nw")
        self.steps = []
        for number, raw in enumerate(text, line + 1):
            self._add(number, (unescape(raw) if self.noweb else raw).rstrip())
        self._check()

    def _add(self, number, line):
        prompt = next((p for p in ("$ ", *PROMPTS) if line.startswith(p)), None)
        if prompt:
            self.steps.append(Step(prompt, line[len(prompt):]))
        elif self.steps:
            self.steps[-1].pattern.append(line)
        else:
            raise self.error("a session begins with a command: $ make …", number)

    def _check(self):
        if not self.steps or self.steps[0].prompt != "$ ":
            raise self.error("a session begins with a command: $ make …", self.line + 1)
        for name in self.attributes:
            if name not in (*ATTRIBUTES, "status"):
                raise self.error(f"a session has no attribute {name}")
        for step in self.steps:
            if step.prompt == "$ " and not allowed(step.command):
                raise self.error(f"a session may not run `{step.command}`")

    def error(self, text, line=None):
        return nw.SourceError([nw.Problem(self.file, line or self.line, text)])

    @property
    def stage(self):
        """The stage that the first command is about, or None for the whole book."""
        said = re.search(r"\b(?:STAGE|EX)=(\d+)", self.steps[0].command)
        if said:
            return int(said[1])
        return int(self.attributes.get("stage", 0)) or nw.chapter_number(self.file)

    def with_output(self, patterns):
        """The lines of the file that say the same commands with other output."""
        kept = {unescape(raw).rstrip(): raw for raw in self.text} if self.noweb else {}
        fresh = []
        for step, pattern in zip(self.steps, patterns):
            fresh += [step.prompt + step.command, *pattern]
        return [kept.get(line, escape(line) if self.noweb else line) for line in fresh]


def allowed(command):
    """May a session run this? Nothing that leaves a trace outside build/, and
    not the tests, which run the sessions."""
    words = shlex.split(command)
    if words[0] == "make":
        return len(words) > 1 and words[1] in GOALS and all("=" in word for word in words[2:])
    return words[0] in PROGRAMS


def blocks(path):
    """The sessions of a chapter or a Markdown file, in order."""
    try:
        name = str(Path(path).resolve().relative_to(nw.ROOT))
    except ValueError:
        name = str(path)
    lines = Path(path).read_text().split("\n")
    return [Block(name, start + 1, _attributes(console[1]), lines[start + 1:end])
            for start, end, console in _fences(lines, name.endswith(".nw")) if console]


def _attributes(text):
    return {key: value.strip('"') for key, value in ATTRIBUTE.findall(text)}


def _fences(lines, noweb):
    """(first line, last line, match of CONSOLE or None) of each fenced block."""
    in_code, ticks, start, console = False, None, 0, None
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if in_code:
            in_code = not re.match(r"@(\s|$)", line)
        elif ticks:
            if fence and len(fence[1]) >= len(ticks) and not fence[2]:
                yield start, number, console
                ticks = None
        elif fence:
            ticks, start, console = fence[1], number, CONSOLE.match(fence[2])
        elif noweb and re.match(r"<<.*>>=\s*$", line):
            in_code = True


class Ran:
    """What a session printed: the lines after each step, None for steps that
    came too late, and the exit status of the last command, None if it still
    ran when nothing more was to be typed."""

    def __init__(self):
        self.outputs, self.status = [], None


def run(block):
    """Run a session and return what it printed."""
    ran = Ran()
    at = [i for i, step in enumerate(block.steps) if step.prompt == "$ "]
    for first, after in zip(at, at[1:] + [len(block.steps)]):
        _run_command(block, block.steps[first:after], ran)
    return ran


def _run_command(block, steps, ran):
    """Start a command, the first step, and type the others at it; each step
    ends where the next prompt or the command's end shows."""
    child = _start(block, steps[0].command)
    prompts = [step.prompt for step in steps[1:]]
    prompts.append(prompts[-1] if prompts else PROMPTS[0])
    outputs = []
    for step, prompt in zip(steps, prompts):
        if outputs:
            child.send(step.command + "\r")
        ended = _wait(block, child, r"(?<=\n)" + re.escape(prompt))
        outputs.append(_lines(child.before, outputs and step.command))
        if ended:
            break
    ran.outputs += outputs + [None] * (len(steps) - len(outputs))
    if not ended:
        child.send("\x04" if prompt == "(gdb) " else "\x01x")
        _wait(block, child, pexpect.EOF)
    child.close()
    ran.status = child.exitstatus if ended else None


def _start(block, command):
    words = shlex.split(command)
    environment = _environment(block, words)
    _build_first(block, words, environment)
    return pexpect.spawn(words[0], words[1:], cwd=str(nw.ROOT), env=environment,
                         timeout=DEADLINE, encoding="utf-8", codec_errors="replace",
                         dimensions=(100, 1000))


def _wait(block, child, prompt):
    """Wait for a prompt; returns whether the command ended instead."""
    try:
        return child.expect([pexpect.EOF, prompt]) == 0
    except pexpect.TIMEOUT:
        child.close(force=True)
        raise block.error(f"no end in {DEADLINE:.0f} seconds; this was printed:\n"
                          + clean(child.before)) from None


def _environment(block, words):
    """The attributes of a block as the variables that the Makefile knows."""
    said = {ATTRIBUTES[key]: value for key, value in block.attributes.items()
            if key in ATTRIBUTES}
    if block.stage:
        said["STAGE"] = str(block.stage)
    if builds.foreign() and block.stage:
        wanted = {**said, **dict(word.split("=", 1) for word in words if "=" in word)}
        said["OUT"] = builds.folder(block.stage, wanted.get("MODE"), wanted.get("OVERLAY"))
    return builds.environment(**said)


def _build_first(block, words, environment):
    """Build what a command is going to boot: two builds at once would trip
    over each other, so no session builds by itself."""
    if words[:1] == ["make"] and words[1] in ("run", "debug"):
        variables = [word for word in words[2:] if not word.startswith(("QEMU_", "GDB_"))]
        with builds.one_at_a_time():
            done = subprocess.run(["make", "build", *variables], cwd=nw.ROOT, env=environment,
                                  check=False, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise block.error(f"what `{' '.join(words)}` boots cannot be built:\n{done.stdout}")


def clean(text):
    """What a terminal would show."""
    return TERMINAL.sub("", text)


def _lines(text, echo):
    """Output as lines without trailing blanks, less the echo of what was typed."""
    lines = [line.rstrip() for line in clean(text).split("\n")]
    if echo and lines[0] == echo.rstrip():
        lines.pop(0)
    if lines and not lines[-1]:
        lines.pop()
    return lines


def problems(block, ran):
    """What a session's run does not agree with, as text; empty if all does."""
    found = []
    for step, lines in zip(block.steps, ran.outputs):
        command = f"{block.where}: error: `{step.prompt}{step.command}`"
        if lines is None:
            found.append(f"{command} comes too late: what it is typed at has ended")
        elif not align.matches(step.pattern, lines):
            found.append(f"{command} prints something else (- the text, + the run)")
            found += align.difference(step.pattern, lines)
    wanted = block.attributes.get("status", "0")
    if ran.status is None and "status" in block.attributes:
        found.append(f"{block.where}: error: there is no exit status: the session does not end")
    elif ran.status is not None and str(ran.status) != wanted:
        found.append(f"{block.where}: error: the exit status is {ran.status}, "
                     f"the text says {wanted}")
    return found
