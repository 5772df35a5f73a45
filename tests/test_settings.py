"""Settings: one file, the environment over it, and errors that name the place."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from bundlerun import registry
from bundlerun import settings as settings_module
from bundlerun.backends.base import Backend
from bundlerun.backends.open import backend_type, open_backend
from bundlerun.connections import Connections
from bundlerun.errors import SettingsError
from bundlerun.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parent.parent


def settings(home: Path, text: str = "", **variables: str) -> Settings:
    """The settings of a home folder with this config.toml."""
    if text:
        (home / "config.toml").write_text(text)
    return read_settings({"BUNDLERUN_HOME": str(home), **variables})


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    """Nothing needs to be configured for local work."""
    found = settings(tmp_path)
    assert found.store == tmp_path / "store"
    assert found.run.memory_mib == 2048
    assert found.context is None


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    """``[images] base_image`` from the file, unless a variable says otherwise."""
    text = '[run]\nvcpus = 2\n[images]\nregistry = "ecr"\nbase_image = "file"\n'
    assert settings(tmp_path, text).images.base_image == "file"
    found = settings(tmp_path, BUNDLERUN_BASE_IMAGE="env", BUNDLERUN_SESSION_SECONDS="900")
    assert found.images.base_image == "env"
    assert found.aws.session_seconds == 900
    assert found.run.vcpus == 2
    assert found.images.registry == "ecr"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run", "config.toml"),
        ("[runs]\n", "runs"),
        ("[run]\nqueue = 'x'\n", "queue"),
        ("[run]\nmemory_mib = 'much'\n", "memory_mib"),
        ("[run]\nvcpus = true\n", "vcpus"),
        ("[run]\nretries = -1\n", "0 or more"),
        ("[run]\ntimeout_s = 0\n", "1 or more"),
        ("[run]\ngpus = -1\n", "0 or more"),
        ("[run]\npoll_s = 0.5\n", "1 or more"),
        ("run = 3\n", "run"),
        ("[store]\ncheckout = 'hard'\n", "copy, link"),
        ("backends = 3\n", "backends"),
        ("[backends]\nAWSBatch = 'queue'\n", "backends.NAME"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    """A misspelt key is an error, not silence."""
    with pytest.raises(SettingsError, match=words) as raised:
        settings(tmp_path, text)
    assert raised.value.exit_code == 3


def test_links_to_the_store_are_asked_for(tmp_path: Path) -> None:
    """``[store] checkout``: in the file or by a variable, and a misspelt one is an error."""
    assert settings(tmp_path).storage.checkout == "copy"
    assert settings(tmp_path, '[store]\ncheckout = "link"\n').storage.checkout == "link"
    assert settings(tmp_path, BUNDLERUN_CHECKOUT="copy").storage.checkout == "copy"
    with pytest.raises(SettingsError, match="BUNDLERUN_CHECKOUT"):
        settings(tmp_path, BUNDLERUN_CHECKOUT="links")


def test_a_number_in_a_variable_must_be_one(tmp_path: Path) -> None:
    """The variable is named."""
    with pytest.raises(SettingsError, match="BUNDLERUN_SESSION_SECONDS"):
        settings(tmp_path, BUNDLERUN_SESSION_SECONDS="an hour")


def test_without_a_home_nobody_else_can_configure_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and no entry in the password database: never a folder that others can write."""
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert read_settings({}).home == Path("/nonexistent/.bundlerun")


NUMBERS = ("session_seconds", "timeout_s", "price_per_vcpu_hour", "poll_s")
"""Keys that take a number and have none as their default."""

PAGE = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
KEYS = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in PAGE.splitlines()]
KEYS = [row for row in KEYS if len(row) == 5 and row[0].strip("-") not in ("", "section")]


def open_all(found: Settings) -> list[Backend]:
    """Every backend, which reads its own section."""
    return [open_backend(name, Connections(found)) for name in registry.BACKENDS]


def listed(home: Path, text: str) -> set[str]:
    """What the error for the settings file ``text`` says that there is."""
    with pytest.raises(SettingsError) as raised:
        open_all(settings(home, text))
    return set(raised.value.message.partition("there are: ")[2].split(", "))


def in_file(value: object) -> str:
    """A value as TOML has it."""
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'


def values_of(found: Settings, section: str) -> dict[str, object]:
    """A section's values by key."""
    room, _, name = section.partition(".")
    if room == "backends":
        return asdict(found.options(name, backend_type(name).options))
    chosen = found.storage if section == "store" else getattr(found, section)
    return asdict(chosen)


def test_every_section_and_key_stands_on_the_page_of_settings(tmp_path: Path) -> None:
    """docs/settings.md has each key that the file may have, and no other."""
    of_backends = re.compile(r"(?<=^backends\.).*")
    sections = {of_backends.sub("NAME", section) for section, *_ in KEYS}
    assert listed(tmp_path, "[nothing]\n") == sections
    for section in {section for section, *_ in KEYS}:
        keys = [key for of, key, *_ in KEYS if of == section]
        assert listed(tmp_path, f"[{section}]\nnothing = 1\n") == set(keys), section


@pytest.mark.parametrize(("section", "key", "variable", "default", "meaning"), KEYS)
def test_a_key_is_what_its_page_says(
    section: str, key: str, variable: str, default: str, meaning: str, tmp_path: Path
) -> None:
    """The default without a file, the file over it, and over both the variable, if it has one."""
    value = values_of(settings(tmp_path), section)[key]
    assert {"none": None, "empty": ""}.get(default, default) == (
        value if value is None else str(value)
    )
    assert meaning
    given, other = ("link", "copy") if key == "checkout" else ("7", "8")
    is_number = isinstance(value, (int, float)) or key in NUMBERS
    text = f"[{section}]\n{key} = {in_file(int(given) if is_number else given)}\n"
    assert str(values_of(settings(tmp_path, text), section)[key]) == given
    if variable:
        found = settings(tmp_path, text, **{variable: other})
        assert str(values_of(found, section)[key]) == other


def test_every_variable_of_the_code_stands_on_the_page_of_settings() -> None:
    """Each BUNDLERUN_ name in the code, each name that is looked up, and none that is not."""
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "bundlerun").rglob("*.py")
    )
    own = set(re.findall(r"\bBUNDLERUN_[A-Z_]*[A-Z]\b", code))
    assert own == set(re.findall(r"\bBUNDLERUN_[A-Z_]*[A-Z]\b", PAGE))
    looked_up = set(re.findall(r"\benv(?:iron)?(?:\.get|\.pop)?[(\[]\"([A-Z_]+)\"(?!\] =)", code))
    assert "DOCKER_HOST" in looked_up
    assert {name for name in looked_up if f"`{name}`" not in PAGE} == set()


@pytest.mark.parametrize(("section", "key", "variable"), [row[:3] for row in KEYS])
def test_the_module_of_the_settings_shows_each_key(section: str, key: str, variable: str) -> None:
    """The example file at the head of bundlerun/settings.py: section, key and variable."""
    example = settings_module.__doc__ or ""
    rows = example.partition(f"    [{section}]\n")[2].partition("\n    [")[0]
    line = re.search(rf"^    {key} = .*$", rows, re.M)
    assert line
    assert variable in line[0]
