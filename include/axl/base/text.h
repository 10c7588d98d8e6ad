#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace axl {

/// The candidate nearest to `word` by edit distance, or "" when none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// "; did you mean 'x'?" or "" — to be appended to a message about an unknown word.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

/// The parts between separators, which view `text`: "a,,b" -> "a", "", "b"; "" -> "".
std::vector<std::string_view> split(std::string_view text, char separator);

/// 1536 -> "1.5 KiB".
std::string human_bytes(double bytes);
/// 12834560 -> "12.8M".
std::string human_count(double count);
/// 134.2 -> "2m14s".
std::string human_seconds(double seconds);

/// "90", "90s", "3m", "1h30m" -> seconds. Throws UsageError for anything else.
double parse_duration(std::string_view text);

}  // namespace axl
