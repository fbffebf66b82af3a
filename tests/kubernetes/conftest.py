"""One cluster with the chart installed for all scenarios; a namespace for each.

Tests marked `own_cluster` stop nodes, containers or the API server, or read its log: they need this machine's cluster. Those
marked `long` take minutes, and run with LONG_SCENARIOS=1 (`make torture`) alone.
On a machine that cannot run one, all are skipped, and that is said at the end; with CI=true it is a failure.
"""

import itertools
import os
import pathlib
import re
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from harness import session as sessions   # noqa: E402
from harness.place import Place   # noqa: E402
from local.machine import missing   # noqa: E402

ANY_CLUSTER = os.environ.get("ANY_CLUSTER") == "1"
LONG = os.environ.get("LONG_SCENARIOS") == "1"
REUSED = os.environ.get("REUSE_CLUSTER") == "1"
# The idle scenario's data has time to come to rest while the others run.
ORDER = {"test_data_before_the_rest": 0, "test_nothing_is_written_but_leases": 2}
NUMBERS = itertools.count(1)
PLACES = pytest.StashKey()
LACKS = [] if ANY_CLUSTER else missing()


def pytest_configure(config):
    config.addinivalue_line("markers", "own_cluster: needs a cluster of this machine, whose parts it may stop")
    config.addinivalue_line("markers", "long: takes minutes")


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: ORDER.get(item.name, 1))
    kept = [item for item in items if bool(item.get_closest_marker("long")) == LONG]
    if ANY_CLUSTER:
        kept = [item for item in kept if not item.get_closest_marker("own_cluster")]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    if LACKS:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs " + ", ".join(LACKS)))


def pytest_terminal_summary(terminalreporter, config):
    config.skipped = len(terminalreporter.stats.get("skipped", []))


def pytest_unconfigure(config):
    if LACKS and getattr(config, "skipped", 0):
        print(f"{config.skipped} cluster tests skipped: needs {', '.join(LACKS)}")


def pytest_sessionfinish(session, exitstatus):
    if LACKS and os.environ.get("CI") == "true":
        session.exitstatus = 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With a failure comes what kubectl shows of the scenario's namespaces and of Partita itself."""
    report = yield
    if report.when == "call" and report.failed:
        for place in item.stash.get(PLACES, []):
            report.sections.append((f"namespace {place.name}", place.picture()))
    return report


@pytest.fixture(scope="session")
def cluster():
    """The cluster with Partita installed."""
    session = sessions.Session(None) if ANY_CLUSTER else sessions.begin_own()
    try:
        if not REUSED:
            session.install()
        yield session
        session.emptied()
        if ANY_CLUSTER:
            session.uninstall()
            session.kubectl.delete("namespace", sessions.NAMESPACE)
    finally:
        if session.own and not REUSED and os.environ.get("KEEP_CLUSTER") != "1":
            session.own.down()


@pytest.fixture
def places(cluster, request):
    """Makes namespaces for one scenario, removed after it: places(), places("one")."""
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:30]
    # Numbered: the namespace of a test with the same beginning may still be going.
    name = f"{test.strip('-')}-{next(NUMBERS)}"
    made = request.node.stash.setdefault(PLACES, [])

    def make(suffix=None):
        made.append(Place(cluster, f"{name}-{suffix}" if suffix else name))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.fixture
def place(places):
    """The namespace of one scenario."""
    return places()
