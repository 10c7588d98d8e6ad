#pragma once

namespace axl {

/// From now on the first SIGINT or SIGTERM only makes stop_signal() return its number: the command
/// saves its work and returns. A second one ends the program at once. Only commands that look at
/// stop_signal() call this; the others end at the first signal.
void catch_stop_signals();

/// The command has done all that the signal asked for: stop_signal() is 0 again, so that the
/// program ends as from a command that was not interrupted.
void obey_stop_signal();

/// SIGINT, SIGTERM, or 0 while neither has come.
int stop_signal();

}  // namespace axl
