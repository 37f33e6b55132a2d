"""A request of ClickHouse's HTTP interface, taken apart: who asks, what, in which database.

Owns parameter and header names. Parameters are of three kinds: those of the transport, which
never reach the engine; `param_x`, the query's parameters; all others are settings.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from headrace.store.server.answers import Refusal

_TRANSPORT_NAMES: Final = """
    query database default_format session_id session_timeout session_check query_id quota_key
    compress decompress wait_end_of_query client_protocol_version role user password stacktrace
    send_progress_in_http_headers http_headers_progress_interval_ms enable_http_compression
    http_zlib_compression_level buffer_size network_compression_method add_http_cors_header
    cancel_http_readonly_queries_on_client_close http_receive_timeout http_send_timeout
    http_connection_timeout http_write_exception_in_output_format http_response_headers
"""
_TRANSPORT: Final = frozenset(_TRANSPORT_NAMES.split())
_QUERY_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MAX_SESSION_SECONDS: Final = 3600


class Credentials(msgspec.Struct, frozen=True):
    """What was presented; `source` says where, for the refusal's sentence."""

    user: str
    password: str


class Session(msgspec.Struct, frozen=True):
    """The session a request asks to run in."""

    id: str
    seconds: float | None
    must_exist: bool


class Asked(msgspec.Struct, frozen=True):
    """A request without its body."""

    credentials: Credentials | None
    query: str
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    database: str | None
    default_format: str
    query_id: str
    session: Session | None
    wait_for_end: bool
    content_encoding: str
    accept_encoding: str
    takes_blocks: bool
    """The answer, errors too, in ClickHouse's compressed blocks."""
    sends_blocks: bool
    """So is the body."""
    native_protocol: int
    """The version of the Native format that is asked for; 0 if none is."""


def read_request(query_string: bytes, headers: Mapping[str, str]) -> Asked:
    """Everything but the body; raises `Refusal` for what cannot be understood."""
    parameters = read_parameters(query_string)
    return _asked(parameters, headers)


def read_parameters(query_string: bytes) -> dict[str, str]:
    """URL parameters; of a repeated one the last counts, as on the server."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict",
            max_num_fields=10_000,
        )  # fmt: skip
    except ValueError as error:
        raise Refusal(
            36, "BAD_ARGUMENTS", f"The URL's parameters cannot be read: {error}"
        ) from error
    return dict(pairs)


def add_form(asked: Asked, form: Mapping[str, str]) -> Asked:
    """The request with the fields of a multipart body, which count like URL parameters."""
    query = asked.query + form.get("query", "")
    return msgspec.structs.replace(
        asked,
        query=query,
        parameters={**asked.parameters, **_query_parameters(form)},
        settings={**asked.settings, **_settings(form)},
        database=form.get("database") or asked.database,
    )


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a `multipart/form-data` body."""
    head = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n"
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise Refusal(36, "BAD_ARGUMENTS", "The multipart body cannot be read")
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise Refusal(48, "NOT_IMPLEMENTED", "External tables cannot be sent to this server")
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        fields[str(name)] = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
    return fields


def _asked(parameters: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
    compressed = parameters.get("enable_http_compression", "1")
    return Asked(
        credentials=_credentials(parameters, headers),
        query=parameters.get("query", ""),
        parameters=_query_parameters(parameters),
        settings=_settings(parameters),
        database=parameters.get("database") or headers.get("x-clickhouse-database") or None,
        default_format=_format(
            parameters.get("default_format") or headers.get("x-clickhouse-format")
        ),
        query_id=_query_id(parameters.get("query_id", "")),
        session=_session(parameters),
        wait_for_end=_is_true(parameters.get("wait_end_of_query", "0")),
        content_encoding=headers.get("content-encoding", ""),
        accept_encoding=headers.get("accept-encoding", "") if _is_true(compressed) else "",
        takes_blocks=_is_true(parameters.get("compress", "0")),
        sends_blocks=_is_true(parameters.get("decompress", "0")),
        native_protocol=_version(parameters.get("client_protocol_version", "0")),
    )


def _query_parameters(fields: Mapping[str, str]) -> dict[str, str]:
    found = {
        name.removeprefix("param_"): value
        for name, value in fields.items()
        if name.startswith("param_")
    }
    for name in found:
        if not _PARAMETER.fullmatch(name):
            raise Refusal(36, "BAD_ARGUMENTS", "A query parameter's name must be an identifier")
    return found


def _settings(fields: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in fields.items()
        if name not in _TRANSPORT and not name.startswith("param_")
    }


def _format(text: str | None) -> str:
    if not text:
        return "TabSeparated"
    if not re.fullmatch(r"\w{1,64}", text, re.ASCII):
        raise Refusal(73, "UNKNOWN_FORMAT", "Unknown format")
    return text


def _version(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refusal(36, "BAD_ARGUMENTS", "client_protocol_version must be a number")
    return int(text)


def _query_id(text: str) -> str:
    if text and not _QUERY_ID.fullmatch(text):
        raise Refusal(36, "BAD_ARGUMENTS", "query_id must be up to 128 printable characters")
    return text or str(uuid.uuid4())


def _session(parameters: Mapping[str, str]) -> Session | None:
    name = parameters.get("session_id")
    if not name:
        return None
    text = parameters.get("session_timeout")
    seconds = None
    if text is not None:
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MAX_SESSION_SECONDS):
            raise Refusal(
                374,
                "INVALID_SESSION_TIMEOUT",
                f"session_timeout must be 1 to {_MAX_SESSION_SECONDS} seconds",
            )
        seconds = float(text)
    return Session(name[:256], seconds, _is_true(parameters.get("session_check", "0")))


def _credentials(parameters: Mapping[str, str], headers: Mapping[str, str]) -> Credentials | None:
    authorization = headers.get("authorization", "")
    user, key = headers.get("x-clickhouse-user"), headers.get("x-clickhouse-key")
    if authorization and (user is not None or key is not None or "user" in parameters):
        raise Refusal(
            516,
            "AUTHENTICATION_FAILED",
            "Send credentials in one way: Authorization, X-ClickHouse-User and -Key,"
            " or the parameters user and password",
        )
    if authorization:
        return _authorization(authorization)
    if user is not None:
        return Credentials(user, key or "")
    if "user" in parameters:
        return Credentials(parameters["user"], parameters.get("password", ""))
    return None


def _authorization(header: str) -> Credentials:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "basic":
        raise Refusal(
            516, "AUTHENTICATION_FAILED", "Use Basic authorization; tokens are not known here"
        )
    try:
        text = base64.b64decode(token.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refusal(
            516, "AUTHENTICATION_FAILED", "The Authorization header cannot be read"
        ) from error
    user, _, password = text.partition(":")
    return Credentials(user, password)


def _is_true(text: str) -> bool:
    return text.lower() in {"1", "true"}
