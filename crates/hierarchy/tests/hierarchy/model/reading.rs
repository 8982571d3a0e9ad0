//! Who does what for one request, call by call.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::breaker::Fate;
use super::{Broken, DEADLINE, Model, Outcome, Request, TierPlan, require};
use crate::journal::{End, Event, Op};
use crate::shelf::{NAMES, WORKSHOP};

/// Where somebody is who goes through the layers: an asker through the near ones, a flight through all.
#[derive(Debug, Clone)]
struct Actor {
    /// How many layers it looks through.
    levels: usize,
    stage: Stage,
    holder: &'static str,
    source: &'static str,
    kept: bool,
    /// The remote layers that are to be written to when the local ones are.
    behind: Vec<usize>,
    /// When it did something last.
    at: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The layers from this one on are still to be asked.
    Looking(usize),
    Asking(Ticket),
    /// These are still to be written to, in this order.
    Storing(VecDeque<usize>),
    Putting(Ticket, VecDeque<usize>),
    Building(usize),
    Failed,
    /// Stopped in the middle, for nobody waits.
    Stopped,
}

/// A call that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    call: usize,
    began: Instant,
    epoch: u64,
}

impl Actor {
    fn new(levels: usize, at: Instant) -> Self {
        Self {
            levels,
            stage: Stage::Looking(0),
            holder: "",
            source: "",
            kept: false,
            behind: Vec::new(),
            at,
        }
    }

    fn awaits(&self, call: usize) -> bool {
        match &self.stage {
            Stage::Asking(ticket) | Stage::Putting(ticket, _) => ticket.call == call,
            Stage::Building(building) => *building == call,
            _ => false,
        }
    }
}

pub(super) struct Reading<'a> {
    model: &'a mut Model,
    spec: usize,
    has_packages: bool,
    askers: Vec<Actor>,
    flights: Vec<Actor>,
    /// Layer and call.
    uploads: Vec<(usize, Ticket)>,
}

impl<'a> Reading<'a> {
    /// Of what is done for `request`, whose askers go through the first `near` layers by themselves.
    pub(super) fn of(model: &'a mut Model, near: usize, request: &Request) -> Self {
        Self {
            askers: vec![Actor::new(near, request.asked_at); request.answers.len()],
            flights: Vec::new(),
            uploads: Vec::new(),
            spec: request.spec,
            has_packages: request.has_packages,
            model,
        }
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), Broken> {
        match (event.end, event.op, event.by) {
            (None, Op::Put(layer), None) if self.model.tiers[layer].is_remote => {
                self.upload_begins(layer, event)
            }
            (None, _, Some(asker)) => {
                let mut actor = self.askers[asker].clone();
                self.begins(&mut actor, event)?;
                self.askers[asker] = actor;
                Ok(())
            }
            (None, _, None) => {
                let goes_on = self.flights.last().is_some_and(|flight| {
                    matches!(flight.stage, Stage::Looking(_))
                        || matches!(&flight.stage, Stage::Storing(left) if !left.is_empty())
                            && matches!(event.op, Op::Put(_))
                });
                let mut flight = match self.flights.last() {
                    Some(flight) if goes_on => flight.clone(),
                    Some(flight) => {
                        let is_over = matches!(
                            flight.stage,
                            Stage::Storing(_) | Stage::Failed | Stage::Stopped
                        );
                        require(is_over, "two work on one spec at once")?;
                        let has_reason = flight.stage == Stage::Stopped
                            || self.model.tiers.iter().any(|tier| tier.has_breaker);
                        require(has_reason, "the work is done a second time")?;
                        Actor::new(self.model.tiers.len(), event.at)
                    }
                    None => Actor::new(self.model.tiers.len(), event.at),
                };
                self.begins(&mut flight, event)?;
                if goes_on {
                    self.flights.pop();
                }
                self.flights.push(flight);
                Ok(())
            }
            (Some(end), _, _) => self.ends(event, end),
        }
    }

    /// Somebody calls a layer or the builder: it must be the one that is due.
    fn begins(&mut self, actor: &mut Actor, event: &Event) -> Result<(), Broken> {
        let at = event.at;
        actor.at = at;
        match (&mut actor.stage, event.op) {
            (Stage::Looking(next), Op::Get(layer)) => {
                require(
                    *next <= layer && layer < actor.levels,
                    "a layer is asked out of turn",
                )?;
                self.passed_over(*next..layer, at)?;
                require(
                    self.has_business(layer),
                    "a layer is asked for what is no business of it",
                )?;
                let epoch = self.model.gets[layer].enters(at)?;
                actor.stage = Stage::Asking(Ticket {
                    call: event.call,
                    began: at,
                    epoch,
                });
            }
            (Stage::Looking(next), Op::Build) => {
                require(event.by.is_none(), "an asker builds for itself")?;
                self.passed_over(*next..actor.levels, at)?;
                actor.stage = Stage::Building(event.call);
            }
            (Stage::Storing(left), Op::Put(layer)) => {
                while let Some(due) = left.pop_front() {
                    if due == layer {
                        let epoch = self.model.puts[layer].enters(at)?;
                        let ticket = Ticket {
                            call: event.call,
                            began: at,
                            epoch,
                        };
                        actor.stage = Stage::Putting(ticket, std::mem::take(left));
                        return Ok(());
                    }
                    self.left_out(due, at)?;
                }
                return Err(format!("layer {layer} is written to out of turn"));
            }
            (stage, op) => return Err(format!("{op:?} while {stage:?}")),
        }
        Ok(())
    }

