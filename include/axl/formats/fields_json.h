#pragma once

#include <string>

#include "axl/base/fields.h"

namespace axl {

/// The current values as one JSON object, keys in the order of declaration, doubles exact.
std::string fields_to_json(const Fields& fields);

/// Sets the fields that `json`, an object, names; the others keep their values. JSON types must be
/// those of the fields. Throws Error beginning with `where` for anything that is not JSON, an
/// unknown or repeated key, or a value that set_field refuses; some fields may be set by then.
void fields_from_json(const std::string& json, const Fields& fields, const std::string& where);

}  // namespace axl
