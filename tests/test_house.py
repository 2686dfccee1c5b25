"""House rules that no other tool holds: documented names, short files, no paths."""

import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import types

import jax.numpy as jnp
import jaxtyping
import pytest

import gl15


ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "gl15"
DOCS = ROOT / "docs"

MAX_LINES = 300

SUBPACKAGES = sorted(
    module.name
    for module in pkgutil.iter_modules([str(PACKAGE)])
    if module.ispkg and not module.name.startswith("_")
)

CONTRACT = """
    Lattice TwoBand TDGL quench evolve observe windings vortices structure_factor
    hessian lowest_modes density_of_states
    Prior VortexSimulator simulate RatioEstimator ConvEncoder MLPEncoder fit save load
    grid_posterior sample_posterior potential RatioLikelihood
    sbc_ranks coverage tarp
""".split()


def public(module: types.ModuleType) -> dict[str, object]:
    """The names a package re-exports; of modules, those inside the package itself."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (not inspect.ismodule(value) or f"{module.__name__}." in value.__name__)
    }


def exports() -> list[tuple[str, str]]:
    return [
        (package, name)
        for package in SUBPACKAGES
        for name in public(importlib.import_module(f"gl15.{package}"))
    ]


def own_docstring(value: object) -> str:
    """The docstring somebody wrote; dataclasses make one of their own signature."""
    doc = (inspect.isclass(value) and value.__dict__.get("__doc__")) or (
        not inspect.isclass(value) and value.__doc__
    )
    if not doc or doc.startswith(f"{getattr(value, '__name__', '')}("):
        return ""
    return doc.strip()


def documented(package: str) -> set[str]:
    """The names an API page lists for mkdocstrings."""
    page = DOCS / "api" / f"{package}.md"
    if not page.exists():
        return set()
    return set(re.findall(rf"^::: gl15\.{package}\.(\w+)\s*$", page.read_text(), re.M))


@pytest.mark.parametrize("name", CONTRACT)
def test_headline_name_is_importable_from_the_root(name):
    assert hasattr(gl15, name)


@pytest.mark.parametrize(("package", "name"), exports())
def test_public_name_has_docstring_and_docs_entry(package, name):
    value = getattr(importlib.import_module(f"gl15.{package}"), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert own_docstring(value), f"gl15.{package}.{name} has no docstring"
    assert name in documented(package), (
        f"docs/api/{package}.md has no line `::: gl15.{package}.{name}`"
    )


def test_root_only_re_exports_subpackage_names():
    known = {name for _, name in exports()} | set(SUBPACKAGES)
    assert not public(gl15).keys() - known


@pytest.mark.parametrize("package", SUBPACKAGES)
def test_subpackage_says_what_it_is(package):
    assert importlib.import_module(f"gl15.{package}").__doc__


@pytest.mark.parametrize("package", SUBPACKAGES)
def test_api_page_is_in_the_navigation_and_names_nothing_gone(package):
    assert f"api/{package}.md" in (ROOT / "mkdocs.yml").read_text()
    module = importlib.import_module(f"gl15.{package}")
    gone = documented(package) - public(module).keys()
    assert not gone, f"docs/api/{package}.md lists {sorted(gone)}"


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted((DOCS / "guide").glob("*")), DOCS / "index.md"],
    ids=lambda page: page.name,
)
def test_names_used_in_the_guides_exist(page):
    for dotted in sorted(
        set(re.findall(r"\bgl15(?:\.[A-Za-z]\w*)+", page.read_text()))
    ):
        try:
            pkgutil.resolve_name(dotted)
        except (ImportError, AttributeError):
            pytest.fail(f"{page.name} speaks of {dotted}, which does not exist")


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted((DOCS / "guide").glob("*.md")), DOCS / "index.md"],
    ids=lambda page: page.name,
)
def test_code_blocks_of_the_guides_parse(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        compile(block, str(page), "exec")


def test_source_files_are_short():
    long = {
        str(path.relative_to(ROOT)): count
        for path in PACKAGE.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long, f"over {MAX_LINES} lines; split by subject: {long}"


def test_no_path_of_somebodys_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    # Only the alternatives, without their slash: this file does not find itself.
    folders = "home|Users|work|tmp|root"
    pattern = re.compile(rf"(?<![\w./:-])/(?:{folders})/\w")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [
            f"{name}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    assert not found, "\n".join(found)


def test_shape_annotations_are_checked():
    # Without this a lost option (or a plugin that drops it) would leave every
    # annotation of the package untested, and nobody would see it.
    lattice = gl15.Lattice((4, 4), spacing=0.5, boundary="open")
    tdgl = gl15.TDGL(lattice, gl15.TwoBand(), field=0.0)
    with pytest.raises(jaxtyping.TypeCheckError):
        tdgl.energy(jnp.zeros((2, 4), complex))
