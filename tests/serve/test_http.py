"""Requests of every kind to a server in a process of its own; its model is a stand-in."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest

from benchmarks.served import JSON_HEADERS, Served, until_closed


def test_a_text_and_its_answer(shared: Served) -> None:
    reply = shared.generate({"text": "über\u2028 naïve \U0001d11e", "prefix": "a ", "num_beams": 2})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    told = reply.json
    assert told["outputs"][0][0]["text"] == "a ÜBER\u2028 NAÏVE \U0001d11e"
    assert told["truncated"] == [False]
    assert told["request_id"] == reply.headers["x-request-id"]
    assert "ÜBER".encode() in reply.body  # as text, not as escapes


def test_several_texts_keep_their_order(shared: Served) -> None:
    names = [f"text {number}" for number in range(40)]
    outputs = shared.generate({"text": names}).json["outputs"]
    assert [output[0]["text"] for output in outputs] == [name.upper() for name in names]
    assert shared.generate({"text": ["", "a"]}).json["outputs"][0][0]["text"] == ""


def test_health_tells_of_the_queue_and_counts(shared: Served) -> None:
    shared.generate({"text": ["a", "b"]})
    told = shared.health()
    assert (told["status"], told["model"]) == ("ready", "loud")
    assert told["queue"] == {"texts": 0, "limit": 1024}
    assert told["uptime_s"] > 0
    assert told["counts"]["texts"] >= 2
    assert told["counts"]["status_200"] >= 1


def test_the_page_is_served(shared: Served) -> None:
    reply = shared.request("GET", "/")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.body.startswith(b"<!DOCTYPE html>")
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_the_description_tells_of_every_option(shared: Served) -> None:
    paths = shared.request("GET", "/openapi.json").json["paths"]
    schema = paths["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"text", "num_beams", "seed"} <= schema["properties"].keys()
    assert paths["/health"].keys() == {"get"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/" + "x" * 5000, 404, "not_found"),
        ("GET", "/%00%ff", 404, "not_found"),
        ("GET", "/generate", 405, "method_not_allowed"),
        ("PUT", "/generate", 405, "method_not_allowed"),
        ("OPTIONS", "/generate", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("DELETE", "/", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods(
    shared: Served, method: str, path: str, status: int, code: str
) -> None:
    reply = shared.request(method, path)
    assert (reply.status, reply.code) == (status, code)
    assert ("allow" in reply.headers) == (status == 405)


def test_head_is_get_without_a_body(shared: Served) -> None:
    for path in ("/", "/health"):
        reply = shared.request("HEAD", path)
        assert (reply.status, reply.body) == (200, b"")
        assert int(reply.headers["content-length"]) > 0
    assert shared.request("HEAD", "/nothing").status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"\xff", 400), (b"[]", 422), (b'{"text": 1}', 422), (b"{}", 422)],
)
def test_bodies_that_are_wrong(shared: Served, body: bytes, status: int) -> None:
    reply = shared.request("POST", "/generate", body)
    assert reply.status == status
    assert reply.json["error"]["request_id"] == reply.headers["x-request-id"]


def test_only_json_is_taken(shared: Served) -> None:
    """So that a page of another site cannot make a browser send a form."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = shared.request("POST", "/generate", b'{"text": "a"}', {"Content-Type": kind})
        assert (reply.status, reply.code) == (415, "unsupported_type")
    kind = "application/json; charset=utf-8"
    reply = shared.request("POST", "/generate", b'{"text": "a"}', {"Content-Type": kind})
    assert reply.status == 200


def test_what_the_model_says_of_options_is_the_clients_fault(shared: Served) -> None:
    reply = shared.generate({"text": "a", "seed": 13})
    assert (reply.status, reply.json["error"]["message"]) == (422, "seed: not thirteen")


def test_large_bodies_are_refused_with_and_without_a_length(shared: Served) -> None:
    before = shared.memory_mib()
    sizes = [20_001, 10_000_000]
    for size in sizes:
        body = json.dumps({"text": "x" * size}).encode()
        reply = shared.request("POST", "/generate", body)
        assert (reply.status, reply.code) == (413, "request_too_large")
        assert reply.headers["connection"] == "close"
    chunks = repeat(b"x" * 65536, 800)  # 50 MiB
    reply = shared.request("POST", "/generate", chunks, JSON_HEADERS)
    assert (reply.status, reply.code) == (413, "request_too_large")
    assert shared.memory_mib() - before < 30
    head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    lone = head + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
    assert shared.raw(lone).startswith(b"HTTP/1.1 413")  # and no "100 Continue"


def test_what_is_not_http_is_answered_and_closed(shared: Served) -> None:
    for data in (b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00" * 9, b"GET  HTTP/1.1\r\n\r\n"):
        assert shared.raw(data).startswith(b"HTTP/1.1 400")
    endless = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000
    assert shared.raw(endless).startswith(b"HTTP/1.1 4")
    bad_chunk = (
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n"
    )
    shared.raw(bad_chunk)
    assert shared.health()["status"] == "ready"
    assert "Traceback" not in shared.log()


def test_slow_headers_and_bodies_have_an_end(shared: Served) -> None:
    head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    begun = time.monotonic()
    with shared.connect() as silent, shared.connect() as slow_head, shared.connect() as slow_body:
        slow_head.sendall(b"GET /health HT")
        slow_body.sendall(head + b'Content-Length: 100\r\n\r\n{"text"')
        assert shared.generate({"text": "a"}).status == 200  # nobody else waits for them
        assert b"HTTP/1.1 408" in until_closed(slow_body)
        assert until_closed(slow_head) == b""
        assert until_closed(silent) == b""
    assert time.monotonic() - begun < 10


def test_a_trickle_of_headers_does_not_buy_time(shared: Served) -> None:
    with shared.connect() as trickle:
        trickle.settimeout(0.1)
        begun = time.monotonic()
        try:
            for _ in range(100):
                trickle.sendall(b"X")
                try:
                    if trickle.recv(100) == b"":
                        break
                except TimeoutError:
                    continue
        except ConnectionError:
            pass
        assert time.monotonic() - begun < 8


def test_connections_are_kept_and_pipelined(shared: Served) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    kept = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    for _ in range(3):
        kept.request("GET", "/health")
        assert kept.getresponse().read().startswith(b'{"status":"ready"')
    kept.close()
    close = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert shared.raw(request + request + close).count(b"HTTP/1.1 200") == 3


def test_many_clients_each_get_their_own(shared: Served) -> None:
    def ask(number: int) -> bool:
        texts = [f"client {number} text {part}" for part in range(number % 3 + 1)]
        settings = [{}, {"num_beams": 3}, {"num_beams": 4, "top_k": 2}][number % 3]
        reply = shared.generate({"text": texts, **settings})
        assert reply.status == 200, reply.body
        return [output[0]["text"] for output in reply.json["outputs"]] == [
            text.upper() for text in texts
        ]

    with ThreadPoolExecutor(50) as clients:
        assert all(clients.map(ask, range(150)))
