"""Every stage boots, on machines of all sizes, tests itself, and ends with its status."""

import itertools
import os
import re

import pytest

import builds
import rvos

pytestmark = pytest.mark.chapter(1)

HOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
SIZES = ["32M", "33M", "128M"] + (["8G"] if HOST_MEMORY > 10 << 30 else [])
HARTS = [1, 2, 3, 8]
MODES = ["debug", "release"]
VERDICT = re.compile(r"^selftest: (\d+) passed, (\d+) failed$", re.M)


def machines(stage, newest):
    """For the newest stage, enough machines that every pair of a mode, a size and
    a count of harts occurs; one of each size for earlier ones, in both modes."""
    if stage == newest:
        return [(MODES[(i + k) % 2], size, harts)
                for i, size in enumerate(SIZES) for k, harts in enumerate(HARTS)]
    return [(MODES[(i + stage // 2) % 2], size, HARTS[(i + stage) % len(HARTS)])
            for i, size in enumerate(SIZES)]


def pytest_generate_tests(metafunc):
    if "machine" in metafunc.fixturenames:
        only = metafunc.config.getoption("--stage")
        stages = [only] if only else rvos.nw.stages()
        metafunc.parametrize("where, machine", [
            pytest.param(stage, machine, id=f"stage{stage}-{'-'.join(map(str, machine))}")
            for stage in stages for machine in machines(stage, stages[-1])])


def test_the_machines_are_many_and_not_too_many():
    newest, early = machines(9, 9), machines(1, 9)
    for first, second in itertools.combinations((MODES, SIZES, HARTS), 2):
        for pair in itertools.product(first, second):
            assert any(set(pair) <= set(machine) for machine in newest), pair
    assert len(newest) == len(SIZES) * len(HARTS)
    assert [size for _, size, _ in early] == SIZES
    assert {mode for mode, _, _ in early} == set(MODES)
    assert len({harts for _, _, harts in early}) == len(early)


def test_the_demonstration_ends_well(where, machine, boot):
    mode, mem, smp = machine
    system = boot(rvos.image(where, mode), mem=mem, smp=smp)
    assert system.finish() == 0
    assert system.log.count(rvos.AWAKE) == 1
    assert "panic" not in system.log


def test_the_self_tests_pass(where, machine, boot):
    mode, mem, smp = machine
    system = boot(rvos.test_image(where, mode), mem=mem, smp=smp)
    status = system.finish()
    passed, failed = map(int, VERDICT.search(system.log).groups())
    assert (status, failed) == (0, 0)
    assert passed == len(re.findall(r"^selftest: \S+ ok$", system.log, re.M)) > 0


def test_every_self_test_of_the_book_is_linked_and_run(stage, boot):
    system = boot(rvos.test_image(stage))
    system.finish()
    source = rvos.nw.Source(stage, rvos.nw.kernel_tests(stage))
    written = [match for root in source.roots() if root.startswith("kernel/test/")
               for text, _, _ in rvos.nw.expand(source, root)
               for kind, match in re.findall(r"^(SELF|IPC_)TEST\((\w+)\)", text)
               for match in [f"ipc_{match}" if kind == "IPC_" else match]]
    assert sorted(re.findall(r"^selftest: (\w+) ok$", system.log, re.M)) == sorted(written)


def test_a_panic_says_what_and_where_and_ends_with_2(stage, boot):
    system = boot(rvos.image(stage, overlay="panic"))
    assert system.finish() == 2
    line = rvos.line_of(rvos.OVERLAYS / "panic.nw", "panic(")
    assert f"panic: the number 42 is not 54\n  at tests/overlays/panic.nw:{line}\n" in system.log


def test_a_panic_during_a_panic_still_ends_with_2(stage, boot):
    system = boot(rvos.image(stage, overlay="double-panic"))
    assert system.finish() == 2
    assert "panic: the first trouble" in system.log
    assert "panic during a panic" in system.log
    assert "second trouble" not in system.log


def test_a_false_assertion_is_a_panic_in_debug_builds(stage, boot):
    system = boot(rvos.image(stage, overlay="assert"))
    assert system.finish() == 2
    assert "panic: assertion failed: boot_info.hart == 99" in system.log


def test_a_false_assertion_is_not_checked_in_release_builds(stage, boot):
    system = boot(rvos.image(stage, "release", overlay="assert"))
    assert system.finish() == 0


def test_failing_self_tests_say_where_and_end_with_1(stage, boot):
    system = boot(rvos.test_image(stage, overlay="failing"))
    assert system.finish() == 1
    overlay = rvos.OVERLAYS / "failing.nw"
    for marker, said in (("6 * 7", "got 0x2a, want 0x36: 6 * 7"), ("6 > 7", "not true: 6 > 7"),
                         ('"six"', 'got "six", want "seven"')):
        line = rvos.line_of(overlay, marker)
        assert f"selftest: tests/overlays/failing.nw:{line}: {said}" in system.log
    failed = re.findall(r"^selftest: (\w+) FAILED$", system.log, re.M)
    assert sorted(failed) == ["scenario_product", "scenario_truth", "scenario_words"]
    assert "selftest: scenario_that_holds ok\n" in system.log
    assert VERDICT.search(system.log)[2] == "3"


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    """Our firmware that enters the kernel on four harts at once."""
    image = tmp_path_factory.mktemp("firmware") / "firmware.elf"
    done = rvos.run(builds.CROSS + "gcc", "-march=rv64imac_zicsr", "-mabi=lp64", "-nostdlib",
                    "-static", "-DHARTS=4", "-Wl,-Ttext=0x80000000", "-Wl,-e,start",
                    "-Wl,--build-id=none", "-o", image, "tests/host/firmware.S")
    assert done.returncode == 0, done.stdout
    return image


@pytest.mark.parametrize("attempt", range(10))
def test_one_hart_becomes_the_kernel_when_all_enter_at_once(attempt, boot, firmware):
    system = boot(rvos.image(1), smp=4, arguments=["-bios", str(firmware)])
    assert system.finish() == 0
    assert system.log.count(rvos.AWAKE) == 1
    assert system.log.count("Nothing left to do") == 1


def test_qemu_answers_while_the_machine_is_stopped(stage, boot):
    system = boot(rvos.image(stage), arguments=["-S"], qmp=True)
    assert system.ask("query-status")["running"] is False
    system.ask("cont")
    assert system.finish() == 0
