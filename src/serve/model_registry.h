#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "axl/serve/engine.h"
#include "axl/serve/server.h"

namespace axl {

/// What is known of a model that is served.
struct ModelStatus {
  std::string name;
  ModelConfig config;
  int64_t created = 0;             ///< seconds since 1970 at which its file was written
  std::shared_ptr<Engine> engine;  ///< none while it is not loaded
  uint64_t loads = 0;              ///< how often it was
};

/// The models of a server by name, each with an engine from when it is loaded.
class ModelRegistry {
 public:
  /// Reads the configurations, no weights. Throws Error for a file that is no model and UsageError
  /// for a name that is given twice.
  ModelRegistry(const std::vector<ServedModel>& models, const EngineOptions& options);
  ~ModelRegistry();

  /// The engine of a model, which its requests keep until they are done, whatever is loaded
  /// meanwhile; loads it first if need be. "" is the first model. Throws ApiError 404 for an
  /// unknown name and 500 when the file cannot be loaded.
  std::shared_ptr<Engine> engine(const std::string& name);
  /// The full name of a model. Throws ApiError 404.
  const std::string& resolve(const std::string& name) const;

  /// Loads every model that is not. Throws Error.
  void load_all();
  /// Loads again, beside the running one, each loaded model whose file is not the one that was
  /// read; a file that cannot be loaded is told to the log and changes nothing.
  void reload_changed();

  std::vector<ModelStatus> status() const;

 private:
  struct FileIdentity;
  struct Entry;
  Entry& find(const std::string& name) const;
  void load(Entry& entry);

  EngineOptions options_;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace axl
