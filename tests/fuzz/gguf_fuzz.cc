// Feeds any bytes to the readers of GGUF files and of the models in them: they may refuse them with
// an Error, nothing else.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "axl/base/error.h"
#include "axl/formats/block_codec.h"
#include "axl/formats/gguf.h"
#include "axl/model/gguf_model.h"
#include "memory_file.h"

namespace {

/// Uses all that an accepted file promises, so that a wrong promise meets the sanitizers.
void read_everything(const axl::GgufFile& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    const int64_t cols = tensor.shape.empty() ? 1 : tensor.shape.back();
    unsigned __int128 rows = 1;
    for (size_t i = 0; i + 1 < tensor.shape.size(); ++i)
      rows *= static_cast<uint64_t>(tensor.shape[i]);
    if (rows == 0 || cols == 0) continue;
    const axl::PackedMatrix matrix = {tensor.type, tensor.bytes.data(), static_cast<int64_t>(rows),
                                      cols};
    if (rows * static_cast<uint64_t>(matrix.row_bytes()) != tensor.bytes.size()) __builtin_trap();
    if (tensor.type == axl::ElementType::kI32) continue;
    std::vector<float> values(static_cast<size_t>(cols));
    axl::decode_row(matrix, 0, values.data());
    axl::decode_row(matrix, matrix.rows - 1, values.data());
  }
  for (const auto& [key, value] : file.metadata()) {
    try {
      file.get<uint32_t>(key);
      file.get<std::vector<std::string>>(key);
    } catch (const axl::Error&) {  // of another type
    }
  }
  file.verify_checksum();
}

void open_file(std::string_view bytes) {
  const axl::MemoryFile input(bytes);
  try {
    read_everything(axl::GgufFile(input.path()));
  } catch (const axl::Error&) {
  }
  try {
    axl::load_gguf_model(input.path());
  } catch (const axl::Error&) {
  }
}

/// The input behind a sound beginning: its first two bytes are the counts, a third cuts it into the
/// header and the data, which begins where it must. Few mutations of a whole file keep all of that.
std::string with_beginning(std::string_view input) {
  std::string file = "GGUF";
  const auto put = [&](auto value) {
    file.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  put(uint32_t{3});
  put(static_cast<uint64_t>(input[0] & 3));
  put(static_cast<uint64_t>(input[1] & 3));
  const size_t header = static_cast<uint8_t>(input[2]);
  file += input.substr(3, header);
  file.resize((file.size() + 31) / 32 * 32);
  if (3 + header < input.size()) file += input.substr(3 + header);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  open_file(input);
  if (size >= 3) open_file(with_beginning(input));
  return 0;
}