    fn upload_begins(&mut self, layer: usize, event: &Event) -> Result<(), Broken> {
        let all = self.askers.iter_mut().chain(&mut self.flights);
        let mut due = all.filter(|actor| matches!(actor.stage, Stage::Storing(_)));
        let due = due.find_map(|actor| {
            let place = actor.behind.iter().position(|behind| *behind == layer)?;
            Some(actor.behind.remove(place))
        });
        require(due.is_some(), "a remote layer is written to out of turn")?;
        let ticket = Ticket {
            call: event.call,
            began: event.at,
            epoch: 0,
        };
        self.uploads.push((layer, ticket));
        Ok(())
    }

    fn ends(&mut self, event: &Event, end: End) -> Result<(), Broken> {
        let upload = self
            .uploads
            .iter()
            .position(|(_, ticket)| ticket.call == event.call);
        if let Some(upload) = upload {
            let (layer, ticket) = self.uploads.swap_remove(upload);
            self.counts_put(layer, ticket, end, event.at)?;
            return Ok(());
        }
        let by_askers = self
            .askers
            .iter()
            .position(|actor| actor.awaits(event.call));
        let by_flights = self
            .flights
            .iter()
            .position(|actor| actor.awaits(event.call));
        let mut actor = match (by_askers, by_flights) {
            (Some(asker), _) => self.askers[asker].clone(),
            (_, Some(flight)) => self.flights[flight].clone(),
            _ => return Err(format!("nobody waits for {event:?}")),
        };
        actor.at = event.at;
        match (actor.stage.clone(), event.op) {
            (Stage::Asking(ticket), Op::Get(layer)) => {
                self.looked(&mut actor, layer, ticket, end, event.at)?;
            }
            (Stage::Putting(ticket, left), Op::Put(layer)) => {
                let is_over = self.counts_put(layer, ticket, end, event.at)?;
                if end == End::Stored {
                    (actor.holder, actor.kept) = (NAMES[layer], true);
                }
                actor.stage = if is_over {
                    Stage::Storing(left)
                } else {
                    Stage::Stopped
                };
                self.model.puts[layer].leaves(ticket.epoch, Fate::of(end, is_over), event.at);
            }
            (Stage::Building(_), Op::Build) => self.built(&mut actor, end)?,
            (stage, op) => return Err(format!("{op:?} ends while {stage:?}")),
        }
        match (by_askers, by_flights) {
            (Some(asker), _) => self.askers[asker] = actor,
            (_, Some(flight)) => self.flights[flight] = actor,
            _ => {}
        }
        Ok(())
    }

    fn looked(
        &mut self,
        actor: &mut Actor,
        layer: usize,
        ticket: Ticket,
        end: End,
        at: Instant,
    ) -> Result<(), Broken> {
        let is_there = self.model.shelves[layer].contains(&self.spec);
        let is_deadline = at - ticket.began == DEADLINE;
        let counts = &mut self.model.counts[layer];
        let mut is_over = true;
        match end {
            End::Hit => {
                require(is_there, "a hit of what is not there")?;
                counts.hits += 1;
            }
            End::Miss => {
                require(!is_there, "a miss of what is there")?;
                counts.misses += 1;
            }
            End::Erred { .. } => counts.get_errors += 1,
            End::Dropped if is_deadline => counts.get_deadlines += 1,
            End::Dropped => {
                counts.cancelled += 1;
                is_over = false;
            }
            End::Stored | End::Built => return Err(format!("{end:?} of a get")),
        }
        self.model.gets[layer].leaves(ticket.epoch, Fate::of(end, is_over), at);
        actor.stage = match end {
            End::Hit => {
                (actor.source, actor.holder) = (NAMES[layer], NAMES[layer]);
                actor.kept = !self.model.tiers[layer].is_remote;
                self.to_store(actor, layer, |tier| tier.fill)
            }
            _ if is_over => Stage::Looking(layer + 1),
            _ => Stage::Stopped,
        };
        Ok(())
    }

