# What `cmake --install` and cpack put on a machine:
#   include/stackdrain, lib/libstackdrain_target.a   the pools, for programs that use one (stackdrain::target)
#   share/stackdrain                                 the whole suite as source: a pool is fuzzed and measured in builds
#                                                    of its own (sanitizers, an engine, nothing), made where it is used
#   bin/stackdrain                                   the command, which builds under the folder that it is called in
#   lib/cmake/stackdrain                             find_package(stackdrain): stackdrain_add_pool()
#   share/bash-completion                            its completion
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(suite ${CMAKE_INSTALL_DATADIR}/stackdrain)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/stackdrain)

install(TARGETS stackdrain_target EXPORT stackdrainTargets ARCHIVE)
set_target_properties(stackdrain_target PROPERTIES EXPORT_NAME target)
install(EXPORT stackdrainTargets NAMESPACE stackdrain:: DESTINATION ${package})
install(DIRECTORY target DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/stackdrain FILES_MATCHING PATTERN "*.h"
        PATTERN examples EXCLUDE)
configure_package_config_file(target/stackdrainConfig.cmake.in ${PROJECT_BINARY_DIR}/stackdrainConfig.cmake
                              INSTALL_DESTINATION ${package} PATH_VARS suite)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/stackdrainConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/stackdrainConfig.cmake ${PROJECT_BINARY_DIR}/stackdrainConfigVersion.cmake
        DESTINATION ${package})

install(DIRECTORY target fuzz benchmarks corpus reports DESTINATION ${suite} PATTERN __pycache__ EXCLUDE)
install(FILES CMakeLists.txt CMakePresets.json README.md CONTRIBUTING.md LICENSE DESTINATION ${suite})
install(PROGRAMS stackdrain DESTINATION ${suite})
# Which sources these are; the command reads there, too, that it is an installed one.
install(CODE "execute_process(COMMAND git -C \"${PROJECT_SOURCE_DIR}\" describe --always --dirty --abbrev=12
                              OUTPUT_VARIABLE commit ERROR_QUIET)
if(\"\${commit}\" STREQUAL \"\")
  set(commit \"${PROJECT_VERSION}\\n\")
endif()
file(WRITE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${suite}/COMMIT\" \"\${commit}\")
file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
set(completions \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/bash-completion/completions\")
file(MAKE_DIRECTORY \"\${completions}\")
execute_process(COMMAND \"${PROJECT_SOURCE_DIR}/stackdrain\" completion OUTPUT_FILE \"\${completions}/stackdrain\" COMMAND_ERROR_IS_FATAL ANY)
file(CREATE_LINK ../${suite}/stackdrain \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/stackdrain\" SYMBOLIC)")

set(CPACK_PACKAGE_VENDOR "the stackdrain authors")
set(CPACK_PACKAGE_CONTACT "the stackdrain authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Benchmarks and fuzzes stack pools that defer freeing during garbage collection")
set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_DEBIAN_PACKAGE_DEPENDS "python3, cmake, ninja-build")
include(CPack)
