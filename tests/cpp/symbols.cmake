# cmake -D nm=... -D library=... -D header=... -P symbols.cmake: fails unless the library exports exactly what the
# header declares.
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ${nm} -D --defined-only ${library} OUTPUT_VARIABLE listing COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^ \n]+\n" exported "${listing}")
list(TRANSFORM exported STRIP)

file(READ ${header} text)
string(REGEX MATCHALL "MOE_ACT_API [a-z0-9_ *]*moe_act_[a-z0-9_]+\\(" declarations "${text}")
list(TRANSFORM declarations REPLACE "^.*[ *](moe_act_[a-z0-9_]+)\\($" "\\1" OUTPUT_VARIABLE declared)
list(LENGTH declared count)
if(count EQUAL 0)
  message(FATAL_ERROR "no declaration found in ${header}")
endif()

foreach(name ${exported})
  if(NOT name MATCHES "^moe_act_")
    message(SEND_ERROR "exported, but its name does not begin with moe_act_: ${name}")
  elseif(NOT name IN_LIST declared)
    message(SEND_ERROR "exported, but not declared in c_api.h: ${name}")
  endif()
endforeach()
foreach(name ${declared})
  if(NOT name IN_LIST exported)
    message(SEND_ERROR "declared in c_api.h, but not exported: ${name}")
  endif()
endforeach()
message(STATUS "${count} functions declared and exported")
