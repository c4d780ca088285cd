#!/usr/bin/env python3
"""Runs an example program, small, and compares what it prints with what its head comment promises.

examples_test.py NAME PROGRAM
"""

import os
import re
import signal
import socket
import subprocess
import sys


def printed(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    return done.stdout


def matches(text, *patterns):
    lines = text.splitlines()
    assert len(lines) == len(patterns), f"{len(patterns)} lines were expected:\n{text}"
    for line, pattern in zip(lines, patterns):
        assert re.fullmatch(pattern, line), f"{line!r} is not like {pattern!r}"


def deadlock(program):
    matches(
        printed(program, "20"),
        r"pid \d+: try `jstack \d+`",
        r'"Plato" waits for "left fork", which "Socrates" holds',
        r'"Socrates" waits for "right fork", which "Plato" holds',
    )


def million_virtual_threads(program):
    # ThreadSanitizer has room for 8,128 threads and fibers.
    matches(
        printed(program, "4000"),
        r"4000 virtual threads started in [\d.]+ s",
        r"all of them wait; resident \d+ MiB, \d+ bytes each",
        r'"guest-3999" is WAITING',
        r"4000 have left after [\d.]+ s, their sum is 7998000",
    )


def tcp_echo(program):
    matches(
        printed(program, "--connections", "200"),
        r"200 connections at once, 600 messages echoed in [\d.]+ s: \d+ a second",
    )
    with subprocess.Popen([program, "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(re.fullmatch(r"echo at 127\.0\.0\.1:(\d+)\n", server.stdout.readline())[1])
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(b"anybody there?")
                client.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as answer:
                    assert answer.read() == b"anybody there?"
        finally:
            server.terminate()
    assert server.returncode == -signal.SIGTERM, server.returncode


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    globals()[sys.argv[1]](os.path.abspath(sys.argv[2]))
