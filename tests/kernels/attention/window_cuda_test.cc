// SPDX-License-Identifier: Apache-2.0
// Goal: the lists of raw and of compressed rows, and the ring's rows, on a device. Method: steps of
// decode, of prefill at every kind of start and of both, against the reference, exactly.
#include <algorithm>

#include "kernels/attention/compressed_index.h"
#include "kernels/attention/window_commit.h"
#include "kernels/attention/window_index.h"
#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

// A batch's arrays on the device.
class DeviceBatch {
 public:
  explicit DeviceBatch(const Batch& host)
      : positions_(Copy(host.positions)),
        sequence_(Copy(host.sequence)),
        begin_(Copy(host.begin)),
        slot_(Copy(host.slot)),
        pages_(Copy(host.pages)) {}
  Batch batch() const {
    return {.positions = positions_,
            .sequence = sequence_,
            .begin = begin_,
            .slot = slot_,
            .pages = pages_};
  }

 private:
  static DeviceTensor<int32_t, 1> Copy(const TensorView<const int32_t, 1>& view) {
    Tensor<int32_t, 1> tensor(view.shape[0]);
    std::copy_n(view.data, view.size(), tensor.values.data());
    return DeviceTensor<int32_t, 1>(tensor);
  }
  static DeviceTensor<int32_t, 2> Copy(const TensorView<const int32_t, 2>& view) {
    Tensor<int32_t, 2> tensor(view.shape[0], view.shape[1]);
    std::copy_n(view.data, view.size(), tensor.values.data());
    return DeviceTensor<int32_t, 2>(tensor);
  }
  DeviceTensor<int32_t, 1> positions_, sequence_, begin_, slot_;
  DeviceTensor<int32_t, 2> pages_;
};

class WindowCudaTest : public OnDevice {
 protected:
  static std::vector<int32_t> Pages(int32_t first, int32_t n) {
    std::vector<int32_t> pages(n);
    for (int32_t i = 0; i < n; ++i) pages[i] = first + 7 * i % n;
    return pages;
  }
  // Decode of many sequences; prefill at a start; both.
  static std::vector<std::vector<Sequence>> Steps() {
    std::vector<std::vector<Sequence>> steps(1);
    for (int32_t s = 0; s < 64; ++s) {
      steps[0].push_back({.slot = 63 - s, .first = 17 * s, .tokens = 1, .pages = Pages(9 * s, 5)});
    }
    for (const int32_t first : {0, 1, 126, 127, 128, 300}) {
      steps.push_back({{.slot = 5, .first = 7, .tokens = 2, .pages = Pages(0, 1)},
                       {.slot = 3, .first = first, .tokens = 300, .pages = Pages(1, 3)}});
    }
    return steps;
  }
};

TEST_F(WindowCudaTest, ListsTheWindow) {
  for (const auto& step : Steps()) {
    const Sequences sequences(step);
    const DeviceBatch on_device(sequences.batch);
    const int64_t tokens = sequences.batch.tokens();
    for (const int64_t columns : {127, 150}) {
      Tensor<int32_t, 2> ring(tokens, columns), chunk(tokens, columns + 1);
      const DeviceTensor dring(ring.Poison()), dchunk(chunk.Poison());
      reference.window_index({.batch = sequences.batch, .ring = ring, .chunk = chunk}, host);
      cuda.window_index({.batch = on_device.batch(), .ring = dring, .chunk = dchunk}, stream);
      Wait();
      EXPECT_EQ(dring.Fetch().values, ring.values);
      EXPECT_EQ(dchunk.Fetch().values, chunk.values);
    }
  }
}

TEST_F(WindowCudaTest, ListsTheCompressedRows) {
  for (const auto& step : Steps()) {
    const Sequences sequences(step);
    const DeviceBatch on_device(sequences.batch);
    for (const int ratio : {4, 128}) {
      for (const int64_t columns : {1300 / ratio, 4000 / ratio}) {
        Tensor<int32_t, 2> rows(sequences.batch.tokens(), columns);
        const DeviceTensor drows(rows.Poison());
        reference.compressed_index({.batch = sequences.batch, .ratio = ratio, .rows = rows}, host);
        cuda.compressed_index({.batch = on_device.batch(), .ratio = ratio, .rows = drows}, stream);
        Wait();
        EXPECT_EQ(drows.Fetch().values, rows.values);
      }
    }
  }
}

TEST_F(WindowCudaTest, CommitsTheLast128) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const auto& step : Steps()) {
    const Sequences sequences(step);
    const DeviceBatch on_device(sequences.batch);
    const int64_t pages = (sequences.batch.tokens() + 63) / 64, ring_pages = 2 * 64;
    Tensor<uint8_t, 1> chunk(pages * KvPageBytes(64)), ring(ring_pages * KvPageBytes(64));
    for (uint8_t& byte : chunk.values) byte = static_cast<uint8_t>(random.Below(256));
    ring.Poison();
    const DeviceTensor<uint8_t, 1> dchunk(chunk), dring(ring);
    reference.window_commit({.batch = sequences.batch,
                             .chunk = {.base = chunk.values.data(), .pages = pages},
                             .ring = {.base = ring.values.data(), .pages = ring_pages}},
                            host);
    cuda.window_commit({.batch = on_device.batch(),
                        .chunk = {.base = dchunk.view().data, .pages = pages},
                        .ring = {.base = dring.view().data, .pages = ring_pages}},
                       stream);
    Wait();
    EXPECT_TRUE(dring.Fetch().values == ring.values);
  }
}

}  // namespace
}  // namespace tandem::kernels
