//! Context variables: where they come from, and where they do not go.

mod callbacks;
mod connections;
mod failing;
mod tasks;

use self::callbacks::*;
use self::connections::*;
use self::failing::*;
use self::tasks::*;

cases! {
    CTX_01 => a_task_copies_the_context, or_has_the_one_it_is_given, asked_for_by_others_and_itself;
    CTX_02 => all_steps_share_one_context, also_in_scopes_and_destructors;
    CTX_03 => two_tasks_in_one_context, a_context_may_be_entered_again,
        a_tasks_own_is_found_behind_others;
    CTX_04 => callbacks_keep_the_context_of_their_registration, done_callbacks_too, watchers_too,
        calls_from_other_threads_too;
    CTX_05 => client_protocols_run_in_the_callers_context, whatever_a_client_hears,
        datagram_endpoints_too, protocols_of_children_too;
    CTX_06 => accepted_protocols_run_in_the_servers_context, of_where_serving_began;
    CTX_07 => to_thread_takes_it_along_the_executor_does_not;
    CTX_08 => the_handler_runs_in_the_context_of_what_failed, of_watchers_and_signal_handlers_too;
    CTX_09 => a_failing_callback_leaves_nothing_behind,
        a_value_whose_destructor_panics_stops_nothing;
}