    fn built(&mut self, actor: &mut Actor, end: End) -> Result<(), Broken> {
        let builds = &mut self.model.builds;
        actor.stage = match end {
            End::Built => {
                builds.built += 1;
                (actor.source, actor.holder) = ("built", WORKSHOP);
                self.to_store(actor, self.model.tiers.len(), |tier| tier.publish)
            }
            End::Erred { .. } => {
                builds.failed += 1;
                Stage::Failed
            }
            End::Dropped => {
                builds.cancelled += 1;
                Stage::Stopped
            }
            _ => return Err(format!("{end:?} of a build")),
        };
        Ok(())
    }

    /// The layers above `below` that take it, from the bottom up.
    fn to_store(
        &self,
        actor: &mut Actor,
        below: usize,
        takes: impl Fn(&TierPlan) -> bool,
    ) -> Stage {
        let tiers = &self.model.tiers;
        let (remote, local): (Vec<_>, Vec<_>) = (0..below)
            .rev()
            .filter(|layer| takes(&tiers[*layer]))
            .partition(|layer| tiers[*layer].is_remote);
        if self.has_packages {
            actor.behind = remote;
        }
        Stage::Storing(local.into())
    }

    /// Counts the end of a put. Whether it came to one, rather than being cancelled.
    fn counts_put(
        &mut self,
        layer: usize,
        ticket: Ticket,
        end: End,
        at: Instant,
    ) -> Result<bool, Broken> {
        let counts = &mut self.model.counts[layer];
        match end {
            End::Stored => {
                counts.puts += 1;
                self.model.shelves[layer].insert(self.spec);
            }
            End::Erred { .. } => counts.put_errors += 1,
            End::Dropped if at - ticket.began == DEADLINE => counts.put_deadlines += 1,
            End::Dropped => {
                counts.puts_cancelled += 1;
                return Ok(false);
            }
            End::Hit | End::Miss | End::Built => return Err(format!("{end:?} of a put")),
        }
        Ok(true)
    }

    fn has_business(&self, layer: usize) -> bool {
        self.has_packages || !self.model.tiers[layer].is_remote
    }

    /// Layers that were not asked: those that had no business with it, or were left alone.
    fn passed_over(&mut self, layers: std::ops::Range<usize>, at: Instant) -> Result<(), Broken> {
        for layer in layers {
            if self.has_business(layer) {
                let may = self.model.gets[layer].may_refuse(at);
                require(may, &format!("layer {layer} is passed over"))?;
                self.model.counts[layer].skipped += 1;
            }
        }
        Ok(())
    }

    fn left_out(&mut self, layer: usize, at: Instant) -> Result<(), Broken> {
        let may = self.model.puts[layer].may_refuse(at);
        require(may, &format!("layer {layer} is not written to"))?;
        self.model.counts[layer].puts_skipped += 1;
        Ok(())
    }

    /// Nothing is under way any more: everybody has what is due, and was answered it.
    pub(super) fn over(mut self, answers: &[Option<Outcome>]) -> Result<(), Broken> {
        let mut flights = std::mem::take(&mut self.flights);
        for flight in &mut flights {
            self.finished(flight)?;
        }
        let landed: Vec<_> = flights.iter().filter_map(outcome).collect();
        let askers = std::mem::take(&mut self.askers);
        for (mut asker, answer) in askers.into_iter().zip(answers) {
            if let Stage::Looking(next) = asker.stage {
                // The near layers had nothing, and it waited for a flight.
                self.passed_over(next..asker.levels, asker.at)?;
                if let Some(answer) = answer {
                    let is_theirs = landed.contains(answer);
                    require(
                        is_theirs,
                        &format!("answered {answer:?}, and not {landed:?}"),
                    )?;
                }
                continue;
            }
            self.finished(&mut asker)?;
            if let Some(answer) = answer {
                let own = outcome(&asker);
                require(
                    own == Some(*answer),
                    &format!("answered {answer:?}, and not {own:?}"),
                )?;
            }
        }
        Ok(())
    }

    fn finished(&mut self, actor: &mut Actor) -> Result<(), Broken> {
        match actor.stage.clone() {
            Stage::Storing(left) => {
                for layer in left {
                    self.left_out(layer, actor.at)?;
                }
                require(actor.behind.is_empty(), "a remote layer was not written to")
            }
            Stage::Failed | Stage::Stopped => Ok(()),
            stage => Err(format!("left off while {stage:?}")),
        }
    }
}

fn outcome(actor: &Actor) -> Option<Outcome> {
    match actor.stage {
        Stage::Storing(_) => Some(Outcome::Found {
            source: actor.source,
            holder: actor.holder,
            kept: actor.kept,
        }),
        Stage::Failed => Some(Outcome::Failed),
        _ => None,
    }
}
