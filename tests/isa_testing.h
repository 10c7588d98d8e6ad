#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "kernels/isa_choice.h"

namespace axl {

inline void PrintTo(const RowKernels* kernels, std::ostream* out) { *out << kernels->isa; }

/// A test that runs once with each instruction set that this CPU has.
class EachIsa : public testing::TestWithParam<const RowKernels*> {
 protected:
  void SetUp() override { use_row_kernels(*GetParam()); }
  void TearDown() override { use_row_kernels(before_); }

 private:
  const RowKernels& before_ = row_kernels();
};

inline std::string isa_name(const testing::TestParamInfo<const RowKernels*>& info) {
  return info.param->isa;
}

}  // namespace axl

/// Declares a suite of such tests: TEST_P(Suite, Name).
#define AXL_EACH_ISA(Suite)        \
  class Suite : public EachIsa {}; \
  INSTANTIATE_TEST_SUITE_P(Isa, Suite, testing::ValuesIn(runnable_row_kernels()), isa_name)
