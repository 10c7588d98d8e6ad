# Writes C++ that holds the page's files, as text between R"axl-page( and )axl-page".
# usage: cmake -DOUT=FILE.cc -DPAGE=DIRECTORY -P embed_page.cmake

set(TYPE_.html "text/html; charset=utf-8")
set(TYPE_.css "text/css; charset=utf-8")
set(TYPE_.js "text/javascript; charset=utf-8")
set(TYPE_.svg "image/svg+xml")

file(GLOB files ${PAGE}/*)
set(assets "")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  get_filename_component(suffix ${file} LAST_EXT)
  if(NOT DEFINED TYPE_${suffix})
    message(FATAL_ERROR "${file}: the page has files ending in .html, .css, .js and .svg only")
  endif()
  set(path "/page/${name}")
  if(name STREQUAL "index.html")
    set(path "/")
  endif()
  file(READ ${file} text)
  string(APPEND assets "    {\"${path}\", \"${TYPE_${suffix}}\", R\"axl-page(${text})axl-page\"},\n")
endforeach()

file(WRITE ${OUT} "#include \"serve/page.h\"

namespace axl {

std::span<const Asset> page_assets() {
  static constexpr Asset kAssets[] = {
${assets}  };
  return kAssets;
}

}  // namespace axl
")
