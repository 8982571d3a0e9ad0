//! One flight per key, whatever the order in which its steps and those of others come.
//!
//! The flights here are those of the product, its very file, on a lock and tasks whose every step `shuttle` decides
//! on. What happens inside `futures`' own `Shared` is one step.

mod concurrency;
#[path = "../../src/flights.rs"]
mod flights;
mod planted;
mod works;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use shuttle::{check_pct, check_random, future, thread};

use crate::flights::Flights;
use crate::planted::{Deaf, Hasty};
use crate::works::Works;

/// What the flights of the product do, and those with a fault in them.
trait SingleFlight: Default + Send + Sync + 'static {
    /// Joins the one work, or starts `work`.
    fn join(&self, work: BoxFuture<'static, usize>) -> BoxFuture<'static, usize>;
}

impl SingleFlight for Flights<(), usize> {
    fn join(&self, work: BoxFuture<'static, usize>) -> BoxFuture<'static, usize> {
        let joined = Flights::join(self, (), || work, |message| unreachable!("{message}"));
        joined.boxed()
    }
}

/// So many orders are tried, by chance and by priorities each.
const ORDERS: usize = 3_000;
/// So many changes of priority are enough to find most faults.
const DEPTH: usize = 3;

fn explore(scene: fn()) {
    check_random(scene, ORDERS);
    check_pct(scene, ORDERS, DEPTH);
}

/// All wait for their answer. No two works run at once.
fn all_stay<F: SingleFlight>() {
    let (flights, works) = (Arc::new(F::default()), Works::default());
    let askers: Vec<_> = (0..3)
        .map(|_| {
            let (flights, works) = (flights.clone(), works.clone());
            thread::spawn(move || {
                let number = future::block_on(flights.join(works.short()));
                works.answered(number);
            })
        })
        .collect();
    for asker in askers {
        asker.join().expect("an asker is answered");
    }
    works.require_none_beside_another();
}

/// One leaves when it has waited a little. The others are answered all the same.
fn one_leaves<F: SingleFlight>() {
    let (flights, works) = (Arc::new(F::default()), Works::default());
    let stay = |_| {
        let (flights, works) = (flights.clone(), works.clone());
        thread::spawn(move || {
            let number = future::block_on(flights.join(works.short()));
            works.answered(number);
        })
    };
    let askers: Vec<_> = (0..2).map(stay).collect();
    let left = flights.join(works.short());
    future::block_on(works::polled_once(left));
    for asker in askers {
        asker.join().expect("an asker is answered");
    }
    works.require_none_beside_another();
}

/// All leave what would never end: it is stopped, and who comes next has another.
fn all_leave<F: SingleFlight>() {
    let (flights, works) = (Arc::new(F::default()), Works::default());
    let leave = |_| {
        let (flights, works) = (flights.clone(), works.clone());
        thread::spawn(move || {
            future::block_on(works::polled_once(flights.join(works.endless())));
        })
    };
    let askers: Vec<_> = (0..2).map(leave).collect();
    for asker in askers {
        asker.join().expect("an asker leaves");
    }
    works.wait_until_none_runs();
    let number = future::block_on(flights.join(works.short()));
    works.answered(number);
}

#[test]
fn however_many_ask_one_works_at_a_time() {
    explore(all_stay::<Flights<(), usize>>);
}

#[test]
fn whoever_leaves_harms_nobody() {
    explore(one_leaves::<Flights<(), usize>>);
}

#[test]
fn when_all_leave_the_work_stops_and_the_key_is_free() {
    explore(all_leave::<Flights<(), usize>>);
}

#[test]
#[should_panic(expected = "two works at once")]
fn a_look_and_a_start_under_two_locks_are_found() {
    explore(all_stay::<Hasty>);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_work_that_goes_on_for_nobody_is_found() {
    explore(all_leave::<Deaf>);
}
