//! What follows from the end of a request, and from the passing of time, for
//! how an endpoint stands. Off the path of ordinary requests; under the lock of
//! the roll.

use std::sync::Arc;

use plimsoll_meter::Tick;

use crate::core::Core;
use crate::eject::{EVIDENCE_ENOUGH, EVIDENCE_ON_PROBATION, Ejection, EjectionReason};
use crate::endpoint::Endpoint;
use crate::journal::EjectionChange;
use crate::learned::Ended;
use crate::outcome::{FailureKind, Outcome, RETRY_AFTER_MAX};
use crate::peers::Typical;
use crate::standing::{Control, Roll, Standing};

/// If those that are not left out fail at this rate, it is the fault of none:
/// those that were left out for failing come back.
const COMMON_FAILURE_RATE: f32 = 0.5;

impl Core {
    /// Decides what follows from the end of a request.
    pub(crate) fn judge(&self, endpoint: &Endpoint, ended: &Ended) {
        let mut roll = self.roll.lock();
        let mut control = endpoint.control.lock();
        match (control.ejection, ended.outcome) {
            (Some(ejection), Outcome::Success) if ended.probe || ended.began >= ejection.since => {
                let after = ended.now.saturating_duration_since(ejection.since);
                let change = EjectionChange::Readmitted { after };
                tell(endpoint, &control, &mut roll, ended.now, change);
                readmit(endpoint, &mut control, &roll, ended.now);
            }
            (Some(_), Outcome::Failure(_)) if ended.probe => {
                let again =
                    control
                        .record
                        .begin(ended.now, &roll.ejection, EjectionReason::ProbeFailed);
                control.eject(again);
                let change = EjectionChange::begun(&again);
                tell(endpoint, &control, &mut roll, ended.now, change);
            }
            (Some(_), Outcome::Cancelled) if ended.probe => self.try_again(endpoint, &mut control),
            (None, Outcome::Failure(kind)) if roll.may_eject() => {
                if let Some(it) = ejection(endpoint, &mut control, &roll, kind, ended.now) {
                    control.eject(it);
                    let change = EjectionChange::begun(&it);
                    tell(endpoint, &control, &mut roll, ended.now, change);
                    self.peers.add_failing(endpoint.learned.success() - 1.0);
                }
            }
            (None, Outcome::Success) if ended.probe && endpoint.was_fast(ended) => {
                endpoint.clear_record(ended);
            }
            _ => {}
        }
        roll.settle(endpoint, &control);
        self.publish(&roll);
    }

    /// What time changes: shares that grow, ejections that end, what is typical.
    pub(crate) fn tend(&self, now: Tick, endpoints: &[Arc<Endpoint>], trials: bool) {
        let mut roll = self.roll.lock();
        let mut typical = Typical::default();
        for endpoint in endpoints {
            let mut control = endpoint.control.lock();
            let was_starting = control.ramp_since.is_some();
            endpoint.set_share(control.share(now, roll.slow_start));
            if was_starting && control.ramp_since.is_none() && control.ejection.is_none() {
                endpoint.learned.set_evidence(0.0);
            }
            let ended = control
                .ejection
                .as_mut()
                .filter(|it| it.until <= now && !it.probing);
            let may_be_tried = endpoint.standing() <= Standing::Ejected as u8;
            if let Some(ejection) = ended.filter(|_| may_be_tried) {
                ejection.probing = true;
                self.ask_for_probe(endpoint);
            }
            endpoint.learned.forget_failures();
            endpoint.settle_stuck();
            if endpoint.standing() == Standing::Usable as u8 {
                typical.add(
                    endpoint.learned.latency(now),
                    1.0 - endpoint.learned.success(),
                );
            }
        }
        if roll.ejected() > 0 && typical.failure_rate() >= COMMON_FAILURE_RATE {
            self.forgive(now, endpoints, &mut roll);
        }
        self.peers.renew(typical);
        for endpoint in endpoints {
            endpoint.estimate(now);
            if trials && endpoint.standing() == Standing::Usable as u8 {
                let mut control = endpoint.control.lock();
                let picks = endpoint.picks();
                if control.trials.is_due(now, endpoint.regard(now), picks) {
                    self.ask_for_probe(endpoint);
                }
            }
        }
    }

    /// A probe has told nothing. Whoever gets no requests now is tried when it does again.
    fn try_again(&self, endpoint: &Endpoint, control: &mut Control) {
        let may_be_tried = control.standing() <= Standing::Ejected;
        if may_be_tried {
            self.ask_for_probe(endpoint);
        } else if let Some(ejection) = &mut control.ejection {
            ejection.probing = false;
        }
    }

    /// Asks for one request to `endpoint` that finds out how it is.
    fn ask_for_probe(&self, endpoint: &Endpoint) {
        if endpoint.ask_for_probe() {
            self.probe_asked();
        }
    }

    /// Lets everybody in again: failing is no distinction.
    fn forgive(&self, now: Tick, endpoints: &[Arc<Endpoint>], roll: &mut Roll) {
        for endpoint in endpoints {
            let mut control = endpoint.control.lock();
            let failed = |it: &Ejection| it.reason != EjectionReason::RetryAfter;
            if let Some(ejection) = control.ejection.take_if(|it| failed(it)) {
                let after = now.saturating_duration_since(ejection.since);
                let change = EjectionChange::Forgiven { after };
                tell(endpoint, &control, roll, now, change);
                endpoint.learned.set_evidence(0.0);
                roll.settle(endpoint, &control);
            }
        }
        self.publish(roll);
    }
}

/// The ejection that follows from a failure, if one does.
fn ejection(
    endpoint: &Endpoint,
    control: &mut Control,
    roll: &Roll,
    kind: FailureKind,
    now: Tick,
) -> Option<Ejection> {
    if endpoint.learned.evidence() >= EVIDENCE_ENOUGH {
        return Some(
            control
                .record
                .begin(now, &roll.ejection, EjectionReason::Failures),
        );
    }
    match kind {
        FailureKind::Overloaded {
            retry_after: Some(wait),
        } if !wait.is_zero() => Some(Ejection {
            since: now,
            until: now.saturating_add(wait.min(RETRY_AFTER_MAX)),
            reason: EjectionReason::RetryAfter,
            probing: false,
        }),
        _ => None,
    }
}

/// Writes down what happens to an endpoint, if it is in the set.
fn tell(
    endpoint: &Endpoint,
    control: &Control,
    roll: &mut Roll,
    now: Tick,
    change: EjectionChange,
) {
    if control.member {
        roll.journal.write(endpoint.address(), now, change);
    }
}

/// Lets an endpoint in again, slowly, and on probation.
fn readmit(endpoint: &Endpoint, control: &mut Control, roll: &Roll, now: Tick) {
    control.ejection = None;
    control.record.end(now);
    control.ramp_since = Some(now);
    endpoint.set_share(control.share(now, roll.slow_start));
    endpoint.learned.set_evidence(EVIDENCE_ON_PROBATION);
}
