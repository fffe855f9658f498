"""Send `alloyk serve` many good requests from several clients, and hostile ones; print the figures.

    python scripts/stress_server.py resnet18.tflite [--requests 5000] [--clients 8] [--hostile 500]

It starts the server itself, on a free port of this computer. Memory is the server's resident memory
(`VmRSS`), so the script needs Linux. It exits with 1 if a good request was not answered, or if the
server is gone.
"""

import argparse
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image

WARM = 500
_local = threading.local()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--requests", type=positive, default=5000)
    parser.add_argument("--clients", type=positive, default=8)
    parser.add_argument("--hostile", type=int, default=500)
    options = parser.parse_args()
    with started(options.model) as (server, process):
        size = httpx.get(f"{server}/model").json()["input"]
        images = [image(n, size["height"] or 512, size["width"] or 512) for n in range(16)]
        ask_all(server, images, WARM, options.clients)
        before = memory_mib(process.pid)
        began = time.monotonic()
        seconds, failed = ask_all(server, images, options.requests, options.clients)
        took = time.monotonic() - began
        after = memory_mib(process.pid)
        statuses = attack(server, options.hostile, images[0])
        attacked = memory_mib(process.pid)
        alive = is_alive(server)
        last = ask_all(server, images, 100, options.clients)[1]
    shape = "x".join(map(str, np.asarray(Image.open(BytesIO(images[0]))).shape))
    print(f"| | {os.path.basename(options.model)}, {shape} |\n|---|---|")
    for name, value in (
        ("requests, clients", f"{options.requests}, {options.clients}"),
        ("not answered with 200", failed),
        ("requests per second", f"{options.requests / took:.0f}"),
        ("latency, median and 99th percentile", latencies(seconds)),
        ("memory before and after", f"{before:.0f} MiB, {after:.0f} MiB"),
        ("hostile requests", options.hostile),
        ("answers to them", ", ".join(f"{k}: {v}" for k, v in sorted(statuses.items()))),
        ("memory after them", f"{attacked:.0f} MiB"),
        ("still answers", "yes" if alive and not last else "no"),
    ):  # fmt: skip
        print(f"| {name} | {value} |")
    return int(bool(failed or last or not alive))


def latencies(seconds: list[float]) -> str:
    """Median and 99th percentile."""
    median, slowest = np.percentile(seconds, (50, 99)) * 1e3
    return f"{median:.0f} ms, {slowest:.0f} ms"


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


