"""What the kernel says of a control group is found wherever its files are mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.runs.calls.cgroup import oom_kills

V1 = "5:cpu:/job/1\n4:memory,other:/job/1\n0::/"
V1_TEXT = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
V2_TEXT = "low 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n"


@pytest.mark.parametrize(
    ("own", "place", "text"),
    [
        (V1, "memory/job/1/memory.oom_control", V1_TEXT),
        (V1, "memory/memory.oom_control", V1_TEXT),
        ("0::/job/1", "job/1/memory.events", V2_TEXT),
        ("0::/", "memory.events", V2_TEXT),
        ("0::/../x", "memory.events", V2_TEXT),
    ],
    ids=["v1 host", "v1 container", "v2 host", "v2 container", "v2 outside"],
)
def test_the_count_of_kills_is_found(tmp_path: Path, own: str, place: str, text: str) -> None:
    """In the group's own folder, or in the root that a container sees."""
    (tmp_path / "own").write_text(own)
    file = tmp_path / "mount" / place
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert oom_kills(tmp_path / "mount", tmp_path / "own") == 3
    file.write_text(text.replace("oom_kill 3", "oom_kill 4"))
    assert oom_kills(tmp_path / "mount", tmp_path / "own") == 4


def test_no_count_is_no_kill(tmp_path: Path) -> None:
    """Where nothing can be read, nothing is said to have been killed."""
    assert oom_kills(tmp_path / "mount", tmp_path / "own") == 0
    (tmp_path / "own").write_text(V1)
    assert oom_kills(tmp_path / "mount", tmp_path / "own") == 0
