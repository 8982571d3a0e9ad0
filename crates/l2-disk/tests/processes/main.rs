//! The layer among processes: killed, failing, many, on a full disk, in a directory that is not theirs.
//!
//! The test binary is the process too: with `child` as its first argument it does one thing to a layer and ends.
//! `SNAPTIER_LONG_TESTS=1` makes the long form: every kill, and a minute of many processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "that is how a child answers")]

mod child;
mod contention;
mod denied;
mod failing_sync;
mod full_disk;
#[path = "../local_disk/host.rs"]
#[expect(dead_code, reason = "shared with the tests of one process")]
mod host;
mod killed;
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
            "a_put_that_is_killed_anywhere_leaves_the_whole_entry_or_none",
            killed::put,
        ),
        trial(
            "an_entry_survives_a_get_that_is_killed_anywhere",
            killed::get,
        ),
        trial(
            "an_adoption_that_is_killed_anywhere_leaves_the_entry",
            killed::adopt,
        ),
        trial(
            "an_eviction_that_is_killed_anywhere_leaves_the_whole_entry_or_none",
            killed::evict,
        ),
        trial(
            "a_recovery_that_is_killed_anywhere_is_finished_by_the_next_one",
            killed::recover,
        ),
        trial(
            "a_put_that_is_killed_at_any_time_leaves_the_whole_entry_or_none",
            killed::put_at_random,
        ),
        trial(
            "a_put_whose_data_cannot_be_written_to_the_end_fails_and_leaves_no_entry",
            failing_sync::put,
        ),
        trial(
            "four_processes_of_eight_tasks_see_whole_entries_and_leave_no_lock",
            contention::test,
        ),
        trial(
            "on_a_full_disk_the_least_recently_used_make_room",
            full_disk::evicts,
        ),
        trial(
            "on_a_disk_full_of_what_is_in_use_nothing_is_stored_and_nothing_lost",
            full_disk::refuses,
        ),
        trial(
            "in_a_directory_without_write_permission_hits_work_and_writes_say_so",
            denied::directory,
        ),
        trial(
            "on_a_read_only_file_system_hits_work_and_writes_say_so",
            denied::file_system,
        ),
        trial(
            "an_entry_without_read_permission_is_denied_and_stays",
            denied::entry,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

/// Whether every case is to be tried, however long that takes.
fn is_long() -> bool {
    std::env::var_os("SNAPTIER_LONG_TESTS").is_some_and(|value| value == "1")
}
