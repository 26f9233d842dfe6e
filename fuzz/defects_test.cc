#include <gtest/gtest.h>
namespace stackdrain {}
