// SPDX-License-Identifier: Apache-2.0
// Goal: every config that the chart renders is one that its process takes. Method: each file of each
// rendering of ci/ through `--validate-config` of the program it is for.
//
//   node configs_test.mjs BIN
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ciNames, configs, render } from "./chart.mjs";

const bin = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), "tandem-configs-"));
after(() => rmSync(folder, { recursive: true }));

function validate({ role, name, text }) {
  const file = join(folder, name);
  writeFileSync(file, text);
  return spawnSync(join(bin, `tandem-${role}`), ["--config", file, "--validate-config"], { encoding: "utf8" });
}

for (const ci of ciNames) {
  test(`ci/${ci}`, () => {
    const files = configs(render({ ci }));
    assert.deepEqual([...new Set(files.map((f) => f.role))].sort(), ["decode", "prefill", "router"]);
    for (const file of files) {
      const done = validate(file);
      assert.equal(done.status, 0, `${file.name}: ${done.stderr}`);
    }
  });
}

test("a file that is wrong does not pass", () => {
  const [file] = configs(render());
  assert.equal(validate({ ...file, text: `${file.text}\nno_such_field: 1\n` }).status, 2);
});
