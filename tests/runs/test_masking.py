"""Texts that nothing may show, however what fails quotes them."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest

from bundlerun.errors import UserError
from bundlerun.runs.masking import masked, unsaid

SECRETS = ["pa ss@wo/rd+1", "back\\slash'and\"quotes", "schlüssel", "BEGIN\nfirst line\nEND key"]

QUOTED = {
    "as it is": str,
    "repr": repr,
    "JSON": json.dumps,
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False),
    "in a URL": lambda text: f"https://user:{quote(text, safe='')}@host/",
    "in a path of a URL": quote,
    "in a query": lambda text: f"?key={quote_plus(text)}&more",
    "bytes": lambda text: repr(text.encode()),
}


@pytest.mark.parametrize("form", QUOTED)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_as_libraries_quote_it(secret: str, form: str) -> None:
    """An address, a dict that is printed, a body that is JSON: the errors of clients show them."""
    said = masked(f"no access with {QUOTED[form](secret)}, said the server", [secret])
    assert "***" in said
    assert "said the server" in said
    for part in (secret, *secret.splitlines(), QUOTED[form](secret)):
        assert part not in said


def test_a_text_without_a_secret_stays() -> None:
    """Also beside a short one, which stands in any text."""
    assert masked("100% of it\\n", ["hunter22", "abc", ""]) == "100% of it\\n"


def test_a_failure_that_says_no_secret_keeps_what_is_behind_it() -> None:
    """The error that caused it is shown with it, as without a secret."""
    with pytest.raises(UserError) as raised, unsaid(["hunter22"]):
        raise UserError("failed") from ValueError("why")
    assert isinstance(raised.value.__cause__, ValueError)
