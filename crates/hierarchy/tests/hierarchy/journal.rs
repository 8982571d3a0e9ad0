//! Who called whom, in order, whatever became of it.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;

tokio::task_local! {
    /// Which asker the task is; the work that is done for many is none's.
    pub(crate) static ASKER: usize;
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Pages>);

#[derive(Debug, Default)]
struct Pages {
    events: Mutex<Vec<Event>>,
    ended: Notify,
}

/// The beginning of a call, or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// The number of the call's beginning in the journal.
    pub(crate) call: usize,
    pub(crate) by: Option<usize>,
    pub(crate) op: Op,
    pub(crate) at: Instant,
    /// `None` for the beginning.
    pub(crate) end: Option<End>,
}

/// What is called, a layer by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Get(usize),
    Put(usize),
    Build,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Hit,
    Miss,
    Stored,
    Built,
    /// By its own fault, or not.
    Erred {
        unavailable: bool,
    },
    /// The caller did not wait for the end.
    Dropped,
}

/// A call that is under way.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    journal: &'a Journal,
    began: Event,
    has_ended: bool,
}

impl Journal {
    pub(crate) fn begin(&self, op: Op) -> Call<'_> {
        let mut events = self.0.events.lock().unwrap();
        let began = Event {
            call: events.len(),
            by: ASKER.try_with(|asker| *asker).ok(),
            op,
            at: Instant::now(),
            end: None,
        };
        events.push(began);
        Call {
            journal: self,
            began,
            has_ended: false,
        }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.events.lock().unwrap().clone()
    }

    /// Takes the pages out once nobody is writing.
    pub(crate) async fn settled(&self) -> Vec<Event> {
        loop {
            let ended = self.0.ended.notified();
            {
                let mut events = self.0.events.lock().unwrap();
                let ends = events.iter().filter(|event| event.end.is_some()).count();
                if 2 * ends == events.len() {
                    return std::mem::take(&mut *events);
                }
            }
            ended.await;
        }
    }
}

impl Call<'_> {
    pub(crate) fn end(mut self, end: End) {
        self.write(end);
    }

    fn write(&mut self, end: End) {
        self.has_ended = true;
        let event = Event {
            end: Some(end),
            at: Instant::now(),
            ..self.began
        };
        self.journal.0.events.lock().unwrap().push(event);
        self.journal.0.ended.notify_waiters();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.write(End::Dropped);
        }
    }
}
