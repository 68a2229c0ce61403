// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/drive/expectation.h"

namespace tandem {

RequestKind KindOf(Nasty nasty) {
  switch (nasty) {
    case Nasty::kCancelEarly:
    case Nasty::kCancelQueued:
    case Nasty::kCancelMidway:
    case Nasty::kCancelById:
      return RequestKind::kCancel;
    case Nasty::kVanish:
      return RequestKind::kVanish;
    case Nasty::kSlow:
      return RequestKind::kSlowRead;
    case Nasty::kAbsurd:
      return RequestKind::kAbsurdDeadline;
    case Nasty::kDuplicate:
      break;
  }
  return RequestKind::kDuplicateId;
}

bool Fits(const NastyEnd& end) {
  using Code = absl::StatusCode;
  if (end.code == Code::kResourceExhausted || end.lost) return true;
  switch (end.nasty) {
    case Nasty::kCancelEarly:
    case Nasty::kCancelQueued:
    case Nasty::kCancelMidway:
    case Nasty::kCancelById:
      return end.code == Code::kCancelled || end.code == Code::kOk;
    case Nasty::kVanish:
      return end.code == Code::kUnavailable || end.code == Code::kCancelled ||
             end.code == Code::kOk;
    case Nasty::kSlow:
    case Nasty::kAbsurd:
      return end.code == Code::kDeadlineExceeded || end.code == Code::kOk;
    case Nasty::kDuplicate:
      break;
  }
  return end.code == (end.twin ? Code::kAlreadyExists : Code::kOk);
}

bool IsOverload(absl::StatusCode code) {
  return code == absl::StatusCode::kResourceExhausted ||
         code == absl::StatusCode::kDeadlineExceeded;
}

bool IsLoss(absl::StatusCode code, absl::string_view reason) {
  return code == absl::StatusCode::kUnavailable && !reason.empty();
}

}  // namespace tandem
