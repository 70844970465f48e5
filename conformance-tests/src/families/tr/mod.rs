//! Stream transports, over TCP.

mod churn;
mod ending;
mod half_close;
mod life;
mod opening;
mod pausing;
mod protocols;
mod reading;
mod resets;
mod scripts;
mod switching;
mod writing;

use self::churn::*;
use self::ending::*;
use self::half_close::*;
use self::life::*;
use self::opening::*;
use self::pausing::*;
use self::protocols::*;
use self::reading::*;
use self::resets::*;
use self::scripts::*;
use self::switching::*;
use self::writing::*;

cases! {
    TR_01 => made_then_reading_then_the_call_returns;
    TR_02 => early_data_waits_for_connection_made, also_on_a_server;
    TR_03 => paused_from_the_start, paused_and_resumed_before_the_start;
    TR_04 => closing_in_connection_made, aborting_in_connection_made,
        closing_in_connection_made_of_a_server, closing_after_writing_in_connection_made;
    TR_05 => a_panic_in_connection_made_is_reported_only;
    TR_06 => megabytes_in_order, small_messages_in_order, many_connections_in_order,
        other_connections_wait_for_the_next_run;
    TR_07 => never_called_inside_a_data_callback, nor_inside_a_read_on_demand;
    TR_08 => a_panic_in_data_received, a_panic_in_eof_received, a_panic_in_get_buffer,
        a_panic_in_buffer_updated, what_was_written_is_dropped;
    TR_09 => a_false_answer_flushes_and_closes, a_true_answer_keeps_the_write_side;
    TR_10 => no_spinning_at_the_end_of_the_stream;
    TR_11 => a_reset_is_connection_lost, a_reset_after_data, a_reset_behind_data,
        a_timeout_is_connection_lost;
    TR_12 => nothing_to_read_is_no_error, signals_interrupt_nothing;
    TR_13 => everything_before_the_close, everything_into_a_small_buffer,
        everything_with_writes_pending, everything_that_came_before_the_transport;
    TR_14 => a_write_leaves_in_its_iteration, the_rest_leaves_later_in_order,
        small_and_large_writes_keep_their_order, a_write_leaves_although_the_loop_stops,
        any_order_of_writes_reads_and_runs;
    TR_15 => the_buffer_is_the_callers_again;
    TR_16 => empty_writes_do_nothing, empty_writes_after_write_eof_are_refused;
    TR_17 => writelines_is_one_write, writelines_pauses_once, writelines_on_a_dead_connection;
    TR_18 => writing_after_write_eof_is_refused;
    TR_19 => the_fifth_dead_write_warns;
    TR_20 => writing_after_close_is_no_error;
    TR_21 => a_write_error_ends_the_connection_once;
    TR_22 => close_stops_reading_and_flushes, close_of_an_idle_connection;
    TR_23 => connection_lost_is_not_called_inside;
    TR_24 => once_whatever_happens;
    TR_25 => closing_inside_callbacks, aborting_inside_callbacks;
    TR_26 => nothing_after_connection_lost, closed_although_connection_lost_panics,
        #[heavy] twenty_thousand_connections_leave_nothing;
    TR_27 => abort_drops_the_buffer, abort_ends_a_slow_close, a_reset_if_one_is_asked_for;
    TR_28 => closing_twice_is_closing_once;
    TR_29 => write_eof_after_the_flush, write_eof_twice_or_when_closing;
    TR_30 => tcp_can_half_close, local_sockets_can_half_close;
    TR_31 => pausing_is_idempotent, pausing_a_closed_transport_does_nothing;
    TR_32 => nothing_while_paused, not_even_what_the_poll_brought, pausing_and_resuming_at_once;
    TR_33 => the_end_waits_while_paused, a_reset_waits_while_paused,
        a_hang_up_costs_nothing_while_paused;
    TR_34 => another_protocol_from_the_next_callback, between_plain_and_buffered,
        switched_while_paused, an_old_protocol_that_panics_when_dropped;
    TR_35 => never_beyond_the_buffer, never_beyond_a_tiny_buffer, an_empty_buffer_is_an_error,
        pausing_in_get_buffer, pausing_with_each_full_buffer, an_interrupt_between_two_pieces;
    TR_36 => addresses_outlive_the_connection, the_peers_address_outlives_a_reset;
    TR_37 => the_view_cannot_be_used_for_io;
    TR_38 => nagle_is_off_everywhere;
    TR_39 => dropped_while_paused, dropped_at_the_end_of_the_stream,
        dropped_while_flushing, dropped_while_reading;
    TR_40 => many_small_writes_cost_their_bytes,
        #[heavy] many_small_writes_to_a_reading_peer;
    TR_41 => a_slow_reader_costs_nothing;
    TR_42 => connections_go_on_in_the_next_run;
    TR_43 => a_socket_belongs_to_one_transport;
}
