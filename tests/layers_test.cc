// Which layer may include which, and where third parties may enter: README's architecture, checked.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "axl/base/file.h"
#include "axl/base/format.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

/// What each layer may include besides itself; cli may include everything.
const std::map<std::string, Names> kLayers = {
    {"base", {}},
    {"tensor", {"base"}},
    {"kernels", {"tensor", "base"}},
    {"formats", {"tensor", "base"}},
    {"data", {"formats", "base"}},
    {"nn", {"kernels", "tensor", "base"}},
    {"model", {"nn", "formats", "kernels", "tensor", "base"}},
    {"infer", {"model", "data", "kernels", "tensor", "base"}},
    {"train", {"infer", "model", "data", "formats", "kernels", "tensor", "base"}},
    {"serve", {"infer", "model", "formats", "base"}},
    {"cli",
     {"serve", "train", "infer", "model", "nn", "data", "formats", "kernels", "tensor", "base"}},
};

/// Headers that may be included only below one of some paths.
struct Door {
  std::string header;  ///< beginning of what stands between the brackets
  std::vector<std::string> paths;
};
const std::vector<Door> kDoors = {
    {"fmt/", {"include/axl/base/format.h"}},
    {"xxhash", {"src/base/hash.cc"}},
    {"omp.h", {"src/base/parallel.cc"}},
    {"nlohmann/", {"src/formats/", "src/serve/", "src/cli/"}},
    {"oneapi/", {"src/kernels/gemm_onednn.cc"}},
    {"dnnl", {"src/kernels/gemm_onednn.cc"}},
    {"CLI/", {"src/cli/"}},
    {"yaml-cpp/", {"src/cli/"}},
    {"spdlog/", {"src/cli/", "src/serve/"}},
    {"httplib", {"src/serve/"}},
    {"iostream", {"src/cli/"}},
};

/// "include/axl/base/error.h" and "src/base/error.cc" -> "base".
std::string layer_of_file(const std::string& path) {
  const std::string prefix = path.starts_with("src/") ? "src/" : "include/axl/";
  if (!path.starts_with(prefix)) return "";
  return path.substr(prefix.size(), path.find('/', prefix.size()) - prefix.size());
}

/// The layer that `#include "name"` reaches; that of the file itself for a name without directory.
std::string layer_of_include(const std::string& name, const std::string& own) {
  const std::string rest = name.starts_with("axl/") ? name.substr(4) : name;
  const size_t slash = rest.find('/');
  return slash == std::string::npos ? own : rest.substr(0, slash);
}

/// The rule that `line` of the file at `path` breaks; "" when it breaks none.
std::string breach(const std::string& path, const std::string& line) {
  static const std::regex kOwn(R"re(^\s*#\s*include\s*"([^"]+)".*)re");
  static const std::regex kForeign(R"re(^\s*#\s*include\s*<([^>]+)>.*)re");
  static const std::regex kOpenMp(R"re(^\s*#\s*pragma\s+omp\s+(?!simd|declare\s+simd).*)re");
  const std::string own = layer_of_file(path);
  std::smatch match;
  if (!kLayers.contains(own)) return format("'{}' is not a layer", own);
  if (std::regex_match(line, match, kOwn)) {
    const std::string target = layer_of_include(match[1], own);
    if (target == own || kLayers.at(own).contains(target)) return "";
    return format("layer {} may not include {}", own, target);
  }
  if (std::regex_match(line, kOpenMp)) return "loops run on the threads of axl/base/parallel.h";
  if (!std::regex_match(line, match, kForeign)) return "";
  for (const Door& door : kDoors) {
    if (!match[1].str().starts_with(door.header)) continue;
    std::string rule = "<" + match[1].str() + "> may be included only in";
    for (const std::string& allowed : door.paths) {
      if (path.starts_with(allowed)) return "";
      rule += " " + allowed;
    }
    return rule;
  }
  return match[1].str().starts_with("axl/") ? "own headers stand in quotes" : "";
}

/// "file:line: rule" for each breach in the sources below `root`; `files` counts what was read.
std::vector<std::string> breaches(const fs::path& root, int& files) {
  std::vector<std::string> found;
  for (const char* top : {"include", "src"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string suffix = entry.path().extension();
      if (suffix != ".h" && suffix != ".cc") continue;
      ++files;
      const std::string path = fs::relative(entry.path(), root).generic_string();
      std::istringstream text(read_text(entry.path()));
      std::string line;
      for (int number = 1; std::getline(text, line); ++number) {
        const std::string rule = breach(path, line);
        if (!rule.empty()) found.push_back(format("{}:{}: {}", path, number, rule));
      }
    }
  }
  return found;
}

TEST(Layers, IncludeOnlyWhatTheyMay) {
  int files = 0;
  for (const std::string& found : breaches(AXL_SOURCE_DIR, files)) ADD_FAILURE() << found;
  EXPECT_GT(files, 20);
}

TEST(Layers, MayNotIncludeEachOtherInACircle) {
  // A layer's permissions are closed: what it may include may include nothing it may not.
  for (const auto& [layer, below] : kLayers) {
    EXPECT_FALSE(below.contains(layer)) << layer;
    for (const std::string& other : below) {
      EXPECT_FALSE(kLayers.at(other).contains(layer)) << layer << " and " << other;
    }
  }
}

TEST(Layers, BreachesAreSeen) {
  const auto broken = [](const std::string& path, const std::string& line) {
    return !breach(path, line).empty();
  };
  EXPECT_TRUE(broken("src/base/x.cc", "#include \"axl/tensor/view.h\""));
  EXPECT_TRUE(broken("include/axl/model/x.h", "#include \"axl/train/config.h\""));
  EXPECT_TRUE(broken("src/model/x.cc", "  #  include \"cli/log.h\"  // why"));
  EXPECT_TRUE(broken("src/model/x.cc", "#include \"../train/x.h\""));
  EXPECT_TRUE(broken("src/new/x.cc", "int x;"));
  EXPECT_TRUE(broken("src/model/x.cc", "#include <nlohmann/json.hpp>"));
  EXPECT_TRUE(broken("src/model/x.cc", "#include <fmt/core.h>"));
  EXPECT_TRUE(broken("src/train/x.cc", "#include <spdlog/spdlog.h>"));
  EXPECT_TRUE(broken("src/kernels/gemm.cc", "#include <oneapi/dnnl/dnnl.h>"));
  EXPECT_TRUE(broken("src/train/x.cc", "#include <omp.h>"));
  EXPECT_TRUE(broken("src/train/x.cc", "#pragma omp parallel for"));
  EXPECT_TRUE(broken("src/train/x.cc", "#include <iostream>"));
  EXPECT_TRUE(broken("src/train/x.cc", "#include <axl/base/error.h>"));
  EXPECT_FALSE(broken("src/train/x.cc", "#pragma omp simd reduction(+ : sum)"));
  EXPECT_FALSE(broken("src/train/x.cc", "#include \"axl/model/config.h\""));
  EXPECT_FALSE(broken("src/kernels/x.cc", "#include \"row_blocks.h\""));
  EXPECT_FALSE(broken("src/kernels/gemm_onednn.cc", "#include <oneapi/dnnl/dnnl.hpp>"));
  EXPECT_FALSE(broken("src/base/x.cc", "#include <vector>"));
}

}  // namespace
}  // namespace axl
