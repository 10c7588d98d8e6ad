#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "axl/base/error.h"
#include "axl/train/config.h"
#include "cli/config_file.h"

/// What the tests of configurations share.
namespace axl {

/// The message of the UsageError that `body` throws; "" when it throws none.
inline std::string usage_error(const std::function<void()>& body) {
  try {
    body();
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

inline std::string parse_error(const std::string& yaml) {
  return usage_error([&] { parse_config(yaml, "x.yaml"); });
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << text << "' lacks '" << part << "'";
}

inline void expect_equal(Config& a, Config& b) {
  const Fields fields_a = a.fields(), fields_b = b.fields();
  ASSERT_EQ(fields_a.size(), fields_b.size());
  for (size_t i = 0; i < fields_a.size(); ++i) {
    EXPECT_EQ(field_text(fields_a[i]), field_text(fields_b[i])) << fields_a[i].name;
  }
}

}  // namespace axl
