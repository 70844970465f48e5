//! Tasks: steps, ends, names, owners.

mod awaiting;
mod current;
mod detached;
mod factory;
mod listing;
mod outcome;
mod starting;
mod unseen;
mod waking;
mod yielding;

use self::awaiting::*;
use self::current::*;
use self::detached::*;
use self::factory::*;
use self::listing::*;
use self::outcome::*;
use self::starting::*;
use self::unseen::*;
use self::waking::*;
use self::yielding::*;

cases! {
    TASK_01 => the_first_step_waits_its_turn, also_when_made_by_a_callback_or_a_task;
    TASK_02 => first_steps_in_creation_order;
    TASK_03 => nested_awaits_do_not_yield, done_awaits_do_not_yield;
    TASK_04 => values_and_errors_stay_in_the_task, a_panic_ends_the_task_only;
    TASK_05 => the_body_is_gone_before_joiners_resume;
    TASK_06 => there_are_no_setters;
    TASK_07 => a_bare_yield_goes_to_the_end;
    TASK_08 => awaiting_oneself_is_an_error;
    TASK_09 => current_is_the_stepped_task, interleaved_tasks_are_told_apart,
        also_in_destructors_and_after_a_panic;
    TASK_10 => the_unfinished_ones_are_listed, asked_from_another_thread;
    TASK_11 => names_are_numbered_or_given;
    TASK_12 => a_step_is_never_re_entered;
    TASK_13 => many_wakes_make_one_step, a_cancellation_makes_one_step, wakes_of_other_threads_too,
        late_wakes_are_ignored;
    TASK_14 => dropping_the_handle_detaches;
    TASK_15 => what_is_left_at_close_is_reported, internal_tasks_are_not_reported,
        destructors_at_close_may_do_anything;
    TASK_16 => a_lost_failure_is_reported_once, a_returned_error_too, a_look_is_enough;
    TASK_17 => a_factory_sees_every_task, whoever_asks_for_the_task,
        a_factory_may_change_and_refuse;
    TASK_18 => a_refused_body_is_never_polled;
    TASK_19 => waiting_on_a_finished_task_does_not_suspend;
    TASK_20 => yielding_tasks_stay_together;
    TASK_21 => a_future_never_awaited_is_noticed;
}
