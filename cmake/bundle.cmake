# SPDX-License-Identifier: Apache-2.0
# Target `bundle`: one archive that runs where it is unpacked, with every library but those of the C
# library and of a GPU's driver: bin/ lib/ deploy/ as in the tree; tests/deploy/bundle_test.sh.

# Of every target that is installed.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")

# tandem_bundle(program …): after the programs.
function(tandem_bundle)
  foreach(program ${ARGN})
    # DT_RPATH, not DT_RUNPATH: it also counts for what the libraries themselves need.
    target_link_options(${program} PRIVATE LINKER:--disable-new-dtags)
  endforeach()
  install(TARGETS ${ARGN} RUNTIME_DEPENDENCY_SET bundle_libraries
          RUNTIME DESTINATION bin COMPONENT bundle)
  install(RUNTIME_DEPENDENCY_SET bundle_libraries
          PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv)\\.so" "^libcuda\\.so"
          LIBRARY DESTINATION lib COMPONENT bundle)
  install(DIRECTORY deploy/config deploy/models DESTINATION deploy COMPONENT bundle)
  install(PROGRAMS deploy/scripts/local.sh DESTINATION deploy/scripts COMPONENT bundle)
  install(FILES LICENSE README.md DESTINATION . COMPONENT bundle)

  set(name tandem-${PROJECT_VERSION}-${CMAKE_SYSTEM_PROCESSOR})
  set(at ${CMAKE_BINARY_DIR}/bundle)
  add_custom_target(bundle
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${at}
    COMMAND ${CMAKE_COMMAND} --install ${CMAKE_BINARY_DIR} --component bundle --strip
            --prefix ${at}/${name}
    COMMAND ${CMAKE_COMMAND} -E chdir ${at} ${CMAKE_COMMAND} -E tar czf ${name}.tar.gz ${name}
    DEPENDS ${ARGN}
    COMMENT "${at}/${name}.tar.gz"
    VERBATIM)
endfunction()
