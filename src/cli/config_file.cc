#include "cli/config_file.h"

#include <algorithm>
#include <set>

#include "axl/base/error.h"
#include "axl/base/file.h"
#include "axl/base/format.h"
#include "axl/base/text.h"

namespace axl {
namespace fs = std::filesystem;
namespace {

constexpr uintmax_t kMaxConfigBytes = 1 << 20;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// Directories with configurations: of the user's project, beside a build, of an installation, and
/// of the sources the program was built from.
std::vector<fs::path> config_dirs() {
  std::error_code ignored;
  const fs::path exe = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  return {"configs", exe / "../configs", exe / "../../configs", exe / "../share/axl/configs",
          AXL_SOURCE_CONFIGS};
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string read_config(const fs::path& path) {
  std::error_code ignored;
  if (fs::file_size(path, ignored) > kMaxConfigBytes) {
    throw UsageError(
        format("{}: larger than 1 MiB, so it cannot be a configuration", path.string()));
  }
  return read_text(path);
}

}  // namespace

std::vector<std::string> known_configs() {
  std::set<std::string> names;
  for (const fs::path& dir : config_dirs()) {
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(dir, ignored)) {
      if (entry.path().extension() == ".yaml") names.insert(entry.path().stem().string());
    }
  }
  return {names.begin(), names.end()};
}

fs::path find_config(const std::string& name_or_path) {
  const bool has_suffix = name_or_path.ends_with(".yaml") || name_or_path.ends_with(".yml");
  std::vector<fs::path> dirs = config_dirs();
  dirs.insert(dirs.begin(), fs::path());
  for (const fs::path& dir : dirs) {
    if (is_file(dir / name_or_path)) return dir / name_or_path;
    if (!has_suffix && is_file(dir / (name_or_path + ".yaml"))) {
      return dir / (name_or_path + ".yaml");
    }
  }
  const std::vector<std::string> known = known_configs();
  throw UsageError(format("there is no configuration '{}' (known are paths and {}){}", name_or_path,
                          join(known), did_you_mean(name_or_path, known)));
}

void apply_overrides(Config& config, std::span<const std::string> overrides) {
  const Fields fields = config.fields();
  for (const std::string& override : overrides) {
    const size_t equals = override.find('=');
    if (equals == std::string::npos) {
      throw UsageError(format("--set {}: expected key=value, as train.lr=1e-3", override));
    }
    const Field& field = find_field(fields, override.substr(0, equals), "--set");
    set_field(field, parse_field_text(override.substr(equals + 1)), "--set");
  }
}

Config load_config(const std::string& name_or_path, std::span<const std::string> overrides) {
  const fs::path path = find_config(name_or_path);
  Config defaults;
  defaults.name = path.stem().string();
  Config config = parse_config(read_config(path), path.string(), std::move(defaults));
  apply_overrides(config, overrides);
  try {
    config.validate();
  } catch (const UsageError& e) {
    throw UsageError(format("{}: {}", path.string(), e.what()));
  }
  return config;
}

}  // namespace axl
