#include "fuzz/timeline.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "fuzz/reproducer.h"
#include "fuzz/testing.h"
#include "fuzz/timeline_html.h"
#include "target/defects.h"

namespace stackdrain {
namespace {

Recording recorded(std::string_view text, std::string_view policy) {
  const std::vector<uint8_t> bytes = parsed(text);
  Recording recording;
  record(walking_machine(), {bytes.data(), bytes.size()}, *find_policy(policy), recording);
  return recording;
}

constexpr std::string_view kRace =
    "spawn g1 16K\nblock g1 recv\ngc-begin 2\nload m0 g1 elem\nshrink m1 g1\nresolve m0\n";

bool said(const std::vector<std::string>& lines, std::string_view part) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Timeline, EndsWhereItIsSeen) {
  const Recording recording = recorded(kRace, "immediate");
  EXPECT_EQ(recording.signature, "A3@shrink/elem");
  EXPECT_TRUE(recording.dangling);
  EXPECT_FALSE(recording.seen_inside);
  const Step& last = recording.steps.back();
  EXPECT_EQ(last.index, 4u);
  EXPECT_TRUE(last.after.held[0].dangles);
  EXPECT_FALSE(last.after.held[1].dangles);
}

TEST(Timeline, TellsTheRace) {
  const Recording recording = recorded(kRace, "immediate");
  std::vector<std::string> lines;
  Snapshot before;
  for (const Step& step : recording.steps) {
    for (const std::string& line : changes(before, step.after)) lines.push_back(line);
    before = step.after;
  }
  EXPECT_TRUE(said(lines, "m0 LOADs +0x3fe0, elem of g1"));
  EXPECT_TRUE(said(lines, "g1 moves to "));
  EXPECT_TRUE(said(lines, "span +0x0: Stack \u2192 Free"));
  EXPECT_TRUE(said(lines, "m0 still holds +0x3fe0: it dangles"));
}

#if STACKDRAIN_YIELDS
TEST(Timeline, WhatRunsInsideStandsInsideAndBefore) {
  const Recording recording = recorded(
      "spawn g1 16K\nblock g1 recv\ngc-begin 2\nload m0 g1 elem\nat copy 1\nshrink m1 g1\nresolve m0\n", "serial");
  EXPECT_FALSE(recording.failed());
  size_t nested = 0;
  size_t host = 0;
  for (size_t i = 0; i < recording.steps.size(); ++i) {
    const Step& step = recording.steps[i];
    if (step.index == 6) nested = i;
    if (step.index == 5 && !step.point) host = i;
    EXPECT_EQ(step.nested, step.index == 6);
  }
  EXPECT_LT(nested, host);
  EXPECT_EQ(recording.steps[nested].at, Yield::kCopyCopy);
  EXPECT_NE(picture_of(recording).find("inside, at copy"), std::string::npos);
}

#endif

TEST(Timeline, KeepsTheLastSteps) {
  std::string text(kRace.substr(0, kRace.find("gc-begin")));
  for (int i = 0; i < 100; ++i) text += "heap-alloc h0 1 dirty\nheap-free h0\n";
  const Recording recording = recorded(text + std::string(kRace.substr(kRace.find("gc-begin"))), "immediate");
  EXPECT_EQ(recording.steps.size(), kMostSteps);
  EXPECT_GT(recording.steps_left_out, 100u);
  EXPECT_EQ(recording.steps.back().index, 204u);
  EXPECT_FALSE(picture_of(recording).empty());
}

TEST(Page, IsOnePageThatNeedsNothingElse) {
  const Recording recording = recorded(kRace, "immediate");
  const std::string page = timeline_page(
      std::span(&recording, 1), {.headline = "<A3>", .invariant = "", .message = "left & right", .reproduce = ""});
  EXPECT_EQ(count_of(page, "http"), count_of(page, "http://www.w3.org/2000/svg"));
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(page.find("<h1>&lt;A3&gt;</h1>"), std::string::npos);
  EXPECT_NE(page.find("left &amp; right"), std::string::npos);
  EXPECT_EQ(count_of(page, "class=\"fatal\""), 2u) << "in the picture and in the legend";
  EXPECT_EQ(count_of(page, "class=\"cross\""), 1u);
  EXPECT_NE(page.find("m0 dangles"), std::string::npos);
  for (const std::string_view tag : {"svg", "ul", "ol", "li", "div", "pre", "text", "span", "title"}) {
    EXPECT_EQ(count_of(page, "<" + std::string(tag) + ">") + count_of(page, "<" + std::string(tag) + " "),
              count_of(page, "</" + std::string(tag) + ">"))
        << tag;
  }
}

// Nothing is cut off, whatever the program: everything lies within the picture.
TEST(Page, NothingIsOutsideThePicture) {
  for (const PolicyRow& policy : policies()) {
    const std::string picture = picture_of(recorded(std::string(kRace) + "gc-end\nrestart\ndrain 0\nspawn g3 256K\n"
                                                                         "heap-alloc h1 3 zeroed\nexit g3\n",
                                                    policy.name));
    double width = 0;
    double height = 0;
    ASSERT_EQ(std::sscanf(picture.c_str() + picture.find("viewBox"), "viewBox=\"0 0 %lf %lf\"", &width, &height), 2);
    for (size_t at = picture.find("<rect "); at != std::string::npos; at = picture.find("<rect ", at + 1)) {
      double x = 0;
      double y = 0;
      double w = 0;
      double h = 0;
      ASSERT_EQ(
          std::sscanf(picture.c_str() + at, "<rect x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"%lf\"", &x, &y, &w, &h),
          4);
      EXPECT_GE(x, 0);
      EXPECT_GE(y, 0);
      EXPECT_GT(w, 0);
      EXPECT_GT(h, 0);
      EXPECT_LE(x + w, width);
      EXPECT_LE(y + h, height);
    }
  }
}

TEST(Reproducer, MakesTheCallsThatTheMachineMade) {
  const std::string text = reproducer_of(recorded(kRace, "immediate"), "x.cpp");
  for (const std::string_view call :
       {"go[1].spawn(pool, 0, 16384, false);", "go[1].block(WaitKind::kReceive);",
        "collector.begin({.markers = 2, .concurrent = false});", "collector.load(0, 1, RootKind::kElem);",
        "collector.run_goroutine_job(1, 1);", "any_dangles(pool, collector); };"}) {
    EXPECT_EQ(count_of(text, call), 1u) << call;
  }
  EXPECT_EQ(text.find("collector.resolve(0);"), std::string::npos) << "it was not run any more";
  EXPECT_EQ(text.find("#include \"fuzz/"), std::string::npos);
  EXPECT_EQ(text.find("#pragma once"), std::string::npos);
}

#if STACKDRAIN_DEFECTS && STACKDRAIN_YIELDS
TEST(Reproducer, RunsInsideWhatRanInside) {
  planted_defect = Defect::kPublishBeforeCopy;
  const Recording recording = recorded(
      "world seed orders=3 locks=one concurrent procs=1 arena=1M hold=whole\nspawn g0 4K\nblock g0 recv\ngc-begin 1\n"
      "at adjust 1\nshrink m0 g0\nsend g0 1\n",
      "serial");
  const std::string text = reproducer_of(recording, "x.cpp");
  planted_defect = Defect::kNone;
  EXPECT_EQ(recording.signature, "D2@shrink/value");
  const size_t hook = text.find("hook.inside_next(static_cast<Yield>(1) /* adjust */");
  ASSERT_NE(hook, std::string::npos);
  EXPECT_LT(hook, text.find("go[0].send(0x10000000d);"));
  EXPECT_LT(text.find("go[0].send(0x10000000d);"), text.find("collector.run_goroutine_job(0, 0);"));
}
#endif

#if STACKDRAIN_DEFECTS
TEST(Reproducer, HoldsTheStateAgainstWhatWasSeen) {
  planted_defect = Defect::kRootKindMissed;
  const Recording recording = recorded("spawn g1 16K\nblock g1 select\ngc-begin 1\nshrink m0 g1\n", "serial");
  const std::string text = reproducer_of(recording, "x.cpp");
  planted_defect = Defect::kNone;
  EXPECT_EQ(recording.signature, "D1@shrink/selectdone");
  EXPECT_NE(recording.state_there.find("selectdone +0x003fd8"), std::string::npos) << recording.state_there;
  EXPECT_NE(text.find(recording.state_there), std::string::npos);
  EXPECT_NE(text.find("\"root-kind-missed\""), std::string::npos);
  EXPECT_NE(picture_of(recording).find("selectdone of g1: astray"), std::string::npos);
}
#endif

}  // namespace
}  // namespace stackdrain
