#pragma once

#include <stdexcept>
#include <string>

namespace axl {

/// Something outside the program is wrong: a file, a value, the machine. The message says what,
/// where, what was expected and what to do. `main` turns it into exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The command line or a configuration is wrong. `main` turns it into exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A broken invariant: a defect of axl, never of its input.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void fail_check(const char* condition, const char* file, int line);

}  // namespace axl

/// Throws InternalError when `condition` is false. For invariants, never for outside input.
#define AXL_CHECK(condition) \
  ((condition) ? void(0) : ::axl::fail_check(#condition, __FILE__, __LINE__))
