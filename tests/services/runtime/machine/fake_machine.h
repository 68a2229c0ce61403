// SPDX-License-Identifier: Apache-2.0
// A folder that looks like the root of a machine: files of /sys and /proc, links among them.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "services/runtime/machine/system_files.h"

namespace tandem {

class FakeMachine {
 public:
  FakeMachine() : root_(testing::TempDir() + "machine-" + Name()) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  ~FakeMachine() { std::filesystem::remove_all(root_); }

  SystemFiles files() const { return SystemFiles(root_.string()); }

  void Write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_.string() + path).substr(0, Folder(path)));
    std::ofstream(root_.string() + path, std::ios::binary) << text;
  }
  // `to` is relative to the link's folder, or inside the root.
  void Link(const std::string& path, const std::string& to) const {
    std::filesystem::create_directories((root_.string() + path).substr(0, Folder(path)));
    std::filesystem::create_symlink(to, root_.string() + path);
  }

 private:
  static std::string Name() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    return std::string(test->test_suite_name()) + "-" + test->name();
  }
  size_t Folder(const std::string& path) const { return root_.string().size() + path.rfind('/'); }

  const std::filesystem::path root_;
};

}  // namespace tandem
