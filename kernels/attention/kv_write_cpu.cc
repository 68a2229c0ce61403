// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/kv_write.h"

namespace tandem::kernels {
namespace cpu {

void KvWrite(const KvWriteArgs& args, Stream& /*stream*/) {
  CheckKvWrite(args);
  for (int64_t t = 0; t < args.kv.shape[0]; ++t) {
    if (args.index[t] < 0) continue;
    KERNEL_CHECK_LE(args.index[t], args.rows.rows() - 1);
    WriteKvRow(args.kv.row(t), args.rows, args.index[t]);
  }
}

}  // namespace cpu

}  // namespace tandem::kernels
