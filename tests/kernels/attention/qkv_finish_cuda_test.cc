// SPDX-License-Identifier: Apache-2.0
// Goal: norms, rotations and the row's write in one launch on a device. Method: fresh random input,
// heads of every shard, against the reference: q but for the last rounding, rows byte for byte
// (kv's statistic is exact); twice, for the same bits. With compressors, indexer queries and the
// ring: the same bits as those operations, in one launch and beyond the tokens of one.
#include "kernels/attention/qkv_finish.h"
#include "tests/kernels/attention/device_sequences.h"
#include "tests/kernels/attention/finish_world.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using QkvFinishCudaTest = OnDevice;

TEST_F(QkvFinishCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t heads : {4, 7, 8, 16, 32, 64, 128}) {
    for (const int64_t tokens : {1, 5, 33}) {
      Tensor<Bf16, 3> q(tokens, heads, 512);
      Tensor<Bf16, 2> kv(tokens, 512);
      Tensor<Bf16, 1> weight(512);
      Tensor<float, 2> cos(tokens, 32), sin(tokens, 32);
      random.Fill(q, 3);
      random.Fill(kv, 2);
      random.Fill(weight);
      for (size_t i = 0; i < cos.values.size(); ++i) {
        const float angle = random.Normal() * 100;
        cos.values[i] = std::cos(angle);
        sin.values[i] = std::sin(angle);
      }
      Tensor<int32_t, 1> index(tokens);
      for (int64_t t = 0; t < tokens; ++t) {
        index[t] = t % 5 == 2 ? -1 : static_cast<int32_t>(2 * (tokens - t));
      }
      const int64_t pages = (2 * tokens + 64) / 64;
      std::vector<uint8_t> expected(pages * KvPageBytes(64), 0xA5);
      DeviceBytes pool(static_cast<int64_t>(expected.size()));
      pool.Write(expected.data(), pool.size());
      const DeviceTensor dq(q), again(q);
      const DeviceTensor<Bf16, 2> dkv(kv);
      const DeviceTensor<Bf16, 1> dweight(weight);
      const DeviceTensor<float, 2> dcos(cos), dsin(sin);
      const DeviceTensor<int32_t, 1> dindex(index);
      reference.qkv_finish({.q = q,
                            .kv = kv,
                            .kv_weight = weight,
                            .cos = cos,
                            .sin = sin,
                            .eps = 1e-6f,
                            .index = index,
                            .rows = {.base = expected.data(), .pages = pages}},
                           host);
      QkvFinishArgs args{.q = dq,
                         .kv = dkv,
                         .kv_weight = dweight,
                         .cos = dcos,
                         .sin = dsin,
                         .eps = 1e-6f,
                         .index = dindex,
                         .rows = {.base = pool.data(), .pages = pages}};
      cuda.qkv_finish(args, stream);
      args.q = again;
      cuda.qkv_finish(args, stream);
      Wait();
      std::vector<uint8_t> actual(expected.size());
      pool.Read(actual.data(), pool.size());
      EXPECT_TRUE(actual == expected) << tokens << " tokens";
      // A head's rounding before the rotation may move both of a pair.
      ExpectNear(dq.Fetch().values, q.values, 1.0 / 64);
      EXPECT_TRUE(dq.Fetch().values == again.Fetch().values);
    }
  }
}

TEST_F(QkvFinishCudaTest, DoesItsOtherPartsAsTheirOperationsDo) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const FinishKind& kind : kFinishKinds) {
    for (const int64_t sequences : {1, 2, 3, 8, 31, 64, 65}) {
      SCOPED_TRACE(testing::Message() << "ratio " << kind.ratio << ", " << sequences);
      const FinishWorld world(sequences, kind.ratio, random);
      const Sequences list(world.list);
      const DeviceSequences batch(list.batch);
      FinishSide<DeviceTensor> together(world, batch.batch), apart(world, batch.batch);
      together.RunTogether(cuda, kind, stream);
      apart.RunApart(cuda, kind, stream);
      Wait();
      ExpectSameBits(together, apart, [](const auto& tensor) { return tensor.Fetch().values; });
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
