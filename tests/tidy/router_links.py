#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: the router runs on a machine without a GPU.
Method: neither its link line nor what the loader would load knows kernels or CUDA.

router_links.py BUILD    BUILD holds build.ninja and bin/tandem-router."""
import os
import re
import subprocess
import sys

import build_rules
from tree import Finding

GPU_LIBRARY = re.compile(r"\b(libcuda|libcudart|libcublas|libnccl|libnvidia)\S*")


def loaded(build):
    binary = os.path.join(build, "bin", "tandem-router")
    done = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True)
    for match in GPU_LIBRARY.finditer(done.stdout):
        yield Finding("services/router", 1, "router-links", f"the loader needs {match.group(0)}")


def main():
    found = [*build_rules.check_links(sys.argv[1]), *loaded(sys.argv[1])]
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
