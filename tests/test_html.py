"""Fragments of HTML: text stays text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun import html


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def seen(fragment: html.Fragment) -> _Seen:
    """What a browser makes of it."""
    parser = _Seen()
    parser.feed(str(fragment))
    parser.close()
    return parser


@given(st.text())
def test_a_text_comes_out_as_it_went_in(text: str) -> None:
    """As one element, whatever it holds; control characters alone are marked."""
    found = seen(html.element("td", text, title=text))
    assert found.tags == ["td"]
    assert len(found.words.replace("\r\n", "\n")) <= len(text) + 1
    if text.isprintable():
        assert found.words == text


def test_fragments_are_put_together() -> None:
    """And are not escaped again."""
    found = html.table(["NAME", "<b>"], [["a&b", html.element("i", "x")]])
    assert "<th>&lt;b&gt;</th>" in str(found)
    assert "<td>a&amp;b</td><td><i>x</i></td>" in str(found)
    assert str(html.tree("a", ["<", html.element("i", "x")])) == (
        "a<ul><li>&lt;</li><li><i>x</i></li></ul>"
    )
    assert str(html.facts([("k", "v")])) == (
        "<table><tbody><tr><th>k</th><td>v</td></tr></tbody></table>"
    )
    assert "\u202e" not in str(html.text("a\u202eb\x00"))


@pytest.mark.parametrize("name", ["script><b", "", "on click", 'a"b'])
def test_a_name_of_an_element_is_a_plain_word(name: str) -> None:
    """It comes from our code, and is checked all the same."""
    with pytest.raises(ValueError, match="name"):
        html.element(name)
    with pytest.raises(ValueError, match="name"):
        html.element("p", **{name: "x"})
