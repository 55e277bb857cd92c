"""Numbers that the build knows: sizes, addresses, counts.

A key names one number of one stage, `stage2.text`, or of its release build,
`stage2.release.text`; KINDS lists what there is. Nothing is built or run
before somebody asks for it.
"""

import array
import functools
import inspect
import re
import subprocess

import benches
import builds
import nw

KEY = re.compile(r"stage(\d+)\.(release\.)?(\w+)(?:\.(.+))?$")
TRACE = re.compile(rb"Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")
KERNEL = "0x80200000..0xffffffff"


class Unknown(Exception):
    """There is no such number."""


class Build:
    """One image, and what can be asked of it."""

    def __init__(self, stage, mode):
        self.stage, self.mode = stage, mode

    @functools.cached_property
    def image(self):
        try:
            return str(builds.build(self.stage, self.mode))
        except builds.BuildFailed as failed:
            raise Unknown(f"stage {self.stage} does not build:\n{failed}") from None

    @functools.cached_property
    def sections(self):
        """name → (size, is in the file) of what has a place in memory."""
        rows = re.findall(r"\] (\S+) +(\S+) +[0-9a-f]+ \w+ (\w+) \w+ +(\w*)",
                          _tool("readelf", "-SW", self.image))
        return {name: (int(size, 16), kind != "NOBITS")
                for name, kind, size, flags in rows if "A" in flags}

    @functools.cached_property
    def symbols(self):
        rows = (row.split() for row in _tool("nm", self.image).splitlines())
        return {row[2]: int(row[0], 16) for row in rows if len(row) == 3}

    @functools.cached_property
    def functions(self):
        """name → addresses of the function's instructions."""
        found, name = {}, None
        for line in _tool("objdump", "-d", "-M", "no-aliases", self.image).splitlines():
            head = re.match(r"[0-9a-f]+ <(.+)>:$", line)
            code = re.match(r" *([0-9a-f]+):\t([0-9a-f ]+?) +\t", line)
            if head:
                name = head[1]
            elif code:
                length = len(code[2].replace(" ", "")) // 2
                found.setdefault(name, []).append((int(code[1], 16), length))
        return found

    @functools.cached_property
    def source(self):
        return nw.Source(self.stage)

    @functools.cached_property
    def benches(self):
        """name → (instructions, what it does) of the benchmarks."""
        try:
            return benches.run(self.stage, self.mode)
        except benches.Failed as failed:
            raise Unknown(str(failed)) from None

    @functools.cached_property
    def trace(self):
        """The address of every instruction that the kernel executes, in order."""
        return array.array("Q", self.executed())

    def executed(self, mem="128M"):
        """The same one after the other, for whoever does not want all of them.
        The memory is not reserved: the host may have less."""
        command = ["tools/qemu", self.image, "-icount", "shift=0", "-singlestep",
                   "-machine", "memory-backend=memory", "-object",
                   f"memory-backend-ram,id=memory,size={mem},reserve=off", "-serial", "null",
                   "-monitor", "none", "-d", "exec,nochain", "-dfilter", KERNEL]
        with subprocess.Popen(command, cwd=nw.ROOT, env=builds.environment(MEM=mem),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE) as machine:
            try:
                yield from _addresses(machine.stderr)
            finally:
                machine.kill()

    def files(self, suffixes):
        """The files of the system, without tests, demonstrations and benchmarks."""
        left_out = ("kernel/test/", "kernel/demo/", "kernel/bench/")
        return [name for name in self.source.roots()
                if name.endswith(suffixes) and not name.startswith(left_out)]

    def debugger(self, expression):
        """The value of a C expression that needs no running machine."""
        done = subprocess.run(["gdb-multiarch", "-nx", "-batch", "-ex", f"output {expression}",
                               self.image], cwd=nw.ROOT, check=False, text=True,
                              capture_output=True)
        return int(_found(done.stdout.strip() or None, done.stderr.strip()), 0)


def _addresses(trace):
    """The addresses in a trace of QEMU's. One that is started again is traced again."""
    last = None
    for line in trace:
        executed = TRACE.match(line)
        if executed:
            if last is not None:
                yield last
            last = int(executed[1], 16)
        elif line.startswith(b"cpu_io_recompile: rewound"):
            last = None
    if last is not None:
        yield last


def _tool(name, *arguments):
    return subprocess.run([builds.CROSS + name, *arguments], cwd=nw.ROOT, check=True, text=True,
                          capture_output=True).stdout


