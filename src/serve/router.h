#pragma once

#include <functional>
#include <string>
#include <vector>

#include "serve/api_error.h"
#include "serve/listener.h"
#include "serve/metrics.h"

namespace axl {

/// What a handler is given of a request.
struct Call {
  const httplib::Request& request;
  const std::string& body;
  Exchange& exchange;
};

struct Route {
  std::string method;  ///< GET or POST
  std::string path;    ///< with '*' at its end: also whatever goes on so
  std::function<void(const Call&, httplib::Response&)> handle;
  bool open = false;  ///< needs no key
};

struct RouterOptions {
  std::string api_key, cors_origin;
  size_t max_body = 1 << 20;
};

/// Sends a listener's requests to their handlers, after what all have in common: the key, origins,
/// methods, the body's size; and turns what they throw into OpenAI's error objects.
class Router {
 public:
  /// Takes over the listener's handlers; both must outlive its last request.
  Router(Listener& listener, RouterOptions options, std::vector<Route> routes, Metrics& metrics);

 private:
  using Request = httplib::Request;
  using Response = httplib::Response;

  void guarded(Response& response, const std::function<void()>& body);
  /// Whether the request is answered without looking at a body.
  bool before_body(const Request& request, Response& response);
  void with_body(const Request& request, Response& response, const httplib::ContentReader& reader);
  const Route& find(const Request& request, Response& response) const;
  void check_key(const Request& request) const;
  void check_body(const Request& request) const;
  void allow_origin(const Request& request, Response& response) const;
  void preflight(const Request& request, Response& response) const;
  void log(const Request& request, const Response& response);

  RouterOptions options_;
  std::vector<Route> routes_;
  Metrics& metrics_;
};

/// Whether the texts are equal, in a time that depends on the first one's length alone.
bool equal_in_constant_time(std::string_view given, std::string_view secret);

/// Sends `reply` as JSON.
void send_json(httplib::Response& response, const Reply& reply, int status = 200);

}  // namespace axl
