"""A verb between how the world stands before it and after it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bundlerun.remotes.base import Remote
from tests.crash.scene import Row, World
from tests.crash.verbs import Verb


@dataclass(frozen=True)
class Stage:
    """A verb and the worlds around it: as it starts, and as it ends uninterrupted."""

    verb: Verb
    start: World
    source: Path
    before: list[Row]
    after: list[Row]
    versions: tuple[set[tuple[str, int, str]], set[tuple[str, int, str]]]

    def act(
        self, world: World, remote: Remote | None = None, *, close: bool = True
    ) -> Callable[[], None]:
        """The verb on ``world``, for a child; without ``close`` it ends when the verb returns."""

        def act() -> None:
            workspace = world.workspace(in_child=True, remote=remote)
            self.verb.act(workspace, self.source)
            if close:
                workspace.close()

        return act

    def check_between(self, world: World) -> None:
        """Everything is as before or as after, bundle by bundle and version by version."""
        now = {row.id: row for row in world.rows()}
        before = {row.id: row for row in self.before}
        after = {row.id: row for row in self.after}
        for id in before.keys() & after.keys():
            assert now.get(id) in (before[id], after[id]), id
        for id in before.keys() - after.keys():
            assert id not in now or now[id] == before[id]
        new = {row.anonymous for row in self.after if row.id not in before}
        for id in now.keys() - before.keys():
            assert now[id].anonymous in new
        first, last = self.versions
        found = world.versions()
        assert first & last <= found <= first | last

    def check_kept(self, world: World) -> None:
        """Everything is as after: what a verb has done when it returns is there to stay."""
        assert {row.anonymous for row in world.rows()} == {row.anonymous for row in self.after}
        assert world.versions() == self.versions[1]

    def check_done(self, world: World, *, prove_remote: bool = True) -> None:
        """The verb once more, and it is as if it had been carried out the first time; fsck finds
        nothing wrong with the store, nor with the remote."""
        workspace = world.workspace()
        # Nobody has to see that it is done already: what follows does.
        with contextlib.suppress(*([self.verb.done] if self.verb.done else [])):
            self.verb.act(workspace, self.source)
        self.verb.proof(workspace, self.source)
        proofs = [workspace.fsck()]
        if prove_remote:
            proofs.append(workspace.fsck(remote=True))
        workspace.close()
        for proof in proofs:
            assert proof.whole, [finding for finding in proof.findings if finding.is_damage]
        self.check_kept(world)


def spread(total: int, most: int) -> list[int]:
    """At most ``most`` of the numbers from 1 to ``total``, evenly, both ends among them."""
    if total <= most:
        return list(range(1, total + 1))
    return sorted({1 + round(n * (total - 1) / (most - 1)) for n in range(most)})
