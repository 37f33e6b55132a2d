"""`/openapi.json`, the page for people made from it, and the pointer at `/`.

Owns how the description looks. The page holds everything it shows: no script, nothing from
elsewhere, so that it also works on a machine without a way out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any, Final

from headrace.collector.answers import OK, Answer, encode, header_line, ok
from headrace.collector.openapi import describe
from headrace.collector.requests import Incoming

_POLICY: Final = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
_STYLE: Final = """
:root { color-scheme: light dark; --ink: light-dark(#16212b, #dde6ee);
  --soft: light-dark(#5a6b78, #93a4b2); --line: light-dark(#dbe3e8, #2a3742);
  --paper: light-dark(#fff, #111a21); --tint: light-dark(#f3f7f9, #19252e);
  --accent: light-dark(#0b6b83, #5cc4dd) }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 54rem; padding: 2rem 1.25rem 5rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: 2rem; margin: 0 } h2 { font-size: 1.25rem; margin: 3rem 0 .4rem }
h3 { font-size: .8rem; letter-spacing: .06em; text-transform: uppercase; color: var(--soft);
  margin: 1.6rem 0 .4rem }
p { margin: .4rem 0 } a { color: var(--accent) }
code, pre { font: .87em/1.5 ui-monospace, monospace }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 8px;
  padding: .9rem 1rem; overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .93em }
td { border-top: 1px solid var(--line); padding: .45rem .8rem .45rem 0; vertical-align: top }
td:first-child { white-space: nowrap; width: 1% }
.method { color: var(--paper); background: var(--accent); border-radius: 5px; font-size: .75rem;
  font-weight: 700; padding: .15rem .5rem; vertical-align: .12em; margin-right: .5rem }
.soft { color: var(--soft) }
"""


async def openapi_json(_request: Incoming) -> Answer:
    """`GET /openapi.json`."""
    return Answer(OK, _document())


async def docs_page(_request: Incoming) -> Answer:
    """`GET /docs`."""
    headers = header_line(b"content-security-policy", _POLICY)
    headers += header_line(b"x-content-type-options", b"nosniff")
    return Answer(OK, _page(), headers, media_type=b"text/html; charset=utf-8")


async def pointer(_request: Incoming) -> Answer:
    """`GET /`: where to go from here."""
    return ok({"service": "headrace collector", "docs": "/docs", "openapi": "/openapi.json"})


@cache
def _document() -> bytes:
    return encode(describe())


@cache
def _page() -> bytes:
    return "".join(_parts(describe())).encode()


def _parts(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"
        f'<p class="soft">Version {escape(info["version"])} · <a href="/openapi.json">OpenAPI</a>'
        " · every request carries <code>Authorization: Bearer hrk_…</code></p>"
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from _operation(path, method, operation, document)


def _operation(
    path: str, method: str, operation: dict[str, Any], document: dict[str, Any]
) -> Iterator[str]:
    title = f'<span class="method">{method.upper()}</span><code>{escape(path)}</code>'
    yield f"<h2>{title}</h2><p>{_text(operation.get('description', operation['summary']))}</p>"
    body = operation.get("requestBody")
    if body is not None:
        content = body["content"]["application/json"]
        yield f"<h3>Body</h3><p>{_text(body['description'])}</p>"
        schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        yield f"<p>{_text(schema.get('description', ''))}</p>"
        yield _table(_fields(schema))
        yield f"<h3>Example</h3><pre>{escape(_curl(path, content['example']))}</pre>"
    if operation.get("parameters"):
        yield "<h3>Headers</h3>"
        yield _table((one["name"], _text(one["description"])) for one in operation["parameters"])
    if body is not None:
        yield "<h3>Answers</h3>"
        responses = operation["responses"].items()
        yield _table((status, _text(one["description"])) for status, one in responses)


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        word = ' <span class="soft">required</span>' if name in required else ""
        yield name, _text(field.get("description", "")) + word


def _table(rows: Iterator[tuple[str, str]]) -> str:
    cells = (f"<tr><td><code>{escape(name)}</code><td>{text}" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _text(text: str) -> str:
    """Back-ticks into code, lines of a list into lines."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return marked.replace("\n- ", "<br>").removeprefix("- ")


def _curl(path: str, example: dict[str, Any]) -> str:
    body = json.dumps(example, indent=2)
    return (
        f'curl -X POST "$HEADRACE_URL{path}" \\\n'
        '  -H "Authorization: Bearer $HEADRACE_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{body}'"
    )
