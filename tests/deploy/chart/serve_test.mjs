// SPDX-License-Identifier: Apache-2.0
// Goal: what the chart renders serves, a decode worker that Kubernetes ends takes no stream with it,
// and a rolling restart of everything loses no request. Method: the configs of ci/local as processes
// (pods.mjs). First: the router lists workers, a third decode worker never comes, as below
// replicasMax; 50 streams run while one of two decode workers gets SIGTERM; each must end with the
// tokens of the same request alone. Second: workers register; two of each role, restarted one after
// another under load; an attempt may only fail with UNAVAILABLE and before its first token, and
// succeeds when repeated. Third: the same with workers that come back with another cache format, a
// prefill and a decode worker at a time, as updatePartition makes it; simulated engines, for there
// is one trained model only. Either format's workers are named where they do not fit.
//
//   node serve_test.mjs BIN
import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds } from "./chart.mjs";
import { Pods, sleep, waitFor } from "./pods.mjs";

const bin = process.argv[2];
const streams = 50;
const prompt = "Dan has 14 oranges and gets 7 more. How many oranges does Dan have now?";
const greedy = [`--prompt=${prompt}`, "--temperature=0", "--ignore-eos", "--timeout=300s"];

test("SIGTERM of a decode worker ends no stream", { timeout: 500_000 }, async (context) => {
  const pods = await Pods.create(bin, { ci: "local", set: ["decode.replicasMax=3", "registration.enabled=false"] });
  context.after(() => pods.destroy());
  await pods.startAll();
  const router = "t-tandem-router-0";
  const leaving = "t-tandem-decode-0";
  const generate = (tokens) => pods.tandem(router, "generate", ...greedy, `--max-tokens=${tokens}`, "--json");
  const inflight = (stage) => pods.metric(router, "tandem_requests_inflight", { stage });

  // What `helm test` runs.
  const [{ command, args }] = kinds(pods.objects, "Pod")[0].spec.containers;
  const asked = await pods.tandem(router, command[1], ...args.filter((word) => !word.startsWith("--target=")));
  assert.match(asked.out, /The answer is 9\./, asked.out + asked.err);

  const alone = await generate(96);
  assert.equal(alone.code, 0, alone.err);
  const expected = JSON.parse(alone.out).token_ids;
  assert.equal(expected.length, 96);

  let finished = 0;
  const running = Array.from({ length: streams }, async () => {
    const answer = await generate(96);
    ++finished;
    return answer;
  });
  // All have their memory, and the worker that is to leave writes some of the answers.
  await waitFor("all streams run", 120, async () => {
    const past = (await inflight("prefill")) + (await inflight("decode")) + finished;
    return past === streams && (await inflight("reserve")) === 0;
  });
  await waitFor("the leaving worker writes", 120, async () =>
    (await pods.metric(leaving, "tandem_kv_leases", { state: "committed" })) >= 3);
  const before = finished;
  const ended = pods.terminate(leaving);
  assert.ok(before < streams / 2, `${before} streams were over when the worker was told to end`);
  const answers = await Promise.all(running);
  assert.deepEqual(answers.filter((a) => a.code !== 0).map((a) => a.err), []);
  for (const answer of answers) assert.deepEqual(JSON.parse(answer.out).token_ids, expected);
  assert.equal(await ended, 0, "the worker ends by itself, within its grace period");

  assert.equal((await pods.tandem(router, "health")).code, 0, "one is left: the router stays ready");
  assert.equal((await generate(8)).code, 0);
  pods.start(leaving);
  await pods.waitAllSeen();
});

// Load on all routers while `roll` runs, which is given a wait for six more answers. The attempts.
async function underLoad(pods, ask, expected, roll) {
  const routers = pods.names("router");
  let over = false;
  let complete = 0;
  let repeated = 0;
  const client = async (first) => {
    for (let i = first; !over; ++i) {
      const answer = await ask(routers[i % routers.length]);
      if (answer.code === 0) {
        assert.equal(answer.out, expected);
        ++complete;
      } else {
        // A Service would send it to the other router; so does the next turn. CANCELLED is what gRPC
        // itself says of a call that comes in the instant in which a server closes.
        assert.match(answer.err, /UNAVAILABLE|CANCELLED/);
        assert.equal(answer.out, "", "a stream broke off");
        ++repeated;
        await sleep(100);
      }
    }
  };
  const load = Promise.all(Array.from({ length: 6 }, (_, i) => client(i)));
  const more = () => {
    const goal = complete + 6;
    return waitFor("answers before the next restart", 120, () => complete >= goal);
  };
  try {
    await Promise.race([roll(more), load]);
  } finally {
    over = true;
  }
  await load;
  return { complete, repeated };
}

async function restart(pods, names) {
  const codes = await Promise.all(names.map((name) => pods.terminate(name)));
  assert.deepEqual(codes, names.map(() => 0), names.join());
  for (const name of names) pods.start(name);
  for (const name of names) await pods.waitServing(name);
  await pods.waitAllSeen();
}

test("a rolling restart of two of each loses no request", { timeout: 500_000 }, async (context) => {
  const pods = await Pods.create(bin, { ci: "local", set: ["router.replicas=2", "prefill.replicas=2"] });
  context.after(() => pods.destroy());
  await pods.startAll();
  const ask = (router) => pods.tandem(router, "generate", ...greedy, "--max-tokens=24");
  const alone = await ask(pods.names("router")[0]);
  assert.equal(alone.code, 0, alone.err);
  const { complete, repeated } = await underLoad(pods, ask, alone.out, async (more) => {
    for (const name of pods.names()) {
      await more();
      await restart(pods, [name]);
    }
  });
  context.diagnostic(`${complete} answers, ${repeated} attempts repeated`);
  assert.ok(complete >= 6 * pods.names().length);
});

test("a rolling upgrade to another cache format loses no request", { timeout: 300_000 }, async (context) => {
  const worker = '{"engine":"ENGINE_SIM","drain_timeout":{"seconds":60}}';
  const pods = await Pods.create(bin, { ci: "local",
    set: ["prefill.replicas=2", `prefill.config.worker=${worker}`, `decode.config.worker=${worker}`] });
  context.after(() => pods.destroy());
  await pods.startAll();
  const [router] = pods.names("router");
  const ask = () => pods.tandem(router, "generate", ...greedy, "--max-tokens=24");
  const alone = await ask();
  assert.equal(alone.code, 0, alone.err);
  // One layer more: other pages, another layout.
  pods.newModel("tiny-v4", (config) => {
    ++config.num_hidden_layers;
    config.compress_ratios.push(4);
  });
  const pairs = [1, 0].map((i) => ["prefill", "decode"].map((role) => `t-tandem-${role}-${i}`));
  const { complete, repeated } = await underLoad(pods, ask, alone.out, async (more) => {
    for (const pair of pairs) {
      await more();
      for (const name of pair) pods.upgrade(name);
      await restart(pods, pair);
    }
    await more();
  });
  context.diagnostic(`${complete} answers, ${repeated} attempts repeated`);
  const mismatches = pods.log(router).split("\n").filter((line) => line.includes("workers_do_not_match"));
  assert.ok(mismatches.length > 0, "never were two formats up");
  for (const line of mismatches) {
    const [one, other] = ["prefill", "decode"].map((role) => line.match(new RegExp(`${role}_format="?([^"]+)`))?.[1]);
    assert.ok(one && other, line);
    assert.notEqual(one, other, line);
  }
});
