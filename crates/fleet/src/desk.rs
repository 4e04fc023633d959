//! Where services queue for room, and from where others are asked to leave.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::command::CommandSpec;
use crate::event::{ReplicaEvent, ReplicaId, Usage};
use crate::host::HostShared;
use crate::room::{NoRoom, Rules, Tenant, Verdict, Wish, decide, relieve};
use crate::set::SetShared;
use crate::start_error::StartError;

/// A wish for room is forgotten if it is not repeated for so long.
pub const WISH_TIME: Duration = Duration::from_secs(5);

/// How often those who wait should repeat their wish.
pub(crate) const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked whether there is room while somebody waits for it.
const PERIOD_WAITING: Duration = Duration::from_millis(50);

/// How often it is looked whether there is too much memory in use.
const PERIOD: Duration = Duration::from_secs(1);

/// Who may start and does not is told again after so long.
const TELL_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The queue for room.
pub(crate) struct Desk {
    rules: Rules,
    queue: Mutex<Vec<Waiting>>,
    wake: Notify,
}

/// A service that waits for room, the one that has waited longest first.
struct Waiting {
    set: Weak<SetShared>,
    wish: Wish,
    asked: Instant,
    told: Option<Instant>,
}

/// The right to start. While it is there nobody else gets room.
pub(crate) struct Admission<'a> {
    _queue: Option<MutexGuard<'a, Vec<Waiting>>>,
}

impl Desk {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            queue: Mutex::new(Vec::new()),
            wake: Notify::new(),
        }
    }

    pub(crate) fn limits_memory(&self) -> bool {
        self.rules.memory_max.is_some()
    }

    /// Looks again soon: something has changed.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether a replica may be started. If not, the service has a place in the queue from now on.
    pub(crate) fn admit(
        &self,
        set: &Arc<SetShared>,
        spec: &CommandSpec,
    ) -> Result<Admission<'_>, StartError> {
        if self.rules.memory_max.is_none() && spec.group.is_none() {
            return Ok(Admission { _queue: None });
        }
        let sets = set.host.sets();
        // Asked before the lock is taken, because it is code of the program.
        let usages = usages(&sets);
        let now = Instant::now();
        let mut queue = self.queue.lock();
        queue.retain(|waiting| waiting.is_wanted(now));
        let wish = set.wish(spec);
        let own = Arc::downgrade(set);
        let place = queue.iter().position(|waiting| waiting.set.ptr_eq(&own));
        let earlier = wishes(&queue[..place.unwrap_or(queue.len())]);
        match decide(&self.rules, &tenants(&sets, &usages, now), &earlier, &wish) {
            Verdict::Start => {
                if let Some(place) = place {
                    queue.remove(place);
                }
                Ok(Admission {
                    _queue: Some(queue),
                })
            }
            Verdict::Wait(why, _) => {
                match place {
                    // What can never be does not hold up others.
                    _ if matches!(why, NoRoom::Never { .. }) => {}
                    Some(place) => queue[place].renew(wish, now),
                    None => queue.push(Waiting {
                        set: own,
                        wish,
                        asked: now,
                        told: None,
                    }),
                }
                drop(queue);
                self.wake();
                Err(StartError::NoRoom(why))
            }
        }
    }

    /// Decides all wishes anew: who may start, and who has to leave for whom.
    fn reconsider(&self, sets: &[Arc<SetShared>]) -> Vec<(Arc<SetShared>, ReplicaEvent)> {
        let usages = usages(sets);
        let now = Instant::now();
        let mut events = Vec::new();
        let mut queue = self.queue.lock();
        queue.retain(|waiting| waiting.is_wanted(now));
        for place in 0..queue.len() {
            let tenants = tenants(sets, &usages, now);
            let earlier = wishes(&queue[..place]);
            let waiting = &mut queue[place];
            match decide(&self.rules, &tenants, &earlier, &waiting.wish) {
                Verdict::Start => events.extend(waiting.tell(now)),
                Verdict::Wait(_, leave) => {
                    let for_service = &waiting.wish.name;
                    events.extend(
                        leave
                            .iter()
                            .filter_map(|id| ask_to_leave(sets, *id, for_service, now)),
                    );
                }
            }
        }
        let tenants = tenants(sets, &usages, now);
        let too_much: Arc<str> = Arc::from("the memory of all");
        for id in relieve(&self.rules, &tenants) {
            events.extend(ask_to_leave(sets, id, &too_much, now));
        }
        events
    }

    fn period(&self) -> Option<Duration> {
        if !self.queue.lock().is_empty() {
            return Some(PERIOD_WAITING);
        }
        self.rules.memory_max.map(|_| PERIOD)
    }
}

/// Looks for room as long as the host is there. Costs nothing while nobody waits and no memory is limited.
pub(crate) async fn watch(host: Weak<HostShared>) {
    loop {
        let Some(strong) = host.upgrade() else {
            return;
        };
        let events = strong.desk.reconsider(&strong.sets());
        for (set, event) in events {
            set.tell(event);
        }
        let period = strong.desk.period();
        let desk = Arc::clone(&strong.desk);
        drop(strong);
        // The host may go meanwhile; then nobody wakes this, so it looks now and then.
        let _woken = timeout(period.unwrap_or(WISH_TIME), desk.wake.notified()).await;
        if period == Some(PERIOD_WAITING) {
            // Ends of replicas come in bursts.
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Waiting {
    fn is_wanted(&self, now: Instant) -> bool {
        self.set.strong_count() > 0 && now.saturating_duration_since(self.asked) < WISH_TIME
    }

    fn renew(&mut self, wish: Wish, now: Instant) {
        self.wish = wish;
        self.asked = now;
    }

    fn tell(&mut self, now: Instant) -> Option<(Arc<SetShared>, ReplicaEvent)> {
        let lately = |at: Instant| now.saturating_duration_since(at) < TELL_AGAIN_AFTER;
        if self.told.is_some_and(lately) {
            return None;
        }
        self.told = Some(now);
        Some((self.set.upgrade()?, ReplicaEvent::RoomFreed))
    }
}

fn wishes(queue: &[Waiting]) -> Vec<Wish> {
    queue.iter().map(|waiting| waiting.wish.clone()).collect()
}

fn usages(sets: &[Arc<SetShared>]) -> HashMap<Arc<str>, Usage> {
    let usage = |set: &Arc<SetShared>| (Arc::clone(&set.name), set.usage());
    sets.iter().map(usage).collect()
}

fn tenants(
    sets: &[Arc<SetShared>],
    usages: &HashMap<Arc<str>, Usage>,
    now: Instant,
) -> Vec<Tenant> {
    let usage = |set: &SetShared| usages.get(&set.name).copied().unwrap_or(Usage::Unknown);
    let tenants = sets.iter().map(|set| set.tenant(usage(set), now));
    tenants
        .filter(|tenant| !tenant.replicas.is_empty())
        .collect()
}

/// Marks the replica as leaving; what its service is to be told.
fn ask_to_leave(
    sets: &[Arc<SetShared>],
    id: ReplicaId,
    for_service: &Arc<str>,
    now: Instant,
) -> Option<(Arc<SetShared>, ReplicaEvent)> {
    let set = sets.iter().find(|set| set.make_leave(id, now))?;
    let for_service = Arc::clone(for_service);
    Some((
        Arc::clone(set),
        ReplicaEvent::EvictionWanted { id, for_service },
    ))
}
