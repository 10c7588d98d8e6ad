#pragma once

namespace axl {

/// SIGINT, SIGTERM and SIGHUP, which comes when the terminal is closed: requests to stop. They come
/// to a thread of their own and never interrupt another, which a product does not stand
/// (axl/kernels/gemm.h). SIGHUP is ignored where it was when the program began.

/// Until catch_stop_signals(), any of them ends the program. Threads that began before this call
/// can still be interrupted, so it comes first.
void watch_stop_signals();

/// From now on the first of them only makes stop_signal() return its number: the command saves its
/// work and returns. A second one, 0.2 s later or more, ends the program at once. Only commands
/// that look at stop_signal() call this.
void catch_stop_signals();

/// The command has done all that the signal asked for: stop_signal() is 0 again, so that the
/// program ends as from a command that was not interrupted.
void obey_stop_signal();

/// The number of the one that has come, or 0.
int stop_signal();

}  // namespace axl
