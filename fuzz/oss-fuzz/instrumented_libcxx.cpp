// What the harnesses use of libc++'s compiled part, compiled again: MemorySanitizer wants all of a process
// instrumented, and Debian's libc++.a is not. OSS-Fuzz has one that is, so its build does not use this; the check that
// emulates it does.
#include <cstdio>
#include <string>

template class std::basic_string<char>;

namespace {

template <typename Number>
std::string printed(const char* form, Number value) {
  char text[32];
  const int size = std::snprintf(text, sizeof text, form, value);
  return {text, static_cast<size_t>(size)};
}

}  // namespace

_LIBCPP_BEGIN_NAMESPACE_STD
string to_string(int value) {
  return printed("%d", value);
}
string to_string(unsigned value) {
  return printed("%u", value);
}
string to_string(long value) {
  return printed("%ld", value);
}
string to_string(unsigned long value) {
  return printed("%lu", value);
}
_LIBCPP_END_NAMESPACE_STD
