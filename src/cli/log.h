#pragma once

#include <string>

#include "cli/command.h"

namespace axl {

/// Sends spdlog to stderr as "axl: level: message", from debug with --verbose, from warnings with
/// --quiet, else from info. A progress line on the terminal is cleared before each message.
void set_up_log(const Globals& globals);

/// "axl: error: message", on one line, whatever the message holds.
void print_error(const std::string& message);

}  // namespace axl
