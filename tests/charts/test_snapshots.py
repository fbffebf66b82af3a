"""What each set of values renders, word by word. `tests/charts/run --update` writes it anew; the difference is then for review."""

import os

from conftest import HERE, case_text

DEFINITIONS = "# Source: partita/templates/crds.yaml\n"


def without_definitions(text):
    """The definitions have a test of their own, and would bury the rest."""
    return "---\n".join(part for part in text.split("---\n") if not part.startswith(DEFINITIONS))


def test_snapshot(case):
    text = without_definitions(case_text(case))
    path = HERE / "snapshots" / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.exists(), f"no {path}: tests/charts/run --update writes it"
    assert text == path.read_text(), "tests/charts/run --update, if this is what it should be"


def test_every_snapshot_has_its_values():
    assert {path.stem for path in (HERE / "snapshots").iterdir()} == {path.stem for path in (HERE / "cases").iterdir()}
