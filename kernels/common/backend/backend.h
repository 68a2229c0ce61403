// SPDX-License-Identifier: Apache-2.0
// Backend: where the views of a kernel table lie and its operations run: memory, copies, streams.
//
// The host's backend is memory of this process, in which everything has happened when a call
// returns; a GPU's is device memory with a queue (kernels/common/cuda/cuda_backend.h). Code that
// keeps to this class and a KernelTable runs on either. Thread-safe; a stream belongs to one thread
// at a time. What was allocated is released, and no stream is used, before the backend ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "kernels/common/stream.h"

namespace tandem::kernels {

struct CopyArgs {
  void* to = nullptr;
  const void* from = nullptr;
  int64_t bytes = 0;
};

// Operations that were queued once and can be run again, with the same arguments, at once.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual int64_t launches() const = 0;  // of kernels; copies are none
};

// What came of recording.
struct Recorded {
  std::unique_ptr<Recording> recording;
  std::string error;  // why there is none, if it failed
};

class Backend {
 public:
  virtual ~Backend() = default;

  // For a log.
  virtual std::string Describe() const = 0;

  // Memory for views, aligned to 256 bytes, not initialised; null when there is not as much.
  virtual uint8_t* Allocate(int64_t bytes) = 0;
  virtual void Release(uint8_t* memory) = 0;
  // Whether operations can read memory of the host that was not allocated here.
  virtual bool ReadsHost() const = 0;

  // What another process on this machine needs to see `memory`, which Allocate returned, as well:
  // Import gives it an address there, until Unimport. Empty, and null, where there is no such way.
  virtual std::string Export(uint8_t* memory) = 0;
  virtual uint8_t* Import(const std::string& exported) = 0;
  virtual void Unimport(uint8_t* memory) = 0;
  // Whether exported memory lies where this backend allocates. Else it is another GPU's: copies
  // reach it, operations should not.
  virtual bool Holds(const std::string& exported) const = 0;

  // Host memory that copies run to and from without help of the host; likewise.
  virtual uint8_t* AllocateStaging(int64_t bytes) = 0;
  virtual void ReleaseStaging(uint8_t* memory) = 0;

  // Its queue lives as long as the backend.
  virtual Stream MakeStream() = 0;

  // In the stream's order. Host memory is staging memory and stays untouched until then.
  virtual void Copy(const CopyArgs& copy, Stream& stream) = 0;
  // The same of many at once, all in this backend's reach and none of them the host's; in any order
  // among themselves. Addresses are multiples of 16 bytes, sizes of 4.
  virtual void CopyMany(std::span<const CopyArgs> copies, Stream& stream) = 0;
  // At once, between any memory, in no stream's order: the caller knows that nobody writes there.
  virtual void CopyNow(const CopyArgs& copy) = 0;
  // The same by the way of CopyMany, and under its conditions: what a trial of that way needs.
  virtual void CopyManyNow(std::span<const CopyArgs> copies) = 0;
  // `done` is called once, from any thread, when all before it has run or has failed; it must not
  // use the backend.
  virtual void Notify(std::function<void()> done, Stream& stream) = 0;
  // Waits for all of it. False: something failed, and the stream's error says what.
  virtual bool Synchronize(Stream& stream) = 0;
  // Whether all of it has run, or has failed, without waiting.
  virtual bool Finished(Stream& stream) = 0;

  // Records what `queue` queues on the stream, which does not run now. What it queues has run
  // before with the same shapes, so that nothing is allocated. A failure is none of the stream's:
  // the same can be queued there, to run. Nothing, and no error, on the host, where operations run
  // as they come; `queue` is not called then.
  virtual Recorded Record(const std::function<void()>& queue, Stream& stream) = 0;
  virtual void Replay(const Recording& recording, Stream& stream) = 0;
};

// Memory of this process. Lives for ever.
Backend& HostBackend();

}  // namespace tandem::kernels
