#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: dashboards, rules and alerts ask for nothing that no process shows, and say what they
should say; promtool accepts them and the alerts fire where they should.
Method: files alone, no process; live_test.py asks a Prometheus."""
import os
import re
import subprocess
import sys
import unittest

from boards import (DCGM, GRAFANA, PROMETHEUS, ROOT, dashboards, exposed, names, queries, read,
                    recorded, unknown, without_comments)

HERE = os.path.dirname(os.path.abspath(__file__))
ALERT = re.compile(r"- alert: (\w+)\n(.*?)(?=\n\s*(?:#|- alert:)|\Z)", re.S)


def run(*command, cwd=HERE):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120,
                          check=False)


class NamesTest(unittest.TestCase):
    def test_the_lists_are_found(self):
        self.assertGreater(len(exposed()), 50)
        self.assertIn("tandem_request_ttft_seconds", exposed())
        self.assertIn("vllm:time_to_first_token_seconds", exposed())

    def test_a_wrong_name_is_noticed(self):
        self.assertEqual(unknown(names("rate(tandem_request_ttft_second_bucket[1m])"), exposed()),
                         {"tandem_request_ttft_second_bucket"})
        self.assertEqual(names('sum(up{job="a"}) + group(tandem:a:b) / vllm:x_total'),
                         {"up", "tandem:a:b", "vllm:x_total"})

    def test_dashboards_ask_for_what_is_shown(self):
        for name, board in dashboards().items():
            for title, expr in queries(board):
                with self.subTest(board=name, panel=title):
                    self.assertTrue(names(expr), f"no series in {expr}")
                    known = exposed() | (DCGM if name == "gpus" else set())
                    self.assertEqual(unknown(names(expr), known), set())

    def test_rules_and_alerts_ask_for_what_is_shown(self):
        for name in ("rules.yaml", "alerts.yaml"):
            text = without_comments(read(os.path.join(PROMETHEUS, name)))
            self.assertEqual(unknown(names(text), exposed() | recorded() | {"up"}), set(), name)

    def test_the_chart_scales_by_what_is_shown(self):
        policy = os.path.join(ROOT, "helm/tandem/templates/policy")
        files = [read(os.path.join(policy, name)) for name in os.listdir(policy)]
        used = set().union(*map(names, files))
        self.assertIn("tandem_queue_depth", used)
        self.assertEqual(unknown(used, exposed()), set())

    def test_the_exceptions_are_used(self):
        used = set().union(*(names(expr) for _, expr in queries(dashboards()["gpus"])))
        self.assertEqual(DCGM - used, set())


class DashboardTest(unittest.TestCase):
    def test_they_are_what_the_generator_writes(self):
        out = run(sys.executable, "-B", os.path.join(GRAFANA, "generate.py"), "--check")
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)

    def test_each_can_be_imported(self):
        boards = dashboards()
        self.assertEqual(set(boards), {"overview", "requests", "kv_handoff", "gpus"})
        self.assertEqual(len({board["uid"] for board in boards.values()}), len(boards))
        for name, board in boards.items():
            self.assertGreaterEqual(board["schemaVersion"], 38, name)  # Grafana 10
            variables = {v["name"] for v in board["templating"]["list"]}
            self.assertLessEqual({"datasource", "model_name"}, variables, name)
            ids = [panel["id"] for panel in board["panels"]]
            self.assertEqual(len(set(ids)), len(ids), name)
            self.no_overlap(name, [panel["gridPos"] for panel in board["panels"]])
            for variable in re.findall(r"\$\{?([a-zA-Z]\w*)", str(list(queries(board)))):
                self.assertIn(variable, variables, name)

    def test_errors_are_those_of_the_rule(self):
        rules = read(os.path.join(PROMETHEUS, "rules.yaml"))
        rule = re.search(r"record: tandem:errors:ratio5m\s+expr: \|\s+(.*?)\n\n", rules, re.S)[1]
        board = dict(queries(dashboards()["overview"]))["Errors"]
        board = board.replace('model_name=~"$model_name", ', "").replace("$__rate_interval", "5m")
        self.assertEqual(board.split(), rule.replace("sum by (model_name) ", "sum").split())

    def no_overlap(self, name, places):
        taken = set()
        for place in places:
            self.assertLessEqual(place["x"] + place["w"], 24, name)
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, f"{name}: two panels at {x}, {y}")
                    taken.add((x, y))

    def test_each_panel_explains_itself(self):
        for name, board in dashboards().items():
            for panel in board["panels"]:
                with self.subTest(board=name, panel=panel["title"]):
                    self.assertGreater(len(panel["description"]), 4)
                    self.assertTrue(panel["targets"])
                    look = panel["fieldConfig"]["defaults"]
                    self.assertTrue(look["unit"])
                    steps = look["thresholds"]["steps"]
                    self.assertIsNone(steps[0]["value"])
                    values = [step["value"] for step in steps[1:]]
                    self.assertEqual(values, sorted(values))
                    for target in panel["targets"]:
                        self.assertEqual(target["datasource"]["uid"], "${datasource}")


class AlertTest(unittest.TestCase):
    def test_each_says_what_it_is_and_what_to_do(self):
        alerts = dict(ALERT.findall(read(os.path.join(PROMETHEUS, "alerts.yaml"))))
        self.assertGreater(len(alerts), 8)
        for name, body in alerts.items():
            for key in ("summary", "description", "runbook"):
                self.assertRegex(body, rf"\n\s+{key}: \".{{20,}}\"", f"{name}: {key}")
            self.assertRegex(body, r"severity: (page|ticket)\b", name)
        sections = re.findall(r"(?m)^## (\w+)", read(os.path.join(PROMETHEUS, "runbook.md")))
        self.assertEqual(sections, list(alerts))
        cases = set(re.findall(r"Tandem\w+", read(os.path.join(HERE, "alerts_test.yaml"))))
        self.assertEqual(cases, set(alerts), "every alert has a case in alerts_test.yaml")


class PromtoolTest(unittest.TestCase):
    def accepts(self, *arguments, cwd):
        out = run("promtool", *arguments, cwd=cwd)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return out.stdout

    def test_files_are_valid(self):
        self.accepts("check", "rules", "--lint=all", "rules.yaml", "alerts.yaml", cwd=PROMETHEUS)
        text = self.accepts("check", "config", "prometheus.yaml", cwd=PROMETHEUS)
        self.assertIn("2 rule files found", text)

    def test_alerts_fire_where_they_should(self):
        self.assertIn("SUCCESS", self.accepts("test", "rules", "alerts_test.yaml", cwd=HERE))


if __name__ == "__main__":
    unittest.main()
