//! Futures.

mod awaiting;
mod callbacks;
mod outcome;
mod reports;
mod wrapping;

use self::awaiting::*;
use self::callbacks::*;
use self::outcome::*;
use self::reports::*;
use self::wrapping::*;

cases! {
    FUT_01 => pending_then_a_value, pending_then_an_error, pending_then_cancelled;
    FUT_02 => completed_once_only, completing_a_cancelled_one_fails;
    FUT_03 => questions_to_a_pending_future, questions_to_a_cancelled_future,
        a_successful_future_has_no_exception;
    FUT_04 => cancel_completes_what_is_pending;
    FUT_05 => callbacks_are_scheduled_in_order, also_by_cancel_and_by_an_error;
    FUT_06 => a_panicking_callback_stops_no_other, each_is_a_handle_of_its_own;
    FUT_07 => a_done_future_schedules_new_callbacks;
    FUT_08 => removed_callbacks_do_not_run, once_scheduled_it_stays;
    FUT_09 => callbacks_may_add_and_remove, destructors_of_callbacks_may_add_and_remove;
    FUT_10 => callbacks_run_in_the_captured_context;
    FUT_11 => awaiting_a_done_future_does_not_suspend;
    FUT_12 => awaiting_resumes_one_hop_later_in_order;
    FUT_13 => many_awaiters_wake_in_order, many_awaiters_share_an_error;
    FUT_14 => awaited_again_with_the_same_outcome;
    FUT_15 => awaiting_another_loops_future_is_refused;
    FUT_16 => a_lost_error_is_reported_once;
    FUT_17 => a_look_silences_the_report, cancel_silences_the_report, values_never_report;
    FUT_18 => dropping_a_pending_future_is_silent;
    FUT_19 => the_reason_reaches_the_awaiter;
    FUT_20 => a_threads_result_arrives_on_the_loop, cancelled_first_the_late_result_is_ignored,
        cancelling_reaches_the_job, work_of_another_loop_is_wrapped, a_late_outcome_is_nobody_elses;
    FUT_21 => wrapping_a_loops_future_gives_it_back, ensuring_a_task_gives_it_back,
        another_loops_task_is_refused;
    FUT_22 => set_unless_done_never_fails;
    FUT_23 => any_error_can_be_stored;
    FUT_24 => reports_say_where_it_was_created;
    FUT_25 => the_rendering_is_short_and_tells_the_state;
}
