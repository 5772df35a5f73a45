"""HTML fragments: the only place where text becomes markup.

So a name, tag or value is never obeyed as markup::

    element("td", name, class_="name")      whatever ``name`` holds, it is shown and never obeyed
    table(["NAME", "MADE"], rows)

A str is escaped when it goes into an element; a Fragment, which this module alone makes, is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bundlerun.formatting import clean

_TAG = re.compile(r"[a-z][a-z0-9]*")


class Fragment:
    """A piece of HTML in which everything that came from outside is escaped."""

    def __init__(self, markup: str) -> None:
        self._markup = markup

    def __str__(self) -> str:
        return self._markup

    def __repr__(self) -> str:
        return f"<Fragment of {len(self._markup)} characters>"


Content = str | Fragment
"""The content of an element: text, which is escaped, or fragments."""


def text(content: Content) -> Fragment:
    """``content`` as a fragment: a str escaped, its control characters marked."""
    # Imported here: its table of entities is large, and records are read far more than shown so.
    from html import escape

    return content if isinstance(content, Fragment) else Fragment(escape(clean(content)))


def joined(contents: Iterable[Content]) -> Fragment:
    """One after the other."""
    return Fragment("".join(str(text(content)) for content in contents))


def element(tag: str, *contents: Content, **attributes: str) -> Fragment:
    """``<tag attributes>contents</tag>``.

    An attribute called as a word of Python's has a ``_`` behind it. Raises ValueError for a tag or
    attribute that is not a plain name.
    """
    names = {name.rstrip("_"): value for name, value in attributes.items()}
    for name in (tag, *names):
        if not _TAG.fullmatch(name):
            raise ValueError(f"{name!r:.40} is not the name of an element or attribute")
    said = "".join(f' {name}="{text(value)}"' for name, value in names.items())
    return Fragment(f"<{tag}{said}>{joined(contents)}</{tag}>")


def table(columns: Sequence[Content], rows: Iterable[Sequence[Content]]) -> Fragment:
    """A table with a line of headings."""
    head = element("tr", *(element("th", column) for column in columns))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    return element("table", element("thead", head), element("tbody", *body))


def facts(rows: Iterable[tuple[str, Content]]) -> Fragment:
    """A table of names and what they say, a line each."""
    lines = (element("tr", element("th", name), element("td", said)) for name, said in rows)
    return element("table", element("tbody", *lines))


def tree(item: Content, below: Sequence[Content]) -> Fragment:
    """An item, and what stands below it as a list."""
    if not below:
        return text(item)
    return joined([item, element("ul", *(element("li", each) for each in below))])
