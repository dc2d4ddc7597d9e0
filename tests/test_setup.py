"""Packaging agrees with itself, and the set-up check says in words what is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from helpers import check_setup
from helpers.check_setup import Finding

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIRED = {
    canonicalize_name(r.name): r.specifier for r in map(Requirement, PROJECT["dependencies"])
}
OPTIONAL = {
    canonicalize_name(r.name): r.specifier
    for group in PROJECT["optional-dependencies"].values()
    for r in map(Requirement, group)
}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def conda() -> tuple[dict[str, SpecifierSet], list[str]]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(e["pip"] for e in entries if isinstance(e, dict))
    plain = dict([*e.split(" ", 1), ""][:2] for e in entries if isinstance(e, str))
    python = re.fullmatch(r"=(\d+\.\d+)", plain["python"])
    assert python, "repo2docker reads no range of Pythons, it takes its own: name one, python =X.Y"
    plain["python"] = f"=={python[1]}.*"
    return {CONDA_NAMES.get(name, name): SpecifierSet(spec) for name, spec in plain.items()}, pip


def test_constraints_pin_every_dependency_within_its_range():
    pins = pinned()
    for name, specifier in (REQUIRED | OPTIONAL).items():
        assert name in pins, f"constraints.txt lacks {name}"
        assert pins[name] in specifier, f"{name}=={pins[name]} is outside {specifier}"


def test_constraints_name_no_host_and_no_path():
    assert "://" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert " @ " not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_conda_has_every_dependency_with_the_same_range():
    packages, pip = conda()
    from_pip = {
        canonicalize_name(r.name): r.specifier
        for r in map(Requirement, (p for p in pip if not p.startswith("-")))
    }
    assert "--editable ." in pip
    for name, specifier in REQUIRED.items():
        assert (packages | from_pip).get(name) == specifier, f"environment.yml disagrees on {name}"
    assert {"pip", "cxx-compiler"} <= set(packages)
    (python,) = packages["python"]
    assert python.version.replace("*", "0") in SpecifierSet(PROJECT["requires-python"])


def test_the_check_knows_every_package_and_the_python_range():
    jupyter = {"jupyter", "jupyterlab", "nbclient", "nbformat"}  # a notebook that runs has them
    unseen = jupyter | {"psutil"}  # which helpers.costs needs, and no notebook
    assert {canonicalize_name(name) for name in check_setup.PACKAGES} == set(REQUIRED) - unseen
    low, high = check_setup.PYTHON
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(
        f">={low[0]}.{low[1]},<{high[0]}.{high[1]}"
    )


def test_the_check_runs_on_the_standard_library_alone(tmp_path):
    """On a Python without a single package it names what is missing instead of failing."""
    result = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "helpers" / "check_setup.py"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert not result.stderr
    assert "MISSING torch: ModuleNotFoundError" in result.stdout
    assert "make lab" in result.stdout
    assert "Mend first: torch, torchvision, numpy" in result.stdout


@pytest.mark.parametrize(
    ("version", "ok"),
    [((3, 10, 9), False), ((3, 11, 0), True), ((3, 12, 4), True), ((3, 13, 0), False)],
)
def test_python_versions(version, ok):
    finding = check_setup.check_python(version)
    assert finding.ok is ok
    assert "3.11 or 3.12" in finding.mend


def test_a_package_that_is_installed_but_broken_is_found_out(tmp_path, monkeypatch):
    (tmp_path / "brokenpackage.py").write_text("raise RuntimeError('operator does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    finding = check_setup.check_package("torchvision", "brokenpackage")
    assert not finding.ok
    assert "operator does not exist" in finding.found
    assert "same place" in finding.mend


def test_full_disk_missing_weights_and_read_only_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(check_setup, "DISK_GB", 1e9)
    assert not check_setup.check_disk(tmp_path).ok
    assert "make train" in check_setup.check_weights(tmp_path).mend
    assert not check_setup.check_weights(tmp_path).ok
    monkeypatch.setattr(check_setup.os, "access", lambda *_: False)
    finding = check_setup.check_writable(tmp_path)
    assert not finding.ok
    assert not finding.needed


def test_camvid_is_found_where_the_loader_finds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(check_setup, "ROOT", tmp_path / "nowhere")
    monkeypatch.setenv("PIXELWISE_DATA", str(tmp_path))
    assert not check_setup.check_camvid().ok
    (tmp_path / "camvid" / "train").mkdir(parents=True)
    assert check_setup.check_camvid().ok
    (tmp_path / "camvid" / "unfinished.zip").touch()
    assert not check_setup.check_camvid().ok


def test_a_cache_folder_that_is_not_there_yet_counts_by_the_one_above(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "not" / "there"))
    assert check_setup.check_writable().ok
    assert check_setup.check_disk().ok


def test_a_missing_crf_is_no_reason_not_to_begin():
    assert not check_setup.check_package("pydensecrf2", "no_such_module").needed


def test_the_report_says_whether_you_can_begin():
    good, note = Finding("a", True, "1.0"), Finding("b", False, "no", "do this", needed=False)
    bad = Finding("c", False, "no", "do that")
    assert check_setup.report([good, note]).endswith("All set. You can begin.")
    assert check_setup.report([good, note, bad]).endswith("Mend first: c.")
    assert re.search(r"MISSING c: no\n +-> do that\.", check_setup.report([bad]))


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_make_file_explains_itself():
    text = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in ("lab", "test", "run", "train", "costs", "bench"):
        assert f"make {target} " in text
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make lab" in readme
    assert "make test" in readme


def test_continuous_integration_runs_the_command_of_the_readme():
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
