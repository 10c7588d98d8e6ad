#pragma once

#include <span>
#include <string_view>

namespace axl {

/// A file of the page, as it is sent.
struct Asset {
  std::string_view path;  ///< "/" for index.html, "/page/<name>" for the others
  std::string_view content_type;
  std::string_view bytes;
};

/// What is in src/serve/page, put into the program by src/serve/embed_page.cmake.
std::span<const Asset> page_assets();

}  // namespace axl
