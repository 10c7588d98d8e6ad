#include "axl/base/error.h"

#include "axl/base/format.h"

namespace axl {

void fail_check(const char* condition, const char* file, int line) {
  throw InternalError(format("{}:{}: '{}' does not hold; this is a defect of axl, please report it",
                             file, line, condition));
}

}  // namespace axl
