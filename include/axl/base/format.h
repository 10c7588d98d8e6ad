#pragma once

/// One door to {fmt}: messages are written `format("{}: not a file", path)` everywhere.
#include <fmt/format.h>

namespace axl {
using fmt::format;
}  // namespace axl
