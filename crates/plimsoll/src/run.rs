//! `plimsoll run`: a gateway whose endpoints are processes on this machine, as many as there is use for.
//!
//! All that a gateway has is there: routes, balancing, slots, the queue, the API. A service with a command has a
//! [`Crew`] besides: its replicas, and a task that decides how many there are. A request that finds none waits in the
//! gateway's queue, and wakes that task. The [`Machine`] is what all crews have in common.
//!
//! Rejected: a program of its own that talks to a gateway. Between the request that waits and the process that is
//! started for it there would be a connection more, and two truths about who is there.

pub(crate) mod api;
mod app;
mod crew;
mod machine;
mod page;
pub(crate) mod plan;
mod sample;
pub(crate) mod show;

pub(crate) use app::run as run_app;
pub(crate) use crew::Crew;
pub(crate) use machine::Machine;
pub(crate) use page::waiting_page;
pub(crate) use sample::ScaledReading;
pub(crate) use show::Scale;
