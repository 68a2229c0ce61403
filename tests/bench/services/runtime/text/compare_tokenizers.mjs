// SPDX-License-Identifier: Apache-2.0
// Tandem's tokenizer against Hugging Face's own (Rust, npm package `tokenizers`), in one run, on
// one core, on one English text. Prints the table of tests/bench/results/tokenizer.md.
//   taskset -c 0 node compare_tokenizers.mjs BENCH_BINARY TOKENIZER.json NODE_MODULES [ROUNDS]
// (run_tokenizer.sh does all of it). Fails where the numbers of tokens differ.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const [binary, vocabulary, modules, rounds = '5'] = process.argv.slice(2);
process.env.TOKENIZERS_PARALLELISM = 'false';
const require = createRequire(path.resolve(modules, 'node_modules', 'x.js'));
const { Tokenizer } = require('tokenizers');
const version = JSON.parse(
  fs.readFileSync(path.resolve(modules, 'node_modules/tokenizers/package.json'))).version;

// Arithmetic stories with the Apache licence between them: at least one megabyte.
function makeCorpus() {
  const names = ['Dan', 'Rosa', 'Leo', 'Karl', 'Sam', 'Liz', 'Eva', 'Ned', 'Amy', 'Tom'];
  const things = ['oranges', 'marbles', 'stickers', 'pencils', 'books', 'coins', 'shells', 'cards'];
  let seed = 1;
  const pick = (n) => (seed = (seed * 48271) % 2147483647) % n;
  const root = path.resolve(path.dirname(new URL(import.meta.url).pathname), '../../../../..');
  const licence = fs.readFileSync(path.join(root, 'LICENSE'), 'utf8');
  let text = '';
  for (let i = 0; text.length < 1 << 20; ++i) {
    const [a, b, n, m] = [names[pick(10)], names[pick(10)], 2 + pick(90), 2 + pick(20)];
    const thing = things[pick(8)];
    text += `${a} has ${n} ${thing} and gives ${m} of them to ${b}, who doesn't want to keep ` +
      `all of them. How many ${thing} does ${a} have now? Start with ${n}. Take away ${m}: ` +
      `${n} - ${m} = ` +
      `${n - m}. The answer is ${n - m}.\n`;
    if (i % 200 === 0) text += licence;
  }
  return text;
}

async function huggingFace(tokenizer, texts) {
  let best = Infinity;
  let tokens = 0;
  for (let round = 0; round < Number(rounds) + 1; ++round) {  // The first one warms its cache.
    const start = process.hrtime.bigint();
    const encodings = [];
    for (const text of texts) {
      encodings.push(await tokenizer.encode(text, null, { addSpecialTokens: false }));
    }
    best = Math.min(best, Number(process.hrtime.bigint() - start) / 1e9);
    tokens = encodings.reduce((sum, e) => sum + e.getLength(), 0);
  }
  return { seconds: best, tokens };
}

function tandem(corpusFile) {
  const json = execFileSync(binary, [corpusFile, vocabulary, `--benchmark_repetitions=${rounds}`,
    '--benchmark_format=json'], { maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'ignore'] });
  const best = {};
  for (const b of JSON.parse(json).benchmarks) {
    if (b.run_type !== 'iteration') continue;
    const seconds = b.real_time / 1e3;
    if (best[b.name] && best[b.name].seconds <= seconds) continue;
    best[b.name] = { seconds, tokens: b.tokens };
  }
  return best;
}

const corpus = makeCorpus();
const corpusFile = path.join(os.tmpdir(), `tandem_corpus_${process.pid}.txt`);
fs.writeFileSync(corpusFile, corpus);
const ours = tandem(corpusFile);
fs.unlinkSync(corpusFile);
const tokenizer = Tokenizer.fromFile(vocabulary);
const lines = corpus.split('\n').filter((line) => line.length > 0);
const theirs = {
  whole: await huggingFace(tokenizer, [corpus]),
  lines: await huggingFace(tokenizer, lines),
};

const bytes = { whole: Buffer.byteLength(corpus), lines: Buffer.byteLength(lines.join('')) };
const title = { whole: 'one text', lines: `${lines.length} lines` };
console.log(`| ${(bytes.whole / 1e6).toFixed(2)} MB of English, DeepSeek-V3 vocabulary | tokens | ` +
  `Hugging Face ${version}, MB/s | Tandem, MB/s | ratio |\n|---|---|---|---|---|`);
for (const kind of ['whole', 'lines']) {
  if (ours[kind].tokens !== theirs[kind].tokens) {
    throw new Error(`${kind}: tokens ${ours[kind].tokens}, theirs ${theirs[kind].tokens}`);
  }
  const speed = (result) => bytes[kind] / 1e6 / result.seconds;
  console.log(`| ${title[kind]} | ${ours[kind].tokens} | ${speed(theirs[kind]).toFixed(2)} | ` +
    `${speed(ours[kind]).toFixed(2)} | ${(speed(ours[kind]) / speed(theirs[kind])).toFixed(1)} |`);
}
