#include "fuzz/program.h"

#include <gtest/gtest.h>

#include <random>

namespace stackdrain {
namespace {

std::vector<uint8_t> parse(std::string_view text) {
  std::vector<uint8_t> bytes;
  const auto error = parse_text(text, bytes);
  EXPECT_FALSE(error.has_value()) << (error ? error->message : "");
  return bytes;
}

std::string error_of(std::string_view text) {
  std::vector<uint8_t> bytes;
  const auto error = parse_text(text, bytes);
  return error ? std::to_string(error->line) + ": " + error->message : "no error";
}

TEST(Program, EveryWordSurvivesTextAndBack) {
  std::vector<uint8_t> all;
  for (uint32_t word = 0; word < 65536; ++word) {
    EXPECT_EQ(encode_operation(decode_operation(static_cast<uint16_t>(word))), word);
    all.push_back(static_cast<uint8_t>(word & 0xff));
    all.push_back(static_cast<uint8_t>(word >> 8));
  }
  EXPECT_EQ(parse(to_text({all.data(), all.size()})), all);
}

TEST(Program, OddByteAndRandomBytesSurvive) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> bytes(random() % 40);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    EXPECT_EQ(parse(to_text({bytes.data(), bytes.size()})), bytes);
  }
}

// Old inputs must mean the same for ever: a changed line here breaks every crasher that anyone has kept.
TEST(Program, GoldenWords) {
  const std::pair<uint16_t, const char*> golden[] = {
      {0x0000, "nop"},
      {0xffc0, "nop ~1023"},
      {0x0001, "world seed orders=3 locks=one stopped procs=1 arena=1M hold=whole"},
      {0xffc1, "world go1.19 orders=4 locks=each concurrent procs=4 arena=8M hold=batch2"},
      {0x0c42, "spawn g1 16K"},
      {0x00c3, "exit g3"},
      {0xfc84, "call g2 8192"},
      {0x0445, "return g1 2"},
      {0x0146, "grow g5"},
      {0x0347, "shrink m1 g3"},
      {0x0448, "block g1 select"},
      {0x0049, "wake g1"},
      {0x1c4a, "send g1 7"},
      {0x0c4b, "push g1 both"},
      {0x044c, "pop g1 defer"},
      {0x440d, "heap-alloc h0 2 zeroed"},
      {0x03ce, "heap-free h15"},
      {0x00cf, "proc p3"},
      {0x0090, "flush p2"},
      {0x0051, "gc-begin 2"},
      {0x0112, "gc-mark m0 2"},
      {0x1013, "load m0 g0 selectdone"},
      {0x0113, "load m0 g1 elem"},
      {0x0054, "resolve m1"},
      {0x0015, "gc-end"},
      {0x0016, "restart"},
      {0x00d7, "drain 3"},
      {0x0518, "at free 2"},
      {0x0459, "status g1 syscall"},
      {0x001a, "release"},
      {0x001b, "quiesce"},
      {0x07df, "refuse 32"},
      {0x00a0, "die p2"},
      {0x0061, "adopt p1"},
      {0x007f, "reserved 63 1"},
  };
  for (const auto& [word, text] : golden) {
    const uint8_t bytes[] = {static_cast<uint8_t>(word & 0xff), static_cast<uint8_t>(word >> 8)};
    EXPECT_EQ(to_text({bytes, 2}), std::string(text) + "\n") << std::hex << word;
  }
}

// Every word of the codes below `codes`, as text.
uint64_t digest_of_words(uint32_t codes) {
  uint64_t digest = 14695981039346656037u;
  char line[kMaxOperationText];
  for (uint32_t word = 0; word < 65536; ++word) {
    const Operation operation = decode_operation(static_cast<uint16_t>(word));
    if (operation.code >= codes) continue;
    const size_t size = format_operation(operation, line, sizeof line);
    for (size_t i = 0; i < size; ++i) digest = (digest ^ static_cast<uint8_t>(line[i])) * 1099511628211u;
  }
  return digest;
}

// A row for each time that operations were appended; a row never changes.
TEST(Program, GoldenDigestOfAllWords) {
  constexpr struct {
    uint32_t codes;
    uint64_t digest;
  } kGolden[] = {
      {28, 596654595857628327u}, {30, 5139321728060076411u}, {31, 7892852684899155959u}, {34, 6527131602701627461u}};
  for (const auto& [codes, digest] : kGolden) {
    EXPECT_EQ(digest_of_words(codes), digest) << "the meaning of old programs changed";
  }
  EXPECT_EQ(std::rbegin(kGolden)->codes, kOperations.size()) << "an operation was appended: add a row";
}

TEST(Program, CommentsBlankLinesAndCarriageReturns) {
  EXPECT_EQ(parse("# a comment\r\n\r\n  spawn  g1\t16K # why\r\n"), parse("spawn g1 16K"));
}

TEST(Program, ErrorsSayWhereAndWhat) {
  EXPECT_EQ(error_of("spawn g1 2K\nspwan g1 2K"), "2: unknown operation 'spwan' (did you mean 'spawn'?)");
  EXPECT_EQ(error_of("xyzzy"), "1: unknown operation 'xyzzy'; see: stackdrain list operations");
  EXPECT_EQ(error_of("spawn x 2K"), "1: spawn wants g0..g15 as argument 1, not 'x'");
  EXPECT_EQ(error_of("spawn g16 2K"), "1: spawn wants g0..g15 as argument 1, not 'g16'");
  EXPECT_EQ(error_of("spawn g1"), "1: spawn wants 2K..256K as argument 2, and it is missing");
  EXPECT_EQ(error_of("call g1 100"), "1: call wants bytes: 128..8192 in steps of 128 as argument 2, not '100'");
  EXPECT_EQ(error_of("wake g1 g2"), "1: wake wants ~N: unused bits, kept; left out when zero as argument 2, not 'g2'");
  EXPECT_EQ(error_of("call g1 128 5"), "1: call takes no further argument '5'");
  EXPECT_EQ(error_of("byte 0x100"), "1: byte wants 0x00..0xff");
  EXPECT_EQ(error_of("byte 0x10\nnop"), "2: nothing may follow a single byte");
  EXPECT_EQ(error_of("reserved 3 0"),
            "1: reserved wants a code from " + std::to_string(kOperations.size()) + " to 63 and bits from 0 to 1023");
}

TEST(Program, HelpAndDictionaryNameEveryOperation) {
  const std::string help = operations_help();
  const std::string words = dictionary();
  for (const OperationRow& row : kOperations) {
    EXPECT_NE(help.find(std::string(row.name)), std::string::npos) << row.name;
    EXPECT_NE(words.find(std::string(row.name) + "_0="), std::string::npos) << row.name;
  }
}

TEST(Program, FormatNeverLeavesItsBuffer) {
  char buffer[8];
  EXPECT_EQ(format_operation(decode_operation(0xffc1), buffer, sizeof buffer), 7u);
  EXPECT_STREQ(buffer, "world g");
}

}  // namespace
}  // namespace stackdrain