class started:  # noqa: N801 - a context manager
    """The server, on a free port."""

    def __init__(self, model: str) -> None:
        command = [sys.executable, "-m", "alloyk", "serve", model, "--port", "0", "--timeout", "5"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> tuple[str, subprocess.Popen]:
        while line := self._process.stderr.readline():
            if match := re.match(r"(http://\S+)", line):
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                return match[1], self._process
            print(line, end="", file=sys.stderr)
        raise SystemExit(1)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def image(number: int, height: int, width: int) -> bytes:
    """A smooth 16-bit picture with noise, as PNG."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    counts = 9000 + 3000 * np.sin(5 * rows + number * columns) + rng.normal(0, 200, rows.shape)
    content = BytesIO()
    Image.fromarray(counts.clip(0, 65535).astype(np.uint16)).save(content, "png")
    return content.getvalue()


def memory_mib(pid: int) -> float:
    """Resident memory of a process; nan if it has ended."""
    with open(f"/proc/{pid}/status") as file:
        found = re.search(r"VmRSS:\s+(\d+)", file.read())
    return int(found[1]) / 1024 if found else float("nan")


def is_alive(server: str) -> bool:
    try:
        return httpx.get(f"{server}/health", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


def ask_all(server: str, images: list[bytes], count: int, clients: int) -> tuple[list[float], int]:
    """Send good requests; return their seconds, and how many were not answered with 200."""

    def ask(number: int) -> tuple[float, bool]:
        client = getattr(_local, "client", None)
        if client is None or _local.server != server:
            client = _local.client = httpx.Client(base_url=server, timeout=60)
            _local.server = server
        before = time.monotonic()
        try:
            answer = client.post(f"/predict?name={number}", content=images[number % len(images)])
        except httpx.HTTPError:
            return time.monotonic() - before, False
        good = answer.status_code == 200 and answer.json()["path"] == str(number)
        return time.monotonic() - before, good

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(ask, range(count)))
    return [seconds for seconds, _ in found], sum(not good for _, good in found)


def attack(server: str, count: int, good: bytes) -> dict[str, int]:
    """Send hostile requests; return how often each status, or a closed connection, came back."""
    kinds = (huge, endless, bomb, garbage, wrong_header, odd_name, form, slow)
    statuses: dict[str, int] = {}
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(kinds[n % len(kinds)], server, good, np.random.default_rng(n))
            for n in range(count)
        ]
        for job in jobs:
            try:
                status = job.result()
            except httpx.HTTPError as error:
                status = type(error).__name__
            statuses[status] = statuses.get(status, 0) + 1
    return statuses


def exchange(server: str, *parts: bytes, pause: float = 0) -> str:
    """Send bytes; return the status of the answer, or `closed`."""
    where = urlsplit(server)
    answer = b""
    try:
        with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            answer = connection.recv(64)
    except OSError:
        pass
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/") else "closed"


def head(*lines: str, target: str = "/predict") -> bytes:
    return "\r\n".join([f"POST {target} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def huge(server: str, good: bytes, rng: np.random.Generator) -> str:
    return exchange(server, head("Content-Length: 1073741824"), *[bytes(2**20)] * 4)


def endless(server: str, good: bytes, rng: np.random.Generator) -> str:
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    return exchange(server, head("Transfer-Encoding: chunked"), *[chunk] * 80)


def bomb(server: str, good: bytes, rng: np.random.Generator) -> str:
    """A PNG of a few kilobytes that announces 1.6 gigapixels."""

    def part(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 40000, 40000, 16, 0, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header)
    body += part(b"IDAT", zlib.compress(bytes(2**22), 9)) + part(b"IEND", b"")
    return str(httpx.post(f"{server}/predict", content=body, timeout=60).status_code)


def garbage(server: str, good: bytes, rng: np.random.Generator) -> str:
    """A PNG with a few bytes changed, or cut short."""
    body = bytearray(good)
    body[int(rng.integers(len(body)))] ^= 255
    body = body[: int(rng.integers(1, len(body)))]
    return str(httpx.post(f"{server}/predict", content=bytes(body), timeout=60).status_code)


def wrong_header(server: str, good: bytes, rng: np.random.Generator) -> str:
    texts = (b"\x16\x03\x01\x02\x00\x01", b"POST\r\n\r\n", b"GET / HTTP/7\r\n\r\n", bytes(70000))
    return exchange(server, texts[int(rng.integers(len(texts)))])


def odd_name(server: str, good: bytes, rng: np.random.Generator) -> str:
    name = ("../" * 20 + "etc/passwd", "a\x00b\r\nSet-Cookie: a", "x" * 5000)[int(rng.integers(3))]
    answer = httpx.post(f"{server}/predict", params={"name": name}, content=good, timeout=60)
    return str(answer.status_code)


def form(server: str, good: bytes, rng: np.random.Generator) -> str:
    files = {"file": ("../../x.png", good)}
    return str(httpx.post(f"{server}/predict", files=files, timeout=60).status_code)


def slow(server: str, good: bytes, rng: np.random.Generator) -> str:
    """A body that never ends, or a header that does not."""
    if rng.integers(2):
        return exchange(server, head("Content-Length: 1000") + b"abc")
    return exchange(server, b"GET / HTTP/1.1\r\nHost: loc")


if __name__ == "__main__":
    sys.exit(main())
