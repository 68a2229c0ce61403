// SPDX-License-Identifier: Apache-2.0
// Goal: what deploy/machines.md tells an operator to write into a config is taken, and is what was
// planned. Method: each block through `--validate-config`; sizes against deploy/sizing.md, which
// another test holds against `tandem doctor --plan`.
//
//   node recipes_test.mjs BIN
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { read } from "./chart/chart.mjs";

const bin = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), "tandem-recipes-"));
after(() => rmSync(folder, { recursive: true }));
const recipes = [...read("deploy/machines.md").matchAll(/^```textproto\n# (\w+)\n([^]*?)^```/gm)];

test("a recipe for each process", () => {
  assert.deepEqual(recipes.map(([, role]) => role).sort(), ["decode", "prefill", "router"]);
});

for (const [, role, text] of recipes) {
  test(`the ${role}'s is valid`, () => {
    const file = join(folder, `${role}.textproto`);
    const check = () => spawnSync(join(bin, `tandem-${role}`), ["--config", file, "--validate-config"], { encoding: "utf8" });
    writeFileSync(file, text);
    const done = check();
    assert.equal(done.status, 0, done.stderr);
    writeFileSync(file, `${text}\nno_such_field: 1\n`);
    assert.equal(check().status, 2);
  });
}

test("sizes are the plan's", () => {
  const plan = /--gpus 4[^`]*^chosen([^`]*)^```/m.exec(read("deploy/sizing.md"))[1];
  const [decode, prefill] = ["decode", "prefill"].map((name) => recipes.find(([, role]) => role === name)[2]);
  for (const field of ["pages", "slots", "tensor_parallel", "context_tokens_max"]) {
    const planned = new RegExp(`decode +worker[^]*?(${field}: \\d+)`).exec(plan)[1];
    assert.ok(decode.includes(planned), planned);
  }
  for (const field of ["chunk_tokens", "kv_channel_kind", "staging_pages"]) {
    const planned = new RegExp(`${field}: \\w+`).exec(plan)[0];
    assert.ok(prefill.includes(planned), planned);
  }
  const gpus = (text) => [...text.matchAll(/gpus: \[[\d, ]+\]/g)].map(([list]) => list);
  assert.deepEqual([...gpus(decode), ...gpus(prefill)], gpus(plan));
});
