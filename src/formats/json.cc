#include "json.h"

#include <set>
#include <vector>

#include "axl/base/error.h"
#include "axl/base/format.h"

namespace axl {

using nlohmann::json;

json parse_json(std::string_view text, int max_depth, const std::string& what) {
  std::vector<std::set<std::string>> keys;  // one set per open object
  const auto check = [&](int depth, json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= max_depth) {
      throw Error(format("{} is nested deeper than {} levels", what, max_depth));
    }
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get_ref<const std::string&>()).second) {
      throw Error(format("{} has the key {} twice", what, parsed.dump().substr(0, 100)));
    }
    return true;
  };
  // The parser would take it for the end and ignore what follows.
  if (text.find('\0') != text.npos) throw Error(what + " is not valid JSON: it holds a zero byte");
  try {
    return json::parse(text, check);
  } catch (const json::exception& e) {
    throw Error(format("{} is not valid JSON: {}", what, e.what()));
  }
}

}  // namespace axl
