#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of Tandem: streams one answer to stdout; Ctrl-C cancels it; errors are explained."""
import argparse
import signal
import sys

import grpc
from google.rpc import error_details_pb2, status_pb2
from tandem.v1 import inference_pb2, inference_pb2_grpc


def connect(flags):
    if flags.ca is None:
        return grpc.insecure_channel(flags.target)
    return grpc.secure_channel(flags.target, grpc.ssl_channel_credentials(flags.ca.read()))


def request_of(flags):
    request = inference_pb2.GenerateRequest(max_tokens=flags.max_tokens)
    request.chat.messages.add(role="user", content=flags.prompt)
    if flags.temperature is not None:  # absent: the model's own
        request.sampling.temperature = flags.temperature
    return request


def stream(call, cancel_after=None):
    """Prints the answer; returns its end, a Finished message."""
    finished, deltas = None, 0
    for event in call:
        kind = event.WhichOneof("event")
        if kind == "delta":
            deltas += 1
            print(event.delta.text, end="", flush=True)
            if deltas == cancel_after:
                call.cancel()  # the server frees the request's memory within one step
        elif kind == "finished":
            finished = event.finished
        # Also: "accepted", with the request's id, and "heartbeat".
    return finished


def details_of(error):
    """The google.rpc details of an error: type name → message."""
    known = {message.DESCRIPTOR.full_name: message for message in (
        error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)}
    details = {}
    metadata = dict(error.trailing_metadata() or ())
    if "grpc-status-details-bin" in metadata:
        status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
        for packed in status.details:
            name = packed.type_url.rsplit("/", 1)[-1]
            if name in known:
                details[name] = known[name].FromString(packed.value)
    return details


def explain(error):
    details = details_of(error)
    print(f"\n{error.code().name}: {error.details()}", file=sys.stderr)
    if "google.rpc.ErrorInfo" in details:
        print("reason:", details["google.rpc.ErrorInfo"].reason, file=sys.stderr)
    if "google.rpc.BadRequest" in details:
        for violation in details["google.rpc.BadRequest"].field_violations:
            print(f"field {violation.field}: {violation.description}", file=sys.stderr)
    if "google.rpc.RetryInfo" in details:
        delay = details["google.rpc.RetryInfo"].retry_delay
        print(f"try again in {delay.seconds + delay.nanos / 1e9:g} s", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--target", default="127.0.0.1:8440", metavar="HOST:PORT")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--timeout", type=float, default=60, help="seconds for the whole answer")
    parser.add_argument("--ca", type=argparse.FileType("rb"), help="TLS, trusting this PEM file")
    parser.add_argument("--api-key-file", type=argparse.FileType("r"))
    parser.add_argument("--cancel-after", type=int, metavar="DELTAS", help="to see a cancel")
    flags = parser.parse_args()
    key = flags.api_key_file and flags.api_key_file.read().strip()
    metadata = [("authorization", "Bearer " + key)] if key else []
    with connect(flags) as channel:
        client = inference_pb2_grpc.InferenceServiceStub(channel)
        call = client.Generate(request_of(flags), timeout=flags.timeout, metadata=metadata)
        signal.signal(signal.SIGINT, lambda *_: call.cancel())
        try:
            finished = stream(call, flags.cancel_after)
        except grpc.RpcError as error:
            explain(error)
            return 1
    reason, usage = inference_pb2.FinishReason.Name(finished.reason), finished.usage
    counts = f"{usage.prompt_tokens} tokens read, {usage.completion_tokens} written"
    print(f"\n{reason}, {counts}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
