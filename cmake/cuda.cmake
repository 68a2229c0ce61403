# SPDX-License-Identifier: Apache-2.0
# CUDA, where TANDEM_CUDA says so: the compiler, the targets, the options. nvcc 13.0 or newer. From
# here on TANDEM_CUDA is ON or OFF.
find_program(NVCC nvcc HINTS /usr/local/cuda/bin)
if(TANDEM_CUDA STREQUAL "AUTO")
  set(TANDEM_CUDA OFF)
  if(NVCC)
    execute_process(COMMAND ${NVCC} --version OUTPUT_VARIABLE nvcc_says)
    string(REGEX MATCH "release ([0-9.]+)" _ "${nvcc_says}")
    if(CMAKE_MATCH_1 VERSION_GREATER_EQUAL 13.0)
      set(TANDEM_CUDA ON)
    endif()
  endif()
endif()
message(STATUS "CUDA: ${TANDEM_CUDA} (${NVCC})")
if(NOT TANDEM_CUDA)
  return()
endif()
if(NOT NVCC)
  message(FATAL_ERROR "TANDEM_CUDA is on, and there is no nvcc on PATH or in /usr/local/cuda/bin")
endif()
set(CMAKE_CUDA_COMPILER ${NVCC})
# CMake 3.25 has no names for 90a and 120f, and does not know nvcc 13's C++20.
set(CMAKE_CUDA_ARCHITECTURES OFF)
enable_language(CUDA)
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
find_package(CUDAToolkit 13.0 REQUIRED)
# ptxas says what each kernel takes; tests/kernels/cuda/resources.py reads what this keeps.
set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_SOURCE_DIR}/cmake/keep_resources.sh)
if(CCACHE)
  list(APPEND CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

set(TANDEM_CUDA_TARGETS "90a;120f" CACHE STRING
    "90a: H100, H200; 120f: RTX PRO 6000, RTX 5090")
set(tandem_gencode "")
foreach(target ${TANDEM_CUDA_TARGETS})
  string(REGEX REPLACE "f$" "" code ${target})
  list(APPEND tandem_gencode "SHELL:-gencode arch=compute_${target},code=sm_${code}")
endforeach()

# 554: TensorView's conversion to itself, never called.
set(tandem_cuda_flags ${tandem_gencode} -lineinfo --expt-relaxed-constexpr -diag-suppress=554
                      -Xptxas=-v)
function(tandem_cuda_options name)
  target_compile_options(${name} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${tandem_cuda_flags}>")
  target_link_libraries(${name} PUBLIC CUDA::cudart_static)
endfunction()

include(nccl)
