# SPDX-License-Identifier: Apache-2.0
# NCCL, where there is its header: the other kind of all-reduce (services/runtime/parallel), and the
# way of rows between GPUs that do not reach each other. The library is looked for when a program
# needs it: libnccl2, a CUDA image or PyTorch brings it.
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
message(STATUS "NCCL: ${NCCL_INCLUDE_DIR}")
if(NOT NCCL_INCLUDE_DIR)
  message(WARNING "nccl.h is nowhere (libnccl-dev has it): this build has no NCCL, so GPUs that do "
                  "not reach each other get no tensor parallelism and send rows as bytes")
  return()
endif()
add_library(tandem_nccl INTERFACE)
target_include_directories(tandem_nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
