// SPDX-License-Identifier: Apache-2.0
// Contract checks of the operations: a violation is a bug of the caller, so it ends the process
// with both values printed. Everything the world can get wrong (a checkpoint, a request) is checked
// above this library.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace tandem::kernels {

struct NamedValue {
  const char* name;
  double value;
};

// Prints file, line, condition and values to stderr and aborts.
[[noreturn]] void ContractFailure(const char* file, int line, const char* condition,
                                  std::initializer_list<NamedValue> values);

}  // namespace tandem::kernels

#define KERNEL_CHECK(condition)                                               \
  do {                                                                        \
    if (!(condition)) [[unlikely]]                                            \
      ::tandem::kernels::ContractFailure(__FILE__, __LINE__, #condition, {}); \
  } while (false)

#define KERNEL_CHECK_OP_(a, op, b)                                                                 \
  do {                                                                                             \
    const auto kernel_check_a = (a);                                                               \
    const decltype(kernel_check_a) kernel_check_b = (b);                                           \
    if (!(kernel_check_a op kernel_check_b)) [[unlikely]]                                          \
      ::tandem::kernels::ContractFailure(                                                          \
          __FILE__, __LINE__, #a " " #op " " #b,                                                   \
          {{#a, static_cast<double>(kernel_check_a)}, {#b, static_cast<double>(kernel_check_b)}}); \
  } while (false)

#define KERNEL_CHECK_EQ(a, b) KERNEL_CHECK_OP_(a, ==, b)
#define KERNEL_CHECK_LE(a, b) KERNEL_CHECK_OP_(a, <=, b)
#define KERNEL_CHECK_GE(a, b) KERNEL_CHECK_OP_(a, >=, b)
// a is a multiple of b.
#define KERNEL_CHECK_MULTIPLE(a, b) KERNEL_CHECK_EQ((a) % (b), 0)
