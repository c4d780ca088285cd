// Expected output: "greeter-0 says hello, state TERMINATED"
#include <creel/runtime/thread.hpp>

#include <cstdio>
#include <string>

int main() {
  std::string speaker;
  creel::Thread greeter = creel::Thread::of_platform().name("greeter-", 0).start([&] {
    speaker = creel::Thread::current().name();
  });
  greeter.join();
  std::printf("%s says hello, state %s\n", speaker.c_str(), std::string{to_string(greeter.state())}.c_str());
}
