#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: the clients of deploy/clients do what their README says. Method: both against the three
processes: their answer is that of `tandem generate`; a cancel ends with CANCELLED and frees the
pool; a wrong value is INVALID_ARGUMENT with its field; a full pool says when to try again; over
TLS, with an API key, there is an answer, and without the key there is none.

  clients_test.py BIN
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

from local import MODEL, ROOT, Local, free_ports, make_stubs
from tls_test import make_certificates

PROMPT = "Dan has 5 plums and eats 2. How many plums are left?"
PAGES = 8


class Clients(unittest.TestCase):
    binaries = local = folder = None

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        stubs, state, node = (os.path.join(cls.folder, name) for name in ("stubs", "state", "node"))
        for path in (stubs, state, node):
            os.mkdir(path)
        make_stubs(stubs)
        # Where npm would have put them for a user.
        shutil.copy(os.path.join(ROOT, "deploy/clients/node/client.mjs"), node)
        os.symlink(os.path.join(ROOT, "build/node_modules"), os.path.join(node, "node_modules"))
        cls.local = cls.enterClassContext(Local(cls.binaries, state, pages=PAGES))
        cls.commands = {
            "python": [os.path.join(ROOT, "deploy/clients/python/client.py")],
            "node": ["node", os.path.join(node, "client.mjs"), "--proto",
                     os.path.join(ROOT, "proto")]}
        # Debian's Python, which has gRPC, whichever else there is.
        cls.environment = os.environ | {"PYTHONPATH": stubs,
                                        "PATH": "/usr/bin:" + os.environ["PATH"]}

    def each(self, *arguments, target=None):
        """Both clients with these arguments: (exit code, stdout, stderr)."""
        for name, command in self.commands.items():
            out = subprocess.run(
                [*command, "--target", target or self.local.grpc["router"], *arguments],
                env=self.environment, capture_output=True, text=True, timeout=200, check=False)
            print(f"{name}: exit code {out.returncode}: {out.stderr}", file=sys.stderr)
            yield out.returncode, out.stdout, out.stderr

    def test_the_answer_is_that_of_tandem_generate(self):
        tandem = subprocess.run(
            [os.path.join(self.binaries, "tandem"), "generate", "--target",
             self.local.grpc["router"], "--temperature", "0", "--prompt", PROMPT],
            capture_output=True, text=True, timeout=200, check=True)
        self.assertGreater(len(tandem.stdout), 10)
        for code, out, err in self.each("--temperature", "0", PROMPT):
            self.assertEqual(code, 0, err)
            self.assertEqual(out.strip(), tandem.stdout.strip())
            self.assertRegex(err, r"FINISH_REASON_STOP, \d+ tokens read, \d+ written")

    def test_the_readme_s_lines_for_python_answer(self):
        with open(os.path.join(ROOT, "deploy/clients/README.md"), encoding="utf-8") as stream:
            lines = re.search(r"^\*\*Python\*\*.*?^```\n(.*?)^```", stream.read(), re.M | re.S)[1]
        root = os.path.join(self.folder, "root")
        os.mkdir(root)
        for name in ("proto", "deploy"):
            os.symlink(os.path.join(ROOT, name), os.path.join(root, name))
        command = lines.replace("client.py", f"client.py --target {self.local.grpc['router']}")
        out = subprocess.run(["bash", "-e", "-c", command], cwd=root, env=self.environment,
                             capture_output=True, text=True, timeout=200, check=False)
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertTrue(out.stdout.strip())

    def test_a_cancel_is_told_and_frees_the_memory(self):
        for code, out, err in self.each("--cancel-after", "2", "--temperature", "0", "--max-tokens",
                                        "1000", PROMPT):
            self.assertEqual(code, 1)
            self.assertIn("CANCELLED", err)
            self.assertLess(len(out), 100)
        until = time.monotonic() + 60
        free = rf"tandem_kv_blocks{{.*state=\"free\"}} {PAGES}$"
        while not re.search(free, self.local.scrape("decode"), re.M):
            self.assertLess(time.monotonic(), until, "pages are still taken")
            time.sleep(0.1)

    def test_a_wrong_value_names_its_field(self):
        for code, out, err in self.each("--temperature", "1000", PROMPT):
            self.assertEqual((code, out), (1, ""))
            self.assertIn("INVALID_ARGUMENT", err)
            self.assertIn("reason: INVALID_FIELD", err)
            self.assertRegex(err, r"(?m)^field sampling\.temperature: .*1000")

    def test_over_tls_with_an_api_key(self):
        target = self.start_tls_router()
        trust = ["--ca", os.path.join(self.folder, "ca.crt"), "--max-tokens", "4"]
        key = ["--api-key-file", os.path.join(self.folder, "key")]
        for code, out, err in self.each(*trust, *key, PROMPT, target=target):
            self.assertEqual(code, 0, err)
            self.assertTrue(out.strip())
        for code, out, err in self.each(*trust, PROMPT, target=target):
            self.assertEqual((code, out), (1, ""))
            self.assertIn("UNAUTHENTICATED", err)
            self.assertIn("reason: API_KEY", err)

    def start_tls_router(self):
        """A second router for the same workers; returns where it listens."""
        path = lambda name: os.path.join(self.folder, name)
        make_certificates(self.folder)
        target = f"localhost:{free_ports(1)[0]}"
        workers = " ".join(f'{kind}_workers: "{self.local.grpc[kind]}"'
                           for kind in ("prefill", "decode"))
        secret = "sk-clients-0123456789"
        for name, text in (
                ("key", secret), ("keys", f"a {hashlib.sha256(secret.encode()).hexdigest()}\n"),
                ("config", f'listen: "{target}" model_dir: "{MODEL}" {workers} '
                           f'tls {{ cert_file: "{path("server.crt")}" '
                           f'key_file: "{path("server.key")}" }} api_keys_file: "{path("keys")}"')):
            with open(path(name), "w", encoding="utf-8") as stream:
                stream.write(text)
        router = subprocess.Popen(
            [os.path.join(self.binaries, "tandem-router"), "--config", path("config")])
        self.addCleanup(router.wait)
        self.addCleanup(router.kill)
        health = [os.path.join(self.binaries, "tandem"), "health", "--target", target, "--ca",
                  path("ca.crt")]
        until = time.monotonic() + 60
        while subprocess.run(health, capture_output=True, timeout=60, check=False).returncode != 0:
            self.assertLess(time.monotonic(), until, "the router does not serve")
            time.sleep(0.1)
        return target

    def test_without_room_it_says_when_to_try_again(self):
        from tandem.v1 import worker_pb2, worker_pb2_grpc
        with grpc.insecure_channel(self.local.grpc["decode"]) as channel:
            decode = worker_pb2_grpc.DecodeServiceStub(channel)
            request = worker_pb2.ReserveRequest(request_id="all", tokens=PAGES * 256)
            held = decode.Reserve(request, timeout=60, wait_for_ready=True).reservation
            for code, out, err in self.each(PROMPT):
                self.assertEqual((code, out), (1, ""))
                self.assertIn("RESOURCE_EXHAUSTED", err)
                self.assertRegex(err, r"(?m)^reason: KV_BUDGET$")
                self.assertRegex(err, r"(?m)^try again in [\d.]+ s$")
            decode.Release(worker_pb2.ReleaseRequest(reservation=held), timeout=60)


if __name__ == "__main__":
    Clients.binaries = sys.argv.pop()
    unittest.main()
