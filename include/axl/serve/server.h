#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "axl/serve/engine.h"

namespace axl {

struct ServedModel {
  std::string name;            ///< what requests call it
  std::filesystem::path path;  ///< a file that load_model() reads
};

/// A file of the server's page.
struct Asset {
  std::string_view path;  ///< of its address, "/" first
  std::string_view content_type;
  std::string_view bytes;
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8880;          ///< 0: any free one
  std::string api_key;      ///< what requests must bring; "": nothing
  std::string cors_origin;  ///< the origin whose pages may use the server; "*": any; "": its own
  bool insecure = false;    ///< serves other machines without a key, too
  std::vector<ServedModel> models;
  bool lazy = false;                        ///< loads a model when it is first asked for
  bool reload = false;                      ///< loads a model again when its file is replaced
  std::vector<std::filesystem::path> runs;  ///< directories whose train_log.csv may be read
  std::span<const Asset> page;
  EngineOptions engine;
  int64_t connections = 512;       ///< open at once; more are answered 503
  int64_t max_body = 1 << 20;      ///< bytes of a request
  int64_t max_prompt = 256 << 10;  ///< bytes of one prompt
  int64_t max_tokens = 32768;      ///< bytes to write for one prompt
  std::chrono::milliseconds timeout = std::chrono::minutes(10);  ///< of a request, from its arrival
};

/// Answers HTTP requests for completions (OpenAI's and llama-server's) on threads of its own.
class Server {
 public:
  /// Checks the options, reads the models' configurations and binds the address. Throws UsageError,
  /// and Error when the address or a model cannot be had.
  explicit Server(ServerOptions options);
  /// Cuts what is still running.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  /// "http://127.0.0.1:8880".
  std::string address() const;

  /// Accepts connections. Until load() is done, /health and requests for text are answered 503.
  void start();
  /// Loads the models unless they are lazy. Throws Error.
  void load();
  /// Loads again the models whose files have been replaced, where the options say so.
  void reload();
  /// Accepts no more and waits until what is running is done, `patience` at most; false when
  /// something had to be cut.
  bool drain(std::chrono::milliseconds patience);

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace axl
