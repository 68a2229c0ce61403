#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: nothing is open but what deploy/config/README.md lists, and all of that is. Method: the
three processes with every port that a config can open, on all addresses, alone in a network
namespace; a connection to each port of it.

  ports_test.py BIN
"""
import errno
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

from local import MODEL, ROOT


def listed():
    """{role: [listen, metrics, health, registry]}, the last for the router alone."""
    with open(os.path.join(ROOT, "deploy/config/README.md"), encoding="utf-8") as stream:
        rows = re.findall(r"^\| `(\w+)\.textproto` \| [^|]* \|([\d |]+)\|$", stream.read(), re.M)
    return {role: [int(port) for port in re.findall(r"\d+", cells)] for role, cells in rows}


def configs(ports):
    address = lambda port, host="0.0.0.0": f'"{host}:{port}"'
    common = lambda role: (
        f"listen: {address(ports[role][0])} metrics_listen: {address(ports[role][1])} "
        f'health_listen: {address(ports[role][2])} model_dir: "{MODEL}" ')
    registry = ports["router"][3]
    worker = lambda role: (
        f'worker {{ {common(role)} engine: ENGINE_SIM registration {{ routers: '
        f'{address(registry, "127.0.0.1")} endpoint: {address(ports[role][0], "127.0.0.1")} }} }} ')
    return {"decode": worker("decode") + "pages: 16", "prefill": worker("prefill"),
            "router": common("router") + f"registry {{ listen: {address(registry)} }}"}


def open_ports():
    found = []
    for port in range(1, 65536):
        with socket.socket() as probe:
            error = probe.connect_ex(("127.0.0.1", port))
            # A port that meets itself is one that the kernel has just lent to the probe.
            if error == 0 and probe.getsockname() != probe.getpeername():
                found.append(port)
            assert error in (0, errno.ECONNREFUSED), os.strerror(error)
    return found


def scan(binaries):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ports = listed()
    assert {role: len(each) for role, each in ports.items()} == {"router": 4, "prefill": 3,
                                                                "decode": 3}, ports
    assert not open_ports(), "the namespace is not empty"
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for role, text in configs(ports).items():
                path = os.path.join(folder, role)
                with open(path, "w", encoding="utf-8") as stream:
                    stream.write(text)
                with open(path + ".log", "wb") as log:
                    processes.append(subprocess.Popen(
                        [os.path.join(binaries, "tandem-" + role), "--config", path], stderr=log))
            health = [os.path.join(binaries, "tandem"), "health", "--target",
                      f"127.0.0.1:{ports['router'][2]}"]
            limit = time.monotonic() + 60
            # Ready: both workers have registered.
            while subprocess.run(health, capture_output=True, check=False).returncode != 0:
                assert time.monotonic() < limit, "the router is not ready"
                time.sleep(0.2)
            found = open_ports()
        finally:
            for process in processes:
                process.kill()
                process.wait(timeout=10)
    wanted = sorted(port for each in ports.values() for port in each)
    assert found == wanted, f"open: {found}, listed: {wanted}"
    print(f"open, and listed: {found}")


if __name__ == "__main__":
    if sys.argv[2:] == ["inside"]:
        scan(os.path.abspath(sys.argv[1]))
    else:
        user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
        os.execvp("unshare", ["unshare", *user, "--net", sys.executable, "-B", __file__,
                              os.path.abspath(sys.argv[1]), "inside"])
