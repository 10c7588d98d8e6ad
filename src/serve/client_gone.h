#pragma once

namespace axl {

/// Nobody waits for the answer any more.
struct ClientGone {};

}  // namespace axl
