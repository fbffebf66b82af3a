"""Renders the chart once per set of values, and hands the manifests to the tests."""

import functools
import os
import pathlib
import subprocess

import pytest
import yaml

import schemas

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
CHART = ROOT / "charts" / "partita"
TOOLS = pathlib.Path(os.environ["CHART_TOOLS"])
KUBERNETES = (TOOLS / "kubernetes-version").read_text().strip()

CASES = sorted(path.stem for path in (HERE / "cases").glob("*.yaml"))


def run(*arguments, stdin=None, env=None):
    """The completed process of a tool of the environment; text in, text out."""
    return subprocess.run(
        [TOOLS / "bin" / arguments[0], *map(str, arguments[1:])],
        input=stdin, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False,
    )


def helm_template(*arguments, release="partita", namespace="partita-system", kubernetes=KUBERNETES, chart=CHART, env=None):
    """The process of one rendering."""
    return run("helm", "template", release, chart, "--namespace", namespace, "--kube-version", kubernetes, *arguments, env=env)


def rendered(*arguments, **options):
    """The text of one rendering, which must succeed."""
    process = helm_template(*arguments, **options)
    assert process.returncode == 0, process.stderr
    return process.stdout


def documents(text):
    """The manifests of a rendering."""
    return [document for document in yaml.safe_load_all(text) if document]


def values_of(name):
    """Release and namespace of cases/<name>.yaml, and its values."""
    text = (HERE / "cases" / f"{name}.yaml").read_text()
    return yaml.safe_load(text.partition("\n")[0].removeprefix("#")), yaml.safe_load(text)


@functools.cache
def case_text(name):
    """The rendering of cases/<name>.yaml."""
    path = HERE / "cases" / f"{name}.yaml"
    settings, _ = values_of(name)
    return rendered("--values", path, release=settings["release"], namespace=settings["namespace"])


@pytest.fixture(params=CASES)
def case(request):
    """The name of each set of values."""
    return request.param


@pytest.fixture
def manifests(case):
    """The manifests of each set of values."""
    return documents(case_text(case))


def of_kind(manifests, *kinds):
    """Those of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests, kind, name):
    """The one of this kind and name."""
    found = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} {kind} {name}"
    return found[0]


@pytest.fixture(scope="session")
def validate(tmp_path_factory):
    """Kubeconform on a text, strictly, without a network."""
    folder = tmp_path_factory.mktemp("schemas")
    schemas.write(folder, TOOLS / "swagger.json", (ROOT / "crds" / "yaml").glob("*.yaml"))

    def validate(text, *arguments):
        location = f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
        return run("kubeconform", "-strict", "-summary", "-schema-location", location, *arguments, "-", stdin=text)

    return validate
