#include "serve/router.h"

#include <spdlog/spdlog.h>

#include <charconv>

#include "axl/base/format.h"
#include "axl/serve/engine.h"
#include "serve/client_gone.h"

namespace axl {
namespace {

/// Not a status that is ever seen: in metrics and the log it says that nobody was there to see one.
constexpr int kClientGone = 499;
constexpr const char* kMethods = "GET, POST, OPTIONS";

bool matches(const Route& route, const std::string& path) {
  if (!route.path.ends_with('*')) return route.path == path;
  return path.starts_with(std::string_view(route.path).substr(0, route.path.size() - 1));
}

void send_error(httplib::Response& response, const ApiError& error) {
  if (error.status() == 429 || error.status() == 503) response.set_header("Retry-After", "1");
  if (error.status() == 401) response.set_header("WWW-Authenticate", "Bearer");
  send_json(response, error.json(), error.status());
}

/// What the library refuses by itself.
std::string refusal(int status) {
  switch (status) {
    case 400:
      return "the request is not HTTP/1.1 as this server reads it, or its body did not come whole";
    case 404:
      return "there is nothing at this address";
    case 414:
      return "the request's address is too long";
    default:
      return "the request cannot be served";
  }
}

}  // namespace

bool equal_in_constant_time(std::string_view given, std::string_view secret) {
  volatile unsigned char difference = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size() && !secret.empty(); ++i)
    difference = difference | static_cast<unsigned char>(given[i] ^ secret[i % secret.size()]);
  return difference == 0;
}

void send_json(httplib::Response& response, const Reply& reply, int status) {
  response.status = status;
  response.set_content(to_text(reply), "application/json");
}

Router::Router(Listener& listener, RouterOptions options, std::vector<Route> routes,
               Metrics& metrics)
    : options_(std::move(options)), routes_(std::move(routes)), metrics_(metrics) {
  listener.set_pre_routing_handler([this](const Request& request, Response& response) {
    return before_body(request, response) ? httplib::Server::HandlerResponse::Handled
                                          : httplib::Server::HandlerResponse::Unhandled;
  });
  listener.Post(
      ".*", [this](const Request& request, Response& response,
                   const httplib::ContentReader& reader) { with_body(request, response, reader); });
  listener.set_error_handler([](const Request&, Response& response) {
    if (response.body.empty())
      send_error(response, ApiError(response.status, refusal(response.status)));
  });
  listener.set_logger(
      [this](const Request& request, const Response& response) { log(request, response); });
}

void Router::guarded(Response& response, const std::function<void()>& body) {
  try {
    body();
  } catch (const ApiError& e) {
    send_error(response, e);
  } catch (const ClientGone&) {
    response.status = kClientGone;
  } catch (const BusyError& e) {
    send_error(response,
               ApiError(429, std::string(e.what()) + "; try again in a moment", "queue_full"));
  } catch (const UsageError& e) {
    send_error(response, ApiError(400, e.what(), "invalid_value"));
  } catch (const std::exception& e) {
    spdlog::error("a request failed: {}", e.what());
    send_error(response, ApiError(500, "the server failed; its log says why", "internal_error"));
  }
}

bool Router::before_body(const Request& request, Response& response) {
  bool handled = true;
  guarded(response, [&] {
    response.set_header("X-Content-Type-Options", "nosniff");
    allow_origin(request, response);
    if (request.method == "OPTIONS") return preflight(request, response);
    const Route& route = find(request, response);
    Exchange& exchange = Listener::exchange();
    exchange.route = route.path;
    if (!route.open) check_key(request);
    if (route.method == "POST")
      check_body(request), handled = false;
    else
      route.handle({request, "", exchange}, response);
  });
  // What is left unread would be taken for the next request.
  if (handled && Listener::exchange().body_unread) response.set_header("Connection", "close");
  return handled;
}

