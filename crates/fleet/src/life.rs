//! The life of one replica, from its start until nothing is left of it.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cgroup::Group;
use crate::event::{End, EndCause, ReplicaEvent};
use crate::output::Stream;
use crate::process::Process;
use crate::replica::{Asked, Replica};
use crate::set::SetShared;
use crate::spawn::Spawned;

/// How long output is waited for after the end of its process: another process may have inherited it.
const OUTPUT_TIME_MAX: Duration = Duration::from_millis(100);

/// After so long it is said why a replica may not be ready yet, and again after twice, four times as long and so on.
const DOUBT_AFTER: Duration = Duration::from_secs(2);

/// What ends the time in which a replica is, or becomes, of use.
enum Fate {
    Exited(ExitStatus),
    Asked(Asked),
    NotReady,
}

/// Counts one more while it is there.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What lives one life: the process and its output.
pub(crate) struct Life {
    pub(crate) set: Arc<SetShared>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) process: Process,
    pub(crate) readers: JoinSet<()>,
    /// The control group that keeps its limit of memory.
    pub(crate) limited: Option<Group>,
}

impl Life {
    /// Begins to read the output. Must be called within a runtime.
    pub(crate) fn new(
        set: Arc<SetShared>,
        replica: Arc<Replica>,
        spawned: Spawned,
        limited: Option<Group>,
    ) -> Self {
        let mut readers = JoinSet::new();
        let Spawned {
            process,
            stdout,
            stderr,
        } = spawned;
        let one = Arc::clone(&replica);
        readers.spawn(async move { one.output.read(stdout, Stream::Out).await });
        let other = Arc::clone(&replica);
        readers.spawn(async move { other.output.read(stderr, Stream::Error).await });
        Self {
            set,
            replica,
            process,
            readers,
            limited,
        }
    }

    /// From the start of the process until nothing is left of it.
    pub(crate) async fn live(mut self) {
        let id = self.replica.id;
        self.set.tell(ReplicaEvent::Started {
            id,
            pid: self.replica.pid,
            port: self.replica.port.number(),
        });
        let fate = match self.start_up().await {
            Ok(address) => {
                self.be_ready(address);
                self.be_of_use().await
            }
            Err(fate) => fate,
        };
        self.replica.be_stopping();
        let cause = match fate {
            Fate::Exited(status) => {
                self.read_to_the_end().await;
                Some(self.ended_by_kernel().unwrap_or(EndCause::Exited(status)))
            }
            Fate::NotReady => Some(EndCause::NotReady {
                limit: self.replica.spec.start_timeout,
                hint: Some(self.replica.why_not_ready().await),
            }),
            Fate::Asked(Asked::Memory { used, max }) => Some(EndCause::Memory { used, max }),
            Fate::Asked(Asked::Stop) => None,
        };
        let told = cause.is_some();
        if let Some(cause) = cause {
            self.tell_end(cause);
        }
        let spec = Arc::clone(&self.replica.spec);
        let signal = spec.stop_signal;
        let grace = spec.stop_grace;
        let killed = self.process.end(signal.signal(), grace).await;
        self.end_strays().await;
        if let Some(group) = self.limited.take() {
            group.remove().await;
        }
        self.read_to_the_end().await;
        if !told {
            let killed_by_choice = spec.stop_signal == crate::StopSignal::Kill;
            self.tell_end(if killed && !killed_by_choice {
                EndCause::Killed { signal, grace }
            } else {
                EndCause::Stopped
            });
        }
        self.set.remove(&self.replica);
        let Self { set, replica, .. } = self;
        // The port is free when the last of those who look at the replica has gone; nobody keeps it long.
        drop(replica);
        set.tell(ReplicaEvent::Gone { id });
    }

    /// Why, if the kernel has ended it for want of memory.
    fn ended_by_kernel(&self) -> Option<EndCause> {
        let max = self.replica.spec.memory_max?;
        let was_ended = self.limited.as_ref()?.was_too_small();
        was_ended.then_some(EndCause::Memory { used: max, max })
    }

    /// Until it is ready, or will not be.
    async fn start_up(&mut self) -> Result<SocketAddr, Fate> {
        let starting = &self.set.host.starting;
        let _counted = Counted::new(starting);
        let replica = &self.replica;
        let doubts = async {
            let mut wait = DOUBT_AFTER;
            loop {
                sleep(wait).await;
                wait *= 2;
                if let Some(hint) = replica.hint().await {
                    let id = replica.id;
                    self.set.tell(ReplicaEvent::NotReadyYet { id, hint });
                }
            }
        };
        tokio::select! {
            // One that has ended is not ready, even if something answers at its port.
            biased;
            status = self.process.exited() => Err(Fate::Exited(status)),
            why = replica.asked() => Err(Fate::Asked(why)),
            address = replica.ready(starting) => Ok(address),
            () = sleep(replica.spec.start_timeout) => Err(Fate::NotReady),
            never = doubts => never,
        }
    }

    fn be_ready(&self, address: SocketAddr) {
        let now = Instant::now();
        self.replica.be_ready(now, address);
        self.set.tell(ReplicaEvent::Ready {
            id: self.replica.id,
            address,
            start_up: now - self.replica.started,
        });
    }

    /// Until it ends, or shall end.
    async fn be_of_use(&mut self) -> Fate {
        let healthy_after = self.replica.spec.back_off.healthy_after;
        let healthy = async {
            sleep(healthy_after).await;
            self.set.healthy();
            std::future::pending().await
        };
        tokio::select! {
            biased;
            status = self.process.exited() => Fate::Exited(status),
            why = self.replica.asked() => Fate::Asked(why),
            never = healthy => never,
        }
    }

    /// Ends what has left the process group. It has had its time: what ends with its replica stays in its group.
    async fn end_strays(&self) {
        let mark = self.set.host.mark.of_replica(self.replica.id);
        // Elsewhere, because it reads the environment of every process of this machine.
        let _ended = tokio::task::spawn_blocking(move || mark.kill_all()).await;
    }

    /// Reads what the processes have written before they ended.
    async fn read_to_the_end(&mut self) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        if timeout(OUTPUT_TIME_MAX, all).await.is_err() && self.process.is_gone() {
            self.readers.abort_all();
        }
    }

    fn tell_end(&self, cause: EndCause) {
        let now = Instant::now();
        let mut end = End {
            cause,
            ready_for: self.replica.ready_for(now),
            lived: now - self.replica.started,
            last_lines: self.replica.output.last_lines(),
            retry_after: Duration::ZERO,
        };
        if end.cause.is_failure() {
            end.retry_after = self.set.failed(now, &end, &self.replica.spec);
        }
        self.set.tell(ReplicaEvent::Ended {
            id: self.replica.id,
            end: Arc::new(end),
        });
    }
}
