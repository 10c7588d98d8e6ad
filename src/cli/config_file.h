#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "axl/train/config.h"

namespace axl {

/// Finds the configuration that `name_or_path` means: a path, or a name in ./configs or in the
/// configurations that came with the program; with or without .yaml. Throws UsageError with the
/// known names when there is none.
std::filesystem::path find_config(const std::string& name_or_path);

/// Names that find_config knows, sorted.
std::vector<std::string> known_configs();

/// The configuration in `text`; keys that it leaves out keep the value they have in `defaults`.
/// Strict: unknown and repeated keys, values of another kind and more than one document throw
/// UsageError beginning with "where:line". Values are not yet checked against each other.
Config parse_config(const std::string& text, const std::string& where, Config defaults = {});

/// Applies "train.lr=1e-3" and the like, in order. Throws UsageError.
void apply_overrides(Config& config, std::span<const std::string> overrides);

/// find_config, parse_config, apply_overrides, validate. A file without `name` is named after
/// itself. Throws UsageError.
Config load_config(const std::string& name_or_path, std::span<const std::string> overrides = {});

/// All keys as commented YAML, which parse_config reads back to the same configuration.
std::string config_yaml(const Config& config);

}  // namespace axl
