#include "serve/model_registry.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "axl/base/format.h"
#include "axl/base/text.h"
#include "axl/model/checkpoint.h"
#include "serve/api_error.h"

namespace axl {

namespace fs = std::filesystem;

/// Tells one file at a path from another that replaced it.
struct ModelRegistry::FileIdentity {
  uint64_t device = 0, inode = 0;
  int64_t bytes = 0, seconds = 0, nanoseconds = 0;
  bool operator==(const FileIdentity&) const = default;

  static FileIdentity of(const fs::path& path) {
    struct stat s = {};
    if (stat(path.c_str(), &s) != 0) return {};
    return {s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
  }
};

struct ModelRegistry::Entry {
  std::string name;
  fs::path path;
  std::mutex loading;  ///< held by whoever loads; taken before `mutex`

  mutable std::mutex mutex;  ///< guards what follows
  ModelConfig config;
  FileIdentity file;
  std::shared_ptr<Engine> engine;
  uint64_t loads = 0;

  std::shared_ptr<Engine> current() const {
    const std::lock_guard lock(mutex);
    return engine;
  }
};

ModelRegistry::ModelRegistry(const std::vector<ServedModel>& models, const EngineOptions& options)
    : options_(options) {
  for (const ServedModel& m : models) {
    for (const std::unique_ptr<Entry>& e : entries_)
      if (e->name == m.name)
        throw UsageError(
            format("two models are called '{}' ({} and {}); give them names: --model "
                   "NAME=PATH",
                   m.name, e->path.string(), m.path.string()));
    auto entry = std::make_unique<Entry>();
    entry->name = m.name;
    entry->path = m.path;
    entry->file = FileIdentity::of(m.path);
    entry->config = load_model_config(m.path);
    entries_.push_back(std::move(entry));
  }
  if (entries_.empty()) throw UsageError("there is no model to serve");
}

ModelRegistry::~ModelRegistry() = default;

ModelRegistry::Entry& ModelRegistry::find(const std::string& name) const {
  if (name.empty()) return *entries_.front();
  std::vector<std::string> names;
  for (const std::unique_ptr<Entry>& e : entries_) {
    if (e->name == name) return *e;
    names.push_back(e->name);
  }
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n;
  throw ApiError(404,
                 format("the model '{}' is not served here; there is {}{}", name.substr(0, 100),
                        known, did_you_mean(name.substr(0, 100), names)),
                 "model_not_found", "model");
}

const std::string& ModelRegistry::resolve(const std::string& name) const { return find(name).name; }

void ModelRegistry::load(Entry& entry) {
  const FileIdentity file = FileIdentity::of(entry.path);
  auto model = std::make_shared<const Model>(load_model(entry.path));
  auto engine = std::make_shared<Engine>(model, options_);
  spdlog::info("{}: loaded {} ({} parameters)", entry.name, entry.path.string(),
               human_count(static_cast<double>(model->parameter_count())));
  // Declared before the lock, so that the engine that goes, if no request has it, ends after it.
  const std::lock_guard lock(entry.mutex);
  entry.config = model->config();
  entry.file = file;
  entry.engine.swap(engine);
  ++entry.loads;
}

std::shared_ptr<Engine> ModelRegistry::engine(const std::string& name) {
  Entry& entry = find(name);
  if (auto engine = entry.current()) return engine;
  const std::lock_guard lock(entry.loading);
  if (auto engine = entry.current()) return engine;  // another request has loaded it
  try {
    load(entry);
  } catch (const std::exception& e) {
    spdlog::error("{}: {}", entry.name, e.what());
    throw ApiError(500,
                   format("the model '{}' cannot be loaded; the server's log says why", entry.name),
                   "model_not_loaded", "model");
  }
  return entry.current();
}

void ModelRegistry::load_all() {
  for (const std::unique_ptr<Entry>& e : entries_) {
    const std::lock_guard lock(e->loading);
    if (!e->current()) load(*e);
  }
}

void ModelRegistry::reload_changed() {
  for (const std::unique_ptr<Entry>& e : entries_) {
    const std::lock_guard lock(e->loading);
    const FileIdentity now = FileIdentity::of(e->path);
    if (!e->current() || now == e->file || now == FileIdentity{}) continue;
    try {
      load(*e);
    } catch (const std::exception& error) {
      spdlog::warn("{}: goes on with the model that it has: {}", e->name, error.what());
      const std::lock_guard guard(e->mutex);
      e->file = now;  // until it changes again
    }
  }
}

std::vector<ModelStatus> ModelRegistry::status() const {
  std::vector<ModelStatus> all;
  for (const std::unique_ptr<Entry>& e : entries_) {
    const std::lock_guard lock(e->mutex);
    all.push_back({e->name, e->config, e->file.seconds, e->engine, e->loads});
  }
  return all;
}

}  // namespace axl
