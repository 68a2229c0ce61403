// SPDX-License-Identifier: Apache-2.0
// Goal: rows written on a device, byte for byte. Method: random values of many sizes, tiles of
// zeros, NaN and infinity, into both page shapes, against the reference; other rows keep their
// poison.
#include "kernels/attention/kv_write.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using KvWriteCudaTest = OnDevice;

TEST_F(KvWriteCudaTest, WritesTheSameBytes) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t rows_per_page : {2, 64}) {
    for (const int64_t tokens : {1, 3, 4, 5, 130}) {
      Tensor<Bf16, 2> kv(tokens, 512);
      for (Bf16& v : kv.values) {
        const float size[] = {0, 1e-6f, 1e-3f, 1, 30, 1e4f, 1e30f};
        v = ToBf16(random.Normal() * size[random.Below(7)]);
      }
      std::fill_n(kv.values.begin(), 64, Bf16{0});
      kv[64] = ToBf16(NAN);
      kv[130] = ToBf16(INFINITY);
      Tensor<int32_t, 1> index(tokens);
      for (int64_t t = 0; t < tokens; ++t) {
        index[t] = t % 5 == 2 ? -1 : static_cast<int32_t>(2 * (tokens - t));
      }
      const int64_t pages = (2 * tokens + 1 + rows_per_page - 1) / rows_per_page;
      std::vector<uint8_t> expected(pages * KvPageBytes(rows_per_page), 0xA5);
      DeviceBytes pool(static_cast<int64_t>(expected.size()));
      pool.Write(expected.data(), pool.size());
      KvWriteArgs args{
          .kv = kv,
          .index = index,
          .rows = {.base = expected.data(), .pages = pages, .rows_per_page = rows_per_page}};
      reference.kv_write(args, host);
      const DeviceTensor dkv(kv);
      const DeviceTensor<int32_t, 1> dindex(index);
      args.kv = dkv;
      args.index = dindex;
      args.rows.base = pool.data();
      cuda.kv_write(args, stream);
      Wait();
      std::vector<uint8_t> actual(expected.size());
      pool.Read(actual.data(), pool.size());
      ASSERT_TRUE(actual == expected) << tokens << " tokens, pages of " << rows_per_page;
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
