#include "axl/serve/server.h"

#include <arpa/inet.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "axl/base/format.h"
#include "serve/endpoints.h"

namespace axl {
namespace {

bool is_loopback(const std::string& host) {
  in_addr v4 = {};
  in6_addr v6 = {};
  if (host == "localhost") return true;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

const ServerOptions& checked(const ServerOptions& o) {
  const auto require = [](bool ok, const char* what) {
    if (!ok) throw UsageError(what);
  };
  require(o.port >= 0 && o.port < 65536, "--port must be in [0, 65535]");
  require(o.max_body > 0 && o.max_prompt > 0 && o.max_tokens > 0 && o.connections > 0,
          "a server's limits must be positive");
  require(o.timeout.count() > 0, "--timeout must be positive");
  if (!is_loopback(o.host) && o.api_key.empty() && !o.insecure)
    throw UsageError(
        format("--host {} lets other machines use this one: give --api-key KEY (or "
               "$AXL_API_KEY), or --insecure if that is meant",
               o.host));
  return o;
}

ConnectionTimes times_of(const ServerOptions& o) {
  ConnectionTimes times;
  times.whole = o.timeout + std::chrono::minutes(1);
  return times;
}

}  // namespace

class Server::Implementation {
 public:
  explicit Implementation(ServerOptions options)
      : options_(std::move(checked(options))),
        models_(options_.models, options_.engine),
        endpoints_(options_, models_, metrics_),
        listener_(times_of(options_), static_cast<size_t>(options_.connections)),
        router_(listener_,
                {options_.api_key, options_.cors_origin, static_cast<size_t>(options_.max_body)},
                endpoints_.routes(), metrics_),
        port_(listener_.bind(options_.host, options_.port)) {}

  ~Implementation() {
    endpoints_.cut();
    drain(std::chrono::milliseconds(0));
  }

  int port() const { return port_; }
  std::string address() const {
    const bool v6 = options_.host.find(':') != std::string::npos;
    return format("http://{}:{}", v6 ? "[" + options_.host + "]" : options_.host, port_);
  }

  void start() {
    accepting_ = std::thread([this] {
      listener_.accept_all();
      const std::lock_guard lock(mutex_);
      done_ = true;
      ended_.notify_all();
    });
  }

  void load() {
    if (!options_.lazy) models_.load_all();
    endpoints_.set_ready();
  }

  void reload() {
    if (options_.reload) models_.reload_changed();
  }

  bool drain(std::chrono::milliseconds patience) {
    if (!accepting_.joinable()) return true;
    listener_.stop_accepting();
    bool drained = false;
    {
      std::unique_lock lock(mutex_);
      drained = ended_.wait_for(lock, patience, [&] { return done_; });
    }
    if (!drained) endpoints_.cut();
    accepting_.join();
    return drained;
  }

 private:
  ServerOptions options_;
  Metrics metrics_;
  ModelRegistry models_;
  Endpoints endpoints_;
  Listener listener_;
  Router router_;
  int port_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  std::thread accepting_;
};

Server::Server(ServerOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(options))) {}
Server::~Server() = default;

int Server::port() const { return implementation_->port(); }
std::string Server::address() const { return implementation_->address(); }
void Server::start() { implementation_->start(); }
void Server::load() { implementation_->load(); }
void Server::reload() { implementation_->reload(); }
bool Server::drain(std::chrono::milliseconds patience) { return implementation_->drain(patience); }

}  // namespace axl
