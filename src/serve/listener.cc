#include "serve/listener.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "axl/base/format.h"
#include "serve/api_error.h"
#include "serve/connection_threads.h"

namespace axl {
namespace {

constexpr int kBacklog = 1024, kKeepAliveRequests = 100000;
constexpr size_t kMaxPath = 512;

thread_local Exchange* current = nullptr;

const char* reason_of(int status) {
  switch (status) {
    case 408:
      return "Request Timeout";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

/// Notes what the handlers and the next request on the connection need to know.
void begin(Exchange& exchange, httplib::Request& request) {
  exchange.begun = true;
  const std::string length = request.get_header_value("Content-Length");
  exchange.body_unread =
      request.has_header("Transfer-Encoding") || (!length.empty() && length != "0");
  // Routes are matched by recursion over the path. None is this long.
  if (request.path.size() > kMaxPath) request.path.resize(kMaxPath);
}

}  // namespace

std::string raw_error(int status, const std::string& message, const std::string& code) {
  const std::string body = to_text(ApiError(status, message, code).json());
  return format(
      "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
      "Retry-After: 1\r\nConnection: close\r\n\r\n{}",
      status, reason_of(status), body.size(), body);
}

Listener::Listener(const ConnectionTimes& times, size_t connections)
    : times_(times),
      refusal_(raw_error(503, format("{} connections are open already", connections),
                         "too_many_connections")) {
  new_task_queue = [connections] { return new ConnectionThreads(connections); };
  set_tcp_nodelay(true);
  set_keep_alive_max_count(kKeepAliveRequests);
  set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(times.idle).count());
  // The library's own choice would let two servers share a port without a word.
  set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
}

Listener::~Listener() {
  if (svr_sock_ != INVALID_SOCKET) ::close(svr_sock_);
}

int Listener::bind(const std::string& host, int port) {
  errno = 0;
  const int bound = port == 0 ? bind_to_any_port(host) : bind_to_port(host, port) ? port : -1;
  if (bound < 0) {
    const std::string reason = errno ? std::strerror(errno) : "no such address";
    throw Error(
        format("cannot listen on {}:{}: {}; choose another --host or --port", host, port, reason));
  }
  // A burst of connections waits here for the thread that accepts; the library has room for 5.
  ::listen(svr_sock_, kBacklog);
  return bound;
}

void Listener::stop_accepting() {
  stopping_ = true;
  // Not by the library's stop(), at which it would break off every stream.
  ::shutdown(svr_sock_, SHUT_RDWR);
}

Exchange& Listener::exchange() { return *current; }

bool Listener::process_and_close_socket(socket_t socket) {
  try {
    Connection connection(socket, times_);
    if (ConnectionThreads::refusing())
      ::send(socket, refusal_.data(), refusal_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    else
      serve(connection);
  } catch (const std::exception& e) {
    spdlog::error("a connection broke: {}", e.what());
  }
  current = nullptr;
  ::shutdown(socket, SHUT_RDWR);
  ::close(socket);
  return true;
}

void Listener::serve(Connection& connection) {
  while (true) {
    switch (connection.read_head(stopping_)) {
      case Connection::Head::kClosed:
        return;
      case Connection::Head::kTooLarge:
        connection.httplib::Stream::write(
            raw_error(431, "the request's head is too large", "head_too_large"));
        return connection.linger();
      case Connection::Head::kTooSlow:
        connection.httplib::Stream::write(
            raw_error(408, "the request came too slowly", "request_timeout"));
        return connection.linger();
      case Connection::Head::kReady:
        break;
    }
    if (!serve_one(connection)) return;
  }
}

/// False when the connection is to be closed.
bool Listener::serve_one(Connection& connection) {
  Exchange exchange(connection);
  current = &exchange;
  bool closed = false;
  const bool written = process_request(connection, stopping_, closed,
                                       [&](httplib::Request& r) { begin(exchange, r); });
  current = nullptr;
  const bool in_step = exchange.begun && !exchange.body_unread;
  if (written && !in_step) connection.linger();
  return written && in_step && !closed && !stopping_;
}

}  // namespace axl
