#pragma once

#include <chrono>

namespace axl {

/// What durations are measured with: never set back, unlike the time of day.
using Clock = std::chrono::steady_clock;

inline double to_seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }
inline double seconds_since(Clock::time_point begin) { return to_seconds(Clock::now() - begin); }

}  // namespace axl
