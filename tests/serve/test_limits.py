"""What is bounded: the queue, the time, the connections, the memory; and what fails alone."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.served import Reply, Served, until_closed
from s2s_ft.serve.run import serve_main

Start = Callable[..., Served]


def wait_for(truth: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not truth():
        assert time.monotonic() < until
        time.sleep(0.01)


def begin(served: Served, content: object) -> socket.socket:
    """A request under way, its answer unread."""
    body = json.dumps(content).encode()
    head = "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection = served.connect()
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def test_a_full_queue_is_503_and_those_who_leave_make_room(loud: Start) -> None:
    served = loud("--max_queue", "3", "--max_texts", "3", "--max_batch_size", "1")
    busy = begin(served, {"text": "sleep:3"})
    wait_for(lambda: served.health()["counts"].get("batches") == 1)
    gone = [begin(served, {"text": "sleep:60"}) for _ in range(3)]
    wait_for(lambda: served.health()["queue"]["texts"] == 3)
    full = served.generate({"text": "a"})
    assert (full.status, full.code, full.headers["retry-after"]) == (503, "queue_full", "1")
    for connection in gone:
        connection.close()
    wait_for(lambda: served.health()["queue"]["texts"] == 0)
    assert served.generate({"text": ["a", "b", "c"]}).status == 200
    counts = served.health()["counts"]
    assert (counts["dropped"], counts["status_499"]) == (3, 3)
    with busy:
        assert busy.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_text_that_comes_later_may_be_answered_first(loud: Start) -> None:
    """One that stays in the model until another has been said, which comes into the same batch."""
    served = loud("--max_batch_size", "2")
    with ThreadPoolExecutor(1) as clients:
        long = clients.submit(served.generate, {"text": "until:short"})
        wait_for(lambda: served.health()["counts"].get("batches") == 1)
        assert served.generate({"text": "short"}).json["outputs"][0][0]["text"] == "SHORT"
        assert long.result().json["outputs"][0][0]["text"] == "UNTIL:SHORT"
    counts = served.health()["counts"]
    assert (counts["batches"], counts["joined"]) == (1, 1)


def test_who_is_late_leaves_the_place_to_others(loud: Start) -> None:
    served = loud("--request_timeout_s", "1", "--max_batch_size", "1")
    assert served.generate({"text": "until:nobody says this"}).status == 504
    assert served.generate({"text": "a"}).status == 200


def test_late_answers_are_504_and_their_work_is_dropped(loud: Start) -> None:
    served = loud("--request_timeout_s", "1", "--max_batch_size", "1")
    with ThreadPoolExecutor(4) as clients:
        replies = list(clients.map(served.generate, [{"text": "sleep:3"}] * 4))
    assert [reply.status for reply in replies] == [504] * 4
    assert served.health()["queue"]["texts"] == 0
    wait_for(lambda: served.health()["counts"].get("texts") == 1)
    assert served.generate({"text": "a"}).status == 200
    assert served.health()["counts"]["batches"] == 2  # three of four never began


def test_the_models_failures_end_nothing(loud: Start) -> None:
    served = loud("--batch_wait_ms", "50")
    for count in range(1, 4):
        reply = served.generate({"text": "fail:very private"})
        assert (reply.status, reply.code) == (500, "model_failed")
        assert "private" not in reply.body.decode()
        wanted = "failing" if count == 3 else "ready"
        assert served.health()["status"] == wanted
        assert f"request {reply.headers['x-request-id']}: the model failed" in served.log()
    assert served.request("GET", "/health").status == 503
    with ThreadPoolExecutor(3) as clients:
        for fault in ("fail:x", "crash:x"):
            texts = ["a", fault, "b"]
            replies = list(clients.map(served.generate, [{"text": text} for text in texts]))
            assert [reply.status for reply in replies] == [200, 500, 200]
    assert served.generate({"text": "c"}).status == 200
    assert served.health()["status"] == "ready"


def test_too_many_connections_are_told_so(loud: Start) -> None:
    served = loud("--max_connections", "5", "--read_timeout_s", "1")
    idle = [served.connect() for _ in range(5)]
    with served.connect() as late:
        answer = until_closed(late)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    for connection in idle:
        until_closed(connection)  # they said nothing, and have had their time
        connection.close()
    assert served.generate({"text": "a"}).status == 200


def test_long_texts_are_cut_and_the_answer_says_so(loud: Start) -> None:
    served = loud("--max_source_chars", "5")
    told = served.generate({"text": ["abcdefgh", "abcde"]}).json
    assert [output[0]["text"] for output in told["outputs"]] == ["ABCDE", "ABCDE"]
    assert told["truncated"] == [True, False]
    assert served.health()["counts"]["truncated"] == 1


def test_tokenized_input_is_split_at_spaces(loud: Start) -> None:
    served = loud("--tokenized_input")
    told = served.generate({"text": [" a ##b  c", ["a b", "c"]]}).json
    assert [output[0]["text"] for output in told["outputs"]] == ["A|##B|C", "A B|C"]


def test_a_client_that_does_not_read_is_left(loud: Start) -> None:
    served = loud("--write_timeout_s", "0.5", "--max_source_chars", "1000000")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.connect(("127.0.0.1", served.port))
        body = json.dumps({"text": "x" * 500_000}).encode()
        head = "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        deaf.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        for _ in range(20):  # more answers than any buffer on the way holds
            try:
                deaf.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            except (ConnectionError, TimeoutError):
                break
        else:
            raise AssertionError("the server kept taking requests")
    assert served.generate({"text": "a"}).status == 200


def test_memory_is_bounded_under_a_flood(loud: Start) -> None:
    """More at once than the queue holds, each as large as may be: refused, not hoarded."""
    served = loud("--max_queue", "64", "--max_batch_size", "4", "--max_source_chars", "100000")
    served.generate({"text": ["x" * 100_000] * 10})
    before = served.memory_mib("VmHWM")
    content = {"text": ["sleep:0.01", *["x" * 100_000] * 9]}
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            statuses[served.generate(content).status] += 1

    with ThreadPoolExecutor(24) as clients:
        running = [clients.submit(client) for _ in range(24)]
        time.sleep(2)
        slowest = max(timed_health(served) for _ in range(5))
        stop.set()
        for each in running:
            each.result()
    assert statuses.keys() == {200, 503}
    assert served.memory_mib("VmHWM") - before < 150  # 24 connections of 1 MiB, 64 texts of 0.1
    assert slowest < 5
    assert served.health()["queue"]["texts"] == 0


def timed_health(served: Served) -> float:
    begun = time.monotonic()
    served.health()
    return time.monotonic() - begun


def test_sigterm_while_busy_loses_nothing_accepted(loud: Start) -> None:
    served = loud("--max_batch_size", "2")
    accepted = [begin(served, {"text": ["sleep:2", "text 0"]})]
    wait_for(lambda: served.health()["counts"].get("batches") == 1)
    for number in range(1, 12):
        accepted.append(begin(served, {"text": ["sleep:0.1", f"text {number}"]}))
    wait_for(lambda: served.health()["queue"]["texts"] == 22)
    kept = served.connect()
    served.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "SIGTERM" in served.log())
    told = served.request("GET", "/health")
    assert (told.status, told.json["status"]) == (503, "draining")
    late: Reply = served.generate({"text": "late"})
    assert (late.status, late.code) == (503, "shutting_down")
    for number, connection in enumerate(accepted):
        with connection:
            answer = until_closed(connection)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert f"TEXT {number}".encode() in answer
    assert served.process.wait(20) == 128 + signal.SIGTERM
    assert until_closed(kept) == b""
    kept.close()
    assert "Traceback" not in served.log()


def test_the_grace_has_an_end(loud: Start) -> None:
    served = loud("--shutdown_grace_s", "0.3")
    stuck = begin(served, {"text": "sleep:60"})
    wait_for(lambda: served.health()["counts"].get("batches") == 1)
    begun = time.monotonic()
    assert served.end(signal.SIGINT) == 128 + signal.SIGINT
    assert time.monotonic() - begun < 15
    with stuck:
        assert until_closed(stuck).startswith(b"HTTP/1.1 503")
    assert "1 requests were not done in time and were given up" in served.log()


def test_an_address_that_is_taken_is_one_line(
    loud: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    served = loud()
    assert serve_main(["--model_path", "x", "--port", str(served.port)]) == 1
    assert capsys.readouterr().err == (
        f"error: --host 127.0.0.1 --port {served.port} cannot be listened on: "
        "Address already in use\n"
    )
