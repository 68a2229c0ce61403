#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: with TLS on every connection and API keys, whoever has neither gets nothing but the right
status, whoever has both gets an answer, and no key reaches a log; workers register by certificate
and nobody without. Method: the three processes with certificates of openssl, tandem as the client.

  tls_test.py BIN
"""
import hashlib
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

from local import MODEL, free_ports, make_stubs

KEY, SLOW_KEY = "sk-quick-0123456789", "sk-slow-0123456789"
PROMPT = ["--prompt", "Dan has 5 plums and eats 2. How many plums are left?", "--max-tokens", "4",
          "--temperature", "0", "--timeout", "60s"]


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def make_certificates(folder):
    """ca.crt; .crt and .key of server, client, foreign (another authority's) and expired."""
    path = lambda name: os.path.join(folder, name)
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", path(ca + ".key"), "-out", path(ca + ".crt"), "-subj", f"/CN={ca}",
                "-days", "2")
    with open(path("san"), "w", encoding="ascii") as stream:
        stream.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name, ca, days in (("server", "ca", "2"), ("client", "ca", "2"), ("foreign", "other", "2"),
                           ("expired", "ca", "-1")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                path(name + ".key"), "-out", path(name + ".csr"), "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", path(name + ".csr"), "-CA", path(ca + ".crt"), "-CAkey",
                path(ca + ".key"), "-CAcreateserial", "-days", days, "-extfile", path("san"),
                "-out", path(name + ".crt"))


