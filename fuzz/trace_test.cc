#include "fuzz/trace.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace stackdrain {
namespace {

const std::string kHead = "dns,k,p,g,addr,a,b,c\n";
const std::string kAlloc = "10,A,0,1,c000040000,2048,,\n";
const std::string kCycle =
    "1,S,0,0,0,50,1,\n1,M,0,0,0,60,1,\n1,T,0,0,0,50,1,\n1,R,0,0,0,60,1,\n1,B,-,0,0,0,1,\n1,E,-,0,0,9,1,\n";

// The one line that a text is refused with; "" if it is a trace.
std::string refusal(const std::string& csv) {
  try {
    parse_trace(csv, "x.csv");
    return "";
  } catch (const TraceError& error) {
    return error.what();
  }
}

TEST(Trace, ReadsEveryColumn) {
  const Trace trace = parse_trace(kHead + kAlloc + "-5,C,3,7,c000040000,2048,4096,1048\n", "dir/small.csv.zst");
  EXPECT_EQ(trace.name, "small");
  ASSERT_EQ(trace.events.size(), 2u);
  EXPECT_EQ(trace.allocations, 1u);
  EXPECT_EQ(trace.frees, 0u);
  EXPECT_EQ(trace.procs, 4);
  const TraceEvent& copy = trace.events[1];
  EXPECT_EQ(copy.kind, TraceKind::kCopy);
  EXPECT_EQ(copy.dns, -5);
  EXPECT_EQ(copy.proc, 3);
  EXPECT_EQ(copy.goroutine, 7u);
  EXPECT_EQ(copy.address, 0xc000040000u);
  EXPECT_EQ(copy.a, 2048u);
  EXPECT_EQ(copy.b, 4096u);
  EXPECT_EQ(copy.c, 1048u);
}

TEST(Trace, AnEmptyTraceAndAnUnfinishedCycleAreFine) {
  EXPECT_EQ(refusal(kHead), "");
  EXPECT_EQ(refusal(kHead + kAlloc + kCycle + kCycle + "1,S,0,0,0,50,3,\n"), "");
}

struct Bad {
  const char* name;
  std::string csv;
  const char* starts;
  const char* says;
};

class BadTrace : public testing::TestWithParam<Bad> {};

TEST_P(BadTrace, IsRefusedWithOneLineThatNamesTheLine) {
  const std::string message = refusal(GetParam().csv);
  EXPECT_EQ(message.find(GetParam().starts), 0u) << message;
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, BadTrace,
    testing::Values(
        Bad{"Nothing", "", "x.csv:1:", "is no trace"}, Bad{"OtherHeader", "a,b\n1,2\n", "x.csv:1:", "is no trace"},
        Bad{"CutInALine", kHead + kAlloc + "10,F,0,1,c0000", "x.csv:3:", "cut off"},
        Bad{"CutColumn", kHead + kAlloc + "10,F,0,1,c000040000\n", "x.csv:3:", "5 columns, not 8"},
        Bad{"TooManyColumns", kHead + "10,A,0,1,c000040000,2048,,,\n", "x.csv:2:", "more than 8 columns"},
        Bad{"UnknownKind", kHead + "10,Z,0,1,c000040000,2048,,\n", "x.csv:2:", "unknown event 'Z'"},
        Bad{"NoNumber", kHead + "10,A,0,1,c000040000,2O48,,\n", "x.csv:2:", "column a is no number: '2O48'"},
        Bad{"NoHex", kHead + "10,A,0,1,g000040000,2048,,\n", "x.csv:2:", "column addr is no number"},
        Bad{"Processor", kHead + "10,A,99,1,c000040000,2048,,\n", "x.csv:2:", "processor 99"},
        Bad{"OddSize", kHead + "10,A,0,1,c000040000,3000,,\n", "x.csv:2:", "no power of two"},
        Bad{"TinySize", kHead + "10,A,0,1,c000040000,1024,,\n", "x.csv:2:", "no power of two"},
        Bad{"Overlap", kHead + kAlloc + "1,A,0,1,c000040400,2048,,\n", "x.csv:3:", "overlaps"},
        Bad{"OverlapFromBelow", kHead + kAlloc + "1,A,0,1,c00003f000,8192,,\n", "x.csv:3:", "overlaps"},
        Bad{"TwiceFreed", kHead + kAlloc + "1,F,0,1,c000040000,2048,,\n1,F,0,1,c000040000,2048,,\n",
            "x.csv:4:", "is not live"},
        Bad{"OtherSizeFreed", kHead + kAlloc + "1,F,0,1,c000040000,4096,,\n", "x.csv:3:", "has 2048 bytes, not 4096"},
        Bad{"Reordered", kHead + "1,F,0,1,c000040000,2048,,\n" + kAlloc, "x.csv:2:", "out of order"},
        Bad{"CopyOfNothing", kHead + "1,C,0,1,c000040000,2048,4096,8\n", "x.csv:2:", "is not live"},
        Bad{"CopyToAThird", kHead + kAlloc + "1,C,0,1,c000040000,2048,512,8\n", "x.csv:3:", "neither a growth"},
        Bad{"NewOnNothing", kHead + "1,N,0,1,c000040000,2048,,\n", "x.csv:2:", "is not live"},
        Bad{"SpanTwice", kHead + "1,P,0,1,c000040000,32768,2048,\n1,P,0,1,c000040000,32768,2048,\n",
            "x.csv:3:", "taken twice"},
        Bad{"SpanUnknown", kHead + "1,Q,0,1,c000040000,32768,2048,1\n", "x.csv:2:", "was not taken"},
        Bad{"PhaseMissing", kHead + "1,S,0,0,0,50,1,\n1,T,0,0,0,50,1,\n", "x.csv:3:", "phase 'T' after 'S'"}),
    [](const auto& bad) { return bad.param.name; });

class TraceFile : public testing::Test {
 protected:
  // One of its own: tests of several builds run at once.
  void SetUp() override { ASSERT_NE(mkdtemp(folder_.data()), nullptr) << folder_ << ": " << std::strerror(errno); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  static std::string packed(const std::string& text) {
    std::string out(ZSTD_compressBound(text.size()), 0);
    out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
    return out;
  }

  static std::string refusal_of(const std::string& path) {
    try {
      read_trace(path);
      return "";
    } catch (const TraceError& error) {
      return error.what();
    }
  }

  std::string folder_ = testing::TempDir() + "/stackdrain_trace_test-XXXXXX";
};

TEST_F(TraceFile, PlainAndPackedAreTheSame) {
  const std::string text = kHead + kAlloc + kCycle;
  const Trace plain = read_trace(write("a.csv", text));
  const Trace unpacked = read_trace(write("a.csv.zst", packed(text)));
  EXPECT_EQ(plain.name, "a");
  EXPECT_EQ(unpacked.name, "a");
  ASSERT_EQ(plain.events.size(), 7u);
  EXPECT_EQ(unpacked.events.size(), 7u);
}

TEST_F(TraceFile, DamageIsRefused) {
  const std::string good = packed(kHead + kAlloc + kCycle);
  EXPECT_NE(refusal_of(write("cut.csv.zst", good.substr(0, good.size() / 2))).find("cut off"), std::string::npos);
  EXPECT_NE(refusal_of(write("text.csv.zst", "no zstd at all")).find("is no whole zstd file"), std::string::npos);
  EXPECT_NE(refusal_of(write("empty.csv", "")).find("cannot be read"), std::string::npos);
  EXPECT_NE(refusal_of(folder_ + "/missing.csv").find("cannot be read: No such file"), std::string::npos);
  EXPECT_NE(refusal_of(folder_).find("cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace stackdrain
