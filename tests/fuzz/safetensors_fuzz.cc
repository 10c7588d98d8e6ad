// Feeds any bytes to the reader of model files: it may refuse them with an Error, nothing else.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "axl/base/error.h"
#include "axl/formats/safetensors.h"
#include "axl/model/checkpoint.h"
#include "memory_file.h"

namespace {

/// Uses all that an accepted file promises, so that a wrong promise meets the sanitizers.
void read_everything(const axl::SafetensorsFile& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    // From the shape, not elements(), which is derived from the bytes.
    unsigned __int128 elements = 1;
    for (const int64_t dimension : tensor.shape) elements *= static_cast<uint64_t>(dimension);
    if (elements * axl::dtype_bytes(tensor.dtype) != tensor.bytes.size()) __builtin_trap();
    std::vector<float> values(static_cast<size_t>(elements));
    try {
      file.read_floats(name, tensor.shape, values.data());
    } catch (const axl::Error&) {  // not floats, or not finite
    }
  }
}

void open_file(std::string_view bytes) {
  const axl::MemoryFile input(bytes);
  try {
    read_everything(axl::SafetensorsFile(input.path()));
  } catch (const axl::Error&) {
  }
  try {
    axl::load_model(input.path());
  } catch (const axl::Error&) {
  }
}

/// The input as header, zero byte, data; with a length word that fits. Otherwise nearly every
/// mutation of a header would fail at its length and reach nothing behind it.
std::string with_length(std::string_view input) {
  const std::string_view header = input.substr(0, input.find('\0'));
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += header;
  if (header.size() < input.size()) file += input.substr(header.size() + 1);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  open_file(input);
  open_file(with_length(input));
  return 0;
}
