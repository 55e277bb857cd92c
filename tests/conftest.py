"""What all tests share: the stages, consoles in reports, order, the verdict.

A test marked `chapter(n)` is about what chapter n built. With an argument `stage`
it runs on every stage from n on, or on stage N alone if pytest got --stage N. A
test marked `long(seconds)` starts early, so that no core waits for it at the end.
One marked `fuzz` tries random inputs; `make fuzz` runs these for longer.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import nw
import rvos

try:
    from xdist.scheduler import LoadScheduling
except ImportError:
    LoadScheduling = object


def pytest_addoption(parser):
    parser.addoption("--stage", type=int, help="the tests of chapters 1…STAGE, on that stage")


def pytest_configure(config):
    config.addinivalue_line("markers", "chapter(n): tests what chapter n built")
    config.addinivalue_line("markers", "fuzz: tries random inputs, more in `make fuzz`")
    config.addinivalue_line("markers", "long(seconds): takes so long; start it early")


def stages(config):
    """The stages that this run is about."""
    only = config.getoption("--stage")
    return [only] if only else nw.stages()


def _chapter(item):
    """The chapter that a test is about, or None: about the book and its tools."""
    marker = item.get_closest_marker("chapter")
    return marker.args[0] if marker else None


def pytest_generate_tests(metafunc):
    if "stage" in metafunc.fixturenames:
        first = _chapter(metafunc.definition) or 1
        metafunc.parametrize("stage", [n for n in stages(metafunc.config) if n >= first],
                             ids=lambda n: f"stage{n}")


def pytest_collection_modifyitems(config, items):
    """With --stage, leave out what is about other stages or the whole book;
    long tests first."""
    stage = config.getoption("--stage")
    if stage:
        kept = [item for item in items if (_chapter(item) or stage + 1) <= stage]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    items.sort(key=_seconds, reverse=True)


def _seconds(item):
    marker = item.get_closest_marker("long")
    return marker.args[0] if marker else 0


class OneByOne(LoadScheduling):
    """Hand out tests singly: batches would leave a core idle at the end."""

    def _send_tests(self, node, number):
        super()._send_tests(node, min(number, 2 - len(self.node2pending[node])))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return OneByOne(config, log)


@pytest.fixture
def boot():
    """rvos.Machine, ended with the test."""
    rvos.started.clear()
    yield rvos.Machine
    for machine in rvos.started:
        machine.close()


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """The book's source with line directives, so that reports name the chapters."""
    folder = tmp_path_factory.mktemp("source")
    done = rvos.run("tools/tangle", "--lines", "--out", folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and "boot" in item.fixturenames:
        for machine in rvos.started:
            report.sections.append((f"console of {machine.title}", machine.log))


def pytest_sessionfinish(session, exitstatus):
    session.config.rvos_status = exitstatus


def pytest_unconfigure(config):
    """The verdict: one line, the last one."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(config, "workerinput") or reporter is None or config.option.collectonly:
        return
    passed = len(reporter.stats.get("passed", []))
    failed = len(reporter.stats.get("failed", [])) + len(reporter.stats.get("error", []))
    if not failed and getattr(config, "rvos_status", 1) != 0:
        failed = 1      # pytest itself did not get to the end
    print(f"{passed} passed, {failed} failed")
