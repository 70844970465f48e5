//! Cancellation: requests, and the way they take. What bodies do about them is in `cancel_caught`.

mod awaited;
mod chains;
mod counting;
mod oneself;
mod outside;
mod requests;
mod swallowed;

use self::awaited::*;
use self::chains::*;
use self::counting::*;
use self::oneself::*;
use self::outside::*;
use self::requests::*;
use self::swallowed::*;

cases! {
    CANCEL_01 => true_until_the_task_is_done;
    CANCEL_02 => right_after_it_nothing_has_changed;
    CANCEL_03 => every_accepted_request_counts;
    CANCEL_04 => the_awaited_future_is_cancelled, before_with_and_after_the_completion,
        leaves_that_the_loop_does_not_know, a_sleep_takes_its_timer_along,
        the_branch_that_waits_is_told, a_race_loses_no_request, dropped_waits_leave_nothing_behind;
    CANCEL_05 => passed_on_to_the_inner_task, through_a_chain_of_tasks, a_chain_may_be_long,
        a_circle_can_be_cancelled, without_knowing_the_type, a_shield_passes_nothing_on;
    CANCEL_06 => swallowed_by_the_inner_task, before_with_and_after_the_inner_end,
        what_was_swallowed_is_forgotten;
    CANCEL_07 => completed_but_not_delivered, also_in_one_of_two_branches;
    CANCEL_08 => before_the_first_step;
    CANCEL_09 => a_self_cancel_waits_for_a_suspension, at_every_kind_of_suspension;
    CANCEL_10 => returning_after_a_self_cancel, failing_after_a_self_cancel;
    CANCEL_11 => a_self_cancelled_task_cancels_what_it_awaits;
    CANCEL_13 => requests_before_delivery_coalesce;
    CANCEL_14 => cancelled_by_somebody_else;
    CANCEL_16 => uncancel_counts_down;
    CANCEL_17 => uncancelled_in_time, uncancelled_too_late;
    CANCEL_19 => a_job_in_a_pool_is_left_alone;
    CANCEL_20 => the_descriptor_is_gone_first;
    CANCEL_21 => awaiters_see_it_and_are_not_cancelled;
}
