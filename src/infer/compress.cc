#include "axl/infer/compress.h"

#include <algorithm>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/base/hash.h"
#include "axl/infer/byte_intervals.h"
#include "axl/infer/compressed_file.h"
#include "axl/infer/range_coder.h"
#include "axl/infer/session.h"

namespace axl {
namespace {

/// A content of `length` bytes in `lanes` pieces, whose lengths differ by one at most.
struct Pieces {
  uint64_t length;
  uint64_t lanes;

  uint64_t size(uint64_t lane) const { return length / lanes + (lane < length % lanes); }
  uint64_t begin(uint64_t lane) const {
    return length / lanes * lane + std::min(lane, length % lanes);
  }
};

ByteIntervals intervals_of(std::span<const float> logits, uint64_t lane) {
  return ByteIntervals(logits.subspan(lane * kVocab).first<256>());
}

/// Steps through all pieces at once: code(lane, intervals) returns the next byte of a lane, which
/// an encoder knows and a decoder finds. This is all that either direction does with the model.
/// False when `on_coded` stopped it.
template <class Code>
bool code_in_step(Session& session, const Pieces& pieces, const OnCoded& on_coded,
                  const Code& code) {
  std::vector<int32_t> tokens(pieces.lanes, kBos);
  uint64_t done = 0;
  for (uint64_t step = 0; step < pieces.size(0); ++step) {
    const std::span<const float> logits = session.append(tokens);
    for (uint64_t lane = 0; lane < pieces.lanes; ++lane) {
      if (step == pieces.size(lane)) continue;  // shorter by one
      tokens[lane] = code(lane, intervals_of(logits, lane));
      ++done;
    }
    if (on_coded && !on_coded(done)) return false;
  }
  return true;
}

/// Hash of the logits and intervals of a sample through every path that coding takes: single
/// bytes, and a full context that drops its oldest half. Compilers, instruction sets and libraries
/// round differently; where the last bit differs, a decoder would soon follow another path.
uint32_t arithmetic_fingerprint(Session& session, const ModelConfig& config) {
  Hasher hasher;
  int32_t next = 0;
  const auto append = [&](int64_t count) {
    std::vector<int32_t> tokens(session.sequences() * count);
    for (int32_t& token : tokens) token = next++ * 167 % 256;  // 167 is odd: all bytes occur
    const std::span<const float> logits = session.append(tokens);
    hasher.update(logits.data(), logits.size_bytes());
    for (int64_t lane = 0; lane < session.sequences(); ++lane) {
      const ByteIntervals intervals = intervals_of(logits, lane);
      for (int b = 0; b < 256; ++b) {
        const SymbolInterval interval = intervals.of(b);
        hasher.update(&interval, sizeof interval);
      }
    }
  };
  const int64_t steps = std::min(2 * config.max_factor(), config.max_seq_len - 1);
  append(config.max_seq_len - steps);
  for (int64_t i = 0; i < 2 * steps; ++i) append(1);
  session.clear();
  return static_cast<uint32_t>(hasher.digest());
}

void check_fits(const CompressedFile& file, const Model& model, const std::string& where) {
  const uint64_t checksum = model.checksum();
  if (file.model != checksum)
    throw Error(
        format("{}: compressed by the model with checksum {:016x}, but this one has {:016x}; give "
               "the model that compressed it",
               where, file.model, checksum));
}

void check_arithmetic(const CompressedFile& file, uint32_t fingerprint, const std::string& where) {
  if (file.arithmetic != fingerprint)
    throw Error(
        format("{}: compressed with arithmetic {:08x}, but here it is {:08x}: another processor or "
               "build of axl rounds differently; decompress it where it was compressed",
               where, file.arithmetic, fingerprint));
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text;
  return all;
}

}  // namespace

std::optional<std::string> compress(const Model& model, std::string_view content,
                                    const OnCoded& on_coded, uint64_t lane_bytes) {
  CompressedFile file;
  file.length = content.size();
  file.model = model.checksum();
  file.content = hash64(content);
  if (content.empty()) return to_bytes(file);

  const Pieces pieces{content.size(),
                      std::clamp<uint64_t>(content.size() / lane_bytes, 1, kMaxLanes)};
  Session session(model, pieces.lanes);
  file.arithmetic = arithmetic_fingerprint(session, model.config());
  std::vector<RangeEncoder> encoders(pieces.lanes);
  std::vector<const char*> next;
  for (uint64_t lane = 0; lane < pieces.lanes; ++lane)
    next.push_back(content.data() + pieces.begin(lane));
  const auto encode = [&](uint64_t lane, const ByteIntervals& intervals) {
    const auto byte = static_cast<uint8_t>(*next[lane]++);
    encoders[lane].encode(intervals.of(byte));
    return byte;
  };
  if (!code_in_step(session, pieces, on_coded, encode)) return std::nullopt;

  std::vector<std::string> codes;
  for (RangeEncoder& encoder : encoders) codes.push_back(encoder.finish());
  file.lanes.assign(codes.begin(), codes.end());
  return to_bytes(file);
}

std::optional<std::string> decompress(const Model& model, std::string_view bytes,
                                      const std::string& where, const OnCoded& on_coded) {
  const CompressedFile file = parse_compressed_file(bytes, where);
  check_fits(file, model, where);
  std::vector<std::string> texts(file.lanes.size());
  if (!texts.empty()) {
    Session session(model, texts.size());
    check_arithmetic(file, arithmetic_fingerprint(session, model.config()), where);
    std::vector<RangeDecoder> decoders(file.lanes.begin(), file.lanes.end());
    const auto decode = [&](uint64_t lane, const ByteIntervals& intervals) {
      const uint8_t byte = intervals.find(decoders[lane].peek());
      decoders[lane].skip(intervals.of(byte));
      if (decoders[lane].exhausted())
        throw Error(format("{}: the code ends before the content does", where));
      texts[lane] += static_cast<char>(byte);
      return byte;
    };
    const Pieces pieces{file.length, texts.size()};
    if (!code_in_step(session, pieces, on_coded, decode)) return std::nullopt;
  }
  std::string content = joined(texts);
  if (hash64(content) != file.content)
    throw Error(
        format("{}: the decompressed content has another checksum; it is discarded", where));
  return content;
}

}  // namespace axl
