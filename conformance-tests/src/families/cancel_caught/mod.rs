//! What a body does about a cancellation: scopes, clean-ups, critical parts. Requests themselves are
//! in `cancel`.

mod again;
mod critical;
mod destructors;
mod errors;
mod scopes;
mod timeouts;

use self::again::*;
use self::critical::*;
use self::destructors::*;
use self::errors::*;
use self::scopes::*;
use self::timeouts::*;

cases! {
    CANCEL_12 => caught_and_then_goes_on, clean_up_sees_what_destructors_did,
        on_cancel_cleans_up_and_lets_it_through, with_cleanup_runs_whatever_happens,
        with_cleanup_and_a_panic, nested_scopes_inner_first, a_scope_of_no_task_just_runs,
        a_critical_part_holds_it_back, a_critical_part_that_begins_after_the_request,
        a_critical_part_may_cancel_its_own,
        a_critical_part_beside_a_gather, a_scope_that_is_dropped_passes_it_on,
        destructors_that_panic, destructors_that_use_the_task, a_scope_may_change_its_task;
    CANCEL_13 => a_second_request_interrupts_the_clean_up, each_request_goes_one_scope_out,
        of_two_in_one_step_the_outer_one_is_caught, asked_for_twice_in_one_step;
    CANCEL_15 => resumed_without_a_request, returned_as_an_error;
    CANCEL_18 => a_timeout_takes_back_its_own, nested_timeouts_keep_the_count,
        a_request_from_outside_outlives_the_timeout, a_timeout_that_is_gone_cancels_nothing,
        withdrawn_in_time, a_request_dies_with_its_scope, put_back_as_far_as_it_was_meant;
    CANCEL_22 => no_conversion_into_other_errors, a_body_that_ignores_all_errors;
}
