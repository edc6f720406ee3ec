from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.files import find_files
from tests.config.examples import codes

if TYPE_CHECKING:
    import pytest


def write(path: Path, text: str = "a: 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_directory_is_read_recursively_and_sorted(tmp_path: Path) -> None:
    names = ["b.yaml", "a/z.yml", "a/b/c.json", "A.yaml", "z.yaml"]
    for name in [*names, "notes.txt", "a/x.yaml.bak", "yaml", "a/b/c.YAML"]:
        write(tmp_path / name)

    files, findings = find_files([str(tmp_path)])

    assert findings == []
    assert files == [tmp_path / name for name in ["A.yaml", "a/b/c.json", "a/z.yml", "b.yaml", "z.yaml"]]


def test_names_that_begin_with_a_dot_are_skipped(tmp_path: Path) -> None:
    for name in ["a.yaml", ".hidden.yaml", "..data/a.yaml", ".git/x.yaml", "sub/.b/c.yaml", "sub/.yaml"]:
        write(tmp_path / name)

    assert find_files([str(tmp_path)])[0] == [tmp_path / "a.yaml"]


def test_a_directory_below_a_hidden_one_can_be_named_itself(tmp_path: Path) -> None:
    path = write(tmp_path / ".config" / "a.yaml")

    assert find_files([str(tmp_path / ".config")]) == ([path], [])


def test_a_configmap_mount_is_read_once_through_its_links(tmp_path: Path) -> None:
    write(tmp_path / "..2026_08_01" / "a.yaml")
    write(tmp_path / "..2026_08_01" / "sub" / "b.yaml")
    (tmp_path / "..data").symlink_to("..2026_08_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    # Items with a folder in their path are mounted as a link to the folder.
    (tmp_path / "sub").symlink_to("..data/sub")

    files, findings = find_files([str(tmp_path)])

    assert findings == []
    assert files == [tmp_path / "a.yaml", tmp_path / "sub" / "b.yaml"]


def test_a_link_back_up_does_not_loop(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)

    assert find_files([str(tmp_path)]) == ([tmp_path / "a.yaml"], [])


def test_a_link_that_leads_nowhere_is_kept_to_be_reported(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").symlink_to("missing.yaml")

    assert find_files([str(tmp_path)])[0] == [tmp_path / "policy.yaml"]


def test_a_directory_that_cannot_be_listed_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.yaml")
    write(tmp_path / "secret" / "b.yaml")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    _, findings = find_files([str(tmp_path)])

    assert codes(findings) == ["unreadable-directory"]
    assert "secret cannot be read: Permission denied" in findings[0].message


def test_files_come_in_the_order_they_are_named_and_once(tmp_path: Path) -> None:
    a, b, text = write(tmp_path / "d" / "a.yaml"), write(tmp_path / "d" / "b.yaml"), write(tmp_path / "x.txt")

    files, findings = find_files([str(b), str(tmp_path / "d"), str(text), str(b)])

    assert findings == []
    assert files == [b, a, text]


def test_every_name_that_does_not_exist_is_a_finding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml")

    files, findings = find_files([str(tmp_path / "no"), str(path), str(tmp_path / "neither")])

    assert files == [path]
    assert codes(findings) == ["config-not-found"] * 2
    assert repr(str(tmp_path / "no")) in findings[0].message


def test_no_manifests_at_all_is_a_finding(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt")

    for paths in ([], [str(tmp_path)]):
        files, findings = find_files(paths)
        assert files == []
        assert codes(findings) == ["no-manifests"]
        assert "EGRESS_CONFIG" in findings[0].hint
