// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/chat/python_json.h"

#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

// Builds a document within the limits. An integer past 64 bits is kept as its digits, in a binary
// value: JSON has none.
class BoundedBuilder final {
 public:
  explicit BoundedBuilder(OrderedJson* root) : dom_(*root, /*allow_exceptions=*/false) {}

  const std::string& error() const { return error_; }

  bool null() { return dom_.null(); }
  bool boolean(bool value) { return dom_.boolean(value); }
  bool number_integer(int64_t value) { return dom_.number_integer(value); }
  bool number_unsigned(uint64_t value) { return dom_.number_unsigned(value); }
  bool number_float(double value, const std::string& digits) {
    if (digits.find_first_of(".eE") != std::string::npos) return dom_.number_float(value, digits);
    OrderedJson::binary_t exact(std::vector<uint8_t>(digits.begin(), digits.end()));
    return dom_.binary(exact);
  }
  bool string(std::string& value) { return dom_.string(value); }
  bool binary(OrderedJson::binary_t& value) { return dom_.binary(value); }
  bool start_object(size_t size) { return Descend() && dom_.start_object(size); }
  bool key(std::string& key) {
    if (++keys_.back() > kMaxJsonKeys) {
      return Refuse(absl::StrCat("more than ", kMaxJsonKeys, " keys in one object"));
    }
    return dom_.key(key);
  }
  bool end_object() { return Ascend() && dom_.end_object(); }
  bool start_array(size_t size) { return Descend() && dom_.start_array(size); }
  bool end_array() { return Ascend() && dom_.end_array(); }
  template <typename Error>
  bool parse_error(size_t at, const std::string& /*token*/, const Error& /*error*/) {
    return Refuse(absl::StrCat("not valid JSON at byte ", at));
  }

 private:
  bool Refuse(std::string why) {
    error_ = std::move(why);
    return false;
  }
  bool Descend() {
    if (keys_.size() == size_t{kMaxJsonDepth}) {
      return Refuse(absl::StrCat("more than ", kMaxJsonDepth, " levels"));
    }
    keys_.push_back(0);
    return true;
  }
  bool Ascend() {
    keys_.pop_back();
    return true;
  }

  nlohmann::detail::json_sax_dom_parser<OrderedJson> dom_;
  std::vector<int> keys_;  // Of each open level.
  std::string error_;
};

// Python's repr of a finite double: the shortest digits that read back, scientific below 1e-4 and
// from 1e16.
std::string PythonFloat(double value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific);
  const absl::string_view text(buffer.data(), end.ptr - buffer.data());
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, end.ptr, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::array<char, 32> fixed;
  const auto fixed_end =
      std::to_chars(fixed.data(), fixed.data() + fixed.size(), value, std::chars_format::fixed);
  std::string result(fixed.data(), fixed_end.ptr);
  if (result.find('.') == std::string::npos) result += ".0";
  return result;
}

void Dump(const OrderedJson& value, std::string* out);

void DumpString(absl::string_view text, std::string* out) {
  absl::StrAppend(out, "\"", EscapeJson(text), "\"");
}

void DumpContainer(const OrderedJson& value, std::string* out) {
  const bool is_object = value.is_object();
  out->push_back(is_object ? '{' : '[');
  absl::string_view separator = "";
  for (const auto& [key, item] : value.items()) {
    absl::StrAppend(out, separator);
    separator = ", ";
    if (is_object) {
      DumpString(key, out);
      absl::StrAppend(out, ": ");
    }
    Dump(item, out);
  }
  out->push_back(is_object ? '}' : ']');
}

void Dump(const OrderedJson& value, std::string* out) {
  switch (value.type()) {
    case OrderedJson::value_t::object:
    case OrderedJson::value_t::array:
      return DumpContainer(value, out);
    case OrderedJson::value_t::string:
      return DumpString(value.get_ref<const std::string&>(), out);
    case OrderedJson::value_t::number_float:
      absl::StrAppend(out, PythonFloat(value.get<double>()));
      return;
    case OrderedJson::value_t::binary:
      out->append(value.get_binary().begin(), value.get_binary().end());
      return;
    default:  // null, true, false and 64-bit integers look the same everywhere.
      out->append(value.dump());
  }
}

}  // namespace

absl::StatusOr<OrderedJson> ParseJson(absl::string_view text) {
  OrderedJson root;
  BoundedBuilder builder(&root);
  if (!OrderedJson::sax_parse(text.begin(), text.end(), &builder)) {
    return absl::InvalidArgumentError(builder.error());
  }
  return root;
}

std::string PythonDumps(const OrderedJson& value) {
  CHECK(!value.is_discarded());
  std::string out;
  Dump(value, &out);
  return out;
}

std::string EscapeJson(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          absl::StrAppendFormat(&out, "\\u%04x", c);
        } else {
          out.push_back(c);
        }
    }
  }
  return out;
}

}  // namespace tandem
