//! Write flow control: the water marks.
//!
//! On a clogged connection nothing leaves, so every byte written is a byte buffered.

mod callbacks;
mod marks;

use self::callbacks::*;
use self::marks::*;
use super::prelude::*;
use crate::tools::{Record, Script};

cases! {
    FLOW_01 => paused_inside_the_write, paused_inside_a_large_write;
    FLOW_02 => paused_once;
    FLOW_03 => resumed_once_when_drained, resumed_at_the_low_mark_not_before;
    FLOW_04 => the_high_mark_itself_does_not_pause, the_low_mark_itself_resumes;
    FLOW_05 => zero_pauses_for_a_byte, zero_resumes_when_all_is_sent;
    FLOW_06 => default_marks;
    FLOW_07 => reversed_marks_are_refused, lowering_the_marks_pauses_at_once;
    FLOW_08 => raising_the_marks_resumes_once_at_most;
    FLOW_09 => panics_are_reported_and_harmless;
    FLOW_10 => resuming_may_write_again, resuming_may_write_elsewhere,
        resuming_at_the_start_of_a_run_may_write;
    FLOW_11 => what_the_kernel_holds_counts;
    FLOW_12 => what_leaves_at_once_never_pauses, a_large_write_behind_a_small_one;
    FLOW_13 => abort_empties_the_buffer, an_error_empties_the_buffer, drainers_are_released;
}

/// Notes the size of the buffer at each pause and resume.
#[derive(Clone, Default)]
struct Sizes(Rc<RefCell<Vec<(&'static str, usize)>>>);

impl Sizes {
    fn script(&self) -> Script {
        let (pauses, resumes) = (self.0.clone(), self.0.clone());
        let size = |record: &Record| record.transport().get_write_buffer_size();
        Script::new()
            .pause(move |record| pauses.borrow_mut().push(("pause", size(record))))
            .resume(move |record| resumes.borrow_mut().push(("resume", size(record))))
    }

    fn get(&self) -> Vec<(&'static str, usize)> {
        self.0.borrow().clone()
    }
}
