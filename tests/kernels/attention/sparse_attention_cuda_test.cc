// SPDX-License-Identifier: Apache-2.0
// Goal: sparse attention on a device. Method: fresh random keys in three pools, lists with holes,
// heads of every shard, keys around the tiles' and the segments' sizes, few tokens (splits) and
// many (none), against the reference; twice, for the same bits, and turned back, for rope's.
// |error| ≤ 2^-7 of the largest key value, for P is rounded to bf16, and 2^-8 of the result's norm.
#include <algorithm>
#include <memory>

#include "kernels/attention/sparse_attention.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

constexpr float kScale = 0.044194173824159216f;

// Random rows, all valid.
struct Pool {
  Pool(int64_t rows, int64_t rows_per_page, Random& random)
      : bytes((rows + rows_per_page - 1) / rows_per_page * KvPageBytes(rows_per_page), 0xA5),
        host{.base = bytes.data(),
             .pages = (rows + rows_per_page - 1) / rows_per_page,
             .rows_per_page = rows_per_page},
        on_device(static_cast<int64_t>(bytes.size())) {
    Tensor<Bf16, 1> kv(512);
    for (int64_t i = 0; i < host.rows(); ++i) {
      random.Fill(kv, i % 3 == 0 ? 3.0f : 1.0f);
      WriteKvRow(kv.values.data(), host, i);
    }
    on_device.Write(bytes.data(), on_device.size());
  }
  ConstKvPages device() const {
    ConstKvPages pages = host;
    pages.base = on_device.data();
    return pages;
  }
  std::vector<uint8_t> bytes;
  KvPages host;
  DeviceBytes on_device;
};

class SparseAttentionCudaTest : public OnDevice {
 protected:
  SparseAttentionCudaTest()
      : random(std::random_device{}()), trace_(__FILE__, __LINE__, random.Trace()) {
    pools.push_back(std::make_unique<Pool>(3 * 128, 64, random));
    pools.push_back(std::make_unique<Pool>(200, 64, random));
    pools.push_back(std::make_unique<Pool>(700, 2, random));
    pools.push_back(std::make_unique<Pool>(700, 64, random));
  }

  // Lists of the three sources, the last of pool `compressed`.
  struct Lists {
    Tensor<int32_t, 2> ring, chunk, rows;
    int compressed = 2;
  };
  int32_t RowOf(int pool) { return static_cast<int32_t>(random.Below(pools[pool]->host.rows())); }
  // `keys` keys a token, spread over the three lists with about `holes` -1 among them.
  Lists Spread(int64_t tokens, int64_t keys, int64_t holes, int compressed) {
    const int64_t n = keys + holes, a = n / 5, b = std::min<int64_t>(n / 7, 128);
    Lists lists{.ring = Tensor<int32_t, 2>(tokens, a),
                .chunk = Tensor<int32_t, 2>(tokens, b),
                .rows = Tensor<int32_t, 2>(tokens, n - a - b),
                .compressed = compressed};
    for (int64_t t = 0; t < tokens; ++t) {
      std::vector<uint8_t> valid(n, 0);
      std::fill_n(valid.begin(), keys, 1);
      for (int64_t i = n - 1; i > 0; --i) std::swap(valid[i], valid[random.Below(i + 1)]);
      for (int64_t i = 0; i < n; ++i) {
        const int pool = i < a ? 0 : i < a + b ? 1 : compressed;
        int32_t& to = i < a       ? lists.ring.view.row(t)[i]
                      : i < a + b ? lists.chunk.view.row(t)[i - a]
                                  : lists.rows.view.row(t)[i - a - b];
        to = valid[i] ? RowOf(pool) : -1;
      }
    }
    return lists;
  }

  void Check(const Lists& lists, int64_t heads) {
    const int64_t tokens = lists.ring.view.shape[0];
    SCOPED_TRACE(testing::Message() << tokens << " tokens, " << heads << " heads");
    Tensor<Bf16, 3> q(tokens, heads, 512), expected(tokens, heads, 512), poison(tokens, heads, 512);
    Tensor<float, 1> sink(heads);
    Tensor<float, 2> lse(tokens, heads), expected_lse(tokens, heads);
    random.Fill(q, 2);
    random.Fill(sink);
    SparseAttentionArgs args{
        .q = q, .sink = sink, .scale = kScale, .out = expected, .lse = expected_lse};
    args.sources[0] = {.rows = pools[0]->host, .index = lists.ring};
    args.sources[1] = {.rows = pools[1]->host, .index = lists.chunk};
    args.sources[2] = {.rows = pools[lists.compressed]->host, .index = lists.rows};
    reference.sparse_attention(args, host);

    const DeviceTensor ring(lists.ring), chunk(lists.chunk), rows(lists.rows);
    const DeviceTensor<float, 1> dsink(sink);
    const DeviceTensor dq(q), in_place(q), out(poison.Poison());
    const DeviceTensor<float, 2> dlse(lse.Poison());
    args.sources[0] = {.rows = pools[0]->device(), .index = ring};
    args.sources[1] = {.rows = pools[1]->device(), .index = chunk};
    args.sources[2] = {.rows = pools[lists.compressed]->device(), .index = rows};
    args.sink = dsink;
    args.q = dq;
    args.out = out;
    args.lse = dlse;
    cuda.sparse_attention(args, stream);
    args.q = in_place;
    args.out = in_place;
    args.lse = {};
    cuda.sparse_attention(args, stream);
    Tensor<float, 2> cos(tokens, 32), sin(tokens, 32);
    random.Fill(cos);
    random.Fill(sin);
    const DeviceTensor<float, 2> dcos(cos), dsin(sin);
    const DeviceTensor turned(poison);
    args.q = dq;
    args.out = turned;
    args.cos = dcos;
    args.sin = dsin;
    cuda.sparse_attention(args, stream);
    Wait();
    const std::vector<Bf16> actual = out.Fetch().values;
    ExpectNear(actual, expected.values, 14.0 / 128);
    ExpectCloseInNorm(actual, expected.values);
    ExpectNear(dlse.Fetch().values, expected_lse.values, 1e-5, 1e-4);
    EXPECT_TRUE(actual == in_place.Fetch().values) << "not the same bits";
    cuda.rope({.x = in_place, .cos = dcos, .sin = dsin, .inverse = true}, stream);
    Wait();
    EXPECT_TRUE(turned.Fetch().values == in_place.Fetch().values) << "not rope's bits";
  }

