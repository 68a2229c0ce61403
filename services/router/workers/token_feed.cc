// SPDX-License-Identifier: Apache-2.0
#include "services/router/workers/token_feed.h"

#include <utility>
#include <vector>

#include "absl/time/clock.h"

namespace tandem {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(200);

}  // namespace

// One Tokens call. Owned by the feed, which lets go of it in OnOver.
class TokenFeed::Call final : public grpc::ClientReadReactor<v1::TokensResponse> {
 public:
  explicit Call(TokenFeed* feed) : feed_(feed) {}

  void Start() {
    feed_->stub_->async()->Tokens(&context_, &request_, this);
    StartRead(&message_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    feed_->OnMessage(message_);
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override { feed_->OnOver(status); }

 private:
  TokenFeed* const feed_;
  grpc::ClientContext context_;
  const v1::TokensRequest request_;
  v1::TokensResponse message_;
};

TokenFeed::TokenFeed(const Channel& channel) : stub_(channel.NewStub<v1::AnswerService>()) {}

TokenFeed::~TokenFeed() {
  Stop();
}

void TokenFeed::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  if (call_ != nullptr) call_->Cancel();
  if (pause_ != nullptr) pause_->Cancel();
  mutex_.Await(absl::Condition(this, &TokenFeed::Idle));
}

void TokenFeed::Open() {
  Call* call = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || call_ != nullptr) return;
    ++busy_;
    call_ = std::make_unique<Call>(this);
    call = call_.get();
  }
  // Cancelled before it starts, a call ends at once: Stop may come in between.
  call->Start();
}

void TokenFeed::OnPause() {
  Open();
  absl::MutexLock lock(&mutex_);
  --busy_;  // the feed may be gone now
}

std::optional<TokenFeed::Place> TokenFeed::Join(TokenReader& reader) {
  absl::MutexLock lock(&mutex_);
  if (stream_ == 0) return std::nullopt;
  const uint64_t answer = next_answer_++;
  readers_.emplace(answer, &reader);
  return Place{.stream = stream_, .answer = answer};
}

void TokenFeed::Leave(uint64_t answer) {
  absl::MutexLock lock(&mutex_);
  readers_.erase(answer);
}

void TokenFeed::OnMessage(v1::TokensResponse& from) {
  v1::TokensResponse message;
  std::vector<TokenReader*> readers;
  {
    absl::MutexLock lock(&mutex_);
    // gRPC orders one read after another, but not so that TSan could see it.
    message.Swap(&from);
    if (message.stream() != 0) stream_ = message.stream();
    for (const v1::AnswerPart& part : message.parts()) {
      const auto it = readers_.find(part.answer());
      readers.push_back(it == readers_.end() ? nullptr : it->second);
      if (readers.back() != nullptr) readers.back()->Promise();
    }
  }
  for (int i = 0; i < message.parts_size(); ++i) {
    if (readers[i] != nullptr) {
      readers[i]->OnPart(std::move(*message.mutable_parts(i)->mutable_part()));
    }
  }
}

void TokenFeed::OnOver(const grpc::Status& status) {
  std::unique_ptr<Call> done;
  std::vector<TokenReader*> lost;
  {
    absl::MutexLock lock(&mutex_);
    stream_ = 0;
    for (const auto& [answer, reader] : readers_) {
      reader->Promise();
      lost.push_back(reader);
    }
    readers_.clear();
    done = std::move(call_);
  }
  for (TokenReader* reader : lost) reader->OnFeedLost();
  // It is the caller, and touched no more; it must not be the last to hold gRPC's channel.
  done.reset();
  absl::MutexLock lock(&mutex_);
  if (!stopping_ && status.error_code() != grpc::StatusCode::UNIMPLEMENTED) {
    ++busy_;
    pause_ = std::make_unique<grpc::Alarm>();
    pause_->Set(absl::ToChronoTime(absl::Now() + kPause), [this](bool) { OnPause(); });
  }
  --busy_;  // the feed may be gone now
}

}  // namespace tandem
