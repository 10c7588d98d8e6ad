// Feeds any bytes to decompress: it may refuse them with an Error, nothing else.

#include <cstddef>
#include <cstdint>
#include <string>

#include "axl/base/error.h"
#include "axl/infer/compress.h"
#include "axl/infer/compressed_file.h"

namespace {

/// Of one scale and the shortest context, so that most of the time goes to other inputs.
const axl::Model& model() {
  static const axl::Model tiny = [] {
    axl::ModelConfig config{.d_model = 4, .n_heads = 1, .d_ff = 4, .n_layers_per_scale = {1}};
    config.downsample_factors = {1};
    config.max_seq_len = 8;
    axl::Model model(config);
    model.init(1);
    return model;
  }();
  return tiny;
}

void open_file(const std::string& bytes) {
  try {
    axl::decompress(model(), bytes, "fuzz");
  } catch (const axl::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  open_file(input);

  // As a content's code in a sound file: a checksum is not guessed by mutation. The first byte is
  // the length claimed, the second how the rest is cut into lanes.
  if (size < 2) return 0;
  static const std::string sound = *axl::compress(model(), "x");
  axl::CompressedFile file = axl::parse_compressed_file(sound, "fuzz");
  const std::string_view code = std::string_view(input).substr(2);
  const size_t lanes = 1 + data[1] % (axl::kMaxLanes + 1);
  file.length = uint64_t{1} << data[0] % 64;
  file.lanes.clear();
  for (size_t i = 0; i < lanes; ++i)
    file.lanes.push_back(code.substr(code.size() * i / lanes, code.size() / lanes));
  open_file(axl::to_bytes(file));
  return 0;
}