def _found(value, what):
    if value is None:
        raise Unknown(what)
    return value


def image_size(build):
    return sum(size for size, filed in build.sections.values() if filed)


def section_size(name):
    return lambda build: _found(build.sections.get(name), f"no section {name}")[0]


def symbol(build, name):
    return _found(build.symbols.get(name), f"no symbol {name}")


def function(build, name):
    return _found(build.functions.get(name), f"no function {name}")


def sizeof(build, name):
    return build.debugger(f"(long)sizeof(struct {name})")


def offsetof(build, name):
    structure, _, member = name.partition(".")
    return build.debugger(f"(long)&((struct {structure} *)0)->{member}")


def _suffixes(one):
    return (f".{one}",) if one else (".c", ".h", ".S")


def code_lines(build, suffix=None):
    """Lines of C and assembly that are more than a comment."""
    text = ""
    for name in build.files(_suffixes(suffix)):
        text += "\n".join(line for line, _, _ in nw.expand(build.source, name)) + "\n"
    return sum(bool(line.strip()) for line in without_comments(text).split("\n"))


def without_comments(text):
    """C or assembly with its comments gone and its lines where they were."""
    token = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
    return token.sub(lambda match: match[0] if match[0][0] in "\"'" else
                     "\n" * match[0].count("\n"), text)


def instructions_run(build, between=None):
    """Instructions from the first to power-off, or between the first arrivals
    at two functions."""
    if between is None:
        return len(build.trace)
    names = between.split(".")
    if len(names) not in (2, 3) or not all(re.fullmatch(r"\d+[KMG]", mem) for mem in names[2:]):
        raise Unknown("the form is count.FROM.TO or count.FROM.TO.MEM, MEM as in 8G")
    start, end = (symbol(build, name) for name in names[:2])
    count = None
    for address in build.executed(*names[2:]):
        if count is None and address == start:
            count = 0
        elif count is not None:
            count += 1
            if address == end:
                return count
    raise Unknown(f"the kernel does not go from {names[0]} to {names[1]}")


def bench(build, name):
    return _found(build.benches.get(name), f"no benchmark {name}")[0]


KINDS = {
    "image": (image_size, "bytes that are loaded: everything but the bss"),
    "text": (section_size(".text"), "bytes of code"),
    "rodata": (section_size(".rodata"), "bytes of constants"),
    "data": (section_size(".data"), "bytes of variables with a value"),
    "symbols": (section_size(".symbols"), "bytes of the symbol table"),
    "bss": (section_size(".bss"), "bytes of variables that start as zero"),
    "symbol": (symbol, "NAME: its address"),
    "size": (lambda build, name: sum(length for _, length in function(build, name)),
             "FUNCTION: its bytes"),
    "instructions": (lambda build, name: len(function(build, name)), "FUNCTION: its instructions"),
    "sizeof": (sizeof, "STRUCT: its bytes"),
    "offsetof": (offsetof, "STRUCT.MEMBER: its offset"),
    "files": (lambda build, suffix=None: len(build.files(_suffixes(suffix))),
              "[c|h|S]: files of C and assembly, tests, demonstrations and benchmarks not counted"),
    "lines": (code_lines, "[c|h|S]: lines of these that are more than a comment"),
    "chunks": (lambda build: len(build.source.book), "chunks of code"),
    "count": (instructions_run,
              "[FROM.TO[.MEM]]: instructions executed, from boot to power-off"),
    "bench": (bench, "NAME: instructions that a benchmark counts"),
}


@functools.cache
def _build(stage, mode):
    return Build(stage, mode)


@functools.cache
def value(key):
    """The number that a key names; raises Unknown."""
    parts = KEY.match(key)
    if not parts or parts[3] not in KINDS:
        raise Unknown(f"{key} is not stageN.KIND or stageN.release.KIND with one of "
                      + ", ".join(KINDS))
    stage, release, kind, name = parts.groups()
    if int(stage) not in nw.stages():
        raise Unknown(f"{key}: there is no stage {stage}")
    compute, form = KINDS[kind]
    arguments = [_build(int(stage), "release" if release else "debug"), *filter(None, [name])]
    try:
        inspect.signature(compute).bind(*arguments)
    except TypeError:
        raise Unknown(f"{key}: the form is {kind}: {form}") from None
    try:
        return compute(*arguments)
    except Unknown as unknown:
        raise Unknown(f"{key}: {unknown}") from None
