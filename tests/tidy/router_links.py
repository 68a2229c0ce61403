#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: the router and the command line run on a machine without a GPU, and carry no kernels.
Method: neither the router's link line nor what the loader would load for either knows kernels or
CUDA; the command line, which asks about GPUs and sizes, holds no kernel table.

router_links.py BUILD    BUILD holds build.ninja, bin/tandem-router and bin/tandem."""
import os
import re
import subprocess
import sys

import build_rules
from tree import Finding

GPU_LIBRARY = re.compile(r"\b(libcuda|libcudart|libcublas|libnccl|libnvidia)\S*")


def loaded(build, name, folder):
    binary = os.path.join(build, "bin", name)
    done = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True)
    for match in GPU_LIBRARY.finditer(done.stdout):
        yield Finding(folder, 1, "router-links", f"the loader needs {match.group(0)}")


def tables(build):
    binary = os.path.join(build, "bin", "tandem")
    done = subprocess.run(["nm", binary], capture_output=True, text=True, check=True)
    for match in re.finditer(r"k(Cpu|CpuReference|Cuda)KernelsE\b", done.stdout):
        yield Finding("services/tools", 1, "router-links", f"tandem holds {match.group(0)}")


def main():
    build = sys.argv[1]
    found = [*build_rules.check_links(build), *loaded(build, "tandem-router", "services/router"),
             *loaded(build, "tandem", "services/tools"), *tables(build)]
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
