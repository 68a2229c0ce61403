// SPDX-License-Identifier: Apache-2.0
// Style and script of the report's page, which stand in it. The script is a convenience: what a
// chart reads under the pointer, the switch between light and dark. Constants.
#pragma once

namespace tandem {

extern const char kPageCss[];
extern const char kPageScript[];

}  // namespace tandem