  static void ExpectCloseInNorm(const std::vector<Bf16>& actual,
                                const std::vector<Bf16>& expected) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const double a = ToFloat(actual[i]), e = ToFloat(expected[i]);
      error += (a - e) * (a - e);
      norm += e * e;
    }
    EXPECT_LE(error, norm / 256 / 256);
  }

  Random random;
  std::vector<std::unique_ptr<Pool>> pools;

 private:
  testing::ScopedTrace trace_;
};

TEST_F(SparseAttentionCudaTest, EveryShardOfHeads) {
  for (const int64_t heads : {4, 8, 16, 32, 64, 128}) {
    Check(Spread(1, 640, 0, 3), heads);
    Check(Spread(2, 150, 40, 2), heads);
  }
}

TEST_F(SparseAttentionCudaTest, KeysAroundTheTiles) {
  for (const int64_t keys : {1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 640}) {
    Check(Spread(3, keys, 0, 2), 8);
    Check(Spread(1, keys, keys / 2 + 7, 3), 20);
  }
}

TEST_F(SparseAttentionCudaTest, ManyTokensGoUnsplit) {
  Check(Spread(300, 40, 30, 3), 4);
  Check(Spread(70, 20, 5, 2), 64);  // two blocks a token
}

TEST_F(SparseAttentionCudaTest, ListsBeyondASegment) {
  Check(Spread(1, 2500, 700, 2), 4);
  // Unsplit, nearly all of it holes, in the first or in the last segment.
  Lists lists = Spread(300, 0, 2600, 3);
  for (const int64_t t : {0, 7, 299}) {
    for (int64_t i = 0; i < 600; ++i) lists.ring.view.row(t)[(i * (t + 1)) % 520] = RowOf(0);
  }
  for (const int64_t t : {7, 299}) {
    for (int64_t i = 1200; i < 1900; ++i) lists.rows.view.row(t)[i] = RowOf(3);
  }
  Check(lists, 4);
}

TEST_F(SparseAttentionCudaTest, NoKeyIsZeroAndMinusInfinity) {
  Lists lists = Spread(2, 640, 0, 3);
  std::fill(lists.ring.view.row(1), lists.ring.view.row(2), -1);
  std::fill(lists.chunk.view.row(1), lists.chunk.view.row(2), -1);
  std::fill(lists.rows.view.row(1), lists.rows.view.row(2), -1);
  Check(lists, 16);                                    // one token of two
  std::fill_n(lists.rows.view.row(0) + 100, 200, -1);  // splits without a key
  Check(lists, 32);
  Check(Spread(2, 0, 0, 3), 32);    // no lists
  Check(Spread(300, 0, 9, 3), 32);  // only holes, unsplit
}

// Of every size that the contract allows.
TEST_F(SparseAttentionCudaTest, OneKeyAndNoSinkGiveThatKey) {
  for (const float size : {1e-6f, 1e-4f, 1.0f, 5e4f}) {
    SCOPED_TRACE(testing::Message() << "values up to " << size);
    Tensor<Bf16, 1> kv(512);
    for (Bf16& value : kv.values)
      value = ToBf16(size * (1 - 2e-3f * static_cast<float>(random.Below(1000))));
    WriteKvRow(kv.values.data(), pools[3]->host, 0);
    pools[3]->on_device.Write(pools[3]->bytes.data(), pools[3]->on_device.size());
    Tensor<Bf16, 3> q(1, 32, 512);
    random.Fill(q, 10);
    Tensor<float, 1> sink(32);
    std::fill(sink.values.begin(), sink.values.end(), -INFINITY);
    const Tensor<int32_t, 2> list(1, 1);
    const DeviceTensor dq(q);
    const DeviceTensor<float, 1> dsink(sink);
    const DeviceTensor<int32_t, 2> dlist(list);
    SparseAttentionArgs args{.q = dq, .sink = dsink, .scale = kScale, .out = dq};
    args.sources[1] = {.rows = pools[3]->device(), .index = dlist};
    cuda.sparse_attention(args, stream);
    Wait();
    float key[512];
    ReadKvRow(pools[3]->host, 0, key);
    const std::vector<Bf16> out = dq.Fetch().values;
    // Exact but for what f16 has no place for.
    for (int i = 0; i < 32 * 512; ++i) ASSERT_NEAR(ToFloat(out[i]), key[i % 512], 0x1p-25) << i;
  }
}

}  // namespace
}  // namespace tandem::kernels
