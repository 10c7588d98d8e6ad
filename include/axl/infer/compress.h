#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "axl/model/model.h"

namespace axl {

/// Lossless compression by a model's probabilities and a range coder: a byte of probability p takes
/// −log2 p bits, so the size is what Scorer measures, plus a header. Decompression makes the same
/// predictions from what it has decoded so far. A model that looked ahead could not be
/// decompressed.
///
/// A long content is cut into equal pieces that are decoded in step, one pass for all of them; each
/// begins without context. Both directions make exactly the same calls of a Session, so that the
/// logits agree bit for bit; on a machine that computes otherwise, the file is refused.

/// Sees how many bytes are done, and returns false to stop.
using OnCoded = std::function<bool(uint64_t bytes)>;

/// A piece is this long at least: what it lacks of context costs some tens of bytes.
inline constexpr uint64_t kLaneBytes = uint64_t{128} << 10;

/// The compressed file, or nothing when `on_coded` (may be null) stopped it. Throws Error when the
/// model's logits are not finite.
std::optional<std::string> compress(const Model& model, std::string_view content,
                                    const OnCoded& on_coded = nullptr,
                                    uint64_t lane_bytes = kLaneBytes);

/// The content of a compressed file, or nothing when stopped. Throws Error beginning with `where`
/// for a file that is damaged, or was written by another model or with other arithmetic. Memory and
/// time are bounded by the size of `file`, whatever length it claims.
std::optional<std::string> decompress(const Model& model, std::string_view file,
                                      const std::string& where, const OnCoded& on_coded = nullptr);

}  // namespace axl
