#pragma once

namespace axl {

/// From now on the first SIGINT or SIGTERM only makes stop_signal() return its number: the command
/// saves its work and returns. A second one ends the program at once. Only commands that look at
/// stop_signal() call this; the others end at the first signal.
void catch_stop_signals();

/// SIGINT, SIGTERM, or 0 while neither has come.
int stop_signal();

}  // namespace axl
