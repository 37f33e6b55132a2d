"""What the store's error codes mean for the processor."""

from __future__ import annotations

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from headrace.schemas.errors import HeadraceError, Overloaded, Refused, Unavailable
from headrace.store.connection import Connection
from headrace.store.errors import OVERLOADED, REFUSED, UNAVAILABLE, classify, translated
from tests.store.harness import ServerTables


def test_every_code_is_in_one_table_under_the_engines_own_name(tables: ServerTables) -> None:
    """No code means two things, and each reason begins with the code's real name."""
    reasons = {
        **REFUSED,
        **UNAVAILABLE,
        **{code: why for code, (_, why) in OVERLOADED.items()},
    }
    assert len(reasons) == len(REFUSED) + len(UNAVAILABLE) + len(OVERLOADED)
    names = tables.rows(
        f"SELECT code, errorCodeToName(code) FROM (SELECT arrayJoin({sorted(reasons)}) AS code)"
    )
    assert {code: reasons[code].split(":")[0] for code, _ in names} == dict(names)


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_codes_that_name_data_are_refused(code: int) -> None:
    """They carry their code, so that a reject can tell it."""
    trouble = classify("Code: …", code)
    assert isinstance(trouble, Refused)
    assert trouble.code == code


@pytest.mark.parametrize("code", sorted(OVERLOADED))
def test_codes_that_mean_no_room_are_waited_out(code: int) -> None:
    """Memory, disk and too many parts are never the data's fault."""
    trouble = classify("Code: …", code)
    assert isinstance(trouble, Overloaded)
    assert trouble.retry_after > 0


@pytest.mark.parametrize("code", [*sorted(UNAVAILABLE), 1, 1_001, 99_999, None])
def test_everything_else_is_retried(code: int | None) -> None:
    """Also what nobody has thought of, and the absence of an answer."""
    assert type(classify("…", code)) is Unavailable


@pytest.mark.parametrize("code", [27, 74, 75, 1_001, None])
@pytest.mark.parametrize(
    "message",
    [
        "Cannot write to file … (No space left on device)",
        "std::filesystem error: errno: 28, strerror: …",
        "Disk quota exceeded",
    ],
)
def test_a_full_disk_is_no_room_whatever_the_code(message: str, code: int | None) -> None:
    """The code depends on where the disk ran out; the text does not."""
    assert isinstance(classify(message, code), Overloaded)


@pytest.mark.parametrize(
    ("driver", "ours"),
    [
        (DatabaseError("Code: 117. DB::Exception: …", code=117), Refused),
        (DatabaseError("Code: 241. DB::Exception: …", code=241), Overloaded),
        (OperationalError("Error … executing HTTP request"), Unavailable),
        (ConnectionResetError("reset"), Unavailable),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Refused),
    ],
)
def test_the_drivers_exceptions_become_ours(driver: Exception, ours: type[HeadraceError]) -> None:
    """With the driver's as their cause."""
    with pytest.raises(ours) as raised, translated():
        raise driver
    assert raised.value.__cause__ is driver


@pytest.mark.parametrize(
    ("address", "reason"), [("127.0.0.1:9", "refused"), ("nowhere.invalid:9", "not known")]
)
def test_a_store_that_is_away_is_one_short_sentence(address: str, reason: str) -> None:
    """Where it should be and what the network said, and nothing of the driver's own words."""
    connection = Connection(f"http://{address}", "me", "secret")
    with pytest.raises(Unavailable) as caught:
        connection.rows("SELECT 1")
    assert str(caught.value).startswith(f"the store at http://{address} does not answer (")
    assert reason in str(caught.value)
    assert "Max retries" not in str(caught.value)
