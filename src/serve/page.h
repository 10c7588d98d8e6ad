#pragma once

#include <span>

#include "axl/serve/server.h"

namespace axl {

/// The files of src/serve/page, put into the program by src/serve/embed_page.cmake: index.html at
/// "/", the others at "/page/<name>".
std::span<const Asset> page_assets();

}  // namespace axl
