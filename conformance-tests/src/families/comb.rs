//! Several things at once: gathering, waiting, as they complete; shields and sleeping.

mod completed;
mod gathering;
mod gathering_cancelled;
mod shielding;
mod waiting;

use self::completed::*;
use self::gathering::*;
use self::gathering_cancelled::*;
use self::shielding::*;
use self::waiting::*;
use super::prelude::*;
use crate::tools::sleeps;

cases! {
    COMB_01 => results_in_the_order_of_the_arguments;
    COMB_02 => nothing_is_gathered_at_once;
    COMB_03 => one_task_in_several_places;
    COMB_04 => the_first_error_ends_it_and_nothing_else, several_errors_in_one_batch,
        it_leaves_nothing_at_the_others;
    COMB_05 => errors_as_values_once_all_have_ended;
    COMB_06 => a_child_that_others_cancelled_is_an_error;
    COMB_07 => a_cancelled_gather_ends_with_its_last_child, cancelled_by_its_handle,
        a_gather_that_is_dropped_takes_its_children_along, gathers_may_be_deep,
        tasks_that_gather_each_other, on_two_ways_to_the_same_gather;
    COMB_08 => a_cancelled_gather_is_cancelled_whatever_its_children_say,
        every_order_of_cancel_and_completion;
    COMB_09 => too_late_to_cancel_it;
    COMB_10 => children_of_two_loops_are_refused, awaited_on_another_loop_it_is_refused;
    COMB_11 => wait_takes_tasks_and_futures_each_once, wait_for_nothing_is_refused,
        what_belongs_to_another_loop_is_refused;
    COMB_12 => wait_only_divides_its_input;
    COMB_13 => the_three_modes, a_failure_that_somebody_has_seen_counts;
    COMB_14 => a_cancelled_child_is_no_exception;
    COMB_15 => who_ends_in_the_same_burst_is_done;
    COMB_16 => a_timeout_returns_what_there_is;
    COMB_17 => promptly_if_all_are_done;
    COMB_18 => a_cancelled_wait_leaves_nothing_behind;
    COMB_19 => each_once_the_earliest_first;
    COMB_20 => the_very_tasks_that_were_passed_in, awaitables_in_any_order, awaitables_at_once,
        an_awaitable_takes_one_completion;
    COMB_21 => abandoned_and_resumed, every_order_of_completion_and_abandonment;
    COMB_22 => items_that_come_too_late, an_unused_timer_is_cancelled;
    COMB_23 => a_shield_of_something_done_does_not_suspend;
    COMB_24 => the_awaiter_ends_and_the_work_goes_on;
    COMB_25 => cancelled_work_ends_the_shield;
    COMB_26 => values_and_errors_pass_through;
    COMB_27 => a_failure_nobody_awaits_is_reported_once, a_failure_somebody_awaits_is_not;
    COMB_28 => many_cancelled_shields_leave_nothing_behind;
    COMB_29 => a_gather_of_shields;
    COMB_30 => no_sleep_yields_once_and_makes_no_timer;
    COMB_31 => a_sleep_is_never_too_short, a_cancelled_sleep_has_no_timer,
        a_sleep_that_outlives_a_timeout_goes_on;
}

/// Fails if the loop wakes up again and again within `span` though nothing is to be done: because of
/// timers that somebody left behind.
fn ensure_idle(lp: &LoopRef, span: Duration) -> Outcome {
    let before = sleeps();
    // By name where the loop keeps a list of its timers.
    let left = lp.dump().timers;
    ensure!(left.is_empty(), "timers were left behind: {left:?}");
    run_for(lp, span)?;
    if let (Some(before), Some(after)) = (before, sleeps()) {
        ensure!(after - before < 15, "the loop woke {} times for nothing", after - before);
    }
    Ok(())
}

/// A task that waits for `future` and gives its outcome.
fn follows<T: 'static>(future: &LoopFuture<T>) -> anyloop::Result<Task<anyloop::Result<T>>> {
    anyloop::create_task(future.clone())
}
