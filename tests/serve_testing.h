#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "axl/model/checkpoint.h"
#include "axl/serve/server.h"
#include "temp_dir.h"

namespace axl {

using nlohmann::json;

inline ModelConfig tiny_served_config() {
  ModelConfig c{.d_model = 16, .n_heads = 2, .d_ff = 16, .n_layers_per_scale = {1}};
  c.max_seq_len = 64;
  return c;
}

/// A model of random weights; returns its file.
inline std::filesystem::path save_tiny_model(const std::filesystem::path& dir, uint64_t seed,
                                             const ModelConfig& config = tiny_served_config()) {
  Model model(config);
  model.init(seed);
  std::filesystem::create_directories(dir);
  save_model(model, dir);
  return dir / kModelFile;
}

/// A server on a free port, with small limits, of one tiny model "tiny" unless told otherwise.
class TestServer {
 public:
  explicit TestServer(ServerOptions options = small_options()) {
    options.port = 0;
    if (options.models.empty()) options.models = {{"tiny", save_tiny_model(dir_ / "tiny", 1)}};
    server_ = std::make_unique<Server>(std::move(options));
    server_->start();
    server_->load();
  }

  static ServerOptions small_options() {
    ServerOptions o;
    o.engine = {.sequences = 4, .queue = 8};
    o.max_body = 64 << 10;
    o.max_prompt = 8 << 10;
    o.max_tokens = int64_t{1} << 30;  // long enough to be running whenever a test looks
    return o;
  }

  Server& server() { return *server_; }
  httplib::Client client() const {
    httplib::Client c("127.0.0.1", server_->port());
    c.set_read_timeout(60);
    return c;
  }
  httplib::Result post(const std::string& path, const json& body) const {
    return client().Post(path, body.dump(), "application/json");
  }
  json reply(const std::string& path, const json& body) const {
    const httplib::Result r = post(path, body);
    if (!r) return ADD_FAILURE() << path << ": no answer", json();
    EXPECT_EQ(r->status, 200) << r->body;
    return json::parse(r->body);
  }
  /// The value of a line of /metrics.
  double metric(const std::string& line) const {
    const std::string text = client().Get("/metrics")->body;
    const size_t at = text.find("\n" + line + " ");
    return at == text.npos ? -1 : std::stod(text.substr(at + line.size() + 2));
  }
  /// Waits, a minute at most, until `done`.
  static bool eventually(const std::function<bool()>& done) {
    for (int i = 0; i < 6000; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  bool eventually_running(int texts) const {
    return eventually([&] { return metric("axl_running{model=\"tiny\"}") == texts; });
  }

 private:
  TempDir dir_;
  std::unique_ptr<Server> server_;
};

/// A text that is still being written whenever a test looks.
inline json endless(bool stream) {
  return {{"model", "tiny"},
          {"prompt", "x"},
          {"max_tokens", 1 << 30},
          {"temperature", 0},
          {"stream", stream}};
}

/// The data of each event of a stream.
inline std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    EXPECT_EQ(body.substr(at, 6), "data: ");
    EXPECT_NE(end, body.npos) << "an event without its end";
    if (end == body.npos) break;
    events.push_back(body.substr(at + 6, end - at - 6));
    at = end + 2;
  }
  return events;
}

/// A connection without an HTTP library.
class RawConnection {
 public:
  explicit RawConnection(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ =
        ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawConnection() { close(); }
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  bool connected() const { return connected_; }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  /// What comes until `end` is in it or the server closes.
  std::string receive(std::string_view end = "\n\n never") {
    std::string all;
    char buffer[4096];
    while (all.find(end) == all.npos) {
      const ssize_t n = ::recv(socket_, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      all.append(buffer, static_cast<size_t>(n));
    }
    return all;
  }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
  bool connected_ = false;
};

inline std::string raw_post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

/// Tests that share a server.
class ServedTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { shared_ = new TestServer; }
  static void TearDownTestSuite() { delete shared_, shared_ = nullptr; }
  static TestServer& served() { return *shared_; }

 private:
  static inline TestServer* shared_ = nullptr;
};

}  // namespace axl
