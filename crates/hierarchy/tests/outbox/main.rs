//! Uploads that outlive their process: killed, failing, many at once.
//!
//! The test binary is the process too: with `child` as its first argument it uses one cache and ends.
//! `SNAPTIER_LONG_TESTS=1` makes the long form: every kill.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "that is how a child answers")]

mod child;
mod contention;
mod damaged;
mod files;
mod killed;
mod limits;
mod order;
mod retries;
mod scene;
mod traced;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("child") {
        return child::run(&Vec::from_iter(args));
    }
    let trial = |name, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = [
        trial(
            "an_upload_is_written_down_before_any_local_layer_keeps_the_snapshot",
            order::written_down_first,
        ),
        trial(
            "what_no_local_layer_keeps_is_uploaded_and_not_written_down_for_the_next_start",
            order::not_kept,
        ),
        trial(
            "what_a_shutdown_leaves_is_told_and_uploaded_by_the_next_start",
            order::left_by_a_shutdown,
        ),
        trial(
            "the_snapshot_is_held_for_as_long_as_it_is_uploaded",
            order::held,
        ),
        trial(
            "without_an_outbox_an_upload_is_tried_once_and_ends_with_its_process",
            order::in_memory,
        ),
        trial(
            "seed_15_an_upload_to_a_bucket_that_does_not_exist_is_counted_and_no_error_to_the_caller",
            order::no_such_bucket,
        ),
        trial(
            "what_fails_is_tried_again_after_waits_that_double",
            retries::doubling,
        ),
        trial(
            "what_is_denied_is_not_tried_again_for_minutes",
            retries::denied,
        ),
        trial(
            "what_can_never_succeed_is_dropped_at_once_and_counted",
            retries::invalid,
        ),
        trial(
            "what_failed_too_often_is_dropped_and_counted",
            retries::too_often,
        ),
        trial(
            "one_try_shows_that_a_layer_is_down_and_the_other_uploads_wait",
            retries::one_try,
        ),
        trial(
            "a_start_before_the_wait_is_over_does_not_try",
            retries::not_due,
        ),
        trial(
            "a_cache_that_is_dropped_tries_nothing_again",
            retries::dropped,
        ),
        trial(
            "those_that_start_at_once_try_each_upload_once_between_them",
            retries::at_once,
        ),
        trial(
            "an_upload_that_is_hastened_is_due_and_one_that_is_forgotten_is_gone",
            limits::hastened_and_forgotten,
        ),
        trial(
            "a_full_outbox_drops_its_oldest_upload_and_counts_it",
            limits::full,
        ),
        trial(
            "the_upload_of_a_snapshot_that_is_gone_is_dropped_and_counted",
            limits::gone,
        ),
        trial(
            "the_upload_of_a_snapshot_whose_base_image_is_gone_removes_nothing_from_the_local_layer",
            limits::no_base_image,
        ),
        trial(
            "an_upload_to_another_remote_waits_for_that_one",
            limits::other_remote,
        ),
        trial(
            "a_damaged_note_is_set_aside_and_stops_no_other",
            damaged::set_aside,
        ),
        trial(
            "a_note_of_a_newer_release_stays_and_stops_no_other",
            damaged::newer,
        ),
        trial(
            "a_get_that_is_killed_anywhere_is_healed_by_the_next_start",
            killed::get,
        ),
        trial(
            "a_resumption_that_is_killed_anywhere_is_healed_by_the_next_start",
            killed::resume,
        ),
        trial(
            "four_processes_that_start_at_once_make_each_upload_once",
            contention::each_once,
        ),
        trial(
            "what_a_living_process_is_at_is_left_to_it_and_taken_up_when_it_is_killed",
            contention::taken_up,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

/// Whether every case is to be tried, however long that takes.
fn is_long() -> bool {
    std::env::var_os("SNAPTIER_LONG_TESTS").is_some_and(|value| value == "1")
}
