# SPDX-License-Identifier: Apache-2.0
"""The three processes by deploy/scripts/local.sh, and Python stubs of the contract, for tests."""
import glob
import os
import random
import shutil
import socket
import subprocess
import sys
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = os.path.join(ROOT, "deploy/models/tiny-v4")


def make_stubs(folder):
    """Generates the stubs into `folder` and lets `import tandem.v1…` find them."""
    protos = [os.path.relpath(path, os.path.join(ROOT, "proto")) for pattern in
              ("tandem/v1/*.proto", "google/rpc/*.proto")
              for path in sorted(glob.glob(os.path.join(ROOT, "proto", pattern)))]
    plugin = shutil.which("grpc_python_plugin")
    subprocess.run(["protoc", "-Iproto", f"--python_out={folder}", f"--grpc_python_out={folder}",
                    f"--plugin=protoc-gen-grpc_python={plugin}", *protos],
                   cwd=ROOT, check=True, timeout=60)
    sys.path.insert(0, folder)


_claims = []  # sockets: their ports are nobody else's until the end of this process


def free_ports(count):
    """Below the range of outgoing connections, so that nobody takes them between two starts; nor
    does another test (tests/e2e/ports/free_port.h)."""
    ports = []
    while len(ports) < count:
        candidate = socket.socket()
        try:
            candidate.bind(("127.0.0.1", random.randrange(20000, 32768)))
        except OSError:
            candidate.close()
            continue
        # Only now: a server may listen on it, and nobody bind it as above.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _claims.append(candidate)
        ports.append(candidate.getsockname()[1])
    return ports


class Local:
    """One router, one prefill and one decode worker, as `with Local(bin, state) as local`."""

    def __init__(self, binaries, state, pages=256, **configs):
        self._state = state
        self._script = os.path.join(ROOT, "deploy/scripts/local.sh")
        self._up = ["--bin", binaries, "--model", MODEL, "--pages", str(pages)]
        for kind, text in configs.items():
            self._up += [f"--{kind}-config", text]
        self.grpc, self.metrics = {}, {}

    def __enter__(self):
        self._run("up", *self._up)
        with open(os.path.join(self._state, "processes"), encoding="utf-8") as stream:
            for line in stream:
                name, _, _, grpc, metrics = line.split()
                self.grpc[name.split("-")[0]] = f"127.0.0.1:{grpc}"
                self.metrics[name.split("-")[0]] = f"127.0.0.1:{metrics}"
        return self

    def __exit__(self, *_):
        self._run("down")

    def _run(self, verb, *arguments):
        subprocess.run([self._script, verb, "--dir", self._state, *arguments], check=True,
                       stdout=subprocess.DEVNULL, timeout=400)

    def log(self, name):
        with open(os.path.join(self._state, name + ".log"), encoding="utf-8") as stream:
            return stream.read()

    def scrape(self, role):
        # Never through a proxy of the machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.metrics[role]}/metrics", timeout=10) as answer:
            return answer.read().decode()
