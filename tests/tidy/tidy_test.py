#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: every rule of the gate bites, and lets the right form pass.
Method: small trees in memory (one case a rule), and one on disk for the rules that run tools."""
import os
import tempfile
import unittest

import build_rules
import doc_rules
import functions
import kernel_rules
import layers
import ratchet
import text_rules
import tidy
from tree import load, strip_cpp, tree_of

CC = "// SPDX-License-Identifier: Apache-2.0\n"
HASH = "# SPDX-License-Identifier: Apache-2.0\n"
HEADER = CC + "// Thing: does this.\n#pragma once\n"


def rules(check, texts):
    return sorted(f.rule for f in check(tree_of(texts)) if "allow.txt" not in f.path)


class TextRulesTest(unittest.TestCase):
    def one(self, code, path="services/runtime/kv/a.cc"):
        return rules(text_rules.check, {path: code})

    def test_code_comes_without_comments_and_literals(self):
        code = strip_cpp("int a; // getenv\n/* throw\n */ f(\"exit(\", '\\'', 1'000);\n")
        self.assertEqual(code[0].strip(), "int a;")
        self.assertEqual(code[2].strip(), "f(\"\", \"\", 1'000);")
        self.assertEqual(strip_cpp('R"(throw\n)" x;')[1].strip(), "x;")

    def test_size_and_width(self):
        self.assertEqual(self.one(CC + "int a;\n" * 399), [])
        self.assertEqual(self.one(CC + "int a;\n" * 400), ["file-size"])
        self.assertEqual(self.one(CC + "x" * 100 + "\n"), [])
        self.assertEqual(self.one(CC + "x" * 101 + "\n"), ["columns"])
        self.assertEqual(self.one(CC + "é" * 100 + "\n"), [])
        self.assertEqual(self.one(CC + "int a; \n"), ["space"])

    def test_first_line_is_the_licence(self):
        self.assertEqual(self.one("int a;\n"), ["spdx"])
        self.assertEqual(self.one("#!/bin/sh\n" + HASH, "deploy/a.sh"), [])
        self.assertEqual(self.one("#!/bin/sh\n", "deploy/a.sh"), ["spdx"])
        self.assertEqual(self.one(CC, "CMakeLists.txt"), ["spdx"])
        self.assertEqual(self.one("", "proto/tandem/v1/a.proto"), ["spdx"])

    def test_every_ban_bites(self):
        for rule, line in (
            ("getenv", 'auto* x = std::getenv("A");'), ("exit", "std::exit(1);"),
            ("throw", "throw 1;"), ("thread", "std::thread t;"), ("thread", "std::jthread t;"),
            ("shared_ptr", "std::shared_ptr<int> p;"), ("shared_ptr", "std::make_shared<int>(1);"),
            ("using-namespace", "using namespace std;"), ("printf", 'std::printf("x");'),
            ("printf", 'snprintf(b, 1, "x");'), ("skip", "GTEST_SKIP();"),
            ("skip", "TEST(A, DISABLED_B) {"), ("arch", "cudaGetDeviceProperties(&p, 0);"),
            ("arch", "#if __CUDA_ARCH__ >= 900"), ("todo", "// TODO: later"),
            ("todo", "// FIXME(#1): later"),
        ):
            self.assertEqual(self.one(CC + line + "\n"), [rule], line)

    def test_bans_leave_the_right_forms_alone(self):
        for line in ("// throw exit( getenv", 'f("printf(");', "on_exit_ = exit_code(1);",
                     "absl::StrFormat(1);", "_exit(1);", "// TODO(#12): later", "int hacksaw;",
                     "std::this_thread::yield();"):
            self.assertEqual(self.one(CC + line + "\n"), [], line)
        home = "services/runtime/base/thread.h"
        self.assertEqual(self.one(HEADER + "std::thread t;\n", home), [])
        ask = "cudaGetDeviceProperties(&p, 0);\n"
        self.assertEqual(self.one(CC + ask, "kernels/select.cc"), [])

    def test_headers_and_tests_open_with_what_they_are_for(self):
        self.assertEqual(self.one(HEADER, "kernels/common/a.h"), [])
        self.assertEqual(self.one(CC + "#pragma once\n", "kernels/common/a.h"), ["opening"])
        self.assertEqual(self.one(CC + "// A.\n", "kernels/common/a.h"), ["pragma-once"])
        self.assertEqual(self.one(CC + "int a;\n", "tests/kernels/a_test.cc"), ["opening"])


class LayersTest(unittest.TestCase):
    def one(self, path, include):
        texts = {path: CC + include + "\n"}
        target = include.split('"')[1] if '"' in include else ""
        if target.startswith(layers.PROJECT):
            texts.setdefault(target, HEADER)
        return rules(layers.check, texts)

    def test_includes_go_down(self):
        for path, target in (
            ("services/runtime/kv/a.cc", "services/runtime/base/b.h"),
            ("services/runtime/kv/a.cc", "services/runtime/model/config/model_config.h"),
            ("services/runtime/model/a.cc", "services/runtime/kv/b.h"),
            ("services/decode/a.cc", "services/runtime/transfer/b.h"),
            ("services/router/a.cc", "services/runtime/text/b.h"),
            ("services/router/a.cc", "services/runtime/model/config/model_config.h"),
            ("services/router/a.cc", "tandem/v1/worker.pb.h"), ("kernels/a.cc", "kernels/hc/b.h"),
            ("tests/e2e/a_test.cc", "services/router/b.h"),
        ):
            self.assertEqual(self.one(path, f'#include "{target}"'), [], (path, target))

    def test_every_other_direction_is_refused(self):
        for path, target in (
            ("services/runtime/base/a.cc", "services/runtime/kv/b.h"),
            ("services/runtime/text/a.cc", "services/runtime/kv/b.h"),
            ("services/runtime/kv/a.cc", "services/runtime/model/model.h"),
            ("services/decode/a.cc", "services/prefill/b.h"),
            ("services/router/a.cc", "services/decode/b.h"),
            ("services/router/a.cc", "kernels/kernel_table.h"),
            ("services/router/a.cc", "services/runtime/model/b.h"),
            ("services/runtime/scheduler/a.cc", "tandem/v1/worker.pb.h"),
            ("kernels/a.cc", "absl/strings/str_cat.h"),
            ("kernels/a.cc", "services/runtime/base/b.h"), ("services/nowhere/a.cc", "x/y.h"),
            ("services/decode/a.cc", "tests/e2e/b.h"),
        ):
            self.assertEqual(self.one(path, f'#include "{target}"'), ["layer"], (path, target))

    def test_includes_start_at_the_root_and_exist(self):
        path = "services/decode/a.cc"
        self.assertEqual(self.one(path, '#include "b.h"'), ["include"])
        self.assertEqual(self.one(path, "#include <kernels/b.h>"), ["include"])
        self.assertEqual(self.one(path, "#include <vector>"), [])
        found = rules(layers.check, {path: CC + '#include "kernels/gone.h"\n'})
        self.assertEqual(found, ["include"])


class BuildRulesTest(unittest.TestCase):
    def test_every_source_belongs_to_a_target(self):
        root = HASH + "add_subdirectory(kernels)\n"
        good = {"CMakeLists.txt": root, "kernels/CMakeLists.txt": HASH + "lib(hc/a.cc b.cc)\n",
                "kernels/hc/a.cc": CC, "kernels/b.cc": CC}
        self.assertEqual(rules(build_rules.check, good), [])
        commented = {**good, "kernels/CMakeLists.txt": HASH + "lib(hc/a.cc)  # b.cc\n"}
        self.assertEqual(rules(build_rules.check, commented), ["dead-file"])
        other = {**good, "kernels/CMakeLists.txt": HASH + "lib(hc/a.cc xb.cc)\n"}
        self.assertEqual(rules(build_rules.check, other), ["dead-file"])
        lonely = {**good, "CMakeLists.txt": HASH}
        self.assertEqual(rules(build_rules.check, lonely), ["dead-folder"])

    def test_every_header_is_included_by_another_file(self):
        header = {"kernels/a.h": HEADER}
        self.assertEqual(rules(build_rules.check_headers, header), ["dead-file"])
        user = {"tests/a_test.cc": CC + '#include "kernels/a.h"\n'}
        self.assertEqual(rules(build_rules.check_headers, {**header, **user}), [])

    def test_tests_mirror_sources(self):
        test = {"tests/services/runtime/kv/a_test.cc": CC}
        self.assertEqual(rules(build_rules.check_mirror, test), ["mirror"])
        self.assertEqual(
            rules(build_rules.check_mirror, {**test, "services/runtime/kv/a.cc": CC}), [])

    def test_the_router_links_no_kernels(self):
        line = "build bin/tandem-router: CXX_LINKER__x a.o | libtandem_rpc.a{}\n  X = 1\n"
        for extra, count in (("", 0), (" kernels/libtandem_kernels.a", 1), (" libcudart.so", 1)):
            with tempfile.TemporaryDirectory() as build:
                with open(os.path.join(build, "build.ninja"), "w", encoding="utf-8") as stream:
                    stream.write(line.format(extra))
                self.assertEqual(len(list(build_rules.check_links(build))), count, extra)


class DocRulesTest(unittest.TestCase):
    def one(self, readme, *paths):
        texts = {"services/x/README.md": readme, **{"services/x/" + p: CC for p in paths}}
        return rules(doc_rules.check, texts)

    def test_a_readme_names_what_is_there_and_nothing_else(self):
        self.assertEqual(self.one("- `a.h`, `a.cc`: A.\n", "a.h", "a.cc"), [])
        self.assertEqual(self.one("- `a.{h,cc}`: A.\n", "a.h", "a.cc"), [])
        self.assertEqual(self.one("| `a` | A. |\n", "a.h", "a_cpu.cc"), [])
        self.assertEqual(self.one("- `sub/`: B.\n", "sub/README.md"), [])
        self.assertEqual(self.one("- `a.h`: A.\n", "a.h", "b.h"), ["readme-list"])
        self.assertEqual(self.one("* `a.h`: A.\n", "a.h", "b.h"), ["readme-list"])
        self.assertEqual(self.one("- `a.h`: A.\n- `b.h`: B.\n", "a.h"), ["readme-list"])

    def test_links_lead_somewhere(self):
        self.assertEqual(self.one("`a.h` [a](a.h#x) [b](https://x.y/z)\n", "a.h"), [])
        self.assertEqual(self.one("`a.h` [b](../b.h)\n", "a.h"), ["link"])

    def test_paths_in_backticks_exist(self):
        def one(text):
            tree = tree_of({"x/y/a.cc": CC, "z/b.md": text, "z/x/c.cc": CC})
            return [f.rule for f in doc_rules.check_paths(tree, tree.get("z/b.md"))]

        self.assertEqual(one("see `x/y/a.cc`, `x/y/a.{h,cc}`\n"), ["path"])
        self.assertEqual(one("see `x/y/`, `x/*/a.cc`, `x/c.cc` and `tool --file x/y/a.cc,`\n"), [])
        self.assertEqual(one("`a/b`, `x`, `y/a.cc`, `text/x.json`, x/gone\n"), [])
        self.assertEqual(one("```sh\nx/gone.sh\n`x/gone`\n```\n`x/gone`\n"), ["path"])

    def test_readmes_are_short_and_present(self):
        self.assertEqual(self.one("`a.h`\n" * 40, "a.h"), [])
        self.assertEqual(self.one("`a.h`\n" * 41, "a.h"), ["readme"])
        self.assertEqual(rules(doc_rules.check, {"services/x/a.cc": CC}), ["readme"])
        self.assertEqual(self.one("`y/a.h`\n", "y/a.h"), [])
        self.assertEqual(self.one("`y/`\n", "y/a.h"), ["readme"])
        self.assertEqual(self.one("`y/`\n", "y/a.bin"), [])

    def test_folders_stay_small(self):
        names = [f"f{c}.cc" for c in "abcdefghijklmnop"]
        self.assertEqual(self.one("`f*.cc`\n", *names[:15]), [])
        self.assertEqual(self.one("`f*.cc`\n", *names), ["folder-size"])


class KernelRulesTest(unittest.TestCase):
    CONTRACT = CC + "".join(f"// {s}  x\n" for s in kernel_rules.SECTIONS)
    CONTRACT += "#pragma once\nvoid HcPost(const HcPostArgs& args, Stream& stream);\n"
    GOOD = {"kernels/hc/hc_post.h": CONTRACT, "kernels/hc/hc_post_cpu.cc": CC,
            "tests/kernels/hc/hc_post_test.cc": CC, "kernels/README.md": "| `hc_post` | y |\n",
            "kernels/kernel_table.h": HEADER + "void (*hc_post)(int);\n",
            "kernels/hc/pair.h": HEADER}

    def test_a_whole_operation_passes(self):
        self.assertEqual(rules(kernel_rules.check, self.GOOD), [])

    def test_what_is_internal_stays_inside(self):
        shared = {"kernels/hc/mix.h": CC + "// Mixing.\n// Internal to kernels/hc.\n#pragma once\n"
                  "void Mix(Stream& stream);\n"}
        include = CC + '#include "kernels/hc/mix.h"\n'
        self.assertEqual(rules(kernel_rules.check, {**shared, "kernels/hc/a.cc": include}), [])
        found = rules(kernel_rules.check, {**shared, "services/decode/a.cc": include})
        self.assertEqual(found, ["kernel-internal"])

    def test_a_family_stays_small(self):
        family = {f"kernels/hc/op{i}.h": self.CONTRACT for i in range(9)}
        self.assertIn("folder-size", rules(kernel_rules.check, family))
        del family["kernels/hc/op0.h"]
        self.assertNotIn("folder-size", rules(kernel_rules.check, family))

    def test_every_missing_part_is_named(self):
        for path, rule in (("kernels/hc/hc_post_cpu.cc", "kernel-anatomy"),
                           ("tests/kernels/hc/hc_post_test.cc", "kernel-anatomy"),
                           ("kernels/kernel_table.h", "kernel-table"),
                           ("kernels/README.md", "kernel-catalogue")):
            part = {p: t for p, t in self.GOOD.items() if p != path}
            self.assertEqual(rules(kernel_rules.check, part), [rule], path)
        bare = {**self.GOOD, "kernels/hc/hc_post.h": self.CONTRACT.replace("Cost", "Price")}
        self.assertEqual(rules(kernel_rules.check, bare), ["kernel-contract"])
        only_included = '#include "kernels/hc/hc_post.h"\n'
        bare = {**self.GOOD, "kernels/kernel_table.h": HEADER + only_included}
        self.assertEqual(rules(kernel_rules.check, bare), ["kernel-table"])


class RatchetTest(unittest.TestCase):
    BEST = {name: 0 for name in ratchet.CAPS}

    def test_numbers_may_only_fall(self):
        kept = {**self.BEST, "todo_count": 3}
        self.assertEqual(list(ratchet.check({**self.BEST, "todo_count": 3}, kept)), [])
        self.assertEqual(len(list(ratchet.check({**self.BEST, "todo_count": 4}, kept))), 1)
        self.assertEqual(len(list(ratchet.check(self.BEST, kept, before=self.BEST))), 1)
        self.assertEqual(len(list(ratchet.check(self.BEST, {}))), len(ratchet.CAPS))
        over = {**self.BEST, "dup8_host_percent": 6.5}
        self.assertEqual(len(list(ratchet.check(self.BEST, over))), 1)

    def test_tighten_rounds_up_and_never_raises(self):
        measured = {**self.BEST, "dup8_host_percent": 1.2, "largest_file_lines": 399}
        kept = {**ratchet.CAPS, **{n: cap for n, (_, cap) in ratchet.CAPS.items()}}
        tight = ratchet.tighten(measured, {**kept, "largest_file_lines": 390})
        self.assertEqual((tight["dup8_host_percent"], tight["largest_file_lines"]), (1.5, 390))
        self.assertEqual(ratchet.parse(ratchet.render(tight)), tight)

    def test_duplication_counts_both_copies(self):
        def files(*texts):
            return tree_of({f"services/{i}.cc": t for i, t in enumerate(texts)}).files
        block = "".join(f"int value_{i} = {i};\n" for i in range(8))
        other = "".join(f"int other_{i} = {i};\n" for i in range(8))
        self.assertEqual(ratchet.duplication(files(block, other)), 0)
        self.assertEqual(ratchet.duplication(files(block, block)), 100)
        self.assertEqual(ratchet.duplication(files(block + other, block)), 100 * 16 / 24)


class ToolsTest(unittest.TestCase):
    def test_ctags_and_clang_format_see_what_they_should(self):
        body = "  if (a) return;\n"
        texts = {
            ".clang-format": "BasedOnStyle: Google\nColumnLimit: 100\n",
            "long.cc": CC + "void Host(int a) {\n" + body * 59 + "}\n",
            "fits.cc": CC + "void Host(int a) {\n" + body * 58 + "}\n",
            "bad.cc": CC + "int  a;\n",
            "k.cu": CC + "__global__ void Kernel(int a) {\n" + body * 148 + "}\n"
                    + "void Launch(int a) {\n" + body * 59 + "}\n"
                    + "template <int kN>\n__device__ void Long(int a) {\n" + body * 149 + "}\n",
        }
        with tempfile.TemporaryDirectory() as root:
            for path, text in texts.items():
                with open(os.path.join(root, path), "w", encoding="utf-8") as stream:
                    stream.write(text)
            tree = load(root)
            found = list(functions.check(functions.all_functions(tree)))
            names = sorted(f.message.split()[0] for f in found)
            self.assertEqual(names, ["Host", "Launch", "Long"])
            self.assertEqual([f.path for f in tidy.check_format(tree)], ["bad.cc"])


if __name__ == "__main__":
    unittest.main()
