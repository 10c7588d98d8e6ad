#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/format.h"
#include "axl/serve/server.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_path.h"
#include "cli/signals.h"
#include "serve/page.h"

namespace axl {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr milliseconds kLook{100};   // at signals
constexpr int kLooksPerReload = 10;  // of model files, once a second

struct ServeOptions {
  std::vector<std::string> models, runs;
  double timeout = 600;
  ServerOptions server;
};

/// What a model is called that was given no name: its directory, or the file if that has one.
std::string name_of(const fs::path& given) {
  std::error_code ignored;
  const fs::path path = fs::canonical(given, ignored);
  const fs::path name = path.filename() == "model.safetensors" ? path.parent_path() : path;
  return fs::is_directory(name, ignored) ? name.filename().string() : name.stem().string();
}

ServedModel served_model(const std::string& option) {
  const size_t equals = option.find('=');
  std::error_code ignored;
  if (equals == std::string::npos || fs::exists(option, ignored)) {
    const fs::path file = model_file(option, "--model");
    return {name_of(file), file};
  }
  const std::string name = option.substr(0, equals);
  if (name.empty() || name.find('/') != std::string::npos)
    throw UsageError(
        format("--model {}: expected PATH or NAME=PATH, and no '/' in the name", option));
  return {name, model_file(option.substr(equals + 1), "--model " + name)};
}

std::vector<ServedModel> served_models(const std::vector<std::string>& options) {
  std::vector<ServedModel> models;
  for (const std::string& option : options) models.push_back(served_model(option));
  if (models.empty()) {
    const fs::path file = resolve_model("");
    models.push_back({name_of(file), file});
  }
  return models;
}

ServerOptions server_options(const ServeOptions& o) {
  ServerOptions server = o.server;
  server.page = page_assets();
  server.models = served_models(o.models);
  if (const char* key = std::getenv("AXL_API_KEY"); key && server.api_key.empty())
    server.api_key = key;
  for (const std::string& run : o.runs) {
    if (!fs::is_directory(run))
      throw UsageError(format("--run {}: there is no such directory", run));
    server.runs.emplace_back(run);
  }
  server.timeout = milliseconds(static_cast<int64_t>(1000 * o.timeout));
  return server;
}

void announce(const Server& server, const ServerOptions& options, const Globals& globals) {
  spdlog::info("listening on {}", server.address());
  for (const ServedModel& m : options.models) spdlog::info("{}: {}", m.name, m.path.string());
  if (!globals.json) return;
  print_json({{"address", server.address()}, {"port", server.port()}});
  std::fflush(stdout);
}

int serve_command(const ServeOptions& o, const Globals& globals) {
  const ServerOptions options = server_options(o);
  Server server(options);
  catch_stop_signals();
  server.start();
  announce(server, options, globals);
  server.load();
  for (int looks = 1; stop_signal() == 0; ++looks) {
    std::this_thread::sleep_for(kLook);
    if (looks % kLooksPerReload == 0) server.reload();
  }
  spdlog::info("stopping: what is running may go on for {} s; a second signal ends it at once",
               o.timeout);
  if (!server.drain(options.timeout)) {
    spdlog::warn("stopped with requests unfinished");
    return 128 + stop_signal();
  }
  obey_stop_signal();
  return kExitDone;
}

void add_address_options(CLI::App& app, ServeOptions& o) {
  ServerOptions& s = o.server;
  app.add_option("--host", s.host, "Address to listen on")
      ->type_name("ADDRESS")
      ->capture_default_str();
  app.add_option("--port", s.port, "Port to listen on; 0 takes a free one")
      ->check(CLI::Range(0, 65535).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--api-key", s.api_key,
                 "Key that requests must bring; default $AXL_API_KEY, which other users of the "
                 "machine cannot see")
      ->type_name("KEY");
  app.add_option("--cors-origin", s.cors_origin,
                 "Origin whose web pages may use the server, as https://example.org, or *")
      ->type_name("ORIGIN");
  app.add_flag("--insecure", s.insecure, "Serve other machines without a key");
}

void add_limit_options(CLI::App& app, ServeOptions& o) {
  ServerOptions& s = o.server;
  const auto limit = [&](const char* name, int64_t& value, int64_t most, const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(int64_t{1}, most).description(""))
        ->type_name("N")
        ->capture_default_str();
  };
  limit("--parallel", s.engine.sequences, 1024, "Texts of a model written at the same time");
  limit("--queue", s.engine.queue, 1 << 20, "Texts that may wait; beyond them requests get 429");
  limit("--connections", s.connections, 1 << 15, "Connections that may be open");
  limit("--max-body", s.max_body, int64_t{1} << 30, "Bytes of a request");
  limit("--max-prompt", s.max_prompt, int64_t{1} << 30, "Bytes of a prompt");
  limit("--max-tokens-limit", s.max_tokens, int64_t{1} << 40, "What max_tokens may be");
  add_draft_option(app, s.engine.draft,
                   "Guess at most so many bytes ahead and check them in one pass: the same texts, "
                   "sooner; 0 is off");
  app.add_option("--timeout", o.timeout, "Seconds that a request may take")
      ->check(CLI::Range(0.001, 1e6).description(""))
      ->type_name("SECONDS")
      ->capture_default_str();
}

}  // namespace

Action setup_serve(CLI::App& app, Globals& globals) {
  auto o = std::make_shared<ServeOptions>();
  app.add_option("--model", o->models,
                 "Model directory, .safetensors or .gguf file, and what requests call it; "
                 "repeatable; default $AXL_MODEL, then checkpoints/latest")
      ->type_name("[NAME=]PATH");
  add_address_options(app, *o);
  app.add_flag("--lazy", o->server.lazy, "Load a model when it is first asked for");
  app.add_flag("--reload", o->server.reload, "Load a model again when its file is replaced");
  app.add_option("--run", o->runs, "Training run whose curves the page shows; repeatable")
      ->type_name("DIR");
  add_limit_options(app, *o);
  return [o, &globals] { return serve_command(*o, globals); };
}

}  // namespace axl
