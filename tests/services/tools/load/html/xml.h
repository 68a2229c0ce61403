// SPDX-License-Identifier: Apache-2.0
// What the tests need of an XML reader: whether tags close in order, and what stands in them. Pure.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct XmlPage {
  std::string fault;               // the first thing that is not well-formed; empty = none
  std::vector<std::string> tags;   // names of all elements, in order
  std::vector<std::string> links;  // values of src, href and the like
  std::string text;                // between tags, entities resolved, without style and script
};
XmlPage ReadXml(const std::string& page);

}  // namespace tandem
