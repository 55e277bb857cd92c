"""The debugger, the compiler and the assembler speak of the chapters."""

import os
import re
import shlex
import time

import pytest

import builds
import rvos

pytestmark = pytest.mark.chapter(1)
CHAPTER = "chapters/01-first-light.nw"


def debug(*commands, stage=1, **variables):
    """The output of gdb commands on a machine that has not begun yet."""
    builds.build(stage)
    flags = " ".join(f"-ex {shlex.quote(command)}" for command in commands)
    return rvos.run("make", "debug", f"STAGE={stage}", GDB_FLAGS=f"-batch {flags}",
                    **variables).stdout


def test_a_breakpoint_at_a_line_of_c_stops_there():
    line = rvos.line_of(rvos.ROOT / CHAPTER, "    uart_init();")
    said = debug(f"break {CHAPTER}:{line}", "continue", "print boot_info.hart", "list")
    stop = rf"^Breakpoint 1, kmain \(.*\) at {CHAPTER}:{line}\n{line}\t    uart_init\(\);"
    assert re.search(stop, said, re.M)
    assert "$1 = 0\n" in said
    assert f"{line + 1}\t" in said


def test_a_breakpoint_at_a_line_of_assembly_stops_there():
    line = rvos.line_of(rvos.ROOT / CHAPTER, "la sp, boot_stack_top")
    said = debug(f"break {CHAPTER}:{line}", "continue", "list", "nexti 2",
                 "print $sp == (long)&boot_stack_top")
    assert f" () at {CHAPTER}:{line}\n{line}\t    la sp, boot_stack_top\n" in said
    assert f"{line - 1}\t<<2. set up a stack>>=\n" in said
    assert "$1 = 1\n" in said


def test_the_reset_vector_is_where_a_session_begins():
    assert "$1 = 0x1000\n" in debug("print/x $pc")


def test_rv_bt_walks_the_frames_that_gdb_finds():
    said = debug("break uart_put", "continue", "rv-bt")
    walked = re.findall(r"^#\d+ +0x[0-9a-f]{16}  (\w+)(?: \+ \d+)?  chapters/.*:\d+$", said, re.M)
    assert walked[0] == "uart_put"
    assert walked[-2:] == ["printk", "kmain"]


def test_rv_bt_stops_at_a_broken_chain():
    for broken in ("0", "1", "0x12345678", "$sp - 8", "&boot_info"):
        said = debug("break uart_put", "continue", f"rv-bt $pc {broken.replace(' ', '')}")
        assert re.search(r"^#0 .*uart_put", said, re.M), broken
        assert "Traceback" not in said


@pytest.mark.chapter(2)
def test_rv_bt_walks_through_a_trap():
    said = debug("break timer_interrupt", "continue", "rv-bt", stage=2)
    handler, interrupted = said.split("    --- trap ---\n")
    names = re.compile(r"^#\d+ +0x[0-9a-f]{16}  (\w+)", re.M)
    assert names.findall(handler)[0] == "timer_interrupt"
    assert names.findall(handler)[-2:] == ["trap_handler", "trap_entry"]
    assert names.findall(interrupted)[-1] == "kmain"


@pytest.mark.chapter(2)
def test_rv_frame_prints_the_frame_of_the_trap_that_is_handled():
    overlay = "tests/overlays/wild-load.nw"
    builds.build(2, overlay=overlay)
    said = debug("break panic_at", "continue", "rv-frame", "rv-frame 1 +", stage=2,
                 OVERLAY=overlay)
    assert re.search(r"^pc 0x[0-9a-f]{16}  follow( \+ \d+)?  tests/overlays/wild-load.nw:\d+$",
                     said, re.M)
    assert "cause 0x5: load access fault; value 0x10\n" in said
    assert "came from S, interrupts were on\n" in said
    assert re.search(r"^ra  [0-9a-f]{16}  sp  [0-9a-f]{16}  gp  [0-9a-f]{16}$", said, re.M)
    assert "Traceback" not in said


@pytest.mark.chapter(2)
def test_rv_frame_says_so_if_there_is_no_trap():
    assert "no trap is being handled" in debug("break kmain", "continue", "rv-frame", stage=2)


def test_rv_csr_decodes_what_it_reads():
    said = debug("break kmain", "continue", "rv-csr satp sie stvec", "rv-csr sesame")
    assert "satp     0x0000000000000000  bare: no paging\n" in said
    assert "sie      0x0000000000000000  -\n" in said
    assert "stvec " in said
    assert "sesame is not one of scause" in said


def test_rv_console_prints_what_came_since_the_last_time():
    said = debug("break power_off", "continue", "rv-console", "echo [again]\\n", "rv-console",
                 "echo [end]\\n")
    assert rvos.AWAKE in said.split("[again]\n")[0]
    assert "[again]\n[end]\n" in said


def test_help_rvos_lists_every_command():
    said = debug("help rvos")
    for command in ("rv-bt", "rv-console", "rv-csr", "rv-frame", "rv-program"):
        assert re.search(rf"^{command} +\S", said, re.M)


def qemus(marker):
    """The processes whose command line has the marker."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as line:
                words = line.read().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "qemu-system" in words[0] and marker in words:
            found.append(int(process))
    return found


@pytest.mark.parametrize("end", ["kill", "continue", "quit"])
def test_nothing_runs_after_the_session(end):
    name = f"guest={os.getpid()}-{end}"
    said = debug("break kmain", "continue", end, QEMU_FLAGS=f"-name {name}")
    assert "Breakpoint 1, kmain" in said
    deadline = time.monotonic() + rvos.DEADLINE * rvos.PATIENCE
    while qemus(name):
        assert time.monotonic() < deadline, "QEMU outlives gdb"
        os.sched_yield()


def test_what_qemu_refuses_is_shown():
    builds.build(1)
    done = rvos.run("make", "debug", "STAGE=1", QEMU_FLAGS="-nonsense", GDB_FLAGS="-batch")
    assert done.returncode != 0
    assert "-nonsense: invalid option" in done.stdout


@pytest.mark.parametrize("marker, mistake, said", [
    ("    uart_init();", "    uart_init(1);", "too many arguments to function 'uart_init'"),
    ("    csrw sie, zero", "    csrw sieve, zero", "unknown CSR `sieve'"),
])
def test_a_compiler_names_the_line_of_the_chapter(marker, mistake, said, tmp_path):
    chapters = rvos.chapters_copy(tmp_path)
    chapter = chapters / os.path.basename(CHAPTER)
    line = rvos.line_of(chapter, marker)
    chapter.write_text(chapter.read_text().replace(marker, mistake))
    done = rvos.run("make", "-f", "tools/build.mk", f"OUT={tmp_path}/build", "STAGE=1", "image",
                    RVOS_CHAPTERS=str(chapters))
    assert done.returncode != 0
    assert re.search(rf"{CHAPTER}:{line}(:\d+)?: [Ee]rror: {re.escape(said)}",
                     done.stdout.replace("‘", "'").replace("’", "'")), done.stdout


def test_the_compiler_names_the_line_of_an_overlay(tmp_path):
    overlay = tmp_path / "mistake.nw"
    overlay.write_text("<<main: bring up the kernel>>=\n\nint wrong = nobody_knows;\n@\n")
    done = rvos.run("make", "-f", "tools/build.mk", f"OUT={tmp_path}/build", "STAGE=1",
                    f"OVERLAY={overlay}", "image")
    assert done.returncode != 0
    assert f"{overlay}:3:13: error: " in done.stdout
