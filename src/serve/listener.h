#pragma once

#include <httplib.h>

#include <atomic>
#include <optional>
#include <string>

#include "axl/base/clock.h"
#include "serve/connection.h"

namespace axl {

/// One request on its way, for whoever handles it on its connection's thread.
struct Exchange {
  explicit Exchange(Connection& c) : connection(c) {}

  Connection& connection;
  std::string route = "other";  ///< the pattern that serves it
  bool begun = false;           ///< the head was understood
  bool body_unread = false;     ///< what follows on the connection is not the next request's head
  std::optional<Clock::time_point> first_byte;  ///< of text, when it was sent

  double seconds_to(Clock::time_point t) const { return to_seconds(t - connection.arrival()); }
};

/// The HTTP library's server, with connections that are bounded in number, size and time, and with
/// an end that lets running requests finish.
class Listener : public httplib::Server {
 public:
  Listener(const ConnectionTimes& times, size_t connections);
  ~Listener() override;

  /// Binds the address and returns the port. Throws Error.
  int bind(const std::string& host, int port);
  /// Accepts until stop_accepting(), then waits until the last connection is served.
  void accept_all() { listen_after_bind(); }
  void stop_accepting();

  /// That of the calling thread, which must be serving one.
  static Exchange& exchange();

 private:
  bool process_and_close_socket(socket_t socket) override;
  void serve(Connection& connection);
  bool serve_one(Connection& connection);

  ConnectionTimes times_;
  std::atomic<bool> stopping_{false};
  std::string refusal_;
};

/// A whole answer that an ApiError makes, for where the library cannot be asked for one.
std::string raw_error(int status, const std::string& message, const std::string& code);

}  // namespace axl
