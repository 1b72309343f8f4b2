"""What is installed is named: every package that comes along is pinned, and no name comes in by a typing error."""

import re
from importlib import metadata

from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def requirements(path) -> list[Requirement]:
    """The requirements of a file, comments and options left out."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pins() -> dict[str, str]:
    """The version of each package in constraints.txt."""
    versions = {}
    for requirement in requirements(ROOT / "constraints.txt"):
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        versions[canonicalize_name(requirement.name)] = specifier.version
    return versions


def test_every_package_that_comes_along_is_pinned():
    """Walked from requirements.txt over what each installed package needs."""
    versions = pins()
    waiting = [(requirement, "") for requirement in requirements(ROOT / "requirements.txt")]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        assert name in versions, f"{name} is not pinned: make constraints"
        for part in ("", *requirement.extras):
            if (name, part) not in seen:
                seen.add((name, part))
                needs = metadata.requires(name) or []
                waiting += [(Requirement(text), part) for text in needs]
    assert len(seen) > 100


def test_pins_and_requirements_agree_and_make_uses_them():
    versions = pins()
    for path in ROOT.glob("requirements*.txt"):
        for requirement in requirements(path):
            name = canonicalize_name(requirement.name)
            if path.name == "requirements.txt" or name in versions:
                assert str(requirement.specifier) == f"=={versions[name]}"
    makefile = (ROOT / "Makefile").read_text()
    (install,) = re.findall(r"pip install .* -r requirements.txt.*", makefile)
    assert install.endswith("-c constraints.txt")