class Tls(unittest.TestCase):
    binaries = folder = None
    processes, ports = {}, {}

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        make_certificates(cls.folder)
        for name, key in (("key", KEY), ("slow", SLOW_KEY), ("wrong", "sk-wrong-0123456789")):
            with open(cls.path(name), "w", encoding="ascii") as stream:
                stream.write(key + "\n")
        with open(cls.path("keys"), "w", encoding="ascii") as stream:
            for name, rate in (("key", ""), ("slow", "0.001 1")):
                with open(cls.path(name), encoding="ascii") as key:
                    digest = hashlib.sha256(key.read().strip().encode()).hexdigest()
                stream.write(f"{name} {digest} {rate}\n")
        ports = free_ports(7)
        roles = ("router", "prefill", "decode")
        cls.ports = dict(zip(roles, ports)) | {r + "-health": p for r, p in zip(roles, ports[3:])}
        cls.ports["registry"] = ports[6]
        make_stubs(cls.folder)
        for role, text in cls.configs().items():
            cls.start(role, text)
        cls.addClassCleanup(cls.stop)
        for role in roles:
            cls.wait(role)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def configs(cls):
        address = lambda name: f'"127.0.0.1:{cls.ports[name]}"'
        files = lambda name: " ".join(f'{field}_file: "{cls.path(file)}"' for field, file in (
            ("cert", name + ".crt"), ("key", name + ".key"), ("ca", "ca.crt")))
        common = lambda role: (
            f'listen: {address(role)} health_listen: {address(role + "-health")} '
            f'model_dir: "{MODEL}" tls {{ {files("server")} }} ')
        registers = (f'registration {{ routers: {address("registry")} '
                     f'tls {{ {files("client")} }} }}')
        return {
            "decode": f'worker {{ {common("decode")} {registers} }} pages: 16',
            "prefill": f'worker {{ {common("prefill")} {registers} }} '
                       f'decode_tls {{ {files("client")} }}',
            "router": f'{common("router")} worker_tls {{ {files("client")} }} '
                      f'registry {{ listen: {address("registry")} tls {{ {files("server")} }} }} '
                      f'api_keys_file: "{cls.path("keys")}"'}

    @classmethod
    def start(cls, role, text):
        config = cls.path(role + ".textproto")
        with open(config, "w", encoding="utf-8") as stream:
            stream.write(text)
        with open(cls.path(role + ".log"), "wb") as log:
            cls.processes[role] = subprocess.Popen(
                [os.path.join(cls.binaries, "tandem-" + role), "--config", config], stderr=log)

    @classmethod
    def stop(cls):
        for process in cls.processes.values():
            process.kill()
            process.wait(timeout=10)

    @classmethod
    def wait(cls, role):
        """Over the plain-text port, as a probe does."""
        for _ in range(600):
            if cls.tandem("health", role + "-health")[0] == 0:
                return
            time.sleep(0.1)
        with open(cls.path(role + ".log"), encoding="utf-8") as log:
            raise AssertionError(f"{role} does not serve: {log.read()[-2000:]}")

    @classmethod
    def tandem(cls, verb, target, *flags):
        out = subprocess.run(
            [os.path.join(cls.binaries, "tandem"), verb, "--target",
             f"127.0.0.1:{cls.ports[target]}", *flags],
            capture_output=True, text=True, timeout=120, check=False)
        return out.returncode, out.stdout, out.stderr

    def identity(self, name):
        return ["--ca", self.path("ca.crt"), "--cert", self.path(name + ".crt"), "--key",
                self.path(name + ".key")]

    def refused(self, code, *flags):
        exit_code, out, err = self.tandem("generate", "router", *PROMPT, *flags)
        self.assertEqual((exit_code, out.strip()), (1, ""), err)
        self.assertIn(code, err)

    def test_with_certificate_and_key_there_is_an_answer(self):
        exit_code, out, err = self.tandem("generate", "router", *PROMPT, *self.identity("client"),
                                          "--api-key-file", self.path("key"))
        self.assertEqual(exit_code, 0, err)
        self.assertTrue(out.strip())

    def test_without_either_there_is_none(self):
        good = ["--api-key-file", self.path("key")]
        self.refused("UNAVAILABLE", *good)
        self.refused("UNAVAILABLE", *good, "--ca", self.path("ca.crt"))
        self.refused("UNAVAILABLE", *good, *self.identity("foreign"))
        self.refused("UNAVAILABLE", *good, "--ca", self.path("other.crt"))
        self.refused("UNAUTHENTICATED (API_KEY)", *self.identity("client"))
        self.refused("UNAUTHENTICATED (API_KEY)", *self.identity("client"), "--api-key-file",
                     self.path("wrong"))

    def test_a_rate_is_held(self):
        flags = [*PROMPT, *self.identity("client"), "--api-key-file", self.path("slow")]
        self.assertEqual(self.tandem("generate", "router", *flags)[0], 0)
        _, _, err = self.tandem("generate", "router", *flags)
        self.assertIn("RESOURCE_EXHAUSTED (RATE_LIMIT)", err)
        self.assertIn("try again in", err)

    def test_workers_want_certificates_too(self):
        for role in ("prefill", "decode"):
            self.assertNotEqual(self.tandem("health", role)[0], 0)
            self.assertEqual(self.tandem("health", role, *self.identity("client"))[0], 0)

    def register(self, target, name, **more):
        """The status of one beat, a last one that changes nothing, with a certificate or none."""
        registry = importlib.import_module("tandem.v1.registry_pb2")
        stubs = importlib.import_module("tandem.v1.registry_pb2_grpc")
        read = lambda file: pathlib.Path(self.path(file)).read_bytes() if file else None
        credentials = grpc.ssl_channel_credentials(
            read("ca.crt"), read(name and name + ".key"), read(name and name + ".crt"))
        beat = registry.RegisterRequest(
            endpoint="127.0.0.1:9", protocol_version=1, leaving=True, state={"role": 1})
        with grpc.secure_channel(f"127.0.0.1:{self.ports[target]}", credentials) as channel:
            try:
                stubs.RegistryServiceStub(channel).Register(beat, timeout=20, **more)
                return "OK"
            except grpc.RpcError as error:
                return error.code().name

    def test_who_registers_shows_a_certificate_and_not_to_the_clients_port(self):
        self.assertEqual(self.register("registry", "client"), "OK")
        self.assertEqual(self.register("registry", None), "UNAVAILABLE")
        self.assertEqual(self.register("registry", "foreign"), "UNAVAILABLE")
        self.assertEqual(self.register("registry", "expired"), "UNAVAILABLE")
        key = [("authorization", f"Bearer {KEY}")]
        self.assertEqual(self.register("router", "client", metadata=key), "UNIMPLEMENTED")
        exit_code, _, err = self.tandem("generate", "registry", *PROMPT, *self.identity("client"),
                                        "--api-key-file", self.path("key"))
        self.assertEqual(exit_code, 1)
        self.assertIn("UNIMPLEMENTED", err)

    def test_a_wrong_file_stops_the_start_with_its_name(self):
        config = self.path("bad.textproto")
        with open(config, "w", encoding="utf-8") as stream:
            stream.write(self.configs()["decode"].replace("server.key", "client.key"))
        out = subprocess.run([os.path.join(self.binaries, "tandem-decode"), "--config", config],
                             capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(out.returncode, 0)
        self.assertIn("worker.tls.key_file", out.stderr)

    def test_no_key_and_no_prompt_is_in_a_log(self):
        self.refused("UNAUTHENTICATED", *self.identity("client"), "--api-key-file",
                     self.path("wrong"))
        self.test_with_certificate_and_key_there_is_an_answer()
        for role in self.processes:
            with open(self.path(role + ".log"), encoding="utf-8") as log:
                text = log.read()
            self.assertIn("serving", text)
            for secret in ("sk-", "plums", "Dan has"):
                self.assertNotIn(secret, text)


if __name__ == "__main__":
    Tls.binaries = os.path.abspath(sys.argv.pop())
    unittest.main()
