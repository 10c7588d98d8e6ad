#include "serve/api_error.h"

namespace axl {
namespace {

const char* type_of(int status) {
  if (status == 429) return "rate_limit_error";
  if (status == 401 || status == 403) return "authentication_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

Reply or_null(const std::string& text) { return text.empty() ? Reply() : Reply(text); }

}  // namespace

Reply ApiError::json() const {
  return {{"error",
           {{"message", what()},
            {"type", type_of(status_)},
            {"param", or_null(param_)},
            {"code", or_null(code_)}}}};
}

ApiError bad_field(const std::string& param, const std::string& message) {
  return ApiError(400, message, "invalid_value", param);
}

std::string to_text(const Reply& reply) {
  return reply.dump(-1, ' ', false, Reply::error_handler_t::replace);
}

}  // namespace axl
