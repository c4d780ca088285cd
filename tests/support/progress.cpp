// Tells tests/run.py which test case runs, so that one that crashes or hangs is named and the others are
// still counted: a line "start|pass|fail|skip<TAB>name" each to the file that CREEL_TEST_PROGRESS names.
#include "creel_test/skip.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

/// One write(2) a line and no buffer, so that nothing is lost in a crash and nothing is written twice after a
/// fork.
void report(const char* what, std::string text) {
  static const int file = [] {
    const char* path = std::getenv("CREEL_TEST_PROGRESS");
    return path == nullptr ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  }();
  if (file < 0) return;
  std::replace(text.begin(), text.end(), '\n', ' ');
  const std::string line = std::string{what} + '\t' + text + '\n';
  if (write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    std::perror("CREEL_TEST_PROGRESS");
}

std::string skip_reason;

class ProgressListener : public doctest::IReporter {
 public:
  explicit ProgressListener(const doctest::ContextOptions& /*options*/) {}

  void test_case_start(const doctest::TestCaseData& test) override {
    name_ = test.m_name;
    skip_reason.clear();
    report("start", name_);
  }
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    const bool failed = stats.failure_flags != doctest::TestCaseFailureReason::None && !stats.testCaseSuccess;
    if (failed) {
      report("fail", name_);
    } else if (!skip_reason.empty()) {
      report("skip", name_ + ": " + skip_reason);
    } else {
      report("pass", name_);
    }
  }
  void test_case_skipped(const doctest::TestCaseData& test) override {
    // Also called for cases that a filter leaves out; those are not skipped but not asked for.
    if (test.m_skip) report("skip", std::string{test.m_name} + ": marked skip()");
  }
  void report_query(const doctest::QueryData& /*query*/) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& /*stats*/) override {}
  void test_case_reenter(const doctest::TestCaseData& /*test*/) override {}
  void test_case_exception(const doctest::TestCaseException& /*exception*/) override {}
  void subcase_start(const doctest::SubcaseSignature& /*subcase*/) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& /*assertion*/) override {}
  void log_message(const doctest::MessageData& /*message*/) override {}

 private:
  std::string name_;
};

REGISTER_LISTENER("progress", 0, ProgressListener);

}  // namespace

namespace creel_test {

void skip(std::string_view reason) {
  skip_reason = reason.empty() ? "no reason given" : reason;
  std::fprintf(stderr, "skipped: %s\n", skip_reason.c_str());
}

}  // namespace creel_test
