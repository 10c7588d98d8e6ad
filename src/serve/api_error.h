#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "axl/base/error.h"

namespace axl {

/// Replies keep the order in which their keys are written.
using Reply = nlohmann::ordered_json;

/// Why a request is not served, as HTTP status and OpenAI's error object tell it.
class ApiError : public Error {
 public:
  ApiError(int status, const std::string& message, std::string code = "", std::string param = "")
      : Error(message), status_(status), code_(std::move(code)), param_(std::move(param)) {}

  int status() const { return status_; }
  const std::string& code() const { return code_; }
  /// {"error": {message, type, param, code}}; param and code are null where there is none.
  Reply json() const;

 private:
  int status_;
  std::string code_, param_;  ///< param: the name of the request's field that is wrong
};

/// 400 that names the field.
ApiError bad_field(const std::string& param, const std::string& message);

/// `reply` as text; what is not UTF-8 in it becomes U+FFFD.
std::string to_text(const Reply& reply);

}  // namespace axl
