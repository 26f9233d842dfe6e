# What explain makes beyond text; keeps what it records, so it is no part of a fuzzer. A reproducer carries its support
# header with it.
set(support_header ${CMAKE_CURRENT_SOURCE_DIR}/reproducer_support.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${support_header})
file(READ ${support_header} support)
configure_file(reproducer_text.cc.in reproducer_text.cc @ONLY)
add_library(stackdrain_explain STATIC minimize.cc probe.cc timeline.cc timeline_words.cc timeline_picture.cc
                                      timeline_html.cc schedule_picture.cc reproducer.cc
                                      ${CMAKE_CURRENT_BINARY_DIR}/reproducer_text.cc)
target_link_libraries(stackdrain_explain PUBLIC stackdrain_schedule)
stackdrain_test(explain_test SOURCES schedule_picture_test.cc minimize_test.cc timeline_test.cc LIBS stackdrain_explain)
