#pragma once

#include <cstddef>
#include <iterator>
#include <optional>

namespace creel::detail {

/// Takes a listener's connections until it is closed.
template <typename Listener, typename Socket>
class AcceptIterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = Socket;
  using difference_type = std::ptrdiff_t;

  AcceptIterator() = default;
  explicit AcceptIterator(Listener& listener) : listener_(&listener), socket_(listener.accept()) {}
  Socket& operator*() const noexcept { return *socket_; }
  Socket* operator->() const noexcept { return &*socket_; }
  AcceptIterator& operator++() {
    socket_.reset();  // who is done with a connection does not keep it open while waiting for the next
    socket_ = listener_->accept();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const AcceptIterator& it, std::default_sentinel_t) noexcept { return !it.socket_; }

 private:
  Listener* listener_ = nullptr;
  mutable std::optional<Socket> socket_;
};

}  // namespace creel::detail
