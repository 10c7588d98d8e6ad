#pragma once

#include <filesystem>
#include <string>

#include "axl/base/error.h"
#include "axl/formats/safetensors.h"
#include "temp_dir.h"

namespace axl {

/// The message of the Error when the file is opened.
inline std::string refusal(const std::filesystem::path& path) {
  return message_of<Error>([&] { SafetensorsFile file(path); });
}

/// Whether the file opens; anything thrown but an Error is a failure.
inline bool opens(const std::filesystem::path& path) {
  try {
    SafetensorsFile file(path);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace axl
