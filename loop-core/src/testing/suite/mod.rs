//! What a readiness driver must do: one function per case, each given a maker of drivers.
//!
//! [`driver_tests!`](crate::driver_tests) makes a `#[test]` of each. A case fails by panicking.
//! No case sleeps and hopes: what must happen is waited for (for [`PATIENCE`] at most, which only a
//! broken driver uses up), and what must not happen is looked for after an event that would have come
//! later.

mod ownership;
mod readiness;
mod sleeping;
mod tools;

use std::time::Duration;

pub use self::ownership::*;
pub use self::readiness::*;
pub use self::sleeping::*;
use super::echo;
use crate::driver::Driver;

/// How long a case waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

const NOW: Option<Duration> = Some(Duration::ZERO);

/// Makes one `#[test]` for each case of the [suite](crate::testing::suite), on the drivers that the
/// given closure makes; or, for a test program with a `main` of its own, `trials: closure` is a vector of
/// the cases' names and of boxed functions.
#[macro_export]
macro_rules! driver_tests {
    (trials: $make:expr) => {
        $crate::driver_tests! { @cases [trials $make] }
    };
    ($make:expr) => {
        $crate::driver_tests! { @cases [tests $make] }
    };
    (@cases [$($what:tt)*]) => {
        $crate::driver_tests! { @$($what)*;
            a_closed_peer_is_readable_and_closed
            a_closed_reader_ends_a_pipe_for_its_writer
            a_descriptor_is_registered_once
            a_duplicate_does_not_keep_a_registration_alive
            a_file_that_cannot_be_polled_is_refused
            a_full_socket_is_writable_again_when_drained
            a_listener_and_its_connection_become_ready
            a_loop_over_it_carries_every_byte
            a_new_socket_is_writable
            a_number_replaced_behind_our_back_belongs_to_its_new_key
            a_pending_event_does_not_outlive_deregistration
            a_registration_repeats_as_the_driver_says
            a_reset_connection_is_closed
            a_reused_number_has_only_the_new_key
            a_signal_is_not_an_error
            a_small_buffer_loses_no_event
            a_wake_ends_the_next_sleep_and_only_that
            a_waker_outlives_its_driver
            an_eventfd_announces_each_write
            closing_tells_the_peer
            data_is_announced
            data_that_was_there_is_announced
            data_with_the_end_behind_it_is_marked
            modifying_announces_what_holds
            many_wakers_lose_no_wake
            no_interest_is_silent
            no_wake_is_lost
            only_what_is_wanted_ends_a_sleep
            the_poller_is_readable_when_it_has_events
            timeouts_are_not_early
        }
    };
    (@tests $make:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::suite::$case($make);
            }
        )*
    };
    (@trials $make:expr; $($case:ident)*) => {
        vec![$((
            stringify!($case),
            Box::new(|| $crate::testing::suite::$case($make)) as Box<dyn FnOnce() + Send>,
        )),*]
    };
}

/// [`BaseLoop`](crate::BaseLoop) over the driver: twenty clients, megabytes both ways at once, a half-close,
/// and answers from other threads.
pub fn a_loop_over_it_carries_every_byte<D: Driver>(make: impl Fn() -> D) {
    echo::run(make());
}