void Router::with_body(const Request& request, Response& response,
                       const httplib::ContentReader& reader) {
  Exchange& exchange = Listener::exchange();
  guarded(response, [&] {
    std::string body;
    bool too_large = false;
    const bool whole = !exchange.body_unread || reader([&](const char* data, size_t size) {
      too_large = body.size() + size > options_.max_body;
      if (!too_large) body.append(data, size);
      return !too_large;
    });
    if (too_large || !whole) response.set_header("Connection", "close");
    if (too_large)
      throw ApiError(413, format("the body has more than {} bytes", options_.max_body),
                     "body_too_large");
    if (!whole) throw ApiError(400, "the body did not come whole", "incomplete_body");
    exchange.body_unread = false;
    response.status = -1;  // the library notes how reading went
    find(request, response).handle({request, body, exchange}, response);
  });
}

const Route& Router::find(const Request& request, Response& response) const {
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  std::string allowed;
  for (const Route& route : routes_) {
    if (!matches(route, request.path)) continue;
    if (route.method == method) return route;
    allowed += (allowed.empty() ? "" : ", ") + route.method;
  }
  if (allowed.empty()) throw ApiError(404, refusal(404), "not_found");
  response.set_header("Allow", allowed);
  throw ApiError(405, format("this address answers {} only", allowed), "method_not_allowed");
}

void Router::check_key(const Request& request) const {
  if (options_.api_key.empty()) return;
  const std::string given = request.get_header_value("Authorization");
  constexpr std::string_view kScheme = "Bearer ";
  if (given.size() > kScheme.size() && given.starts_with(kScheme) &&
      equal_in_constant_time(std::string_view(given).substr(kScheme.size()), options_.api_key))
    return;
  throw ApiError(401, "this server wants its API key: Authorization: Bearer KEY",
                 "invalid_api_key");
}

void Router::check_body(const Request& request) const {
  if (request.is_multipart_form_data())
    throw ApiError(415, "the body must be JSON, not a form", "unsupported_media_type");
  const std::string length = request.get_header_value("Content-Length");
  if (length.empty()) return;
  uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bytes);
  if (error == std::errc::result_out_of_range || bytes > options_.max_body)
    throw ApiError(413,
                   format("the body has {} bytes; this server takes {} at most",
                          length.substr(0, 20), options_.max_body),
                   "body_too_large");
  if (error != std::errc() || end != length.data() + length.size() ||
      request.has_header("Transfer-Encoding"))
    throw ApiError(400, "Content-Length is not a number, or not the only length", "invalid_length");
}

/// A browser says whose page sends a request. Those of other sites may use neither the machine nor
/// what it knows unless they have been allowed to.
void Router::allow_origin(const Request& request, Response& response) const {
  const std::string origin = request.get_header_value("Origin");
  if (origin.empty()) return;
  const std::string host = request.get_header_value("Host");
  const bool allowed = options_.cors_origin == "*" || options_.cors_origin == origin;
  if (!allowed && origin != "http://" + host && origin != "https://" + host)
    throw ApiError(403,
                   format("pages of {} may not use this server; it can be started with "
                          "--cors-origin to allow it",
                          origin.substr(0, 100)),
                   "origin_not_allowed");
  if (!allowed) return;
  response.set_header("Access-Control-Allow-Origin", options_.cors_origin == "*" ? "*" : origin);
  response.set_header("Vary", "Origin");
}

void Router::preflight(const Request& request, Response& response) const {
  response.status = 204;
  response.set_header("Access-Control-Allow-Methods", kMethods);
  const std::string wanted = request.get_header_value("Access-Control-Request-Headers");
  if (!wanted.empty()) response.set_header("Access-Control-Allow-Headers", wanted);
  response.set_header("Access-Control-Max-Age", "600");
}

void Router::log(const Request& request, const Response& response) {
  const Exchange& exchange = Listener::exchange();
  const double seconds = exchange.seconds_to(Clock::now());
  std::optional<double> first_byte;
  if (exchange.first_byte) first_byte = exchange.seconds_to(*exchange.first_byte);
  metrics_.count(exchange.route, response.status, seconds, first_byte);
  spdlog::debug("{} {} {} {:.1f} ms", request.method, to_text(request.path), response.status,
                1000 * seconds);
}

}  // namespace axl
