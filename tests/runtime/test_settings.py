"""Settings: where they come from, what is wrong with them, how they are listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.runtime.commands.settings import markdown_table, settings
from headrace.runtime.setting_table import SETTINGS
from headrace.runtime.setting_text import Address, ClickHouseUrl, parse_address, parse_clickhouse
from headrace.runtime.settings import BadSettings, Settings, hide_password, read_settings, shown


def test_defaults_run_a_single_node() -> None:
    """Without any environment everything has a value."""
    values = read_settings({})
    assert values.home == Path.cwd() / ".headrace"
    assert values.listen == Address("127.0.0.1", 8080)
    assert values.store_listen == Address("127.0.0.1", 8123)


def test_options_win_over_the_environment() -> None:
    """An option that is given counts, one that is None does not."""
    environment = {"HEADRACE_LISTEN": "0.0.0.0:1", "HEADRACE_HOME": "/a"}
    values = read_settings(environment, listen="127.0.0.1:2", home=None)
    assert (values.listen.port, values.home) == (2, Path("/a"))


def test_every_problem_is_reported_at_once() -> None:
    """All bad values and unknown variables are in one message."""
    with pytest.raises(BadSettings) as caught:
        read_settings(
            {
                "HEADRACE_LISTEN": "8080",
                "HEADRACE_FLUSH_ROWS": "many",
                "HEADRACE_LISTENN": "x",
                "HEADRACE_TLS_KEY": "/k",
            }
        )
    for expected in ("HEADRACE_LISTEN='8080'", "FLUSH_ROWS='many'", "LISTENN", "TLS_CERTIFICATE"):
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("example.org:80", "http://example.org:80"),
    ],
)
def test_addresses_become_urls(text: str, url: str) -> None:
    """Listening everywhere is reached on this machine."""
    assert parse_address(text).url == url


@pytest.mark.parametrize("text", ["", "80", ":80", "a:", "a:b", "a:65536", "a:-1", "a:²"])
def test_bad_addresses_are_refused(text: str) -> None:
    """An address is a host and a port."""
    with pytest.raises(ValueError, match="host:port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("HEADRACE_FLUSH_ROWS", "many", "a whole number above 0"),
        ("HEADRACE_FLUSH_ROWS", "-1", "a whole number above 0"),
        ("HEADRACE_FLUSH_SECONDS", "soon", "a number of seconds above 0"),
        ("HEADRACE_FLUSH_SECONDS", "nan", "a number of seconds above 0"),
        ("HEADRACE_CLOCK_OFFSET_SECONDS", "nan", "a number of seconds"),
        ("HEADRACE_CLOCK_OFFSET_SECONDS", "-1e30", "a number of seconds"),
        ("HEADRACE_TRUSTED_PROXIES", "127.0.0.1, proxy", "'proxy' is no address or network"),
        ("HEADRACE_TRUSTED_PROXIES", "10.0.0.0/99", "'10.0.0.0/99' is no address or network"),
        ("HEADRACE_KAFKA", "broker", "host:port, several separated by commas"),
        ("HEADRACE_KAFKA", "kafka://broker:9092", "host:port, several separated by commas"),
        ("HEADRACE_KAFKA", " , ", "host:port, several separated by commas"),
        ("HEADRACE_KAFKA_TOPIC", "a b", "letters, digits"),
        ("HEADRACE_KAFKA_MAX_MESSAGE_BYTES", "100000", "at least 131072"),
        ("HEADRACE_CLICKHOUSE", "http://h:99999/d", "port"),
        ("HEADRACE_REDIS", "http://h", "redis://"),
        ("HEADRACE_DATABASE", "mysql://h/d", "postgresql"),
        ("HEADRACE_REDIS", "redis://h:99999", "its port is no number up to 65535"),
        ("HEADRACE_DATABASE", "postgresql://h:port/d", "its port is no number up to 65535"),
        ("HEADRACE_BREAKER_SHARE", "2", "a share above 0"),
        ("HEADRACE_FAIL_POINT", "nowhere:2", "one of taken_over"),
        ("HEADRACE_CLICKHOUSE", "clickhouse://h/d", "http(s)://user:password@host:port/database"),
    ],
)
def test_what_cannot_be_used_is_said_in_our_words(variable: str, text: str, expected: str) -> None:
    """A value that no process could work with is refused here, before any is started."""
    with pytest.raises(BadSettings) as caught:
        read_settings({variable: text})
    (setting,) = (each for each in SETTINGS.values() if each.variable == variable)
    seen = hide_password(text) if setting.is_secret else text
    assert f"{variable}={seen!r}" in str(caught.value)
    assert expected in str(caught.value)


def test_a_clickhouse_url_is_taken_apart() -> None:
    """User, password and database may hold anything, escaped as in any URL."""
    assert parse_clickhouse("") is None
    assert parse_clickhouse("https://an%40alyst:p%2Fw@db.example:9443/events") == ClickHouseUrl(
        "https://db.example:9443", "an@alyst", "p/w", "events"
    )
    assert parse_clickhouse("http://db.example") == ClickHouseUrl(
        "http://db.example:8123", "default", "", "headrace"
    )


def test_settings_that_need_one_another_are_asked_for_together() -> None:
    """A user without a password, a cluster without a server: said at the start."""
    with pytest.raises(BadSettings) as caught:
        read_settings(
            {
                "HEADRACE_KAFKA_PASSWORD": "p",
                "HEADRACE_KAFKA_SECURITY": "sasl_ssl",
                "HEADRACE_CLICKHOUSE_CLUSTER": "events",
            }
        )
    for expected in ("KAFKA_USERNAME and HEADRACE_KAFKA_PASSWORD", "with SASL", "_CLUSTER needs"):
        assert expected in str(caught.value)


def test_no_secret_is_shown() -> None:
    """Neither where the settings are listed nor in a message about a bad one."""
    settings = read_settings(
        {
            "HEADRACE_CLICKHOUSE": "http://me:secret@db/events",
            "HEADRACE_REDIS": "redis://:secret@cache:6379/1?password=secret",
            "HEADRACE_DATABASE": "postgresql://me:secret@db/control",
            "HEADRACE_KAFKA_USERNAME": "me",
            "HEADRACE_KAFKA_PASSWORD": "secret",
        }
    )
    texts = {field: shown(field, settings) for field in SETTINGS}
    assert "secret" not in "".join(texts.values())
    assert texts["clickhouse"] == "http://me:***@db:8123/events"
    assert texts["database"] == "postgresql://me:***@db/control"
    assert hide_password("not a URL") == "***"
    with pytest.raises(BadSettings) as caught:
        read_settings({"HEADRACE_DATABASE": "mysql://me:secret@db/control"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "password", ["pa@secret", "pa/secret", "pa#secret", "pa?secret", "pa@/secret"]
)
@pytest.mark.parametrize(
    ("variable", "scheme"),
    [
        ("HEADRACE_DATABASE", "postgresql"),
        ("HEADRACE_REDIS", "redis"),
        ("HEADRACE_CLICKHOUSE", "http"),
    ],
)
def test_a_password_that_is_not_escaped_is_refused_and_not_shown(
    variable: str, scheme: str, password: str
) -> None:
    """Half of it would be taken for the host's name, and shown as that in every message."""
    with pytest.raises(BadSettings) as caught:
        read_settings({variable: f"{scheme}://me:{password}@server/events"})
    assert "%40" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_table_has_a_row_per_setting() -> None:
    """Every setting is in the README's table, and every field of the struct is a setting."""
    assert len(markdown_table()) == len(SETTINGS) + 2
    assert set(SETTINGS) == set(Settings.__struct_fields__)


def test_settings_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """As Markdown and for people."""
    settings(markdown=True)
    assert capsys.readouterr().out.splitlines() == markdown_table()
    settings()
    assert "HEADRACE_STORE_LISTEN" in capsys.readouterr().out
