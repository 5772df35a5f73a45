"""What requires() may return, and how far a graph may go."""

from __future__ import annotations

import pytest

from bundlerun.errors import BadModule, UserError
from bundlerun.pipelines import graph
from tests.pipelines.conftest import Project, World

CHAIN = """
    class Link(Pipe):
        n = luigi.IntParameter()
        def requires(self):
            return {"below": Link(n=self.n - 1)} if self.n else {}
        def pipe_run(self, pipeline_input, below=0):
            return below + 1
"""


@pytest.mark.heavy
def test_a_chain_of_two_thousand_pipes_is_no_trouble(project: Project, world: World) -> None:
    """Nothing recurses, and nothing grows with the square."""
    flow = project.module(CHAIN)
    found = world.apply(flow.Link, params={"n": 1999})
    assert world.value(found) == 2000
    assert len(found.ran) == 2000
    assert len(world.apply(flow.Link, params={"n": 1999}).reused) == 2000


def test_a_pipeline_that_never_ends_is_refused(
    project: Project, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of eating all memory."""
    monkeypatch.setattr(graph, "MAX_PIPES", 50)
    flow = project.module(CHAIN)
    with pytest.raises(BadModule, match="requires\\(\\) may never end"):
        world.apply(flow.Link, params={"n": 60})


def test_a_cycle_is_named(project: Project, world: World) -> None:
    """All pipes of it, in order."""
    flow = project.module(
        """
        class A(Pipe):
            def requires(self):
                return {"b": B()}
            def pipe_run(self, pipeline_input, b):
                return 1
        class B(Pipe):
            def requires(self):
                return {"c": C()}
            def pipe_run(self, pipeline_input, c):
                return 1
        class C(Pipe):
            def requires(self):
                return {"b": B()}
            def pipe_run(self, pipeline_input, b):
                return 1
        """
    )
    name = flow.__name__
    with pytest.raises(
        BadModule, match=rf"require each other: {name}\.B -> {name}\.C -> {name}\.B"
    ):
        world.apply(flow.A)


@pytest.mark.parametrize("nothing", ["None", "[]", "{}", "()"])
def test_nothing_may_be_required_in_any_way(project: Project, world: World, nothing: str) -> None:
    """luigi's own default is an empty list."""
    flow = project.module(
        f"""
        class Top(Pipe):
            def requires(self):
                return {nothing}
            def pipe_run(self, pipeline_input):
                return 1
        """
    )
    assert world.value(world.apply(flow.Top)) == 1


@pytest.mark.parametrize(
    ("required", "said"),
    [
        ("Other()", "returned a Other, not a dict"),
        ("[Other()]", "returned a list, not a dict"),
        ("{'a b': Other()}", "'a b', which cannot be an argument"),
        ("{'pipeline_input': Other()}", "cannot be an argument"),
        ("{'x': 3}", "a int under 'x'"),
        ("{'x': luigi.ExternalTask()}", "ExternalTask under 'x'"),
        ("{'y': Other()}", "does not take what requires"),
        ("{}", "does not take what requires.*def pipe_run\\(self, pipeline_input\\)"),
    ],
)
def test_a_wrong_requires_is_refused_before_anything_runs(
    project: Project, world: World, required: str, said: str
) -> None:
    """With what it returned, or the signature that would do."""
    flow = project.module(
        f"""
        class Other(Pipe):
            def pipe_run(self, pipeline_input):
                say("other")
                return 1
        class Top(Pipe):
            def requires(self):
                return {required}
            def pipe_run(self, pipeline_input, x):
                return 1
        """
    )
    with pytest.raises(BadModule, match=said):
        world.apply(flow.Top)
    assert project.said() == []


def test_a_requires_that_raises_is_the_users_error(project: Project, world: World) -> None:
    """With the traceback from requires down."""
    flow = project.module(
        """
        class Top(Pipe):
            def requires(self):
                return {"x": Top(unknown=1)}
            def pipe_run(self, pipeline_input, x):
                return 1
        """
    )
    with pytest.raises(UserError, match=r"Top failed in requires: .*unknown") as caught:
        world.apply(flow.Top)
    assert "in requires" in caught.value.evidence


def test_parameters_that_luigi_util_adds_are_parameters(project: Project, world: World) -> None:
    """luigi's own ways of sharing parameters work."""
    flow = project.module(
        """
        from luigi.util import inherits
        class Base(Pipe):
            n = luigi.IntParameter(default=2)
            def pipe_run(self, pipeline_input):
                return self.n
        @inherits(Base)
        class Top(Pipe):
            def requires(self):
                return {"base": self.clone(Base)}
            def pipe_run(self, pipeline_input, base):
                return base + self.n
        """
    )
    assert world.value(world.apply(flow.Top, params={"n": "5"})) == 10
