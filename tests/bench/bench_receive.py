"""What receiving costs per body beyond reading it with upb: CPU of the receiving process, 510 spans a post.

Baseline: ``ExportTraceServiceRequest.FromString`` of the same bodies, in the same process, interleaved with the posts. A child
process sends, over one connection kept alive, so its work is not counted.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import statistics
import subprocess
import sys
import time
from pathlib import Path

import grpc
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

sys.path.insert(0, str(Path(__file__).parents[1] / "collectors"))

from running_receivers import MemoryDoor, Told

from collectors.receive.listening import Receivers
from collectors.receive.receiver_options import ReceiverOptions
from collectors.service.vitals import Vitals

SPANS, POSTS, ROUNDS = 510, 40, 9
PACK = {"identity": lambda body: body, "gzip": gzip.compress, "zstd": zstandard.compress, "grpc": bytes}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def body(seed: int) -> bytes:
    """510 spans of 12 attributes, about 430 bytes each."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for k in range(SPANS):
        number = seed * SPANS + k
        span = spans.add(trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name="llm_request", kind=2,
                         start_time_unix_nano=10**18 + number, end_time_unix_nano=10**18 + 2 * number)
        for at in range(12):
            value = span.attributes.add(key=f"gen_ai.attribute.{at}").value
            if at % 2:
                value.int_value = number * at
            else:
                value.string_value = f"value-{number * at}"
    return request.SerializeToString()


def send(port: int, encoding: str) -> None:
    """Be the child: post all bodies once per line of stdin."""
    bodies = [PACK[encoding](body(seed)) for seed in range(POSTS)]
    headers = {"content-type": "application/x-protobuf", "content-encoding": encoding}
    client = http.client.HTTPConnection("127.0.0.1", port)
    export = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(EXPORT)
    print("ready", flush=True)
    for _ in sys.stdin:
        for sent in bodies:
            if encoding == "grpc":
                export(sent)
                continue
            client.request("POST", "/v1/traces", sent, headers)
            answer = client.getresponse()
            answer.read()
            assert answer.status == 200
        print("done", flush=True)


class Forgetful(MemoryDoor):
    async def admit(self, signal: object, body: bytes, packed: bytes = b"") -> bool:
        return True


async def measure(encoding: str) -> None:
    """Print the cost of one post, of its parse, and their ratio."""
    receivers = Receivers(Forgetful(), Told(), Vitals, ReceiverOptions())
    addresses = await receivers.start()
    address = addresses.grpc if encoding == "grpc" else addresses.http
    assert address is not None
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, address.rpartition(":")[2], encoding, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    await child.stdout.readline()
    bodies = [body(seed) for seed in range(POSTS)]
    posts, parses = [], []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        child.stdin.write(b"\n")
        await child.stdout.readline()
        posts.append(time.process_time_ns() - began)
        began = time.process_time_ns()
        for plain in bodies:
            ExportTraceServiceRequest.FromString(plain)
        parses.append(time.process_time_ns() - began)
    child.stdin.close()
    await child.wait()
    await receivers.stop(1)
    post, parse = min(posts) / POSTS / 1000, min(parses) / POSTS / 1000
    print(f"{encoding:8} {len(bodies[0]) / 1000:.0f} kB plain: {post:.0f} us a post, {parse:.0f} us upb alone, "
          f"ratio {post / parse:.2f} (median {statistics.median(posts) / statistics.median(parses):.2f})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        send(int(sys.argv[1]), sys.argv[2])
    else:
        for name in PACK:
            asyncio.run(measure(name))
