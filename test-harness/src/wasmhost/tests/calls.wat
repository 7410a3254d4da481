;; A filter that calls another server and logs what it learns. A letter in its configuration selects what it does:
;; `k` calls in each tick,
;; `t` also continues the last request when the result arrives, and holds everything until then,
;; `r` does the same, but answers the request instead,
;; `w` does the same as `t`, but lets bodies continue while it waits,
;; `e` calls in each tick with the last request as the effective context,
;; `s` calls in the callback of the headers, and continues the request when the result arrives,
;; `o` continues the request in the callback of its headers,
;; `2` continues the request twice, `c` calls while it is configured, `p` sets the timer in the callback of the headers.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $choose (param i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "idp")
  (data (i32.const 8) "body")
  (data (i32.const 16) "trailers")
  (data (i32.const 24) "log")
  (data (i32.const 32) "delete")
  ;; The header lines of the call: 79 bytes.
  (data (i32.const 128)
    "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\05\00\00\00\0a\00\00\00\0f\00\00\00"
    ":method\00GET\00:path\00/jwks\00:authority\00idp.example.com\00")
  (global $mode (mut i32) (i32.const 0))
  (global $last (mut i32) (i32.const 0))
  (global $waiting (mut i32) (i32.const 0))
  (global $free (mut i32) (i32.const 4096))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  ;; Logs a number of one digit.
  (func $digit (param $number i32)
    (i32.store8 (i32.const 60) (i32.add (i32.const 48) (local.get $number)))
    (drop (call $log (i32.const 2) (i32.const 60) (i32.const 1))))
  ;; Logs the memory whose address and size are at 64 and 68.
  (func $given
    (drop (call $log (i32.const 2) (i32.load (i32.const 64)) (i32.load (i32.const 68)))))
  (func $none
    (i32.store (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (i32.const 0)))
  (func $is (param $mode i32) (result i32) (i32.eq (global.get $mode) (local.get $mode)))
  ;; Makes a call with a timeout of 5 s, and logs the status of the host call.
  (func $make
    (call $digit (call $http_call
      (i32.const 0) (i32.const 3) (i32.const 128) (i32.const 79) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 5000) (i32.const 72))))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $buffer (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 64) (i32.const 68)))
    (global.set $mode (i32.load8_u (i32.load (i32.const 64))))
    (drop (call $period (i32.const 1000)))
    (if (call $is (i32.const 99)) (then (call $make)))
    (i32.const 1))
  (func (export "proxy_on_tick") (param $root i32)
    (if (call $is (i32.const 101)) (then (drop (call $choose (global.get $last)))))
    (call $make)
    ;; The monotonic clock, in seconds modulo ten.
    (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 80)))
    (call $digit (i32.wrap_i64 (i64.rem_u (i64.div_u (i64.load (i32.const 80)) (i64.const 1000000000)) (i64.const 10)))))
  (func (export "proxy_on_request_headers") (param $stream i32) (param i32 i32) (result i32)
    (global.set $last (local.get $stream))
    (global.set $waiting (i32.const 1))
    (if (call $is (i32.const 112)) (then (drop (call $period (i32.const 25)))))
    (if (call $is (i32.const 115)) (then (call $make)))
    (if (call $is (i32.const 111)) (then (drop (call $continue (i32.const 0)))))
    (i32.const 1))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (drop (call $log (i32.const 2) (i32.const 8) (i32.const 4)))
    (i32.and (global.get $waiting) (i32.eqz (call $is (i32.const 119)))))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
    (drop (call $log (i32.const 2) (i32.const 16) (i32.const 8)))
    (global.get $waiting))
  (func (export "proxy_on_http_call_response")
      (param $context i32) (param $call i32) (param $headers i32) (param $size i32) (param $trailers i32)
    (call $digit (local.get $headers))
    (call $none)
    (drop (call $pairs (i32.const 6) (i32.const 64) (i32.const 68)))
    (call $given)
    (call $none)
    (drop (call $buffer (i32.const 4) (i32.const 0) (i32.const 100) (i32.const 64) (i32.const 68)))
    (call $given)
    (global.set $waiting (i32.const 0))
    (if (call $is (i32.const 107)) (then (return)))
    (if (i32.eqz (call $is (i32.const 115)))
      (then (if (call $choose (global.get $last)) (then (return)))))
    (if (call $is (i32.const 114))
      (then
        (drop (call $answer
          (i32.const 503) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))))
      (else
        (drop (call $continue (i32.const 0)))
        (if (call $is (i32.const 50)) (then (drop (call $continue (i32.const 0))))))))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_log") (param i32) (drop (call $log (i32.const 2) (i32.const 24) (i32.const 3))))
  (func (export "proxy_on_delete") (param i32) (drop (call $log (i32.const 2) (i32.const 32) (i32.const 6)))))
