# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus with the configuration of deploy/prometheus, hurried to one scrape a second."""
import json
import os
import random
import re
import subprocess
import time
import urllib.parse
import urllib.request

from boards import PROMETHEUS, read


class Server:
    """`with Server(folder, targets) as server`; the targets take the example's places, in order."""

    def __init__(self, folder, targets):
        self._folder = folder
        config = read(os.path.join(PROMETHEUS, "prometheus.yaml"))
        for name in re.findall(r"\w+\.yaml", config.split("rule_files:")[1].split("\n\n")[0]):
            self._write(name, read(os.path.join(PROMETHEUS, name)))
        for port, target in zip((9440, 9441, 9442), targets):
            config = self._replaced(config, f"127.0.0.1:{port}", target)
        for what in ("scrape", "evaluation"):
            config = self._replaced(config, f"{what}_interval: 15s", f"{what}_interval: 1s")
        self._write("prometheus.yaml", config)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._process = self._url = None

    @staticmethod
    def _replaced(text, old, new):
        assert text.count(old) == 1, f"prometheus.yaml has {old} not once"
        return text.replace(old, new)

    def _write(self, name, text):
        with open(os.path.join(self._folder, name), "w", encoding="utf-8") as stream:
            stream.write(text)

    def __enter__(self):
        for _ in range(5):
            # Below the range of outgoing connections; a port that is taken ends Prometheus at once.
            self._url = f"127.0.0.1:{random.randrange(20000, 32000)}"
            if self._starts():
                return self
        raise RuntimeError(read(os.path.join(self._folder, "log")))

    def _starts(self):
        with open(os.path.join(self._folder, "log"), "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                ["prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
                 f"--web.listen-address={self._url}", "--log.level=warn"],
                cwd=self._folder, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self._opener.open(f"http://{self._url}/-/ready", timeout=5).close()
                # Not somebody else's on that port.
                return self._process.poll() is None
            except OSError:
                time.sleep(0.1)
        self.__exit__()
        return False

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def get(self, path, **arguments):
        """The `data` of an answer; a Prometheus error is raised as ValueError with its text."""
        data = urllib.parse.urlencode(arguments).encode() if arguments else None
        try:
            with self._opener.open(f"http://{self._url}/api/v1/{path}", data, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error

    def values(self, expr):
        """The values of an expression now, one a series."""
        data = self.get("query", query=expr)
        if data["resultType"] == "scalar":
            return [float(data["result"][1])]
        return [float(sample["value"][1]) for sample in data["result"]]
